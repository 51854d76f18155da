"""Open a connection to the first of several addresses that answers (RFC 8305, without its sorting: the resolver did that)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Protocol

ATTEMPT_DELAY = 0.25
"""Seconds until the next address is tried beside the ones that have not answered yet."""


def interleave_families(addresses: Sequence[str]) -> tuple[str, ...]:
    """The addresses with both families taken in turn, the family of the first one leading.

    >>> interleave_families(["192.0.2.1", "192.0.2.2", "2001:db8::1"])
    ('192.0.2.1', '2001:db8::1', '192.0.2.2')
    """
    if len(addresses) < 2:
        return tuple(addresses)
    leads = ":" in addresses[0]
    first = [each for each in addresses if (":" in each) is leads]
    second = [each for each in addresses if (":" in each) is not leads]
    return tuple(each for pair in zip_longest(first, second) for each in pair if each is not None)


async def dial[P: asyncio.BaseProtocol](make_protocol: Callable[[], P], addresses: Sequence[str], port: int) -> tuple[asyncio.Transport, P]:
    """Connect; whoever calls sees to it that this ends. Raises OSError with the last failure when no address answers."""
    loop = asyncio.get_running_loop()
    if len(addresses) == 1:
        return await loop.create_connection(make_protocol, addresses[0], port)
    return await _connect_first(loop, make_protocol, interleave_families(addresses), port)


async def _connect_first[P: asyncio.BaseProtocol](
    loop: asyncio.AbstractEventLoop, make_protocol: Callable[[], P], addresses: Sequence[str], port: int
) -> tuple[asyncio.Transport, P]:
    attempts: set[asyncio.Task[tuple[asyncio.Transport, P]]] = set()
    failure: BaseException = OSError("there is no address to dial")
    waiting = list(addresses)
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(loop.create_task(loop.create_connection(make_protocol, waiting.pop(0), port)))
            done, attempts = await asyncio.wait(attempts, timeout=ATTEMPT_DELAY if waiting else None, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                if (error := attempt.exception()) is None:
                    attempts |= done - {attempt}
                    return attempt.result()
                failure = error
    finally:
        for attempt in attempts:
            _drop(attempt)
    raise failure


def _drop(attempt: asyncio.Task[tuple[asyncio.Transport, asyncio.BaseProtocol]]) -> None:
    """End an attempt that lost, and its connection when it came too late."""
    attempt.cancel()
    attempt.add_done_callback(lambda each: None if each.cancelled() or each.exception() else each.result()[0].abort())


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
