"""The upstreams of a policy put together: a channel for each, and a way to find those that are given by name."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from hedgerow.dns.address_guard import is_private
from hedgerow.dns.private_zones import ZONES
from hedgerow.dns.upstreams.bootstrap import Bootstrap
from hedgerow.dns.upstreams.datagram_channel import UdpChannel
from hedgerow.dns.upstreams.inquiries import Count, Upstreams
from hedgerow.dns.upstreams.stream_channel import StreamChannel
from hedgerow.dns.upstreams.trust import Trust
from hedgerow.dns.upstreams.upstream import Channel, Resolve, UpstreamSpec, client_subnet, is_own, parse_upstream, system_upstreams
from hedgerow.policies.resolver_settings import Forward, LocalRecord, Strategy


def open_channel(spec: UpstreamSpec, resolve: Resolve, trust: Trust | None = None) -> Channel:
    """The channel for an upstream; nothing is connected yet. Raises OSError for a file of CAs that cannot be read."""
    trust = trust or Trust()
    match spec.scheme:
        case "udp":
            return UdpChannel(spec, StreamChannel(spec, resolve))
        case "tcp":
            return StreamChannel(spec, resolve)
        case "tls":
            return StreamChannel(spec, resolve, trust.context())
        case "https":
            from hedgerow.dns.upstreams.https_channel import HttpsChannel  # only who has such an upstream pays for its memory

            return HttpsChannel(spec, resolve, trust.context("h2"))
        case "quic":
            from hedgerow.dns.upstreams.quic_channel import QuicChannel

            return QuicChannel(spec, resolve, trust)
        case _:
            raise ValueError(f"unknown kind of upstream: {spec}")


def open_upstreams(
    names: Sequence[str],
    *,
    resolv_conf: str = "",
    own: Collection[tuple[str, int]] = (),
    count: Count | None = None,
    trust: Trust | None = None,
    strategy: Strategy = Strategy.STRICT,
    secure_only: bool = False,
    forward: Sequence[Forward] = (),
    records: Iterable[LocalRecord] = (),
    only: str | None = None,
    subnet: IPv4Network | IPv6Network | None = None,
) -> Upstreams:
    """The upstreams of a policy: `system`, or nothing at all, stands for those of `resolv_conf` (its text).

    Those that are ourselves (`own`) are left out. Names of encrypted upstreams are found among `records`, or through the plain ones, or
    else through the system's. With `only`, the name of one, no others are asked. `subnet` is told to all but those
    of `forward`, and but routers beside public ones. Nothing is connected yet. Raises ValueError for a name that is no upstream.
    """
    trust = trust or Trust()
    system = system_upstreams(resolv_conf, own)
    specs: list[UpstreamSpec] = []
    for name in names or ("system",):
        specs += system if name == "system" else (parse_upstream(name),)
    specs = [spec for spec in dict.fromkeys(specs) if not (is_own(spec, own) or _is_this_machine(spec, own))]
    plain = [spec for spec in specs if spec.scheme in ("udp", "tcp")] or system
    bootstrap = Bootstrap(
        Upstreams([open_channel(spec, _literal) for spec in plain]), {record.host: record.addresses for record in records}
    )
    channels = [open_channel(spec, bootstrap, trust) for spec in specs if only in (None, str(spec))]
    elsewhere = {
        texts: open_upstreams(texts, resolv_conf=resolv_conf, own=own, count=count, trust=trust, records=records)
        for texts in dict.fromkeys(zone.upstreams for zone in forward)
    }
    zones = {zone.zone: elsewhere[zone.upstreams] for zone in forward}
    inner = [spec for spec in specs if spec.is_address and is_private(ip_address(spec.host.partition("%")[0]).packed)]
    if inner and len(inner) < len(specs):  # the router knows the names of this network, and the others must not be asked for them
        routers = Upstreams([open_channel(spec, bootstrap, trust) for spec in inner], count, strategy=strategy)
        zones = dict.fromkeys(ZONES, routers) | zones
    is_inner = len(inner) == len(specs) and bool(specs)
    options = b"" if subnet is None else client_subnet(subnet)
    return Upstreams(
        channels, count, bootstrap=bootstrap, strategy=strategy, secure_only=secure_only, zones=zones, is_inner=is_inner, options=options
    )  # fmt: skip


def _is_this_machine(spec: UpstreamSpec, own: Collection[tuple[str, int]]) -> bool:
    """Is it one of the addresses of this machine, while we listen on all of them at that port?"""
    if not spec.is_address or not any(port == spec.port and ip_address(host).is_unspecified for host, port in own):
        return False
    with socket.socket(socket.AF_INET6 if ":" in spec.host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((spec.host, 0))  # only an address of this machine can be taken
        except OSError:
            return False
    return True


async def _literal(host: str) -> tuple[str, ...]:
    return (host,)
