"""The `network` section of a policy: resolver, listeners, local networks.

Frozen; `reading.network_settings` makes it from the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from ipaddress import ip_network

from hedgerow.policies.text.addresses import DEFAULT_SITE, IpAddress, IpNetwork, parse_client_address

WEB_PORTS = (80, 443, 8080, 8443, 8880, 2052, 2053, 2082, 2083, 2086, 2087, 2095, 2096)
"""Ports of web pages: the usual ones, and those at which Cloudflare serves any of its sites too (its documentation,
“Network ports”).
"""

NEW_SITES_DAYS = 7
"""Days for which a site counts as new: long enough for lists to find out about most of those that were made to harm."""

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class BlockedAnswer(StrEnum):
    """The answer to a question for a blocked name."""

    ZERO = "zero"  # 0.0.0.0 and ::
    NXDOMAIN = "nxdomain"
    PAGE = "page"  # the block page: at `block_page` or, without it, at this machine's address


class UpstreamStrategy(StrEnum):
    """The order in which upstreams are asked."""

    STRICT = "strict"  # in the order of the file
    FASTEST = "fastest"  # the one with the shortest recent response time first
    PARALLEL = "parallel"  # up to three at once; the first valid answer wins


class DnssecMode(StrEnum):
    OFF = "off"  # answers are passed on unchecked
    VALIDATE = "validate"  # only validating upstreams over encrypted channels are trusted


@dataclass(frozen=True, slots=True)
class QueryLimit:
    """Queries per second allowed per client and in total; 0: no limit. Clients in `exempt` are not counted.

    A forwarder on this machine may ask on behalf of a whole network, so loopback is exempt by default.
    """

    per_client: int = 200
    total: int = 20_000
    exempt: tuple[IpNetwork, ...] = _LOOPBACK

    def exempts(self, address: str) -> bool:
        parsed = parse_client_address(address)
        return parsed is not None and any(parsed in network for network in self.exempt)


@dataclass(frozen=True, slots=True)
class ForwardZone:
    """The only upstreams for names beneath `zone` (a canonical host)."""

    zone: str
    upstreams: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LocalRecord:
    """A local name and its addresses."""

    host: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResolverSettings:
    """Settings of the resolver other than `network.upstream`."""

    blocked_answer: BlockedAnswer = BlockedAnswer.ZERO
    block_page: tuple[str, ...] = ()
    strategy: UpstreamStrategy = UpstreamStrategy.STRICT
    forward: tuple[ForwardZone, ...] = ()
    records: tuple[LocalRecord, ...] = ()
    dnssec: DnssecMode = DnssecMode.OFF
    limit: QueryLimit = field(default_factory=QueryLimit)
    forwarders: tuple[str, ...] = ()  # addresses of resolvers whose statements on the original client are trusted
    # load balancers: their connections, to the proxy too, begin with the client's address
    proxy_protocol_from: tuple[IpNetwork, ...] = ()
    client_subnet: IpNetwork | None = None  # sent to upstreams with every query (RFC 7871); None: nothing is sent
    # the policy states no other answer: the ports of the block page are taken where they are free
    reserves_page: bool = True


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Absolute paths of a certificate with its chain, and of its key, both PEM."""

    chain: str
    key: str


@dataclass(frozen=True, slots=True)
class Flow:
    """Connections that guarded devices may open to addresses that no DNS answer gave them.

    `protocol` is tcp or udp, `ports` are ranges of destination ports with first and last, `to` are the destinations
    (empty: any). `begins_with_stun`: only those whose first packet is a STUN message (RFC 8489). `services`: only while
    one of these is open to the person (empty: always).
    """

    protocol: str
    ports: tuple[tuple[int, int], ...]
    to: tuple[IpNetwork, ...] = ()
    begins_with_stun: bool = False
    services: tuple[str, ...] = ()

    @property
    def is_to_servers(self) -> bool:
        """It leads to single addresses."""
        return bool(self.to) and all(each.prefixlen == each.max_prefixlen for each in self.to)


_SHORTEST_LAN_PREFIX = {4: 8, 6: 8}
"""Shortest prefix, by IP version, of a network that one household or business can own."""

LINK_LOCAL: IpNetwork = ip_network("fe80::/10")
LOCAL_NETWORKS: tuple[IpNetwork, ...] = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    )
)


PRIVATE_RANGES = frozenset((*LOCAL_NETWORKS, ip_network("fd00::/8")))
"""Networks of which every home has a part. In `lan` they say who is served, not what belongs to the home."""


class ProxySignIn(StrEnum):
    """The devices that must sign in to the proxy."""

    NEVER = "never"
    UNKNOWN = "unknown"  # devices that the policy does not recognise otherwise
    ALWAYS = "always"


class UnopenedSeatAccess(StrEnum):
    """Access at a café's seat that has no session."""

    CHILD = "child"  # open, with a child's rules
    CLOSED = "closed"  # shows the welcome page, which takes vouchers


