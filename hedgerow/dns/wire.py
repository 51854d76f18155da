"""DNS messages as bytes (RFC 1035, 6891): find the question, walk the records. Pure, and never trusting the sender."""

from __future__ import annotations

import re
from struct import pack, unpack_from
from typing import Final, NamedTuple

A: Final = 1
NS: Final = 2
CNAME: Final = 5
SOA: Final = 6
PTR: Final = 12
HINFO: Final = 13
MX: Final = 15
AAAA: Final = 28
SRV: Final = 33
DNAME: Final = 39
OPT: Final = 41
RRSIG: Final = 46
SVCB: Final = 64
HTTPS: Final = 65
ANY: Final = 255
IN: Final = 1

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
BADVERS: Final = 16

HEADER: Final = 12
QUESTION_POINTER: Final = b"\xc0\x0c"  # compression pointer to the name in the question
EXTENDED_ERROR: Final = 15  # the EDNS option (RFC 8914)
_MAC_OPTION: Final = 65_001  # the EDNS option in which forwarders hand on who asks, from the range for local use
_MAC_OCTETS: Final = 6
UDP_SIZE: Final = 1232  # the largest datagram that we send or accept (DNS flag day 2020)

# Bits of the byte that says in which shape an answer is wanted; the last part of a cache key.
EDNS_SHAPE: Final = 1
DNSSEC_SHAPE: Final = 2
LARGE_SHAPE: Final = 4
STREAM_SHAPE: Final = 8
STRUCTURED_SHAPE: Final = 16  # the asker can read a structured error

# Octets of a query behind its name that tell the shape: type and class, the OPT record up to the header of its first option. What the
# options hold (cookies, padding) does not matter.
SUFFIX_OCTETS: Final = 19
OPT_OCTETS: Final = 11  # of an OPT record without options

# How a client says that it can read a structured error: an extended error without content (draft-ietf-dnsop-structured-dns-error).
# It counts as the first option only: the hot path looks no further.
_EMPTY_ERROR: Final = (b"\0\x0f\0\0", b"\0\x0f\0\2")

_PLAIN_HOST = re.compile(r"[a-z0-9_.-]+")
_PLAIN_LABEL = re.compile(rb"[a-z0-9_-]+")
_HINTS: Final = {4: 4, 6: 16}  # SvcParamKeys ipv4hint and ipv6hint, and the octets of an address
# Types whose rdata may hold compressed names (RFC 1035, 1183, 2163): octets before the names, number of names, octets after them.
_NAMES_INSIDE: Final = {
    **dict.fromkeys((NS, CNAME, 7, 8, 9, PTR, DNAME), (0, 1, 0)),
    **dict.fromkeys((MX, 18, 21, 36), (2, 1, 0)),
    SOA: (0, 2, 20),
    **dict.fromkeys((14, 17), (0, 2, 0)),
    26: (2, 2, 0),
    SRV: (6, 1, 0),
}


class Malformed(ValueError):
    """The sender's bytes are not a DNS message."""


class Edns(NamedTuple):
    """What an OPT record says: the sender's datagram size, EDNS version, DO bit, and the options as bytes."""

    size: int
    version: int
    dnssec: bool
    options: bytes


class Query(NamedTuple):
    """One question. `name` is the qname in wire form, lower case; `end` is where the question ends in `data`.

    `shape` is the last byte of the cache key; `cacheable` is False for a query whose shape the hot path cannot tell from its bytes.
    """

    data: bytes
    end: int
    name: bytes
    qtype: int
    qclass: int
    edns: Edns | None
    shape: int
    cacheable: bool

    @property
    def host(self) -> str:
        return host_of(self.name)

    @property
    def limit(self) -> int:
        """The most octets that an answer may have."""
        if self.shape & STREAM_SHAPE:
            return 65535
        return UDP_SIZE if self.shape & LARGE_SHAPE else 512

    @property
    def key(self) -> bytes:
        """The cache key without the ruleset's part: flags and counts, folded name, type and class, shape.

        `listeners` and `datagrams` compute the same bytes without parsing.
        """
        return self.data[2:HEADER] + self.name + self.suffix

    @property
    def suffix(self) -> bytes:
        return self.data[self.end - 4 : self.end] + bytes((self.shape,))

    @property
    def suffix_key(self) -> bytes:
        """The raw bytes that stand for `suffix` in a query."""
        return self.data[self.end - 4 : self.end - 4 + SUFFIX_OCTETS]


