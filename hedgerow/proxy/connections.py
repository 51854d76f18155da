"""Connecting to a server, and telling busy connections from idle ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Protocol

from hedgerow.sockets import connect_first, interleave_families

MIN_BUSY_BYTES = 64 * 1024
"""Bytes per minute, in both directions together, that make a connection busy; less keeps it alive only."""


async def dial[P: asyncio.BaseProtocol](make_protocol: Callable[[], P], addresses: Sequence[str], port: int) -> tuple[asyncio.Transport, P]:
    """Connect to the first address that answers (RFC 8305; the resolver has sorted them).

    The caller limits the time. Raises OSError with the last failure if no address answers.
    """
    loop = asyncio.get_running_loop()
    if len(addresses) == 1:
        return await loop.create_connection(make_protocol, addresses[0], port)

    async def discard(connection: tuple[asyncio.Transport, P]) -> None:
        connection[0].abort()

    order = interleave_families(addresses)
    return await connect_first(order, lambda address: loop.create_connection(make_protocol, address, port), discard)


class ByteCounted(Hashable, Protocol):
    """A connection that counts the bytes it has moved, in both directions together."""

    @property
    def bytes_moved(self) -> int: ...


class BusyTracker[T: ByteCounted]:
    """Finds busy connections by the bytes that each had moved when the minute began."""

    def __init__(self) -> None:
        self._minute = 0
        self._begun: dict[T, int] = {}

    def busy(self, connections: Iterable[T], now: float) -> Iterator[T]:
        """The connections that are busy in this minute of the clock; `now` is in seconds since the epoch."""
        minute, before = int(now // 60), self._begun
        if minute != self._minute:
            self._minute, self._begun = minute, {}
        for each in connections:
            bytes_moved = each.bytes_moved
            begun = self._begun.setdefault(each, bytes_moved if each in before else 0)
            if bytes_moved - begun >= MIN_BUSY_BYTES:
                yield each
