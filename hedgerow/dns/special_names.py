"""Names that are never asked of an upstream: special-use names, our own check names, the policy's local records, and
the discovery of our encrypted transports (RFC 9462, RFC 9461).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from struct import pack
from typing import Final, assert_never

from dnslib import RR, DNSQuestion, DNSRecord

from hedgerow.blocklists.names import is_local_name
from hedgerow.dns import answers, wire
from hedgerow.dns.answers import Draft
from hedgerow.dns.upstreams.responses import parse_response
from hedgerow.dns.wire import Query
from hedgerow.policies.network import LocalRecord
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS, Transport
from hedgerow.sockets import is_own_address

CHECK_ZONE: Final = "check.hedgerow.internal"


def parse_check_name(host: str) -> IPv4Address | None:
    """Return the address in a check name, by which a device finds out whether it uses this resolver.

    `ANYTHING.192-168-1-2.check.hedgerow.internal` resolves to 192.168.1.2, if this machine has that address: the names
    reveal nothing that the device did not know. No other resolver answers them, since `internal` is for private use
    (ICANN, 2024).

    >>> parse_check_name("7f3a.192-168-1-2.check.hedgerow.internal"), parse_check_name("check.hedgerow.internal")
    (IPv4Address('192.168.1.2'), None)
    """
    address = host.removesuffix(f".{CHECK_ZONE}").rpartition(".")[2]
    try:
        return IPv4Address(address.replace("-", "."))
    except ValueError:
        return None


class SpecialUse(Enum):
    LOOPBACK = auto()  # the client itself
    NXDOMAIN = auto()
    NODATA = auto()
    CANARY = auto()  # NXDOMAIN makes a browser use the network's resolver
    CHECK = auto()  # see `parse_check_name`


_SUFFIXES: Final = {
    "localhost": SpecialUse.LOOPBACK,
    "invalid": SpecialUse.NXDOMAIN,
    "onion": SpecialUse.NXDOMAIN,
    # The upstream must not designate itself; `ddr` designates our own resolver if it is served.
    "resolver.arpa": SpecialUse.NODATA,
    "use-application-dns.net": SpecialUse.CANARY,
    CHECK_ZONE: SpecialUse.CHECK,
}

_SUFFIX_TEXTS: Final = tuple(_SUFFIXES)

# Blocked with an address, these would make the device wait; NXDOMAIN makes it use the network's resolver at once.
NXDOMAIN_WHEN_BLOCKED: Final = frozenset(
    {
        "mask.icloud.com",
        "mask-h2.icloud.com",
        "mask-api.icloud.com",
        "mask-canary.icloud.com",
        "dns-tunnel-check.googlezip.net",
    }
)


def special_use(host: str) -> SpecialUse | None:
    """Return the special use of a host, or None.

    >>> special_use("_dns.resolver.arpa"), special_use("example.com")
    (<SpecialUse.NODATA: 3>, None)
    """
    while host and host.endswith(_SUFFIX_TEXTS):
        found = _SUFFIXES.get(host)
        if found is not None:
            return found
        host = host.partition(".")[2]
    return None


def special_use_answer(query: Query, reserved: SpecialUse) -> Draft:
    """Draft the answer to a name of special use."""
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
OWN_NAME_TTL: Final = 60  # seconds; short, since a phone takes the answer to other networks


class LocalNames:
    """Local records and forwarded `zones`.

    `own` is the record of our server name, which a client id may precede as a label.
    """

    def __init__(
        self, records: Collection[LocalRecord] = (), zones: Iterable[str] = (), own: LocalRecord | None = None
    ) -> None:
        self._own = own
        self._texts = {record.host: _zone_text(record, _LOCAL_TTL) for record in records}
        for record in records:
            for address in record.addresses:
                name = ip_address(address).reverse_pointer
                self._texts.setdefault(name, f"{name}. {_LOCAL_TTL} PTR {record.host}.")
        self._zones = frozenset(zones)

    def answer(self, host: str, query: Query) -> Draft | None:
        """Draft the answer from the records, or return None for a name that they do not know.

        A known name has only addresses.
        """
        text = self._texts.get(host)
        if text is None and self._own is not None and self._own.host in (host, host.partition(".")[2]):
            text = _zone_text(self._own, OWN_NAME_TTL)
        if text is None:
            return None
        if query.qtype in (wire.A, wire.AAAA, wire.PTR):
            return _local_answer(text, query.qtype)
        return answers.minimal_any() if query.qtype == wire.ANY else answers.negative()

    def zone_of(self, host: str) -> str | None:
        """Return the smallest forwarded zone that `host` is in."""
        if not self._zones:
            return None
        while host:
            if host in self._zones:
                return host
            host = host.partition(".")[2]
        return None

    def is_local(self, host: str) -> bool:
        """Return whether a name may have an address of this network.

        >>> [LocalNames().is_local(host) for host in ("nas", "nas.lan", "nas.home.arpa", "fritz.box", "nas.example")]
        [True, True, True, True, False]
        """
        return "." not in host or host in self._texts or is_local_name(host) or self.zone_of(host) is not None


def _zone_text(record: LocalRecord, ttl: int) -> str:
    return "\n".join(
        f"{record.host}. {ttl} {'AAAA' if ':' in address else 'A'} {address}" for address in record.addresses
    )


@lru_cache(maxsize=1024)
def _local_answer(text: str, qtype: int) -> Draft:
    """Draft the answer from the zone text of a name (RFC 1035, section 5.1). dnslib writes it, and it is read as an
    upstream's.
    """
    records = [record for record in RR.fromZone(text) if record.rtype == qtype]
    if not records:
        return answers.negative()
    question = DNSRecord(q=DNSQuestion(records[0].rname, qtype))
    reply = question.reply()
    reply.add_answer(*records)
    query = wire.parse_query(bytes(question.pack()))
    return answers.forwarded(query, parse_response(bytes(reply.pack()), query.name + query.suffix[:4]), ())


DDR_NAME: Final = "_dns.resolver.arpa"
_TTL: Final = 60  # seconds; short, since the next start may serve other transports
_ALPN, _PORT, _DOHPATH = 1, 3, 7


def service_parameters(transport: Transport, port: int) -> bytes:
    """Return the service parameters of an encrypted transport (RFC 9460, section 2.2; RFC 9461)."""
    alpn = b"".join(bytes((len(protocol),)) + protocol.encode() for protocol in transport.alpn)
    keys = wire.option_bytes(_ALPN, alpn) + wire.option_bytes(_PORT, pack("!H", port))
    return keys + (wire.option_bytes(_DOHPATH, transport.doh_path.encode()) if transport.doh_path else b"")


@dataclass(frozen=True, slots=True)
class DesignatedResolver:
    """Our server name, and the ports by the names of the encrypted transports that are served."""

    server_name: str
    ports: Mapping[str, int]

    def answer(self, query: Query) -> Draft:
        """Return one SVCB record per transport, or no records for other query types."""
        if query.qtype != wire.SVCB:
            return answers.negative()
        target = wire.name_of(self.server_name)
        body, ttls = b"", []
        transports = sorted(
            (ENCRYPTED_TRANSPORTS[name] for name in self.ports), key=lambda transport: transport.ddr_rank
        )
        for priority, transport in enumerate(transports, 1):
            keys = service_parameters(transport, self.ports[transport.name])
            ttls.append((len(body) + 6, _TTL))
            body += wire.record_bytes(wire.QUESTION_POINTER, wire.SVCB, _TTL, pack("!H", priority) + target + keys)
        return Draft(wire.NOERROR, len(ttls), 0, body, tuple(ttls), float(_TTL))