class Record(NamedTuple):
    """One record of a message: `begin`..`end` is the whole of it, `start`..`end` its rdata; `owner` is lower case and uncompressed."""

    owner: bytes
    rtype: int
    ttl: int
    ttl_at: int
    begin: int
    start: int
    end: int


class Response(NamedTuple):
    """An upstream's answer, walked from end to end. `rcode` includes the bits from the OPT record, `options` are that record's.

    `kinds` are the types of the records in the answer section.
    """

    data: bytes
    question_end: int
    rcode: int
    authentic: bool
    answers: tuple[Record, ...]
    authority: tuple[Record, ...]
    kinds: frozenset[int]
    options: bytes


def read_name(message: bytes, at: int) -> tuple[bytes, int]:
    """The name at `at`, uncompressed and in wire form, and where it ends in the message.

    Pointers must point backwards, so that no chain of them is endless. Raises Malformed.

    >>> read_name(b"\\x03www\\x07example\\x00", 0)
    (b'\\x03www\\x07example\\x00', 13)
    """
    labels: list[bytes] = []
    total, end, floor = 1, 0, at
    try:
        while size := message[at]:
            if size < 64:
                label = message[at : at + 1 + size]
                at += 1 + size
                total += 1 + size
                if total > 255:
                    raise Malformed("name longer than 255 octets")
                labels.append(label)
            elif size >= 192:
                target = (size & 63) << 8 | message[at + 1]
                end = end or at + 2
                if not HEADER <= target < floor:
                    raise Malformed("compression pointer that does not point backwards")
                at = floor = target
            else:
                raise Malformed("unknown label type")
    except IndexError:
        raise Malformed("name runs over the end") from None
    return b"".join(labels) + b"\0", end or at + 1


def host_of(name: bytes) -> str:
    r"""The host as `policies` knows it: dotted, lower case, no trailing dot. Octets that no host has are escaped (RFC 1035, 5.1).

    >>> host_of(b"\x03www\x07example\x00"), host_of(b"\x03a.b\x00"), host_of(b"\x00")
    ('www.example', 'a\\046b', '')
    """
    text = name.decode("latin-1")
    labels: list[str] = []
    at = 0
    while size := name[at]:
        labels.append(text[at + 1 : at + 1 + size])
        at += 1 + size
    host = ".".join(labels)
    return host if _PLAIN_HOST.fullmatch(host) and host.count(".") == len(labels) - 1 else _escaped(name)


def _escaped(name: bytes) -> str:
    labels: list[str] = []
    at = 0
    while size := name[at]:
        label = name[at + 1 : at + 1 + size]
        if _PLAIN_LABEL.fullmatch(label):
            labels.append(label.decode("ascii"))
        else:
            labels.append("".join(chr(octet) if _PLAIN_LABEL.match(bytes((octet,))) else f"\\{octet:03d}" for octet in label))
        at += 1 + size
    return ".".join(labels)


def name_of(host: str) -> bytes:
    """The wire form of a canonical host; ValueError if it has none.

    >>> name_of("www.example")
    b'\\x03www\\x07example\\x00'
    """
    if not host:
        return b"\0"
    labels = [label.encode("ascii") for label in host.lower().split(".")]
    if not all(0 < len(label) < 64 for label in labels) or len(host) > 253:
        raise ValueError(f"not a domain name: {host!r}")
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def parse_query(data: bytes, *, stream: bool = False) -> Query:
    """The question of a query whose opcode is QUERY. Raises Malformed."""
    if len(data) < HEADER:
        raise Malformed("shorter than a header")
    flags, questions, answers, authority, additional = unpack_from("!HHHHH", data, 2)
    if questions != 1 or answers or authority or additional > 2:
        raise Malformed("not exactly one question")
    name, at = read_name(data, HEADER)
    end = at + 4
    if len(data) < end or at - HEADER != len(name):
        raise Malformed("question cut short, or compressed")
    qtype, qclass = unpack_from("!HH", data, at)
    edns, cacheable, at = None, flags & 0xFECF == 0, end
    for index in range(additional):
        if data[at : at + 3] == b"\0\0\x29":
            if edns is not None:
                raise Malformed("two OPT records")
            edns = _read_edns(data, at)
            cacheable = cacheable and index == 0
        at = _read_record(data, at).end
    if at != len(data):
        raise Malformed("octets after the end")
    if additional > 1 or (additional and edns is None) or (edns is not None and edns.version):
        cacheable = False
    shape = _shape(edns, stream)
    return Query(data, end, name.lower(), qtype, qclass, edns, shape, cacheable)


