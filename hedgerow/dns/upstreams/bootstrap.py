"""Finds the addresses of upstreams that are given by name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from struct import pack

from hedgerow.dns import wire
from hedgerow.dns.upstreams.inquiries import Upstreams
from hedgerow.dns.upstreams.responses import Response, addresses_in
from hedgerow.dns.upstreams.upstream import Ask, UpstreamError, is_address


class Bootstrap:
    """Finds the addresses of upstreams that are given by name, through plain resolvers, and keeps them for a while.

    `written` are names whose addresses are known without asking.
    """

    def __init__(
        self,
        plain: Upstreams,
        written: Mapping[str, tuple[str, ...]] | None = None,
        seconds: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plain, self._written, self._seconds, self._clock = plain, written or {}, seconds, clock
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._tasks: set[asyncio.Task[tuple[str, ...]]] = set()

    async def __call__(self, host: str) -> tuple[str, ...]:
        """Addresses of `host`, IPv4 first. Raises UpstreamError if it has none; an old answer is better than none."""
        if is_address(host):
            return (host,)
        if host in self._written:
            return self._written[host]
        expires, known = self._known.get(host, (0.0, ()))
        if not known:
            return await self._look_up(host)
        if self._clock() >= expires:  # those who know better may be away: nobody waits for them
            self._known[host] = (self._clock() + self._seconds, known)
            task = asyncio.get_running_loop().create_task(self._look_up(host, known))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return known

    async def _look_up(self, host: str, known: tuple[str, ...] = ()) -> tuple[str, ...]:
        asks = [Ask(wire.name_of(host) + pack("!HH", rtype, wire.IN)) for rtype in (wire.A, wire.AAAA)]
        answers = await asyncio.gather(*(self._plain.ask(ask) for ask in asks), return_exceptions=True)
        found = tuple(text for response in answers if isinstance(response, Response) for text in addresses_in(response))
        if not found and not known:
            raise UpstreamError(f"the upstream's name {host} does not resolve")
        self._known[host] = (self._clock() + self._seconds, found or known)
        return found or known

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._plain.close()
