"""Names of this network: records of the policy file, zones that are asked elsewhere, and which names are local at all. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from hedgerow.dns import answers, wire
from hedgerow.dns.answers import Draft
from hedgerow.dns.wire import Query
from hedgerow.policies.resolver_settings import LocalRecord

_TTL: Final = 300
_OWN_TTL: Final = 60  # short: a phone takes it along, to where another address holds
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
            return answers.addresses(query, self._records[host], _TTL)
        if host in self._owners:
            if query.qtype != wire.PTR:
                return answers.any_refused() if query.qtype == wire.ANY else answers.no_such_data()
            return answers.pointer(wire.name_of(self._owners[host]), _TTL)
        if self._own is not None and self._own.host in (host, host.partition(".")[2]):
            return answers.addresses(query, self._own.addresses, _OWN_TTL)
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
