"""The scan of a response as the engine sees it: inline while it is short, in a process of the pool from then on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from hedgerow.client_classes import ClassedClient, unnamed_client
from hedgerow.policies.content import LENIENT_LIMIT, ContentRules
from hedgerow.policies.model import Decision
from hedgerow.proxy.pages.response import ProxyResponse
from hedgerow.proxy.scanners.body import PORTION, BodyScan, page_verdict
from hedgerow.proxy.scanners.scanner import BodyQueue, CollectedBody, Head, Scanner, ScanRules
from hedgerow.proxy.scanners.topics import PageFinding
from hedgerow.proxy.scanners.workers import ScanJob, ScanPool

MAX_INLINE = PORTION
"""Bytes, packed and unpacked together, that are scanned inline: 4 ms of words, and 23 ms of CPU time for the slowest of
5,586 shapes of pages that were generated (`tests/support/input_growth.py`). Other devices wait that long at most.

Measured too: to hand a body over takes 0.13 ms there and back, of which 0.06 ms is CPU time here; the process takes 0.1
s to start and 14 MB of memory of its own, which a small page is not worth.
"""

WHOLE_HOLD_SECONDS = 60.0
"""Seconds that a body may take to come if it is checked whole."""

_NOBODY = unnamed_client("")

type PageCallback = Callable[[str, PageFinding | None], None]
"""Takes the verdict on a page, and the topic that it was recognised as."""


class BodyScanner:
    """The scan of one response.

    `refuse` renders the answer to a body that is blocked; `on_page_scanned` is called once for each page.

    Bodies that are checked whole go to the queue of their scanner in `wholes`, in the turn of their `client`. After
    `feed` and `end`, and until `when_ready` calls back, the scanner may be busy. Then `result` tells what they would
    have returned.
    """

    holds = (3.0, 1.0, 0.25)
    """Seconds for which a body may be held back: one that never ends must be seen while it comes. The second are those
    of a page where much is allowed, the third those of a part of a page that a script fetches, such as a chat's answer.
    """

    def __init__(
        self,
        head: Head,
        rules: ScanRules,
        pool: ScanPool,
        refuse: Callable[[Decision], ProxyResponse],
        on_page_scanned: PageCallback,
        wholes: Mapping[type[Scanner], BodyQueue] = MappingProxyType({}),
        client: ClassedClient = _NOBODY,
    ) -> None:
        self._scan: BodyScan | ScanJob | CollectedBody = BodyScan(head, rules)
        self._wholes, self._client = wholes, client
        self._is_page = self._scan.page is not None
        self.max_hold_seconds = self.holds[self._patience(head, rules.content)]
        self._head, self._rules, self._pool = head, rules, pool
        self._refuse = refuse
        self._on_page_scanned = on_page_scanned
        self._kept = bytearray()
        self._has_ended = False
        if self._is_page and self._scan.is_unreadable:
            on_page_scanned("unreadable", None)

    def _patience(self, head: Head, content: ContentRules) -> int:
        """Return the place in `holds`. What arrives later than that is judged as it passes, and cut off."""
        if self._is_page and not content.youtube_only:
            return int((content.page_limit or 0) >= LENIENT_LIMIT) if head.is_document else 2
        return 0

    @property
    def declared_refusal(self) -> ProxyResponse | None:
        """The answer if the head alone decides."""
        return self._refuse(self._scan.refusal) if self._scan.refusal is not None else None

    @property
    def is_done(self) -> bool:
        """No further byte can change the outcome."""
        return self._scan.is_done

    @property
    def is_busy(self) -> bool:
        """The bytes fed last are still being scanned: wait before anything else."""
        return self._scan.is_busy

    @property
    def is_collecting(self) -> bool:
        """The body is collected to be checked whole: nothing of it may pass before, however long it is."""
        return not isinstance(self._scan, BodyScan | ScanJob)

    @property
    def octets_kept(self) -> int:
        """Octets of the body that are kept to scan them again."""
        scan = self._scan
        return len(self._kept) + (len(scan.kept or b"") if isinstance(scan, ScanJob) else 0)

    def when_ready(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when the scanner is not busy any more."""
        assert not isinstance(self._scan, BodyScan)
        self._scan.when_ready(callback)

    def feed(self, data: bytes, *, is_last: bool = False) -> ProxyResponse | None:
        """Scan the next bytes of the body. Return the answer in place of the response, if it is blocked."""
        self._has_ended = is_last
        scan = self._scan
        if scan.is_done:
            return self.result()
        if not isinstance(scan, BodyScan):
            scan.feed(data, is_last=is_last)
            return self.result()
        self._kept += data
        scan.feed(data)
        if (kind := scan.whole_scanner) is not None and (wholes := self._wholes.get(kind)) is not None:
            self.max_hold_seconds = WHOLE_HOLD_SECONDS
            self._hand_over(wholes.begin(self._client, self._head, self._rules, scan.unchecked))
            return self.result()
        if is_last and not scan.is_busy:
            scan.end()
        if scan.is_pending or scan.is_busy or (scan.work > MAX_INLINE and not scan.is_done):
            self._hand_over(self._pool.begin(self._head, self._rules, scan.unchecked))
        elif scan.is_done:
            self._kept = bytearray()
        return self.result()

    def _hand_over(self, job: ScanJob | CollectedBody) -> None:
        self._scan = job
        job.feed(bytes(self._kept), is_last=self._has_ended)
        self._kept = bytearray()

    def end(self) -> ProxyResponse | None:
        """Decide on the whole body."""
        return self.feed(b"", is_last=True)

    def release(self) -> ProxyResponse | None:
        """Return the answer according to the bytes so far, because the rest cannot be held back for longer."""
        self._scan.release()
        return self.result()

    def result(self) -> ProxyResponse | None:
        """Return the answer in place of the response, None if there is none by now."""
        refusal = self._scan.refusal
        if self._is_page and (refusal is not None or (self._has_ended and not self.is_busy)):
            self._is_page = False
            if (verdict := page_verdict(refusal)) is not None:
                self._on_page_scanned(verdict, finding_of(self._scan))
        return self._refuse(refusal) if refusal is not None else None


def finding_of(scan: BodyScan | ScanJob | CollectedBody) -> PageFinding | None:
    """Return the topic that a page was recognised as."""
    if isinstance(scan, BodyScan):
        return scan.page.finding if scan.page is not None else None
    return scan.finding if isinstance(scan, ScanJob) else None
