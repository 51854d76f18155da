"""The DNS transports and the addresses that Hedgerow listens on, as one table.

The policy's schema, the command line, the settings, the supervisor, `hedgerow doctor`, the designation of our resolver
(RFC 9462) and the cache keys of the DNS package derive from it. It is here because the schema needs it and nothing
below may import `hedgerow.dns`; `hedgerow.dns.transports` adds the listener of each encrypted transport.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Final


@dataclass(frozen=True, slots=True)
class Transport:
    """One way to carry DNS messages.

    `name` is its key in `network.listen`, its option of `hedgerow up` and its label in metrics; `scheme` is that of an
    upstream's URL, empty if no upstream is asked over it. `alpn` is empty for a transport in plain text. `ddr_rank`
    orders the encrypted ones in our own designation, `doh_path` is the URI template (RFC 8484) that is designated with
    it.
    """

    name: str
    title: str
    scheme: str
    port: int
    socket_kind: socket.SocketKind
    alpn: tuple[str, ...] = ()
    ddr_rank: int = 0
    doh_path: str = ""

    @property
    def is_encrypted(self) -> bool:
        return bool(self.alpn)


TRANSPORTS: Final = (
    Transport("udp", "DNS over UDP", "udp", 53, socket.SOCK_DGRAM),
    Transport("tcp", "DNS over TCP", "tcp", 53, socket.SOCK_STREAM),
    Transport("dot", "DNS over TLS", "tls", 853, socket.SOCK_STREAM, ("dot",), 2),
    Transport("doh", "DNS over HTTPS", "https", 443, socket.SOCK_STREAM, ("h2", "http/1.1"), 1, "/dns-query{?dns}"),
    Transport("doq", "DNS over QUIC", "quic", 853, socket.SOCK_DGRAM, ("doq",), 3),
    Transport("doh3", "DNS over HTTPS by HTTP/3", "", 443, socket.SOCK_DGRAM, ("h3",), 4, "/dns-query{?dns}"),
)
ENCRYPTED_TRANSPORTS: Final = {transport.name: transport for transport in TRANSPORTS if transport.is_encrypted}
UPSTREAM_TRANSPORTS: Final = {transport.scheme: transport for transport in TRANSPORTS if transport.scheme}

LISTENERS: Final[Mapping[str, tuple[socket.SocketKind, ...]]] = {
    "dns": (socket.SOCK_STREAM, socket.SOCK_DGRAM),
    "proxy": (socket.SOCK_STREAM,),
    "web": (socket.SOCK_STREAM,),
    **{transport.name: (transport.socket_kind,) for transport in ENCRYPTED_TRANSPORTS.values()},
    "transparent": (socket.SOCK_STREAM,),
}
"""The keys of `network.listen`, with the kinds of socket that each opens."""


def shared_ports(listen: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the pairs of listeners that claim one port of one address.

    `listen` maps keys of `LISTENERS` to ADDRESS:PORT.

    >>> shared_ports({"dot": "0.0.0.0:853", "doh": "127.0.0.1:853", "doq": "0.0.0.0:853"})
    [('dot', 'doh')]
    """
    return [
        (one, other)
        for one, other in combinations([name for name in LISTENERS if name in listen], 2)
        if not set(LISTENERS[one]).isdisjoint(LISTENERS[other]) and _overlap(listen[one], listen[other])
    ]


def _overlap(one: str, other: str) -> bool:
    (host, _, port), (other_host, _, other_port) = one.rpartition(":"), other.rpartition(":")
    if port != other_port or port == "0":
        return False
    hosts = {host, other_host}
    are_ipv6 = all(each.startswith("[") for each in hosts)
    return len(hosts) == 1 or "0.0.0.0" in hosts or ("[::]" in hosts and are_ipv6)  # noqa: S104
