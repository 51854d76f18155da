"""Open a connection to the first of several addresses that answers (RFC 8305, without its sorting: the resolver did that)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Protocol

from hedgerow.sockets import connect_first, interleave_families


async def dial[P: asyncio.BaseProtocol](make_protocol: Callable[[], P], addresses: Sequence[str], port: int) -> tuple[asyncio.Transport, P]:
    """Connect; whoever calls sees to it that this ends. Raises OSError with the last failure when no address answers."""
    loop = asyncio.get_running_loop()
    if len(addresses) == 1:
        return await loop.create_connection(make_protocol, addresses[0], port)

    async def discard(connection: tuple[asyncio.Transport, P]) -> None:
        connection[0].abort()

    order = interleave_families(addresses)
    return await connect_first(order, lambda address: loop.create_connection(make_protocol, address, port), discard)


MIN_BUSY_BYTES = 64 * 1024
"""Moved within a minute, in both directions together; less is keeping alive."""


class ByteCounted(Hashable, Protocol):
    """A connection that can say how many bytes it has moved, in both directions together."""

    @property
    def bytes_moved(self) -> int: ...


class BusyTracker[T: ByteCounted]:
    """Remembers of each connection what it had moved when the minute began."""

    def __init__(self) -> None:
        self._minute = 0
        self._begun: dict[T, int] = {}

    def busy(self, connections: Iterable[T], now: float) -> Iterator[T]:
        """Those that have moved enough in this minute of the clock; `now` is in seconds since the epoch."""
        minute, before = int(now // 60), self._begun
        if minute != self._minute:
            self._minute, self._begun = minute, {}
        for each in connections:
            bytes_moved = each.bytes_moved
            begun = self._begun.setdefault(each, bytes_moved if each in before else 0)
            if bytes_moved - begun >= MIN_BUSY_BYTES:
                yield each
