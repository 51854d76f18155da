"""Zones and how a question is answered from them: pure, no sockets.

The text form has one record a line: `NAME [TTL] TYPE RDATA`. Names are relative to the zone unless they end in a dot,
`@` is the zone itself, `*` a wildcard (RFC 4592), `;` starts a comment. TXT takes quoted strings, or `size=N` for N
bytes of text. SVCB and HTTPS take the presentation form of RFC 9460 with alpn, no-default-alpn, port, ipv4hint,
ipv6hint, ech (base64) and keyN.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dnslib

DEFAULT_TTL = 300
NEGATIVE_TTL = 60
MAX_CHAIN = 16


@dataclass(frozen=True, slots=True)
class Zone:
    """`name` without the trailing dot ("" is the root); `records` by owner name, then by type number."""

    name: str
    records: Mapping[str, Mapping[int, tuple[dnslib.RR, ...]]]

    @property
    def soa(self) -> dnslib.RR:
        suffix = f".{self.name}" if self.name else ""
        data = dnslib.SOA(f"ns{suffix}", f"hostmaster{suffix}", (1, 3600, 600, 86400, NEGATIVE_TTL))
        return dnslib.RR(self.name, dnslib.QTYPE.SOA, ttl=NEGATIVE_TTL, rdata=data)


@dataclass(slots=True)
class Outcome:
    """The zones' answer to one question."""

    rcode: int = 0
    answers: list[dnslib.RR] = field(default_factory=list)
    authority: list[dnslib.RR] = field(default_factory=list)


def parse_zone(name: str, text: str) -> Zone:
    """Reads the text form above. Raises ValueError naming the line that is wrong.

    >>> list(parse_zone("a.example", "www 60 A 127.0.0.1").records)
    ['www.a.example']
    """
    records: dict[str, dict[int, list[dnslib.RR]]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.partition(" ;")[0].strip()
        if not stripped or stripped.startswith(";"):
            continue
        try:
            record = _parse_record(name, stripped)
        except Exception as error:
            raise ValueError(f"zone {name}, line {number}: {stripped!r}: {error}") from error
        owner = str(record.rname).rstrip(".").lower()
        records.setdefault(owner, {}).setdefault(record.rtype, []).append(record)
    return Zone(
        name, {owner: {kind: tuple(found) for kind, found in kinds.items()} for owner, kinds in records.items()}
    )


def look_up(zones: Sequence[Zone], name: str, kind: int) -> Outcome:
    """Answers as a recursive resolver that knows only `zones` would: CNAME chains are followed across zones.

    A name that is in no zone is REFUSED; a missing name is NXDOMAIN and a missing type NODATA, both with the zone's
    SOA.
    """
    outcome = Outcome()
    for _ in range(MAX_CHAIN):
        zone = _zone_of(zones, name)
        if zone is None:
            outcome.rcode = dnslib.RCODE.REFUSED if not outcome.answers else dnslib.RCODE.SERVFAIL
            return outcome
        kinds = _kinds_at(zone, name)
        if kinds is None:
            outcome.rcode = dnslib.RCODE.NXDOMAIN
            outcome.authority = [zone.soa]
            return outcome
        if found := _of_kind(kinds, kind):
            outcome.answers += [_owned(record, name) for record in found]
            return outcome
        alias = kinds.get(dnslib.QTYPE.CNAME)
        if not alias:
            outcome.authority = [zone.soa]
            return outcome
        outcome.answers += [_owned(record, name) for record in alias]
        name = str(alias[0].rdata.label).rstrip(".").lower()
    outcome.rcode = dnslib.RCODE.SERVFAIL
    return outcome


def _parse_record(zone: str, line: str) -> dnslib.RR:
    owner, rest = line.split(None, 1)
    first, _, remainder = rest.partition(" ")
    ttl = DEFAULT_TTL
    if first.isdigit():
        ttl, rest = int(first), remainder.strip()
    kind, _, rdata = rest.partition(" ")
    name = _absolute(owner, zone)
    number = getattr(dnslib.QTYPE, kind.upper()) if not kind.upper().startswith("TYPE") else int(kind[4:])
    return dnslib.RR(name, number, ttl=ttl, rdata=_parse_rdata(kind.upper(), rdata.strip(), zone))


def _absolute(name: str, zone: str) -> str:
    return zone if name == "@" else name if name.endswith(".") else f"{name}.{zone}".rstrip(".")


def _parse_rdata(kind: str, text: str, zone: str) -> dnslib.RD:
    match kind:
        case "CNAME" | "NS" | "PTR" | "DNAME":
            return dnslib.RDMAP[kind](_absolute(text, zone))
        case "TXT" if text.startswith("size="):
            return dnslib.TXT(list(_long_text(int(text[5:]))))
        case "TXT":
            return dnslib.TXT([part.encode() for part in shlex.split(text)])
        case "MX":
            preference, exchange = text.split()
            return dnslib.MX(_absolute(exchange, zone), int(preference))
        case "SVCB" | "HTTPS":
            # dnslib knows one class for both types and uses the name of an early draft for `ech`.
            priority, target, *parameters = text.split()
            target = target if target == "." else f"{_absolute(target, zone).rstrip('.')}."
            return dnslib.HTTPS.fromZone(
                [priority, target, *(part.replace("ech=", "echconfig=", 1) for part in parameters)]
            )
        case _ if text.startswith("\\#"):
            return dnslib.RD(bytes.fromhex("".join(text.split()[2:])))
        case _:
            made: dnslib.RD = dnslib.RDMAP[kind].fromZone(text.split())
            return made


def _long_text(size: int) -> Iterator[bytes]:
    letters = (b"abcdefghijklmnopqrstuvwxyz0123456789" * (size // 36 + 1))[:size]
    for start in range(0, size, 255):
        yield letters[start : start + 255]


def _zone_of(zones: Sequence[Zone], name: str) -> Zone | None:
    holders = [zone for zone in zones if not zone.name or name == zone.name or name.endswith("." + zone.name)]
    return max(holders, key=lambda zone: len(zone.name), default=None)


def _kinds_at(zone: Zone, name: str) -> Mapping[int, tuple[dnslib.RR, ...]] | None:
    if name in zone.records:
        return zone.records[name]
    # An empty non-terminal exists although nothing is written at it, and so does the apex.
    if name == zone.name or any(owner.endswith("." + name) for owner in zone.records):
        return {}
    parent = name
    while parent != zone.name and "." in parent:
        parent = parent.partition(".")[2]
        if (wildcard := f"*.{parent}") in zone.records:
            return zone.records[wildcard]
        if parent in zone.records:
            return None
    return None


def _of_kind(kinds: Mapping[int, tuple[dnslib.RR, ...]], kind: int) -> tuple[dnslib.RR, ...]:
    if kind == dnslib.QTYPE.ANY:
        return tuple(record for found in kinds.values() for record in found)
    return kinds.get(kind, ())


def _owned(record: dnslib.RR, name: str) -> dnslib.RR:
    return dnslib.RR(name, record.rtype, record.rclass, record.ttl, record.rdata)
