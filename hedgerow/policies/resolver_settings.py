"""How names are resolved, as the `network` part of a policy says it. Frozen; `resolver_reader` makes it from the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

_LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class BlockedAnswer(StrEnum):
    """What a blocked name is answered with."""

    ZERO = "zero"  # 0.0.0.0 and ::
    NXDOMAIN = "nxdomain"
    PAGE = "page"  # `block_page`, to devices that trust the CA; the others get zero


class Strategy(StrEnum):
    """Which upstream is asked first."""

    STRICT = "strict"  # in the order of the file; the next one if that fails
    FASTEST = "fastest"  # the one that answered soonest lately
    PARALLEL = "parallel"  # up to three at once; the first good answer counts


class Dnssec(StrEnum):
    OFF = "off"  # what the upstream says is passed on
    VALIDATE = "validate"  # only upstreams that validate, over encrypted channels, are believed


@dataclass(frozen=True, slots=True)
class QueryLimit:
    """Queries a second that a client, and all together, may ask; 0: any number. Clients in `exempt` are not counted.

    A program on this machine may ask for a whole network, so loopback is exempt unless the file says otherwise.
    """

    per_client: int = 200
    total: int = 20_000
    exempt: tuple[IPv4Network | IPv6Network, ...] = _LOOPBACK

    def exempts(self, address: str) -> bool:
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(parsed in network for network in self.exempt)


@dataclass(frozen=True, slots=True)
class Forward:
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
    strategy: Strategy = Strategy.STRICT
    forward: tuple[Forward, ...] = ()
    records: tuple[LocalRecord, ...] = ()
    dnssec: Dnssec = Dnssec.OFF
    limit: QueryLimit = field(default_factory=QueryLimit)
    forwarders: tuple[str, ...] = ()  # addresses of resolvers that say for whom they ask, and are believed
    client_subnet: IPv4Network | IPv6Network | None = None  # told to upstreams with every question (RFC 7871); None: nothing is
