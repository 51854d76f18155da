"""Connecting to a server, and telling busy connections from idle ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Protocol

from hedgerow.blocklists.names import registered_domain
from hedgerow.policies.activity import MIN_BUSY_BYTES
from hedgerow.policies.host_facts import is_background
from hedgerow.policies.model import DeviceId, Request
from hedgerow.policies.ruleset import Ruleset
from hedgerow.sockets import connect_first, interleave_families


async def dial[P: asyncio.BaseProtocol](
    make_protocol: Callable[[], P], addresses: Sequence[str], port: int
) -> tuple[asyncio.Transport, P]:
    """Connect to the first address that answers (RFC 8305; the resolver has sorted them).

    The caller limits the time. Raises OSError with the last failure if no address answers.
    """
    loop = asyncio.get_running_loop()
    if len(addresses) == 1:
        return await loop.create_connection(make_protocol, addresses[0], port)

    async def discard(connection: tuple[asyncio.Transport, P]) -> None:
        connection[0].abort()

    return await connect_first(
        interleave_families(addresses),
        lambda address: loop.create_connection(make_protocol, address, port),
        discard,
    )


class ByteCounted(Hashable, Protocol):
    """A connection that counts the bytes it has moved, in both directions together."""

    @property
    def bytes_moved(self) -> int:
        """The number of bytes."""


class BusyTracker[T: ByteCounted]:
    """The bytes that connections move in a minute, by those that each had moved when it began."""

    def __init__(self) -> None:
        self._minute = 0
        self._begun: dict[T, int] = {}

    def busy(self, connections: Iterable[T], now: float) -> Iterator[tuple[T, int]]:
        """The connections that moved bytes in this minute of the clock, with the number of these.

        `now` is in seconds since the epoch. Connections that have ended since an earlier call in this minute still
        count.
        """
        minute, before = int(now // 60), self._begun
        if minute != self._minute:
            self._minute, self._begun = minute, {}
        for each in connections:
            self._begun.setdefault(each, each.bytes_moved if each in before else 0)
        for each, begun in self._begun.items():
            if (moved := each.bytes_moved - begun) > 0:
                yield each, moved


type BusyRequest = tuple[Ruleset, Request, int]
"""A request on a connection, with the bytes that the connection has moved in this minute."""


def report_busy(requests: Iterable[BusyRequest], report: Callable[[Ruleset, Request, int], None]) -> None:
    """Report the requests of devices that are busy in this minute.

    A device is busy with a site if all connections to that have moved `MIN_BUSY_BYTES`, and with the site that moved
    most if only all sites together have. For background hosts, the bytes of a device are summed over its connections.
    """
    background: dict[DeviceId, int] = {}
    by_site: dict[DeviceId, dict[str, list[BusyRequest]]] = {}
    for ruleset, request, octets in requests:
        device = request.device
        if is_background(request.host):
            octets = background[device] = background.get(device, 0) + octets
            report(ruleset, request, octets)
        else:
            sites = by_site.setdefault(device, {})
            sites.setdefault(registered_domain(request.host), []).append((ruleset, request, octets))
    for sites in by_site.values():
        moved = {site: sum(octets for *_, octets in found) for site, found in sites.items()}
        busy = [site for site, octets in moved.items() if octets >= MIN_BUSY_BYTES]
        if not busy and sum(moved.values()) >= MIN_BUSY_BYTES:
            busy = [max(moved, key=moved.__getitem__)]
        for one in (each for site in busy for each in sites[site]):
            report(*one)