def query_of(key: bytes) -> Query:
    """A query that has this key (`Query.key`), but for options that it may have held.

    >>> query = parse_query(bytes.fromhex("1234 0100 0001 0000 0000 0000") + b"\\x01a\\x00\\x00\\x01\\x00\\x01")
    >>> query_of(query.key).key == query.key
    True
    """
    shape = key[-1]
    opt = opt_bytes(0, bool(shape & DNSSEC_SHAPE)) if shape & EDNS_SHAPE else b""
    return parse_query(b"\0\0" + key[:-1] + opt, stream=bool(shape & STREAM_SHAPE))


def parse_response(data: bytes, question: bytes, *, checked: bool = False) -> Response:
    """An upstream's answer to `question` (name in lower case, type, class). Raises Malformed, also if it answers something else.

    `checked`: the caller has seen to that already.
    """
    if not checked and not answers_question(data, question):
        raise Malformed("not an answer to the question")
    flags, _, an, ns, ar = unpack_from("!HHHHH", data, 2)
    at = end = HEADER + len(question)
    owner = question[:-4]
    sections: list[tuple[Record, ...]] = []
    for count in (an, ns, ar):
        records = []
        for _ in range(count):
            record = _read_record(data, at, owner)
            check_rdata(data, record)
            at = record.end
            records.append(record)
        sections.append(tuple(records))
    if at != len(data):
        raise Malformed("octets after the end")
    rcode = flags & 15
    options = b""
    for record in sections[2]:
        if record.rtype == OPT:
            rcode |= (record.ttl >> 24) << 4
            options = data[record.start : record.end]
    kinds = frozenset([record.rtype for record in sections[0]])
    return Response(data, end, rcode, bool(flags & 0x20), sections[0], sections[1], kinds, options)


def answers_question(data: bytes, question: bytes) -> bool:
    """Is this a response (QR, opcode QUERY) with exactly this question? The records are not looked at.

    >>> answers_question(b"\\x00" * 12, b"\\x00\\x00\\x01\\x00\\x01")
    False
    """
    if len(data) < HEADER + len(question) or data[2] & 0xF8 != 0x80 or data[4:6] != b"\0\x01":
        return False
    end = HEADER + len(question)
    return data[end - 4 : end] == question[-4:] and data[HEADER : end - 4].lower() == question[:-4]


def extended_error(response: Response) -> int | None:
    """The code of the first extended error (RFC 8914) that an upstream gives, None without one."""
    options = response.options
    while len(options) >= 6:
        code, size = unpack_from("!HH", options)
        if code == EXTENDED_ERROR and size >= 2:
            return int.from_bytes(options[4:6])
        options = options[4 + size :]
    return None


def is_truncated(data: bytes) -> bool:
    return bool(data[2] & 2)


def check_rdata(data: bytes, record: Record) -> None:
    """Raises Malformed unless the rdata of the well-known types is what it should be; other types are opaque (RFC 3597)."""
    if record.rtype in (A, AAAA):
        if record.end - record.start != (4 if record.rtype == A else 16):
            raise Malformed("address of a wrong length")
    elif record.rtype in _NAMES_INSIDE:
        expand_rdata(data, record)
    elif record.rtype in (SVCB, HTTPS):
        parse_svcb(data[record.start : record.end])


def expand_rdata(data: bytes, record: Record) -> bytes:
    """The rdata with its names uncompressed, so that it can be put into another message. Raises Malformed."""
    if record.rtype not in _NAMES_INSIDE:
        return data[record.start : record.end]
    before, names, after = _NAMES_INSIDE[record.rtype]
    at = record.start + before
    parts = [data[record.start : at]]
    for _ in range(names):
        name, at = read_name(data, at)
        parts.append(name)
    if at + after != record.end:
        raise Malformed("rdata of a wrong length")
    parts.append(data[at : record.end])
    return b"".join(parts)


