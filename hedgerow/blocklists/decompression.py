"""Files that are gzip, xz, bzip2 or plain, read and written within bounds."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, Protocol

from hedgerow.blocklists.line_reader import CHUNK_BYTES

_XZ_MEMORY = 128 << 20
"""Bytes: files of `xz -9` need half of that."""


class UnpackError(ValueError):
    """A list cannot be unpacked; `str()` gives the reason."""


def too_large(limit: int) -> UnpackError:
    return UnpackError(f"unpacks to more than {limit >> 20} MB")


class BoundedWriter:
    """A file that does not grow beyond `limit` bytes; `write` raises UnpackError instead."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file, self._left, self.limit = file, limit, limit

    def write(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise too_large(self.limit)
        self._file.write(data)


class _Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _BoundedReader(io.RawIOBase):
    """The unpacked bytes of a file. Raises UnpackError beyond `limit` bytes, skipped ones included."""

    def __init__(self, packed: _Reader, limit: int) -> None:
        self._packed, self._left, self._limit = packed, limit, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._packed.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise too_large(self._limit)
        buffer[: len(data)] = data
        return len(data)


class _XzFile(io.RawIOBase):
    """The unpacked bytes of an xz file, as from `lzma.open`, which does not limit the dictionary that a
    file asks for.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._decompressor: lzma.LZMADecompressor | None = None

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        packed = b""
        while True:
            if self._decompressor is None or self._decompressor.needs_input:
                packed = packed or self._file.read(CHUNK_BYTES)
                if not packed:
                    if self._decompressor is not None:
                        raise EOFError("the file is cut off")
                    return 0
            if self._decompressor is None:
                packed = packed.lstrip(b"\0")  # padding between streams
                if not packed:
                    continue
                self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
            data = self._decompressor.decompress(packed, len(buffer))
            packed = b""
            if self._decompressor.eof:
                self._file.seek(-len(self._decompressor.unused_data), io.SEEK_CUR)
                self._decompressor = None
            if data:
                buffer[: len(data)] = data
                return len(data)


@contextlib.contextmanager
def open_packed(path: Path, limit: int) -> Iterator[IO[bytes]]:
    """Open a file to read it unpacked, up to `limit` bytes. The compression is told by the first bytes."""
    with path.open("rb") as file:
        start = file.read(6)
    with contextlib.ExitStack() as stack:
        packed: _Reader
        if start.startswith(b"\x1f\x8b"):
            packed = stack.enter_context(gzip.open(path))
        elif start.startswith(b"\xfd7zXZ\0"):
            packed = io.BufferedReader(stack.enter_context(_XzFile(path)), CHUNK_BYTES)
        elif start.startswith(b"BZh"):
            packed = stack.enter_context(bz2.open(path))
        else:
            packed = stack.enter_context(path.open("rb"))
        yield io.BufferedReader(_BoundedReader(packed, limit), CHUNK_BYTES)
