"""Decode Content-Encoding (RFC 9110, section 8.4; zstd: RFC 9659) piece by piece, in bounded memory. Pure."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd  # type: ignore[import-not-found,unused-ignore]
else:
    from backports import zstd

BLOCK = 64 * 1024

MOST_PER_BYTE = 128
"""Decoded bytes per byte of a body, all its codings together, beyond `UNPACKED_FREELY`. Pages reach about 50."""

UNPACKED_FREELY = 1024 * 1024
"""Decoded bytes up to which `MOST_PER_BYTE` does not apply: a short body may repeat itself."""

_PORTION = 16 * 1024
"""Encoded bytes that a coding gets at a time."""

_GZIP = b"\x1f\x8b\x08"
_TRAILER = 8  # bytes of check sum and length behind a member
_SNIFFED = 1024
_MAX_CODINGS = 4
_ZSTD_WINDOW = 23  # eight megabytes: browsers refuse more too (RFC 9659, section 3)


class ContentDecodingError(Exception):
    """The bytes are not in the coding that the head names."""


class ExcessiveExpansion(Exception):
    """The body decodes to far more bytes than any that was compressed to save bandwidth."""


class _Gzip:
    """gzip of any number of members, as browsers read it: without its check sums, and whatever its header's flags are.

    A body that is declared as gzip and does not begin as gzip passes unchanged, as in browsers. What follows the last
    member is ignored.
    """

    def __init__(self) -> None:
        self._start = bytes(_TRAILER)  # as behind a member
        self._fields: int | None = None
        self._inflate: Any = None
        self._has_begun = self._is_plain = self._is_over = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._is_plain:
            yield data
        while data and not self._is_over:
            if self._inflate is None:
                self._start += data
                magic = self._start[_TRAILER : _TRAILER + len(_GZIP)]
                if self._fields is None and not _GZIP.startswith(magic):
                    if magic[:1] == _GZIP[:1] and not self._has_begun:
                        raise ContentDecodingError
                    self._is_over, self._is_plain = True, not self._has_begun
                    yield self._start[_TRAILER:] if self._is_plain else b""
                    return
                if not self._skip_header():
                    return
                data, self._start, self._fields = self._start, b"", None
                self._inflate, self._has_begun = zlib.decompressobj(-zlib.MAX_WBITS), True
            piece, data = _inflate(self._inflate, data)
            if self._inflate.eof:
                data, self._inflate = self._inflate.unused_data, None
            if piece:
                yield piece

    def _skip_header(self) -> bool:
        """Drop what has come of a member's header (RFC 1952, section 2.3). Return whether it is complete.

        The texts in it may have any length. They are not kept.
        """
        if self._fields is None:
            if len(self._start) < _TRAILER + 10:
                return False
            self._fields, self._start = self._start[_TRAILER + 3], self._start[_TRAILER + 10 :]
        for field in (4, 8, 16, 2):  # extra, name, comment, check sum
            if self._fields & field:
                start = self._start
                size = start.find(b"\0") + 1 if field in (8, 16) else 2
                size += int.from_bytes(start[:2], "little") if field == 4 else 0
                if not 0 < size <= len(start):
                    self._start = start if size else b""
                    return False
                self._start = start[size:]
                self._fields ^= field
        return True


class _Deflate:
    """The two formats called `deflate` (RFC 9110, section 8.4.1.2): what is not valid as the one is tried as the other.

    The header of the one may be the beginning of the other.
    """

    def __init__(self) -> None:
        self._start: bytes | None = b""
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._start is not None and len(self._start) + len(data) < 2:
            self._start += data
            return
        if self._start is not None:
            data, self._start = self._start + data, None
            if data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0 and _is_deflate(data[2:]):
                data = data[2:]
        while data and not self._inflate.eof:
            piece, data = _inflate(self._inflate, data)
            if piece:
                yield piece


def _inflate(inflate: Any, data: bytes) -> tuple[bytes, bytes]:
    try:
        return inflate.decompress(data, BLOCK), inflate.unconsumed_tail
    except zlib.error as error:
        raise ContentDecodingError from error


def _is_deflate(data: bytes) -> bool:
    """Return whether data may be the beginning of deflated data."""
    try:
        zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _SNIFFED)
    except zlib.error:
        return False
    return True


class _Brotli:
    def __init__(self) -> None:
        self._brotli = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            while not self._brotli.is_finished():
                piece = self._brotli.process(data, output_buffer_limit=BLOCK)
                data = b""
                if piece:
                    yield piece
                elif self._brotli.can_accept_more_data():
                    return
        except brotli.error as error:
            raise ContentDecodingError from error


class _Zstd:
    """Any number of frames, skippable ones too."""

    def __init__(self) -> None:
        self._zstd = self._new_decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            while data or not self._zstd.needs_input:
                piece, data = self._zstd.decompress(data, BLOCK), b""
                if self._zstd.eof:
                    data, self._zstd = self._zstd.unused_data, self._new_decompressor()
                if piece:
                    yield piece
        except (zstd.ZstdError, EOFError) as error:
            raise ContentDecodingError from error

    @staticmethod
    def _new_decompressor() -> Any:
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW})


type _Coding = _Gzip | _Deflate | _Brotli | _Zstd

_CODINGS: dict[str, Callable[[], _Coding]] = {
    "gzip": _Gzip,
    "x-gzip": _Gzip,
    "deflate": _Deflate,
    "br": _Brotli,
    "zstd": _Zstd,
}
_UNSUPPORTED_CODINGS = frozenset({"dcb", "dcz"})  # of browsers, by a dictionary (RFC 9842)
SUPPORTED_CODINGS = frozenset({*_CODINGS, "identity"})
"""The names of the codings that can be decoded."""


class ContentDecoder:
    """Decoder of a body by its Content-Encoding field, several codings too.

    `is_readable` is false if the body cannot be decoded: it has too many codings, needs a dictionary, or is broken.

    Names of what is not a coding in browsers (`utf-8`, `compress`) are mistakes, which they ignore.
    """

    def __init__(self, encoding: str) -> None:
        named = [name for each in encoding.lower().split(",") if (name := each.strip())] if encoding else []
        names = [name for name in named if name in _CODINGS]
        self.is_readable = len(named) <= _MAX_CODINGS and _UNSUPPORTED_CODINGS.isdisjoint(named)
        # The coding applied last is the first to be undone.
        self._codings = [_CODINGS[name]() for name in reversed(names)] if self.is_readable else []
        self._packed = self._unpacked = 0

    @property
    def work(self) -> int:
        """Bytes that went into the first coding and came out of each so far."""
        return self._packed + self._unpacked

    @property
    def is_identity(self) -> bool:
        """The body is not coded."""
        return not self._codings

    def pass_on(self, data: bytes) -> None:
        """Count bytes of a body that is not coded, which need no decoding."""
        self._packed += len(data)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded bytes in pieces of about 64 kB, some of them empty. Raises ExcessiveExpansion.

        Each piece is decoded on demand, at a bounded cost: a small body may decode to a huge one, or to nothing after
        much work. A broken body ends there.
        """
        pieces = self._cut(data)
        for coding in self._codings:
            pieces = self._through(coding, pieces)
        try:
            yield from pieces
        except ContentDecodingError:
            self.is_readable = False

    def _cut(self, data: bytes) -> Iterator[bytes]:
        size = _PORTION if self._codings else BLOCK
        for position in range(0, len(data), size):
            piece = data[position : position + size]
            self._packed += len(piece)
            yield piece

    def _through(self, coding: _Coding, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for packed in pieces:
            for piece in coding.feed(packed):
                self._unpacked += len(piece)
                if self._unpacked > UNPACKED_FREELY + MOST_PER_BYTE * self._packed:
                    raise ExcessiveExpansion
                yield piece
            yield b""
