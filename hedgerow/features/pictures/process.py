"""The process that judges pictures for an inspector: `python -m hedgerow.features.pictures.process`.

Its standard input is a socket. It has more memory than the processes that scan other bodies, and lets everything else
go first.
"""

from __future__ import annotations

import os

from hedgerow.features.pictures.judge import judge
from hedgerow.proxy.scanners import worker_process

MEMORY = 1024 * 1024 * 1024
"""Bytes of address space: libraries and network take a third of it, and the largest picture the rest."""

_NICENESS = 1
"""Everything else comes first, but not by much: a page waits for its pictures, and nearly all that it waits for is this
process's CPU time."""


def _prepare() -> None:
    """Load the judge.

    onnxruntime warns, in the midst of our log, that it may not look for graphics cards: nobody reads standard output.
    """
    os.nice(_NICENESS)
    errors = os.dup(2)
    os.dup2(1, 2)
    try:
        judge()
    finally:
        os.dup2(errors, 2)
        os.close(errors)


if __name__ == "__main__":
    worker_process.main(MEMORY, _prepare)
