"""Names by which a device finds out whether it asks us: `ANYTHING.192-168-1-2.check.hedgerow.internal` leads to 192.168.1.2.

Nobody else answers them: `internal` is for private use (ICANN, 2024). Only addresses of this very machine are told, so that the
names lead nowhere that the device did not know already.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from ipaddress import IPv4Address, ip_address
from typing import Final, assert_never

from hedgerow.dns import answers, wire
from hedgerow.dns.answers import Draft
from hedgerow.dns.wire import Query
from hedgerow.policies.network import LocalRecord
from hedgerow.sockets import is_own_address

CHECK_ZONE: Final = "check.hedgerow.internal"


def parse_check_name(host: str) -> IPv4Address | None:
    """
    >>> parse_check_name("7f3a.192-168-1-2.check.hedgerow.internal"), parse_check_name("check.hedgerow.internal")
    (IPv4Address('192.168.1.2'), None)
    """
    written = host.removesuffix(f".{CHECK_ZONE}").rpartition(".")[2]
    try:
        return IPv4Address(written.replace("-", "."))
    except ValueError:
        return None


class SpecialUse(Enum):
    LOOPBACK = auto()  # the asker's own machine
    NXDOMAIN = auto()
    NODATA = auto()
    CANARY = auto()  # NXDOMAIN switches a browser's own resolver off
    CHECK = auto()  # see `check_names`


_SUFFIXES: Final = {
    "localhost": SpecialUse.LOOPBACK,
    "invalid": SpecialUse.NXDOMAIN,
    "onion": SpecialUse.NXDOMAIN,
    # The upstream must not designate itself; `designation` names our own resolver where one is served.
    "resolver.arpa": SpecialUse.NODATA,
    "use-application-dns.net": SpecialUse.CANARY,
    CHECK_ZONE: SpecialUse.CHECK,
}

# Blocking these with an address would make the device wait for it; NXDOMAIN makes it use the network's resolver at once.
NXDOMAIN_WHEN_BLOCKED: Final = frozenset(
    {"mask.icloud.com", "mask-h2.icloud.com", "mask-api.icloud.com", "mask-canary.icloud.com", "dns-tunnel-check.googlezip.net"}
)


def special_use(host: str) -> SpecialUse | None:
    """
    >>> special_use("_dns.resolver.arpa"), special_use("example.com")
    (<SpecialUse.NODATA: 3>, None)
    """
    while host:
        found = _SUFFIXES.get(host)
        if found is not None:
            return found
        host = host.partition(".")[2]
    return None


def special_use_answer(query: Query, reserved: SpecialUse) -> Draft:
    """What is answered instead of what the upstream would say."""
    match reserved:
        case SpecialUse.LOOPBACK:
            return answers.addresses(query, ("127.0.0.1", "::1"), answers.BLOCKED_TTL)
        case SpecialUse.NXDOMAIN | SpecialUse.CANARY:
            return answers.negative(wire.NXDOMAIN)
        case SpecialUse.NODATA:
            return answers.negative()
        case SpecialUse.CHECK:
            address = parse_check_name(query.host)
            if address is None or address.is_unspecified or address.is_multicast or not is_own_address(str(address)):
                return answers.negative(wire.NXDOMAIN)
            return answers.addresses(query, (str(address),), answers.BLOCKED_TTL)
        case never:
            assert_never(never)


_LOCAL_TTL: Final = 300
_SERVER_NAME_TTL: Final = 60  # short: a phone takes it along, to where another address holds
# Names that no public zone can have: RFC 6762, RFC 8375, ICANN's resolution of 2024 on "internal", and what routers make up.
_LOCAL_SUFFIXES: Final = frozenset(("local", "home.arpa", "internal", "intranet", "private", "corp", "home", "lan"))


class LocalNames:
    """`zones` are those that are forwarded elsewhere. `own` is our server name; a client's id may stand before it, as one more label."""

    def __init__(self, records: Iterable[LocalRecord] = (), zones: Iterable[str] = (), own: LocalRecord | None = None) -> None:
        self._own = own
        self._records = {record.host: record.addresses for record in records}
        self._owners: dict[str, str] = {}
        for host, addresses in self._records.items():
            for address in addresses:
                self._owners.setdefault(ip_address(address).reverse_pointer, host)
        self._zones = frozenset(zones)

    def answer(self, host: str, query: Query) -> Draft | None:
        """The answer from the records, None for a name that they do not know. A name that exists has nothing but its addresses."""
        if host in self._records:
            return answers.addresses(query, self._records[host], _LOCAL_TTL)
        if host in self._owners:
            if query.qtype != wire.PTR:
                return answers.minimal_any() if query.qtype == wire.ANY else answers.negative()
            return answers.pointer(wire.name_of(self._owners[host]), _LOCAL_TTL)
        if self._own is not None and self._own.host in (host, host.partition(".")[2]):
            return answers.addresses(query, self._own.addresses, _SERVER_NAME_TTL)
        return None

    def zone_of(self, host: str) -> str | None:
        """The smallest zone that is forwarded elsewhere and that `host` is in."""
        if not self._zones:
            return None
        while host:
            if host in self._zones:
                return host
            host = host.partition(".")[2]
        return None

    def is_local(self, host: str) -> bool:
        """May this name have an address of this network?

        >>> [LocalNames().is_local(host) for host in ("nas", "nas.lan", "nas.home.arpa", "nas.example")]
        [True, True, True, False]
        """
        if "." not in host or host in self._records or self.zone_of(host) is not None:
            return True
        last_two = ".".join(host.split(".")[-2:])
        return last_two in _LOCAL_SUFFIXES or host.rpartition(".")[2] in _LOCAL_SUFFIXES