class ListSelection(StrEnum):
    """The lists that are used in addition to those that the policy names."""

    STARTER = "starter"  # the lists that ship with Hedgerow; nothing is fetched
    RECOMMENDED = "recommended"  # also the public ones recommended for the profiles in use; the default


TUNNEL_PORT = 51820
TUNNEL_SUBNETS: tuple[IpNetwork, ...] = (ip_network("10.87.214.0/24"), ip_network("fd5e:3a81:c7d4:9b26::/64"))
"""Addresses inside the tunnel: uncommon ones, since the network at which a device is may use the usual ones."""


@dataclass(frozen=True, slots=True)
class TunnelSettings:
    """The WireGuard tunnel home, by which devices reach this machine at `host` and `public_port`, while it listens at
    `port`.

    `subnets` are the addresses inside, at most one network of each family.
    """

    host: str
    public_port: int = TUNNEL_PORT
    port: int = TUNNEL_PORT
    subnets: tuple[IpNetwork, ...] = TUNNEL_SUBNETS

    @property
    def endpoint(self) -> str:
        """The host and port that devices connect to, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.public_port}" if ":" in self.host else f"{self.host}:{self.public_port}"

    @property
    def places(self) -> range:
        """The numbers that devices can have. This machine has number 1."""
        return range(2, min(subnet.num_addresses - (subnet.version == 4) for subnet in self.subnets))

    def addresses(self, number: int = 1) -> tuple[IpNetwork, ...]:
        """Return the addresses of the device with a number, without it those of this machine.

        >>> [str(each) for each in TunnelSettings("home.example").addresses(2)]
        ['10.87.214.2/32', 'fd5e:3a81:c7d4:9b26::2/128']
        """
        return tuple(ip_network(subnet[number]) for subnet in self.subnets)

    def has(self, address: IpAddress) -> bool:
        """Return True for an address inside."""
        return any(address in subnet for subnet in self.subnets)


@dataclass(frozen=True, slots=True)
class TunnelPeer:
    """A device's end of the tunnel home: its public key (base64) and its addresses inside, from which only
    it can send.
    """

    key: str
    networks: tuple[IpNetwork, ...]


@dataclass(frozen=True, slots=True)
class BundleSource:
    """A signed bundle of the policies above this site: its URL, its key (Ed25519, base64), and the site's group.

    `lists`: the site also uses compiled lists of the bundle, while they have all that its policy asks for.
    """

    url: str
    key: str
    group: str = ""
    lists: bool = True


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Settings of the whole network. Clients outside `lan` are refused. `upstream` empty: the system's resolvers.

    `server_name` is the name of the encrypted DNS server; `certificate` None: one issued by our own CA.
    """

    timezone: str = "UTC"
    country: str | None = None  # ISO 3166 alpha-2, upper case; chooses the helplines on block pages
    unknown_devices: str = "child-8-12"
    lan: tuple[IpNetwork, ...] = LOCAL_NETWORKS
    listen: dict[str, str] = field(default_factory=dict)  # ADDRESS:PORT by the keys of `transports.LISTENERS`
    reachable: tuple[IpNetwork, ...] = ()
    ports: tuple[int, ...] = WEB_PORTS
    upstream: tuple[str, ...] = ()
    lists: ListSelection = ListSelection.RECOMMENDED
    resolver: ResolverSettings = field(default_factory=ResolverSettings)
    holidays: tuple[date, ...] = ()
    server_name: str | None = None
    certificate: CertificateFiles | None = None
    proxy_sign_in: ProxySignIn = ProxySignIn.NEVER
    # how long a site counts as new (category new-domains); 0: only lists say which are new
    new_sites_days: int = NEW_SITES_DAYS
    flows: tuple[Flow, ...] = ()
    wpad: tuple[str, ...] = ()  # names by which browsers look for a proxy, such as wpad.lan
    store: str = ""  # URL of a PostgreSQL database, without a password; empty: SQLite in the state directory
    site: str = DEFAULT_SITE  # name of this network in the store, which others may share
    tunnel: TunnelSettings | None = None
    bundle: BundleSource | None = None

    @property
    def own_places(self) -> frozenset[str]:
        """Names that may have an address of this network, with those beneath them, and its networks.

        The names are those of `records` and `forward`.
        """
        names = (*(each.host for each in self.resolver.records), *(each.zone for each in self.resolver.forward))
        return frozenset((*names, *map(str, self.home_networks)))

    def is_at_home(self, address: IpAddress) -> bool:
        """Return True for an address of `lan` that is not one inside the tunnel."""
        return any(address in network for network in self.lan) and not (
            self.tunnel is not None and self.tunnel.has(address)
        )

    @property
    def home_networks(self) -> tuple[IpNetwork, ...]:
        """Networks of `lan` that can belong to one household; a network of all addresses only says who is served.

        >>> len(NetworkSettings(lan=(ip_network("0.0.0.0/0"), ip_network("192.168.1.0/24"))).home_networks)
        1
        """
        return tuple(each for each in self.lan if each.prefixlen >= _SHORTEST_LAN_PREFIX[each.version])
