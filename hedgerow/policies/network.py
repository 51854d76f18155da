"""What a policy says of the network as a whole: where it is, where Hedgerow listens, whom it asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import combinations

from hedgerow.policies.resolver_settings import ResolverSettings


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen, each as ADDR:PORT or [ADDR]:PORT; None leaves it to the program's defaults, which for
    `dot`, `doh`, `doq` and `transparent` (where the network redirects web connections to) is nowhere."""

    dns: str | None = None
    proxy: str | None = None
    web: str | None = None
    dot: str | None = None
    doh: str | None = None
    doq: str | None = None
    transparent: str | None = None


_TRANSPORTS = (("dns", "proxy", "web", "dot", "doh", "transparent"), ("dns", "doq"))
"""What listens on TCP, and what on UDP."""


def shared_ports(listen: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """Which of these, by the names in `Listen`, want the same port of the same address: each would get half of what comes.

    >>> shared_ports({"dot": "0.0.0.0:853", "doh": "127.0.0.1:853", "doq": "0.0.0.0:853"})
    [('dot', 'doh')]
    """
    found = []
    for names in _TRANSPORTS:
        for one, other in combinations([name for name in names if listen.get(name)], 2):
            (host, _, port), (other_host, _, other_port) = (str(listen[name]).rpartition(":") for name in (one, other))
            hosts = {host, other_host}
            if port == other_port and port != "0" and (len(hosts) == 1 or "0.0.0.0" in hosts or ("[::]" in hosts and _are_ipv6(hosts))):  # noqa: S104
                found.append((one, other))
    return found


def _are_ipv6(hosts: set[str]) -> bool:
    return all(host.startswith("[") for host in hosts)


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Absolute paths of a certificate with its chain, and of its key, both PEM."""

    chain: str
    key: str


_SHORTEST_PREFIX = {4: 8, 6: 8}
"""Of a network that somebody can have for himself."""

LOCAL_NETWORKS: tuple[IPv4Network | IPv6Network, ...] = tuple(
    ip_network(text)
    for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10")
)


class ProxySignIn(StrEnum):
    """Who must sign in to the proxy before it serves them."""

    NEVER = "never"
    UNKNOWN = "unknown"  # devices that the policy does not know by anything else
    ALWAYS = "always"


class UnopenedSeats(StrEnum):
    """What a café's seat is before somebody opens it."""

    CHILD = "child"  # open, with a child's rules
    CLOSED = "closed"  # shows the welcome page, which takes vouchers


class Lists(StrEnum):
    """Which lists are used beside those that the policy names: the recommended ones by default."""

    STARTER = "starter"  # those that come with Hedgerow: no publisher is asked
    RECOMMENDED = "recommended"  # also the public ones that are recommended for the profiles in use: the default


@dataclass(frozen=True, slots=True)
class Network:
    """The network as a whole. `lan`: clients outside it are refused. `upstream` empty: the system's resolvers.

    `server_name`: what encrypted DNS is called here; `certificate` None: one of our own CA.
    """

    timezone: str = "UTC"
    country: str | None = None  # ISO 3166 alpha-2, upper case: whose helplines a block page shows
    unknown_devices: str = "child-8-12"
    lan: tuple[IPv4Network | IPv6Network, ...] = LOCAL_NETWORKS
    listen: Listen = field(default_factory=Listen)
    reachable: tuple[IPv4Network | IPv6Network, ...] = ()
    ports: tuple[int, ...] = (80, 443)
    upstream: tuple[str, ...] = ()
    lists: Lists = Lists.RECOMMENDED
    resolver: ResolverSettings = field(default_factory=ResolverSettings)
    holidays: tuple[date, ...] = ()
    server_name: str | None = None
    certificate: CertificateFiles | None = None
    proxy_sign_in: ProxySignIn = ProxySignIn.NEVER

    @property
    def house(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Those of `lan` that can be somebody's own network: one of all addresses says who is served, not what is at home.

        >>> len(Network(lan=(ip_network("0.0.0.0/0"), ip_network("192.168.1.0/24"))).house)
        1
        """
        return tuple(each for each in self.lan if each.prefixlen >= _SHORTEST_PREFIX[each.version])
