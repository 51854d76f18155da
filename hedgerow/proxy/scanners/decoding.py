"""Decode Content-Encoding (RFC 9110, section 8.4; zstd: RFC 9659) piece by piece, in bounded memory. Pure."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

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

_MAX_CODINGS = 4
_ZSTD_WINDOW = 23  # eight megabytes: browsers refuse more too (RFC 9659, section 3)


class ContentDecodingError(Exception):
    """The bytes are not in the coding that the head names."""


class ExcessiveExpansion(Exception):
    """The body decodes to far more bytes than any that was compressed to save bandwidth."""


class _Coding(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded bytes in pieces of about 64 kB. Raises ContentDecodingError."""


class _Zlib:
    """gzip of any number of members, and the two formats called `deflate` (RFC 9110, section 8.4.1.2).

    A body that is declared as gzip and does not begin as gzip passes unchanged, as in some browsers.
    """

    def __init__(self, *, is_gzip: bool) -> None:
        self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 32) if is_gzip else None
        self._is_new = is_gzip
        self._is_plain = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._is_new and data:
            self._is_new, self._is_plain = False, data[0] != 0x1F
        if self._is_plain:
            yield data
            return
        if self._zlib is None and data:
            self._zlib = zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS)
        while data and self._zlib is not None:
            try:
                piece = self._zlib.decompress(data, BLOCK)
            except zlib.error as error:
                raise ContentDecodingError from error
            data = self._zlib.unconsumed_tail
            if self._zlib.eof and self._zlib.unused_data[:2] == b"\x1f\x8b":
                data, self._zlib = self._zlib.unused_data, zlib.decompressobj(zlib.MAX_WBITS | 32)
            if piece:
                yield piece


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
                if self._zstd.eof:
                    data, self._zstd = self._zstd.unused_data + data, self._new_decompressor()
                    continue
                piece, data = self._zstd.decompress(data, BLOCK), b""
                if self._zstd.eof:
                    data, self._zstd = self._zstd.unused_data, self._new_decompressor()
                if piece:
                    yield piece
                elif not data and self._zstd.needs_input:
                    return
        except (zstd.ZstdError, EOFError) as error:
            raise ContentDecodingError from error

    @staticmethod
    def _new_decompressor() -> Any:
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW})


_CODINGS: dict[str, Callable[[], _Coding]] = {
    "gzip": lambda: _Zlib(is_gzip=True),
    "x-gzip": lambda: _Zlib(is_gzip=True),
    "deflate": lambda: _Zlib(is_gzip=False),
    "br": _Brotli,
    "zstd": _Zstd,
}
_UNSUPPORTED_CODINGS = frozenset({"compress", "x-compress", "dcb", "dcz", "aes128gcm", "exi", "pack200-gzip", "sdch"})
SUPPORTED_CODINGS = frozenset({*_CODINGS, "identity"})
"""The names of the codings that can be decoded."""


class ContentDecoder:
    """Decoder of a body by its Content-Encoding field, several codings too.

    `is_known` is false if one of them is not supported.

    Names that are not codings (`utf-8`, `none`) are mistakes, which browsers ignore.
    """

    def __init__(self, encoding: str) -> None:
        named = [name for each in encoding.lower().split(",") if (name := each.strip())] if encoding else []
        names = [name for name in named if name in _CODINGS]
        self.is_known = len(named) <= _MAX_CODINGS and _UNSUPPORTED_CODINGS.isdisjoint(named)
        # The coding applied last is the first to be undone.
        self._codings = [_CODINGS[name]() for name in reversed(names)] if self.is_known else []
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
        much work. A broken body ends silently: browsers show no more of it either.
        """
        pieces = self._cut(data)
        for coding in self._codings:
            pieces = self._through(coding, pieces)
        try:
            yield from pieces
        except ContentDecodingError:
            return

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
