"""A check of pictures as somebody would add it: one module, and one line that registers it.

Run as a program this is the scanning process with the check in it. The first byte of a picture chooses what happens to
it.
"""

from __future__ import annotations

import os
import sys
from typing import Self

from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.proxy.scanners import body, worker_process
from hedgerow.proxy.scanners.scanner import PENDING, Head, Outcome, Scanner, ScanRules

BAD, HANGS, EXHAUSTS_MEMORY, DIES = b"b", b"h", b"m", b"d"


class PictureScanner(Scanner):
    def __init__(self) -> None:
        self.is_done = False
        self._picture = b""

    @classmethod
    def wants(cls, head: Head, rules: ScanRules) -> Self | None:
        return cls() if head.kind.types[0].startswith("image/") else None

    def feed(self, data: bytes) -> None:
        self._picture += data

    def end(self) -> Outcome:
        return PENDING

    def work(self) -> Decision | None:
        match self._picture[:1]:
            case b"h":
                while True:
                    pass
            case b"m":
                bytes(2 * worker_process.MAX_MEMORY)
            case b"d":
                os._exit(1)
        return Decision(Verdict.BLOCK, Reason.PAGE, f"picture {os.getpid()}") if self._picture[:1] == BAD else None


class WholeScanner(PictureScanner):
    """The same check, of bodies that are collected and queued."""

    wants_whole = True


if __name__ == "__main__":
    body.SCANNERS += (WholeScanner,) if "--whole" in sys.argv else (PictureScanner,)
    worker_process.PORTION_CPU_SECONDS = 1
    worker_process.main()
