"""Bodies that both ends of a download can make for themselves, of any length, without holding them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator

CHUNK = 1 << 16
_NOISE = hashlib.shake_256(b"small internet").digest(CHUNK - 8)


def body(length: int, start: int = 0) -> Iterator[bytes]:
    """The bytes from `start` to `length` of the body of that length, in pieces of at most 64 KiB.

    Each 64 KiB begin with their own number, so that a piece that was lost, doubled or swapped changes the checksum.

    >>> b"".join(body(100))[10:] == b"".join(body(100, start=10))
    True
    """
    while start < length:
        number, offset = divmod(start, CHUNK)
        chunk = (number.to_bytes(8, "big") + _NOISE)[offset : min(CHUNK, length - number * CHUNK)]
        yield chunk
        start += len(chunk)


@functools.cache
def body_sha256(length: int) -> str:
    """The checksum of `body(length)` in hex."""
    digest = hashlib.sha256()
    for piece in body(length):
        digest.update(piece)
    return digest.hexdigest()
