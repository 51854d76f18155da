"""Whether an office document carries programs (macros), told while it goes by. Pure.

Sources: [MS-OVBA] 2.2.1 (the storage in a compound file), [MS-PPT] 2.4.10 (the record of a presentation), [MS-OFFMACRO2] (parts of
zipped documents and their types), PKWARE's APPNOTE 4.3.7 (entries of a zip), Word 2003's XML, and where LibreOffice puts its own.
"""

from __future__ import annotations

import re
import zlib

MAX_SCANNED = 64 * 1024 * 1024
"""Bytes of a document that are looked at. Longer ones pass from there on: no office document is as long."""

_ZIP, _COMPOUND = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_FLAT = (b"<?mso-application", b"<pkg:package")

_TYPES = rb"ms-office\.vbaproject|ms-excel\.(?:intl)?macrosheet"
_IN_ZIP = re.compile(
    rb"vbaproject\.bin|xl/macrosheets/"
    rb"|basic/[^/\0]{1,64}/(?!(?:script|dialog)-l[bc]\.xml)[^/\0]{1,64}\.xml|scripts/(?:python|java|beanshell)/"
    rb"|" + _TYPES  # in a list of types that is not packed
)
_TYPE_IN_ZIP = re.compile(_TYPES)
_IN_COMPOUND = re.compile(
    re.escape("_VBA_PROJECT".encode("utf-16-le")) + rb"(?:\0\0|_\0C\0U\0R\0)"  # a storage of a text or a table
    rb"|\x1f\0\xff\x03\x14\0\0\0\x02\0\0\x04\x0c\0\0\0[\0-\xff]{4}\x01\0\0\0"  # VBAInfoContainer, whose fHasMacros says 1
)
_IN_FLAT = re.compile(rb"""macrospresent\s*=\s*["']yes|vbaproject\.bin""")
_OVERLAP = 256
"""Bytes that are looked at again with the next piece, more than any of these takes."""

_TYPES_HEAD = re.compile(rb"PK\x03\x04[\0-\xff]{4}\x08\0[\0-\xff]{18}([\0-\xff]{2})\[content_types\]\.xml", re.IGNORECASE)
_MAX_TYPES_BYTES = 4 * 1024 * 1024
"""Bytes of lists of types that are unpacked of one document. What has more is no document that somebody wrote."""
MOST_HEADS = 64
"""Lists of types that are looked at in one document; it has one, and one more for each document inside it. The same holds for more."""
_PIECE = 64 * 1024


class MacroScanner:
    """One document that goes by.

    >>> search = MacroScanner.begin(b"PK\\x03\\x04")
    >>> search.feed(b"... word/vbaPro"), search.feed(b"ject.bin ...")
    (False, True)
    """

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        self._types = _ContentTypes() if pattern is _IN_ZIP else None
        self._tail = b""
        self._left = MAX_SCANNED

    @classmethod
    def begin(cls, start: bytes) -> MacroScanner | None:
        """By a body's first bytes, which are to be fed as well; None where it is nothing that can carry macros."""
        if start.startswith(_ZIP):
            return cls(_IN_ZIP)
        if start.startswith(_COMPOUND):
            return cls(_IN_COMPOUND)
        return cls(_IN_FLAT) if any(sign in start for sign in _FLAT) else None

    @property
    def is_over(self) -> bool:
        """Whether nothing more is looked at."""
        return self._left <= 0

    def feed(self, data: bytes) -> bool:
        """Whether macros have come with these bytes."""
        self._left -= len(data)
        window = self._tail + data
        if self._pattern.search(window if self._pattern is _IN_COMPOUND else window.lower()) is not None:
            return True
        if self._types is not None and self._types.feed(window, data):
            return True
        self._tail = window[-_OVERLAP:]
        return False


class _ContentTypes:
    """The lists of types in a zipped document, which tell of macros where their part has another name. Only one of them is the true one."""

    def __init__(self) -> None:
        self._inflate: zlib._Decompress | None = None
        self._skip = 0
        self._tail = b""
        self._left = _MAX_TYPES_BYTES
        self._heads_left = MOST_HEADS
        self._seen = self._next = 0  # bytes that came, and from which of them on heads are looked for

    def feed(self, window: bytes, data: bytes) -> bool:
        """`window` ends with `data`, which is new."""
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
