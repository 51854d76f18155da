"""How names are resolved, as the `network` part of a policy says it. Frozen; `resolver_reader` makes it from the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from ipaddress import ip_network

from hedgerow.policies.text.addresses import IpNetwork, parse_client_address

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class BlockedAnswer(StrEnum):
    """What a blocked name is answered with."""

    ZERO = "zero"  # 0.0.0.0 and ::
    NXDOMAIN = "nxdomain"
    PAGE = "page"  # `block_page`, to devices that trust the CA; the others get zero


class UpstreamStrategy(StrEnum):
    """Which upstream is asked first."""

    STRICT = "strict"  # in the order of the file; the next one if that fails
    FASTEST = "fastest"  # the one that answered soonest lately
    PARALLEL = "parallel"  # up to three at once; the first good answer counts


class DnssecMode(StrEnum):
    OFF = "off"  # what the upstream says is passed on
    VALIDATE = "validate"  # only upstreams that validate, over encrypted channels, are believed


@dataclass(frozen=True, slots=True)
class QueryLimit:
    """Queries a second that a client, and all together, may ask; 0: any number. Clients in `exempt` are not counted.

    A program on this machine may ask for a whole network, so loopback is exempt unless the file says otherwise.
    """

    per_client: int = 200
    total: int = 20_000
    exempt: tuple[IpNetwork, ...] = _LOOPBACK

    def exempts(self, address: str) -> bool:
        parsed = parse_client_address(address)
        return parsed is not None and any(parsed in network for network in self.exempt)


@dataclass(frozen=True, slots=True)
class ForwardZone:
    """Names beneath `zone` (a canonical host) are asked of these upstreams and of no others."""

    zone: str
    upstreams: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LocalRecord:
    """A name of the network itself, and its addresses."""

    host: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResolverSettings:
    """How names are resolved, beside `network.upstream`."""

    blocked_answer: BlockedAnswer = BlockedAnswer.ZERO
    block_page: tuple[str, ...] = ()
    strategy: UpstreamStrategy = UpstreamStrategy.STRICT
    forward: tuple[ForwardZone, ...] = ()
    records: tuple[LocalRecord, ...] = ()
    dnssec: DnssecMode = DnssecMode.OFF
    limit: QueryLimit = field(default_factory=QueryLimit)
    forwarders: tuple[str, ...] = ()  # addresses of resolvers that say for whom they ask, and are believed
    client_subnet: IpNetwork | None = None  # told to upstreams with every question (RFC 7871); None: nothing is


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Absolute paths of a certificate with its chain, and of its key, both PEM."""

    chain: str
    key: str


_SHORTEST_HOUSE_PREFIX = {4: 8, 6: 8}
"""Of a network that somebody can have for himself."""

LOCAL_NETWORKS: tuple[IpNetwork, ...] = tuple(
    ip_network(text)
    for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10")
)


class ProxySignIn(StrEnum):
    """Who must sign in to the proxy before it serves them."""

    NEVER = "never"
    UNKNOWN = "unknown"  # devices that the policy does not know by anything else
    ALWAYS = "always"


class UnopenedSeatAccess(StrEnum):
    """What a café's seat is before somebody opens it."""

    CHILD = "child"  # open, with a child's rules
    CLOSED = "closed"  # shows the welcome page, which takes vouchers


class ListSelection(StrEnum):
    """Which lists are used beside those that the policy names: the recommended ones by default."""

    STARTER = "starter"  # those that come with Hedgerow: no publisher is asked
    RECOMMENDED = "recommended"  # also the public ones that are recommended for the profiles in use: the default


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """The network as a whole. `lan`: clients outside it are refused. `upstream` empty: the system's resolvers.

    `server_name`: what encrypted DNS is called here; `certificate` None: one of our own CA.
    """

    timezone: str = "UTC"
    country: str | None = None  # ISO 3166 alpha-2, upper case: whose helplines a block page shows
    unknown_devices: str = "child-8-12"
    lan: tuple[IpNetwork, ...] = LOCAL_NETWORKS
    listen: dict[str, str] = field(default_factory=dict)  # ADDRESS:PORT by the keys of `transports.LISTENERS`
    reachable: tuple[IpNetwork, ...] = ()
    ports: tuple[int, ...] = (80, 443)
    upstream: tuple[str, ...] = ()
    lists: ListSelection = ListSelection.RECOMMENDED
    resolver: ResolverSettings = field(default_factory=ResolverSettings)
    holidays: tuple[date, ...] = ()
    server_name: str | None = None
    certificate: CertificateFiles | None = None
    proxy_sign_in: ProxySignIn = ProxySignIn.NEVER

    @property
    def house(self) -> tuple[IpNetwork, ...]:
        """Those of `lan` that can be somebody's own network: one of all addresses says who is served, not what is at home.

        >>> len(NetworkSettings(lan=(ip_network("0.0.0.0/0"), ip_network("192.168.1.0/24"))).house)
        1
        """
        return tuple(each for each in self.lan if each.prefixlen >= _SHORTEST_HOUSE_PREFIX[each.version])
