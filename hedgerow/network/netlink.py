"""Messages to and from the kernel (netlink(7)), read and written as bytes.

pyroute2 could do this too, but takes ten megabytes in every worker.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from struct import Struct
from typing import Final

_HEADER: Final = Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE: Final = Struct("=HH")  # struct nlattr: length, type
ERROR: Final = 2  # NLMSG_ERROR
REQUEST: Final = 0x1  # NLM_F_REQUEST
BUFFER: Final = 1 << 16
"""Bytes to receive at once: the kernel fills at most 32 kB."""


def message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | REQUEST, sequence & 0xFFFFFFFF, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def messages(datagram: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, sequence number and body of each message. Raises OSError for a malformed one."""
    at = 0
    while at + _HEADER.size <= len(datagram):
        length, kind, _, sequence, _ = _HEADER.unpack_from(datagram, at)
        if not _HEADER.size <= length <= len(datagram) - at:
            raise OSError("netlink message of a wrong length")
        yield kind, sequence, datagram[at + _HEADER.size : at + length]
        at += length + 3 & ~3


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the values of attributes by type, up to the first malformed one."""
    found, at = dict[int, bytes](), 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            break
        found[kind] = data[at + _ATTRIBUTE.size : at + length]
        at += length + 3 & ~3
    return found


def error_in(body: bytes) -> OSError | None:
    """Return the error that an `ERROR` message reports, or None if it acknowledges a request."""
    code = -int.from_bytes(body[:4], sys.byteorder, signed=True)
    return OSError(code, os.strerror(code)) if code else None
