"""Answers of upstreams as bytes: walk the records and check their content. Pure, and never trusting the sender."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import ip_address
from struct import unpack_from
from typing import Final, NamedTuple

from hedgerow.dns.wire import (
    AAAA,
    CNAME,
    DNAME,
    EXTENDED_ERROR,
    FORMERR,
    HEADER,
    HTTPS,
    MX,
    NOTIMP,
    NS,
    OPT,
    PTR,
    SOA,
    SRV,
    SVCB,
    A,
    Malformed,
    Record,
    read_name,
    read_record,
)

_MAX_RECORDS: Final = 512  # of a section; all are read and judged while other queries wait
_MAX_ALIASES: Final = 32
_ADDRESS_OCTETS: Final = {A: 4, AAAA: 16}
_MAX_SVCB_OCTETS: Final = 8192  # octets of an SVCB record
_MAX_HINT_OCTETS: Final = 1024  # octets of addresses in one
_SERVICES: Final = (SVCB, HTTPS)
_HINT_OCTETS: Final = {4: 4, 6: 16}  # SvcParamKeys ipv4hint and ipv6hint, and the octets of an address
# Types whose rdata may hold compressed names (RFC 1035, 1183, 2163): octets before the names, number of names, octets
# after them.
_COMPRESSIBLE_RDATA: Final = {
    **dict.fromkeys((NS, CNAME, 7, 8, 9, PTR, DNAME), (0, 1, 0)),
    **dict.fromkeys((MX, 18, 21, 36), (2, 1, 0)),
    SOA: (0, 2, 20),
    **dict.fromkeys((14, 17), (0, 2, 0)),
    26: (2, 2, 0),
    SRV: (6, 1, 0),
}


class Response(NamedTuple):
    """An upstream's answer, walked from end to end.

    `rcode` includes the bits from the OPT record, `options` are that record's.

    `rtypes` are the types in the answer section. Records of another class than the question's are left out; `is_whole`
    if there were none.
    """

    data: bytes
    question_end: int
    rcode: int
    authentic: bool
    answers: tuple[Record, ...]
    authority: tuple[Record, ...]
    rtypes: frozenset[int]
    options: bytes
    is_whole: bool


def parse_response(data: bytes, question: bytes, *, checked: bool = False) -> Response:
    """Parse an upstream's answer to `question` (name in lower case, type, class).

    Raises Malformed, also if it answers another one.

    `checked`: the caller has called `answers_question` already.
    """
    if not checked and not answers_question(data, question):
        raise Malformed("not an answer to the question")
    flags, _, an, ns, ar = unpack_from("!HHHHH", data, 2)
    at = end = HEADER + len(question)
    owner, qclass, is_whole = question[:-4], question[-2:], True
    names: dict[int, bytes] = {}
    sections: list[tuple[Record, ...]] = []
    for count in (an, ns, ar):
        if count > _MAX_RECORDS:
            raise Malformed("more records than any name has")
        records = []
        for _ in range(count):
            record = read_record(data, at, owner, names)
            _, rtype, _, ttl_at, _, start, at = record
            if at - start != _ADDRESS_OCTETS.get(rtype) and rtype != OPT:
                check_rdata(data, record, names)
            if data[ttl_at - 2 : ttl_at] == qclass or (rtype == OPT and len(sections) == 2):
                records.append(record)
            else:
                is_whole = False
        sections.append(tuple(records))
    if at != len(data):
        raise Malformed("octets after the end")
    rcode = flags & 15
    options = b""
    for record in sections[2]:
        if record.rtype == OPT:
            rcode |= (record.ttl >> 24) << 4
            options = data[record.start : record.end]
    types = [record.rtype for record in sections[0]]
    if types.count(CNAME) > _MAX_ALIASES:
        raise Malformed("more aliases than any name has")
    rtypes = frozenset(types)
    return Response(data, end, rcode, bool(flags & 0x20), sections[0], sections[1], rtypes, options, is_whole)


def answers_question(data: bytes, question: bytes) -> bool:
    """Return whether this is a response (QR, opcode QUERY) with exactly this question. Records are not looked at.

    >>> answers_question(b"\\x00" * 12, b"\\x00\\x00\\x01\\x00\\x01")
    False
    """
    if len(data) < HEADER + len(question) or data[2] & 0xF8 != 0x80 or data[4:6] != b"\0\x01":
        return False
    end = HEADER + len(question)
    return data[end - 4 : end] == question[-4:] and data[HEADER : end - 4].lower() == question[:-4]


def refuses_edns(data: bytes) -> bool:
    """Return whether an old server refuses EDNS (RFC 6891, section 7). It may leave out the question."""
    return len(data) >= HEADER and data[2] & 0x80 != 0 and data[3] & 15 in (FORMERR, NOTIMP) and data[10:12] == b"\0\0"


def extended_error(response: Response) -> int | None:
    """Return the code of the first extended error (RFC 8914), or None."""
    options = response.options
    while len(options) >= 6:
        code, size = unpack_from("!HH", options)
        if code == EXTENDED_ERROR and size >= 2:
            return int.from_bytes(options[4:6])
        options = options[4 + size :]
    return None


def is_truncated(data: bytes) -> bool:
    return bool(data[2] & 2)


def check_rdata(data: bytes, record: Record, known: dict[int, bytes] | None = None) -> None:
    """Raise Malformed if the rdata of a well-known type is invalid. Other types are opaque (RFC 3597)."""
    if record.rtype in (A, AAAA):
        if record.end - record.start != (4 if record.rtype == A else 16):
            raise Malformed("address of a wrong length")
    elif record.rtype in _COMPRESSIBLE_RDATA:
        expand_rdata(data, record, known)
    elif record.rtype in (SVCB, HTTPS):
        parse_svcb(data[record.start : record.end])


def expand_rdata(data: bytes, record: Record, known: dict[int, bytes] | None = None) -> bytes:
    """Return rdata with uncompressed names, so that it can be put into another message. Raises Malformed."""
    if record.rtype not in _COMPRESSIBLE_RDATA:
        return data[record.start : record.end]
    before, names, after = _COMPRESSIBLE_RDATA[record.rtype]
    at = record.start + before
    parts = [data[record.start : at]]
    for _ in range(names):
        name, at = read_name(data, at, known)
        parts.append(name)
    if at + after != record.end:
        raise Malformed("rdata of a wrong length")
    parts.append(data[at : record.end])
    return b"".join(parts)


def parse_svcb(rdata: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Parse SVCB or HTTPS rdata (RFC 9460) into priority with target name, and the parameters as (key, value).

    Raises Malformed.
    """
    if not 3 <= len(rdata) <= _MAX_SVCB_OCTETS:
        raise Malformed("SVCB cut short, or without end")
    _, at = read_name(rdata, 2)  # which refuses a compressed target: nothing before it could be one
    target, params, last = rdata[:at], [], -1
    while at < len(rdata):
        if at + 4 > len(rdata):
            raise Malformed("SVCB parameter cut short")
        key, size = unpack_from("!HH", rdata, at)
        value = rdata[at + 4 : at + 4 + size]
        if len(value) != size or key <= last or (key in _HINT_OCTETS and size > _MAX_HINT_OCTETS):
            raise Malformed("SVCB parameter cut short, out of order or too long")
        params.append((key, value))
        last = key
        at += 4 + size
    return target, params


def address_hints(response: Response, owners: Collection[bytes]) -> tuple[bytes, ...]:
    """Return the packed addresses that SVCB and HTTPS records of these names in the answer section hint at."""
    if response.rtypes.isdisjoint(_SERVICES):
        return ()
    addresses: list[bytes] = []
    for record in response.answers:
        if record.rtype in _SERVICES and record.owner in owners:
            for key, value in parse_svcb(response.data[record.start : record.end])[1]:
                size = _HINT_OCTETS.get(key)
                if size:
                    addresses += (value[at : at + size] for at in range(0, len(value) - size + 1, size))
    return tuple(addresses)


def address_texts(response: Response) -> Iterable[str]:
    """Yield the addresses of the A and AAAA records as text."""
    for record in response.answers:
        if record.rtype in (A, AAAA):
            yield str(ip_address(response.data[record.start : record.end]))
