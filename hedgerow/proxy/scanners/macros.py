"""Search for programs (macros) in office documents as they pass. Pure.

Sources: [MS-OVBA] 2.2.1 (the storage in a compound file), [MS-PPT] 2.4.10 (the record of a presentation),
[MS-OFFMACRO2] (parts of zipped documents and their types), PKWARE's APPNOTE 4.3.7 (entries of a zip), Word 2003's XML,
and where LibreOffice puts its own.
"""

from __future__ import annotations

import re
import zlib
from typing import Self

from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.proxy.scanners.file_kinds import UNREADABLE, may_change
from hedgerow.proxy.scanners.scanner import Head, Scanner, ScanRules

MAX_SCANNED = 64 * 1024 * 1024
"""Bytes of a document that are searched. The rest of a longer one passes: office documents are shorter."""

_ZIP, _COMPOUND = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_FLAT = (b"<?mso-application", b"<pkg:package")

_TYPES = rb"ms-office\.vbaproject|ms-excel\.(?:intl)?macrosheet"
_IN_ZIP = re.compile(
    rb"vbaproject\.bin|xl/macrosheets/"
    rb"|basic/[^/\0]{1,64}/(?!(?:script|dialog)-l[bc]\.xml)[^/\0]{1,64}\.xml|scripts/(?:python|java|beanshell)/"
    rb"|" + _TYPES  # in a list of types that is not compressed
)
_TYPE_IN_ZIP = re.compile(_TYPES)
_IN_COMPOUND = re.compile(
    re.escape("_VBA_PROJECT".encode("utf-16-le")) + rb"(?:\0\0|_\0C\0U\0R\0)"  # a storage of a text or a spreadsheet
    rb"|\x1f\0\xff\x03\x14\0\0\0\x02\0\0\x04\x0c\0\0\0[\0-\xff]{4}\x01\0\0\0"  # VBAInfoContainer with fHasMacros set
)
_IN_FLAT = re.compile(rb"""macrospresent\s*=\s*["']yes|vbaproject\.bin""")
_OVERLAP = 256
"""Bytes that are searched again with the next piece: longer than any match."""

_TYPES_HEAD = re.compile(
    rb"PK\x03\x04[\0-\xff]{4}\x08\0[\0-\xff]{18}([\0-\xff]{2})\[content_types\]\.xml", re.IGNORECASE
)
_MAX_TYPES_BYTES = 4 * 1024 * 1024
"""Decompressed bytes of the lists of types in one document. No office program writes more."""
MOST_HEADS = 64
"""Lists of types in one document: its own, and one of each embedded document. No office program writes more."""
_PIECE = 64 * 1024


class MacroSearch:
    """The search in one document.

    >>> search = MacroSearch.begin(b"PK\\x03\\x04")
    >>> search.feed(b"... word/vbaPro"), search.feed(b"ject.bin ...")
    (False, True)
    """

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        self._types = _ContentTypes() if pattern is _IN_ZIP else None
        self._tail = b""
        self._left = MAX_SCANNED

    @classmethod
    def begin(cls, start: bytes) -> MacroSearch | None:
        """Return a search for a body with these first bytes, or None if it cannot carry macros.

        Feed the first bytes too.
        """
        if start.startswith(_ZIP):
            return cls(_IN_ZIP)
        if start.startswith(_COMPOUND):
            return cls(_IN_COMPOUND)
        return cls(_IN_FLAT) if any(sign in start for sign in _FLAT) else None

    @property
    def is_over(self) -> bool:
        """The limit is reached: no more is searched."""
        return self._left <= 0

    def feed(self, data: bytes) -> bool:
        """Search the next bytes. Return True if they complete a sign of macros."""
        self._left -= len(data)
        window = self._tail + data
        if self._pattern.search(window if self._pattern is _IN_COMPOUND else window.lower()) is not None:
            return True
        if self._types is not None and self._types.feed(window, data):
            return True
        self._tail = window[-_OVERLAP:]
        return False


class MacroScanner(Scanner):
    """Scanner that blocks office documents with macros."""

    unchecked = Decision(Verdict.BLOCK, Reason.FILE, "macros")

    def __init__(self, *, may_be_xml: bool) -> None:
        self.is_done = False
        self._may_be_xml = may_be_xml
        self._start = b""
        self._search: MacroSearch | None = None

    @classmethod
    def wants(cls, head: Head, rules: ScanRules) -> Self | None:
        return cls(may_be_xml=head.kind.types != ("text/html",)) if "macros" in (rules.content.files or ()) else None

    def feed(self, data: bytes) -> Decision | None:
        if self._search is not None:
            return self._feed(self._search, data)
        self._start += data
        return None if may_change(self._start, may_be_tar=False, may_be_xml=self._may_be_xml) else self._begin()

    def end(self) -> Decision | None:
        return self._begin() if self._search is None and not self.is_done else None

    def _begin(self) -> Decision | None:
        start, self._start = self._start, b""
        self._search, self.unreadable = MacroSearch.begin(start), UNREADABLE
        self.is_done = self._search is None
        return self._feed(self._search, start) if self._search is not None else None

    def _feed(self, search: MacroSearch, data: bytes) -> Decision | None:
        has_macros = search.feed(data)
        self.is_done = search.is_over
        return self.unchecked if has_macros else None


class _ContentTypes:
    """The lists of types in a zipped document.

    They reveal macros whose part has another name. Only one of the lists is in force.
    """

    def __init__(self) -> None:
        self._inflate: zlib._Decompress | None = None
        self._skip = 0
        self._tail = b""
        self._left = _MAX_TYPES_BYTES
        self._heads_left = MOST_HEADS
        self._seen = self._next = 0  # bytes fed, and the offset from which heads are searched

    def feed(self, window: bytes, data: bytes) -> bool:
        """Search `window`, which ends with the new `data`."""
        if self._inflate is not None and self._unpack(data):
            return True
        self._seen += len(data)
        start = self._seen - len(window)
        at = max(0, self._next - start)
        while self._inflate is None and (head := _TYPES_HEAD.search(window, at)) is not None:
            self._inflate, self._tail, at = zlib.decompressobj(-zlib.MAX_WBITS), b"", head.start() + 1
            self._next = start + at
            self._skip = int.from_bytes(head[1], "little")
            self._heads_left -= 1
            if self._heads_left < 0:
                return True
            if self._unpack(window[head.end() :]):
                return True
        return False

    def _unpack(self, packed: bytes) -> bool:
        packed, self._skip = packed[self._skip :], max(self._skip - len(packed), 0)
        while self._inflate is not None:
            try:
                piece = self._inflate.decompress(packed, _PIECE)
            except zlib.error:
                self._inflate = None
                return False
            packed, is_over = self._inflate.unconsumed_tail, self._inflate.eof
            self._left -= len(piece)
            text = self._tail + piece.lower()
            if self._left < 0 or _TYPE_IN_ZIP.search(text) is not None:
                return True
            self._tail = text[-_OVERLAP:]
            if is_over:
                self._inflate = None
            elif len(piece) < _PIECE and not packed:
                return False
        return False
