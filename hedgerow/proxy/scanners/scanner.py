"""Watch the body of an answer go by: the kind of file by its first bytes, macros in it, the weight of a page's words.

Pure. The engine holds the answer's head and what came of its body until `feed`, `release` or `end` says more.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator

from hedgerow.policies.content import ContentRules
from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.proxy.pages.response import ProxyResponse
from hedgerow.proxy.scanners.decoding import Excessive
from hedgerow.proxy.scanners.file_kinds import kind_of_content, kind_of_name, kind_of_type, may_change
from hedgerow.proxy.scanners.macros import MacroScanner
from hedgerow.proxy.scanners.words import BodyDecoder, PageScanner, PhraseMatcher

_CHARSET = re.compile(r"""charset\s*=\s*["']?([^"';,\s]+)""")
_PAGE_TYPES = frozenset({"text/html", "application/xhtml+xml", "", "*/*", "unknown/unknown", "application/unknown"})
"""Types of pages, and those at which browsers look for themselves whether it is one (WHATWG's MIME Sniffing Standard, section 7)."""

_XML_SUFFIXES = ("/xml", "+xml")

_MESSAGES = frozenset({
    "application/json", "application/ndjson", "application/x-ndjson", "application/jsonl", "application/x-jsonl",
    "application/jsonlines", "application/x-jsonlines", "application/json-lines", "application/json-seq", "application/x-json-stream",
    "application/connect+proto", "application/protobuf", "application/x-protobuf",
})  # fmt: skip
"""Types that programs read, message by message, and no browser saves as a file or shows as a page."""

_MEDIA = ("text/", "image/", "audio/", "video/", "font/", "application/javascript")
_DISPLAYED_TYPES = ("text/", "image/", "application/json", "application/javascript")

MAX_UNPACKED = 16 * 1024 * 1024
"""Bytes of a page once it is unpacked. No real page is as long; a small body that stands for more is made to wear a filter out."""

PORTION = 64 * 1024
"""Bytes, packed and unpacked together, after which others have their turn before more of a body is looked at."""

type RefusalFactory = Callable[[Decision], ProxyResponse]


class BodyScanner:
    """`refuse` makes the answer to what must not be seen; `weighed` is told each page's verdict."""

    max_hold_seconds = 3.0
    """Seconds for which a page may be held: one that goes on for ever must be seen while it comes."""

    def __init__(
        self,
        rules: ContentRules,
        decoder: BodyDecoder,
        scan: PageScanner | None,
        refuse: RefusalFactory,
        on_page_scanned: Callable[[str], None],
        *,
        may_be_tar: bool = True,
        may_be_xml: bool = True,
    ) -> None:
        self._files = frozenset(rules.files or ())
        self._limit = rules.page_limit or 0
        self._decoder = decoder
        self._scan = scan
        self._refuse = refuse
        self._on_page_scanned = on_page_scanned
        self._may_be_tar = may_be_tar
        self._may_be_xml = may_be_xml and "macros" in self._files
        self._unpacked = 0
        self._packed: deque[bytes] = deque()
        self._pieces: Iterator[bytes] | None = None
        self._start: bytes | None = b"" if self._files and decoder.is_known else None
        self._macros: MacroScanner | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing that is still to come can change what is thought of this answer."""
        return self._start is None and self._scan is None and self._macros is None

    @property
    def is_busy(self) -> bool:
        """Whether `go_on` has more to do before anything else is fed, released or ended."""
        return self._pieces is not None

    def feed(self, data: bytes) -> ProxyResponse | None:
        """Takes in the next bytes of the body, and looks at a portion; an answer is what must be given instead."""
        self._packed.append(data)
        return self.go_on()

    def go_on(self) -> ProxyResponse | None:
        """Looks at the next portion of what was fed."""
        if self._pieces is None:
            self._pieces = self._unpack()
        begun = self._decoder.work
        try:
            while self._decoder.work - begun < PORTION and not self.is_done:
                piece = next(self._pieces, None)
                if piece is None:
                    self._pieces = None
                    return None
                if (refused := self._look_at(piece)) is not None:
                    self._drop()
                    return refused
        except Excessive:
            return self._refuse_excess()
        if self.is_done:
            self._drop()
        return None

    def _unpack(self) -> Iterator[bytes]:
        while self._packed:
            yield from self._decoder.bytes_of(self._packed.popleft())

    def _drop(self) -> None:
        self._packed.clear()
        self._pieces = None

    def _look_at(self, piece: bytes) -> ProxyResponse | None:
        if self._start is not None:
            self._start += piece
            is_told = not may_change(self._start, may_be_tar=self._may_be_tar, may_be_xml=self._may_be_xml)
            if is_told and (refused := self._judge_file()) is not None:
                return refused
        elif self._macros is not None and (refused := self._judge_macros(piece)) is not None:
            return refused
        if self._scan is not None:
            self._unpacked += len(piece)
            if self._unpacked > MAX_UNPACKED:
                return self._refuse_excess()
            self._scan.feed(self._decoder.text_of(piece))
        return None

    def _refuse_excess(self) -> ProxyResponse:
        """The answer to what was packed to wear a filter out, or to hide behind what it does not look at."""
        self._drop()
        if self._scan is not None:
            self._on_page_scanned("block")
        is_document = self._scan is None and self._macros is not None
        self._start = self._scan = self._macros = None
        decision = (Reason.FILE, "macros") if is_document else (Reason.PAGE, "too long to be weighed")
        return self._refuse(Decision(Verdict.BLOCK, *decision))

    def release(self) -> ProxyResponse | None:
        """What is thought so far, because no more can be held."""
        return self._judge_page() if self._scan is not None and self._scan.score > self._limit else None

    def end(self) -> ProxyResponse | None:
        """What is thought of the whole."""
        refused = self._judge_file() if self._start is not None else None
        if refused is not None or self._scan is None:
            return refused
        self._scan.feed(self._decoder.text_of(b"", last=True), last=True)
        return self._judge_page()

    def _judge_file(self) -> ProxyResponse | None:
        start, self._start = self._start or b"", None
        kind = kind_of_content(start)
        if kind in self._files:
            return self._refuse(Decision(Verdict.BLOCK, Reason.FILE, kind))
        self._macros = MacroScanner.begin(start) if "macros" in self._files else None
        return self._judge_macros(start) if self._macros is not None else None

    def _judge_macros(self, piece: bytes) -> ProxyResponse | None:
        assert self._macros is not None
        if self._macros.feed(piece):
            return self._refuse(Decision(Verdict.BLOCK, Reason.FILE, "macros"))
        if self._macros.is_over:
            self._macros = None
        return None

    def _judge_page(self) -> ProxyResponse | None:
        assert self._scan is not None
        score, self._scan = self._scan.score, None
        self._on_page_scanned("block" if score > self._limit else "allow")
        return self._refuse(Decision(Verdict.BLOCK, Reason.PAGE, f"{score} of {self._limit}")) if score > self._limit else None


def declared_file_kind(rules: ContentRules, url: str, content_type: str, disposition: str) -> str | None:
    """The blocked kind of file that an answer's head says it is."""
    is_shown = (
        content_type.lower().startswith(_DISPLAYED_TYPES) and not disposition and not content_type.lower().startswith("text/event-stream")
    )
    kinds = (None if is_shown else kind_of_name(url, disposition), kind_of_type(content_type))
    return next((kind for kind in kinds if kind is not None and kind in (rules.files or ())), None)


def scanner_for(
    rules: ContentRules,
    phrases: PhraseMatcher,
    content_type: str,
    encoding: str,
    refuse: RefusalFactory,
    on_page_scanned: Callable[[str], None],
    *,
    is_document: bool = False,
    is_saved: bool = False,
) -> BodyScanner | None:
    """How an answer with such a head is watched; None: not at all.

    A browser shows what `is_document`, and XML may be a page then. What `is_saved` becomes a file, whatever its type is.
    """
    types = [each.partition(";")[0].strip() for each in content_type.lower().split(",")]  # of several, browsers take one or the other
    charset = _CHARSET.search(content_type.lower())
    decoder = BodyDecoder(encoding, charset[1] if charset is not None else "")
    may_be_page = any(each in _PAGE_TYPES or "/" not in each or (is_document and each.endswith(_XML_SUFFIXES)) for each in types)
    is_page = bool(rules.page_limit) and may_be_page
    if is_page and not decoder.is_known:
        on_page_scanned("unreadable")
    scan = PageScanner(phrases) if is_page and decoder.is_known else None
    if types == ["text/event-stream"] or (not is_saved and all(_is_of_messages(each) for each in types)):
        return None
    may_be_tar = is_saved or not all(each.startswith(_MEDIA) or each.endswith(_XML_SUFFIXES) for each in types)
    watch = BodyScanner(rules, decoder, scan, refuse, on_page_scanned, may_be_tar=may_be_tar, may_be_xml=types != ["text/html"])
    return None if watch.is_done else watch


def _is_of_messages(media: str) -> bool:
    return media in _MESSAGES or media.startswith("application/grpc") or media.endswith("+json")