def parse_svcb(rdata: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """SVCB and HTTPS (RFC 9460): priority with target name, and the parameters as (key, value). Raises Malformed."""
    if len(rdata) < 3:
        raise Malformed("SVCB cut short")
    name, at = read_name(rdata, 2)
    if at - 2 != len(name):
        raise Malformed("SVCB target is compressed")
    target, params, last = rdata[:at], [], -1
    while at < len(rdata):
        if at + 4 > len(rdata):
            raise Malformed("SVCB parameter cut short")
        key, size = unpack_from("!HH", rdata, at)
        value = rdata[at + 4 : at + 4 + size]
        if len(value) != size or key <= last:
            raise Malformed("SVCB parameter cut short or out of order")
        params.append((key, value))
        last = key
        at += 4 + size
    return target, params


def record_bytes(owner: bytes, rtype: int, ttl: int, rdata: bytes) -> bytes:
    """One record of class IN; `owner` in wire form or as a compression pointer."""
    return owner + pack("!HHIH", rtype, IN, ttl, len(rdata)) + rdata


def option_bytes(code: int, value: bytes) -> bytes:
    return pack("!HH", code, len(value)) + value


def option_of(options: bytes, code: int) -> bytes | None:
    """The content of the first option with this code among the options of an OPT record that was read."""
    at = 0
    while at < len(options):
        found, size = unpack_from("!HH", options, at)
        if found == code:
            return options[at + 4 : at + 4 + size]
        at += 4 + size
    return None


def forwarded_mac(data: bytes) -> str | None:
    """The MAC address of the device for which a forwarder asks, where it hands it on as dnsmasq's `add-mac` does."""
    try:
        edns = parse_query(data).edns
    except Malformed:
        return None
    value = option_of(edns.options, _MAC_OPTION) if edns is not None else None
    return value.hex(":") if value is not None and len(value) == _MAC_OCTETS else None


def opt_bytes(rcode: int, dnssec: bool, options: bytes = b"") -> bytes:
    """Our OPT record: `rcode` gives its upper eight bits."""
    return b"\0" + pack("!HHBBHH", OPT, UDP_SIZE, rcode >> 4, 0, 0x8000 if dnssec else 0, len(options)) + options


def _read_record(data: bytes, at: int, question_name: bytes = b"") -> Record:
    if question_name and data[at : at + 2] == QUESTION_POINTER:
        owner, name_end = question_name, at + 2
    else:
        owner, name_end = read_name(data, at)
        owner = owner.lower()
    start = name_end + 10
    if len(data) < start:
        raise Malformed("record cut short")
    rtype, _, ttl, size = unpack_from("!HHIH", data, name_end)
    end = start + size
    if len(data) < end:
        raise Malformed("record runs over the end")
    return Record(owner, rtype, ttl, name_end + 4, at, start, end)


def _read_edns(data: bytes, at: int) -> Edns:
    record = _read_record(data, at)
    size, ttl = unpack_from("!HI", data, at + 3)
    at = record.start
    while at < record.end:
        if at + 4 > record.end:
            raise Malformed("EDNS option cut short")
        at += 4 + int.from_bytes(data[at + 2 : at + 4])
    if at != record.end:
        raise Malformed("EDNS option runs over the end")
    return Edns(size, ttl >> 16 & 255, bool(ttl & 0x8000), data[record.start : record.end])


def addresses_of(response: Response) -> tuple[bytes, ...]:
    """All addresses in the answer section, packed: those of A and AAAA records and the hints of SVCB and HTTPS."""
    found: list[bytes] = []
    for record in response.answers:
        if record.rtype in (A, AAAA):
            found.append(response.data[record.start : record.end])
        elif record.rtype in (SVCB, HTTPS):
            for key, value in parse_svcb(response.data[record.start : record.end])[1]:
                size = _HINTS.get(key)
                if size:
                    found += (value[at : at + size] for at in range(0, len(value) - size + 1, size))
    return tuple(found)


def _shape(edns: Edns | None, stream: bool) -> int:
    shape = STREAM_SHAPE if stream else 0
    if edns is not None:
        shape |= EDNS_SHAPE | (DNSSEC_SHAPE if edns.dnssec else 0) | (LARGE_SHAPE if edns.size >= UDP_SIZE else 0)
        if edns.options[:4] in _EMPTY_ERROR:
            shape |= STRUCTURED_SHAPE
    return shape
