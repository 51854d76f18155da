"""Tar archives, read once from front to back in bounded memory.

Python's `tarfile` reads extended headers whole, whatever their size. Here they have a limit, and features that no
publisher of lists uses (sparse files, archives in several volumes) are refused. Format:
https://www.gnu.org/software/tar/manual/html_node/Standard.html and POSIX.1-2017, pax.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

BLOCK = 512
MAX_HEADER_BYTES = 1 << 16
"""Bytes of an extended header: a path, at times a comment or attributes."""

_RECORD = re.compile(rb"(\d{1,9}) ([^=\n]+)=")


class TarError(ValueError):
    """An archive cannot be read."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file or link of an archive. `file` can be read until the next member is asked for; None for a link."""

    name: str
    file: IO[bytes] | None


def is_tar_header(block: bytes) -> bool:
    """Return whether a block is the header of a member, by its checksum."""
    if len(block) != BLOCK or not block.strip(b"\0"):
        return False
    try:
        checksum = _number(block[148:156])
    except TarError:
        return False
    return checksum == sum(block[:148]) + sum(block[156:]) + 8 * ord(" ")


def read_members(archive: IO[bytes]) -> Iterator[TarMember]:
    """Yield the files and links of an archive, in order. Raises TarError and EOFError."""
    name, size = "", None
    while header := _read_header(archive):
        kind, stated = header[156:157], _number(header[124:136])
        if kind in b"LKxXg" and kind:
            if stated > MAX_HEADER_BYTES:
                raise TarError(f"a header of {stated} bytes")
            data = _read_exactly(archive, _padded(stated))[:stated]
            if kind == b"L":
                name = _text(data.rstrip(b"\0"))
            elif kind in b"xX":
                fields = _fields_of(data)
                name = _text(fields.get(b"path", b"")) or name
                size = int(fields[b"size"]) if fields.get(b"size", b"").isdigit() else size
            continue
        if kind in b"SM" and kind:
            raise TarError("a sparse file, or one of several volumes")
        path, length = name or _name_of(header), stated if size is None else size
        name, size = "", None
        if kind in (b"1", b"2"):
            yield TarMember(path, None)
            continue
        part = _Part(archive, 0 if kind in (b"3", b"4", b"5", b"6") else length)
        if kind in (b"0", b"\0", b"7") and not path.endswith("/"):
            yield TarMember(path, io.BufferedReader(part))
        part.skip()


class _Part(io.RawIOBase):
    """The bytes of one member of the archive. `skip` moves the archive past what is left of them and their padding."""

    def __init__(self, archive: IO[bytes], length: int) -> None:
        self._archive, self._left, self._padding = archive, length, _padded(length) - length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._archive.read(min(len(buffer), self._left))
        if not data and self._left and len(buffer):
            raise EOFError("the archive is cut off")
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def skip(self) -> None:
        left, self._left = self._left + self._padding, 0
        while left:
            left -= len(_read_exactly(self._archive, min(left, MAX_HEADER_BYTES)))


def _read_header(archive: IO[bytes]) -> bytes:
    """Read the next header; empty at the end."""
    header = archive.read(BLOCK)
    if not header.strip(b"\0"):
        return b""
    if not is_tar_header(header):
        raise TarError("a member has a bad header")
    return header


def _read_exactly(archive: IO[bytes], size: int) -> bytes:
    data = archive.read(size)
    while len(data) < size:
        more = archive.read(size - len(data))
        if not more:
            raise EOFError("the archive is cut off")
        data += more
    return data


def _fields_of(data: bytes) -> dict[bytes, bytes]:
    """Parse the records of a pax header: `LENGTH KEY=VALUE` and a line end, which the length includes."""
    fields, start = dict[bytes, bytes](), 0
    while match := _RECORD.match(data, start):
        end = start + int(match[1])
        if end <= match.end() or data[end - 1 : end] != b"\n":
            raise TarError("a bad extended header")
        fields[match[2]] = data[match.end() : end - 1]
        start = end
    if data[start:].strip(b"\0") or any(key.startswith(b"GNU.sparse.") for key in fields):
        raise TarError("a bad extended header, or a sparse file")
    return fields


def _name_of(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return _text(b"/".join(filter(None, (prefix, name))))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _number(field: bytes) -> int:
    """Parse a number: octal digits, or binary if the first bit is set."""
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise TarError("a negative or enormous number")
        return int.from_bytes(field[1:])
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if digits.strip(b"01234567"):
        raise TarError("a bad number")
    return int(digits, 8)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
