"""Bodies of HTTP/1 messages (RFC 9112, sections 6 and 7): of a known length, in chunks, or up to the end of the
connection.

Protocol code: no sockets, no clock, no files.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import dataclass, field

from hedgerow.proxy.http_head import MAX_FIELDS, ReceiveBuffer

MAX_CHUNK_LINE = 4096
"""Bytes of a chunk's size and extensions. An incomplete line is read again with each piece that arrives."""

MAX_JOINED = 64 * 1024
"""Bytes of chunks that are joined into one piece. Each piece takes a round through all layers."""

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,20})(?:;[^\n]*|[ \t]*)")
_BEGUN_CHUNK_LINE = re.compile(rb"[0-9A-Fa-f]{1,20}(?:[ \t]*(?:\Z|;[^\n]*\Z|\r\Z))|\Z")
_NAME = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_CONTROLS = re.compile(rb"[\x00\n\v\f\r]")

type Field = tuple[bytes, bytes]


class BodyError(ValueError):
    """The body is malformed, or ends too early."""


def split_lines(head: bytes) -> list[bytes]:
    """Return the lines of a head, without their ends and without the empty line.

    >>> split_lines(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"), split_lines(b"\\r\\n")
    ([b'GET / HTTP/1.1', b'Host: a'], [])
    """
    return [line.removesuffix(b"\r") for line in head.split(b"\n")[:-2]]


@dataclass(slots=True, eq=False, repr=False)
class BodyReader:
    """Reader of one body. `read` returns its next piece until `is_complete`. `trailers` follow the last chunk."""

    is_complete: bool = False
    trailers: list[Field] = field(default_factory=list)

    @abstractmethod
    def read(self, buffer: ReceiveBuffer) -> bytes:
        """Remove a piece of the body from `buffer`; empty if there is none now. Raises BodyError."""

    def end(self) -> None:
        """Note the end of the connection. Raises BodyError if the body is not complete then."""
        raise BodyError("the connection was closed before the end of the body")


class LengthReader(BodyReader):
    """Reader of a body whose length is known."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        super().__init__()
        self._left = length
        self.is_complete = not length

    def read(self, buffer: ReceiveBuffer) -> bytes:
        data = buffer.take(self._left)
        self._left -= len(data)
        self.is_complete = not self._left
        return data


class UntilCloseReader(BodyReader):
    """Reader of a body that ends with its connection."""

    def read(self, buffer: ReceiveBuffer) -> bytes:
        return buffer.take(len(buffer))

    def end(self) -> None:
        self.is_complete = True


@dataclass(slots=True, eq=False, repr=False)
class ChunkedReader(BodyReader):
    """Reader of a body in chunks, which joins those that have arrived."""

    _left: int = 0  # octets of the chunk that has begun
    _ends: bytes = b""  # the rest of the line end that must follow it
    _is_in_trailers: bool = False
    _error: BodyError | None = None  # follows what was joined

    def read(self, buffer: ReceiveBuffer) -> bytes:
        if self._error is not None:
            raise self._error
        pieces, size = list[bytes](), 0
        try:
            while size < MAX_JOINED and not self.is_complete:
                data = self._read_next(buffer)
                if not data:
                    break
                pieces.append(data)
                size += len(data)
        except BodyError as error:
            if not pieces:
                raise
            self._error = error
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_next(self, buffer: ReceiveBuffer) -> bytes:
        """Return what there is of the next chunk; nothing if it is incomplete before its first octet, or the body is
        complete.
        """
        if self._ends:
            found = buffer.take(len(self._ends))
            if not self._ends.startswith(found):
                raise BodyError("a chunk is longer than its size")
            self._ends = self._ends[len(found) :]
            if self._ends:
                return b""
        if not (self._left or self._is_in_trailers or self._read_line(buffer)):
            return b""
        if self._is_in_trailers:
            self._read_trailers(buffer)
            return b""
        data = buffer.take(self._left)
        self._left -= len(data)
        if not self._left:
            self._ends = b"\r\n"
        return data

    def _read_line(self, buffer: ReceiveBuffer) -> bool:
        """Read the line with the size of a chunk. Return False if it is incomplete."""
        data = buffer.data
        end = data.find(b"\r\n")
        if end < 0:
            if len(data) > MAX_CHUNK_LINE or _BEGUN_CHUNK_LINE.match(data) is None:
                raise BodyError("a chunk has no size")
            return False
        line = _CHUNK_LINE.fullmatch(data, 0, end)
        if line is None:
            raise BodyError("a chunk has no size")
        self._left = int(line[1], 16)
        self._is_in_trailers = not self._left
        buffer.drop(end + 2)
        return True

    def _read_trailers(self, buffer: ReceiveBuffer) -> None:
        size = buffer.find_head()
        if buffer.lines > MAX_FIELDS + 1:  # the last line is empty
            raise BodyError(f"more than {MAX_FIELDS:,} lines of trailers")
        if not size:
            return
        for line in split_lines(buffer.take(size)):
            name, colon, value = line.partition(b":")
            if not colon or _NAME.fullmatch(name) is None or _CONTROLS.search(value) is not None:
                raise BodyError("a trailer is malformed")
            self.trailers.append((name.lower(), value.strip(b" \t")))  # HTTP/2 has no capitals
        self.is_complete = True


def body_reader(size: int | None) -> BodyReader:
    """Return the reader of a body of `size` octets: None means chunks, -1 up to the end of the connection."""
    if size is None:
        return ChunkedReader()
    return UntilCloseReader() if size < 0 else LengthReader(size)
