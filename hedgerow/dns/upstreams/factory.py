"""Opening of upstreams as a policy names them, and the addresses of those that are given by name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import blake2b
from ipaddress import IPv4Network, IPv6Network, ip_address
from struct import pack

from hedgerow.blocklists.address_ranges import is_private
from hedgerow.dns import wire
from hedgerow.dns.private_networks import PRIVATE_ZONES
from hedgerow.dns.upstreams.pool import AttemptObserver, UpstreamPool
from hedgerow.dns.upstreams.responses import Response, address_texts
from hedgerow.dns.upstreams.stream import StreamChannel
from hedgerow.dns.upstreams.trust import TrustStore
from hedgerow.dns.upstreams.udp import UdpChannel
from hedgerow.dns.upstreams.upstream import (
    Channel,
    Resolve,
    UpstreamError,
    UpstreamQuestion,
    UpstreamSpec,
    client_subnet,
    is_own,
    parse_upstream,
    system_upstreams,
)
from hedgerow.policies.network import ForwardZone, LocalRecord, UpstreamStrategy
from hedgerow.policies.text.addresses import parse_ip
from hedgerow.policies.transports import UPSTREAM_TRANSPORTS
from hedgerow.sockets import is_own_address

_ADDRESSES_KEPT_S = 300.0


class BootstrapResolver:
    """Resolver of the names of upstreams, through plain upstreams. It keeps the addresses for a while.

    `written` maps names to addresses that are known without asking.
    """

    def __init__(
        self,
        plain: UpstreamPool,
        written: Mapping[str, tuple[str, ...]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plain, self._written, self._clock = plain, written or {}, clock
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._tasks: set[asyncio.Task[tuple[str, ...]]] = set()

    async def __call__(self, host: str) -> tuple[str, ...]:
        """Return the addresses of `host`, IPv4 first.

        Raises UpstreamError if it has none. An old answer is better than none.
        """
        if parse_ip(host) is not None:
            return (host,)
        if host in self._written:
            return self._written[host]
        expires, cached = self._known.get(host, (0.0, ()))
        if not cached:
            return await self._look_up(host)
        if self._clock() >= expires:  # refreshed in the background
            self._known[host] = (self._clock() + _ADDRESSES_KEPT_S, cached)
            task = asyncio.get_running_loop().create_task(self._look_up(host, cached))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return cached

    async def _look_up(self, host: str, cached: tuple[str, ...] = ()) -> tuple[str, ...]:
        asks = [UpstreamQuestion(wire.name_of(host) + pack("!HH", rtype, wire.IN)) for rtype in (wire.A, wire.AAAA)]
        answers = await asyncio.gather(*(self._plain.ask(ask) for ask in asks), return_exceptions=True)
        addresses = tuple(
            text for response in answers if isinstance(response, Response) for text in address_texts(response)
        )
        if not addresses and not cached:
            raise UpstreamError(f"the upstream's name {host} does not resolve")
        self._known[host] = (self._clock() + _ADDRESSES_KEPT_S, addresses or cached)
        return addresses or cached

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._plain.close()


def open_channel(spec: UpstreamSpec, resolve: Resolve, trust: TrustStore | None = None) -> Channel:
    """Return the channel for an upstream. Nothing is connected yet. Raises OSError for an unreadable file of CAs."""
    trust = trust or TrustStore()
    match spec.scheme:
        case "udp":
            return UdpChannel(spec, StreamChannel(spec, resolve))
        case "tcp":
            return StreamChannel(spec, resolve)
        case "tls":
            return StreamChannel(spec, resolve, trust.context())
        case "https":
            from hedgerow.dns.upstreams.https import HttpsChannel  # h2 takes memory, so it is loaded on demand

            return HttpsChannel(spec, resolve, trust.context("h2"))
        case "quic":
            from hedgerow.dns.upstreams.quic import QuicChannel

            return QuicChannel(spec, resolve, trust)
        case _:
            raise ValueError(f"unknown kind of upstream: {spec}")


def open_upstream_pool(
    names: Sequence[str],
    *,
    resolv_conf: str = "",
    own: Collection[tuple[str, int]] = (),
    count: AttemptObserver | None = None,
    trust: TrustStore | None = None,
    strategy: UpstreamStrategy = UpstreamStrategy.STRICT,
    secure_only: bool = False,
    forward: Sequence[ForwardZone] = (),
    records: Iterable[LocalRecord] = (),
    only: str | None = None,
    subnet: IPv4Network | IPv6Network | None = None,
    others: Collection[tuple[str, ...]] = (),
    key: bytes = b"",
) -> UpstreamPool:
    """Open the upstreams of a policy.

    `system`, or no name, stands for those of `resolv_conf` (its text). Raises ValueError.

    Upstreams that are this server (`own`) are left out. Names of encrypted upstreams are looked up in `records`,
    through the plain upstreams, or through the system's. `only` names the one upstream to use. `subnet` is sent to all
    upstreams except those of `forward` and routers next to public resolvers. `others` are upstreams of single clients.
    Nothing is connected yet.
    """
    trust = trust or TrustStore()
    system = system_upstreams(resolv_conf, own)
    specs: list[UpstreamSpec] = []
    for name in names or ("system",):
        specs += system if name == "system" else (parse_upstream(name),)
    specs = [spec for spec in dict.fromkeys(specs) if not (is_own(spec, own) or _is_own_address(spec, own))]
    plain = [spec for spec in specs if not UPSTREAM_TRANSPORTS[spec.scheme].is_encrypted] or system
    bootstrap = BootstrapResolver(
        UpstreamPool([open_channel(spec, _resolve_literal) for spec in plain]),
        {record.host: record.addresses for record in records},
    )
    channels = [open_channel(spec, bootstrap, trust) for spec in specs if only in (None, str(spec))]
    elsewhere = {
        texts: open_upstream_pool(texts, resolv_conf=resolv_conf, own=own, count=count, trust=trust, records=records)
        for texts in dict.fromkeys(zone.upstreams for zone in forward)
    }
    zones = {zone.zone: elsewhere[zone.upstreams] for zone in forward}
    of_clients = {
        texts: open_upstream_pool(
            texts,
            resolv_conf=resolv_conf,
            own=own,
            count=count,
            trust=trust,
            strategy=strategy,
            secure_only=secure_only,
            records=records,
            subnet=subnet,
            key=blake2b("\n".join(texts).encode(), digest_size=8).digest(),
        )
        for texts in others
    }
    inner = [spec for spec in specs if spec.is_address and is_private(ip_address(spec.host.partition("%")[0]).packed)]
    if inner and len(inner) < len(specs):  # only the router may be asked for the names of this network
        routers = UpstreamPool([open_channel(spec, bootstrap, trust) for spec in inner], count, strategy=strategy)
        zones = dict.fromkeys(PRIVATE_ZONES, routers) | zones
    is_internal = len(inner) == len(specs) and bool(specs)
    options = b"" if subnet is None else client_subnet(subnet)
    return UpstreamPool(
        channels,
        count,
        bootstrap=bootstrap,
        strategy=strategy,
        secure_only=secure_only,
        zones=zones,
        is_internal=is_internal,
        options=options,
        others=of_clients,
        key=key,
    )


def _is_own_address(spec: UpstreamSpec, own: Collection[tuple[str, int]]) -> bool:
    """Return whether it is an address of this machine, while we listen on all of them at that port."""
    if not spec.is_address or not any(port == spec.port and ip_address(host).is_unspecified for host, port in own):
        return False
    return is_own_address(spec.host)


async def _resolve_literal(host: str) -> tuple[str, ...]:
    return (host,)
