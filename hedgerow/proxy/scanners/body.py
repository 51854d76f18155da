"""All checks of one body: undo the content codings and run the scanners over the pieces. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from hedgerow.policies.model import Decision, Reason
from hedgerow.proxy.scanners.decoding import ContentDecoder, ExcessiveExpansion
from hedgerow.proxy.scanners.file_kinds import FileKindScanner
from hedgerow.proxy.scanners.macros import MacroScanner
from hedgerow.proxy.scanners.scanner import PENDING, Head, Scanner, ScanRules
from hedgerow.proxy.scanners.words import PageScanner
from hedgerow.proxy.scanners.youtube import YouTubeScanner

SCANNERS: tuple[type[Scanner], ...] = (YouTubeScanner, FileKindScanner, MacroScanner, PageScanner)
"""The scanners, in the order in which they decide, those of features before the last. Add a check here."""

PORTION = 64 * 1024
"""Bytes, packed and unpacked together, that `go_on` scans at a time."""


class BodyScan:
    """The scan of one body. `in_worker` lets scanners do what they left pending.

    `refusal` is the decision to block, once there is one. `page` is the scanner that scores words, None for what is not
    a page.
    """

    def __init__(self, head: Head, rules: ScanRules, *, in_worker: bool = False) -> None:
        self.refusal: Decision | None = None
        self.page: PageScanner | None = None
        scanners = list[Scanner]()
        for kind in (*SCANNERS[:-1], *rules.scoring, *SCANNERS[-1:]):
            wanted = kind.wants(head, rules)
            if wanted is None:
                continue
            if isinstance(wanted, Decision):
                self.refusal = self.refusal or wanted
            else:
                scanners.append(wanted)
                if type(wanted) is PageScanner:  # `isinstance` takes longer for classes of protocols
                    self.page = wanted
        self.is_pending = False
        self._in_worker = in_worker
        self._decoder = ContentDecoder(head.encoding)
        if self.refusal is not None:
            scanners = []
        elif scanners and head.kind.is_stream:
            scanners = [each for each in scanners if each.checks_streams]
        self._active = scanners
        self._packed: deque[bytes] = deque()
        self._pieces: Iterator[bytes] | None = None
        self.is_unreadable = False
        self._check_coding()

    def _check_coding(self) -> None:
        """Give up a body that cannot be decoded: let it pass unless a scanner that still reads it refuses it."""
        if not self._decoder.is_readable:
            self.is_unreadable = True
            for scanner in self._active:  # the reason of the last counts: that of a page
                self.refusal = scanner.unreadable or self.refusal
            self._active.clear()

    @property
    def work(self) -> int:
        """Bytes scanned so far, before and after decoding."""
        return self._decoder.work

    @property
    def is_done(self) -> bool:
        """No further byte can change the outcome."""
        return not self._active

    @property
    def whole_scanner(self) -> type[Scanner] | None:
        """The scanner that needs the whole body, if there is one: feed no more of it here."""
        return next((type(each) for each in self._active if each.wants_whole), None)

    @property
    def is_busy(self) -> bool:
        """`go_on` has more to do."""
        return self._pieces is not None

    @property
    def unchecked(self) -> Decision:
        """The decision if this scan cannot be finished."""
        return self._active[-1].unchecked if self._active else Scanner.unchecked

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body, and scan a portion."""
        if self._active and self._decoder.is_identity and 0 < len(data) < PORTION and self._pieces is None:
            # what `go_on` does: most bodies are short, and come in one piece
            self._decoder.pass_on(data)
            try:
                self._run(data)
            except ExcessiveExpansion:
                self.fail()
        else:
            self._packed.append(data)
            self.go_on()

    def go_on(self) -> None:
        """Scan the next portion of the bytes that were fed."""
        if self._pieces is None:
            self._pieces = _unpack(self._packed, self._decoder)
        begun = self._decoder.work
        try:
            while self._active and self._decoder.work - begun < PORTION:
                piece = next(self._pieces, None)
                if piece is None:
                    self._pieces = None
                    self._check_coding()
                    return
                self._run(piece)
        except ExcessiveExpansion:
            self.fail()
        self._check_coding()
        if not self._active:
            self._packed, self._pieces = deque(), None

    @property
    def refusal_so_far(self) -> Decision | None:
        """The decision on the bytes so far. More bytes may change it."""
        return self.refusal or next(
            (decision for each in self._active if (decision := each.release()) is not None), None
        )

    def release(self) -> None:
        """Decide on the bytes so far, because the rest cannot be held back for longer."""
        if (decision := self.refusal_so_far) is not None:
            self._refuse(decision)

    def end(self) -> None:
        """Decide on the whole body, once all of it is scanned."""
        self._run(None)
        if not self.is_pending:
            self._active.clear()

    def fail(self) -> None:
        """Block the body, which takes more memory or time than any that is worth it."""
        self._refuse(self.unchecked)

    def _run(self, data: bytes | None) -> None:
        """Hand the next bytes to each scanner, or the end (None)."""
        for scanner in tuple(self._active):
            outcome = scanner.end() if data is None else scanner.feed(data)
            while outcome is PENDING and self._in_worker:
                outcome = scanner.work()
            if outcome is PENDING:
                self.is_pending = True
            elif outcome is not None:
                self._refuse(outcome)
                return
            elif scanner.is_done:
                self._active.remove(scanner)

    def _refuse(self, decision: Decision) -> None:
        self.refusal = decision
        self._active.clear()
        self._packed, self._pieces = deque(), None


def _unpack(packed: deque[bytes], decoder: ContentDecoder) -> Iterator[bytes]:
    """Yield the output of a decoder for these bytes.

    Not a method: a scan that is given up would refer to itself, and keep megabytes.
    """
    while packed:
        yield from decoder.feed(packed.popleft())


def page_verdict(refusal: Decision | None) -> str | None:
    """Return the label under which a page is counted after its scan, or None where it was blocked for another reason
    than its words.
    """
    if refusal is None:
        return "allow"
    return {Reason.PAGE: "block", Reason.RECOGNISED: "recognised"}.get(refusal.reason)
