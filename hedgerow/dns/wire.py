"""DNS messages as bytes (RFC 1035, RFC 6891): find the question, walk the records.

Pure, and never trusting the sender.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from struct import Struct, pack, unpack_from
from struct import error as StructError
from typing import Final, NamedTuple

from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS

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
IXFR: Final = 251
AXFR: Final = 252
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
KEEPALIVE: Final = 11  # the EDNS option (RFC 7828)
PADDING: Final = 12  # the EDNS option (RFC 7830)
_EMPTY_ERROR: Final = (0, 2)  # octets of one without content, or with a code alone
_MAC_OPTION: Final = 65_001  # the EDNS option for local use with which forwarders pass on the client's MAC address
_MAC_OCTETS: Final = 6
_MAX_NAME: Final = 255  # with its last octet
UDP_SIZE: Final = 1232  # the largest datagram that we send or accept (DNS flag day 2020)

# Bits of the byte that describes the shape of an answer, the last part of a cache key.
EDNS_SHAPE: Final = 1
DNSSEC_SHAPE: Final = 2
LARGE_SHAPE: Final = 4
STREAM_SHAPE: Final = 8
STRUCTURED_SHAPE: Final = 16  # the client can read a structured error

# Bits of a transport. Each has its own answers in the cache, since they are counted by transport.
_TRANSPORT_SHAPES: Final = {
    "udp": 0,
    "tcp": STREAM_SHAPE,
    "gate": STREAM_SHAPE,
    **{name: STREAM_SHAPE | number << 5 for number, name in enumerate(ENCRYPTED_TRANSPORTS, 1)},
}
_TRANSPORTS: Final = {shape: transport for transport, shape in reversed(_TRANSPORT_SHAPES.items())}
_TRANSPORT_MASK: Final = STREAM_SHAPE | 0xE0

# Octets of a query behind its name that tell the shape: type and class, the OPT record up to the header of its first
# option. The contents of options (cookies, padding) do not matter.
SUFFIX_OCTETS: Final = 19
OPT_OCTETS: Final = 11  # of an OPT record without options

EDE_OPTION_PREFIX: Final = b"\0\x0f\0"
"""The beginning of an extended error among EDNS options.

One without content says that the client can read a structured error (draft-ietf-dnsop-structured-dns-error). The hot
path does not read options behind the first one, but leaves such a query to the parser.
"""

_PLAIN_OCTETS: Final = b"abcdefghijklmnopqrstuvwxyz0123456789-_"
_SHORT_LABEL: Final = 44  # the longest whose length is not an octet of a plain label
_TO_HOST: Final = bytes(octet if octet in _PLAIN_OCTETS else 0x2E for octet in range(256))
_unpack_fields: Final = Struct("!HHIH").unpack_from  # of a record: type, class, TTL, length
# octets of a query behind its name: without OPT record, or with one that has no options
_BEHIND_NAME: Final = (4, 4 + 11)


class Malformed(ValueError):
    """The octets are not a valid DNS message."""


class Edns(NamedTuple):
    """The content of an OPT record: the sender's datagram size, EDNS version, DO bit, and the options as octets."""

    size: int
    version: int
    dnssec: bool
    options: bytes


class Query(NamedTuple):
    """One question. `name` is the qname in wire form, lower case; `end` is where the question ends in `data`.

    `host` is the name as policies know it. `shape` is the last byte of the cache key and of `suffix`, which has type
    and class before it. `cacheable` is False for a query whose shape the hot path cannot tell from its bytes.
    """

    data: bytes
    end: int
    name: bytes
    host: str
    qtype: int
    qclass: int
    edns: Edns | None
    shape: int
    cacheable: bool
    suffix: bytes

    @property
    def limit(self) -> int:
        """The most octets that an answer may have."""
        if self.shape & STREAM_SHAPE:
            return 65535
        return UDP_SIZE if self.shape & LARGE_SHAPE else 512

    @property
    def key(self) -> bytes:
        """The cache key without the ruleset's part: flags and counts, folded name, type and class, shape.

        `Responder.look_up` and `BatchUdpListener` compute the same bytes without parsing.
        """
        return self.data[2:HEADER] + self.name + self.suffix

    @property
    def suffix_key(self) -> bytes:
        """The raw bytes that stand for `suffix` in a query."""
        return self.data[self.end - 4 : self.end - 4 + SUFFIX_OCTETS]


class Record(NamedTuple):
    """One record:

    `begin`..`end` is the whole of it, `start`..`end` its rdata. `owner` is lower case and uncompressed.
    """

    owner: bytes
    rtype: int
    ttl: int
    ttl_at: int
    begin: int
    start: int
    end: int


def read_name(message: bytes, at: int, known: dict[int, bytes] | None = None) -> tuple[bytes, int]:
    """Return the uncompressed name at `at` in wire form, and where it ends in the message. Raises Malformed.

    Pointers must point backwards, so that no chain is endless, and to a name that ended before this one began, since
    what follows may be left out of our answer. `known` maps offsets to names that earlier pointers led to, and is added
    to: with it, reading a message takes time by its length, whatever its pointers are.

    >>> read_name(b"\\x03www\\x07example\\x00", 0)
    (b'\\x03www\\x07example\\x00', 13)
    """
    labels: list[bytes] = []
    passed: list[tuple[int, int]] = []  # targets of pointers, and the octets of the name before them
    total, end, floor, ceiling, rest = 1, 0, at, len(message), b"\0"
    try:
        while size := message[at]:
            if size < 64:
                labels.append(message[at : at + 1 + size])
                at += 1 + size
                total += 1 + size
                if total > 255:
                    raise Malformed("name longer than 255 octets")
            elif size >= 192:
                target = (size & 63) << 8 | message[at + 1]
                end = end or at + 2
                if not HEADER <= target < floor or at >= ceiling:
                    raise Malformed("compression pointer that does not point backwards")
                if known is not None and target in known:
                    rest = known[target]
                    break
                passed.append((target, total - 1))
                at, ceiling, floor = target, floor, target
            else:
                raise Malformed("unknown label type")
    except IndexError:
        raise Malformed("name runs over the end") from None
    if at >= ceiling:
        raise Malformed("compression pointer to a name that has not ended")
    if total - 1 + len(rest) > 255:
        raise Malformed("name longer than 255 octets")
    name = b"".join(labels) + rest
    if known is not None:
        for target, before in passed:
            known[target] = name[before:]
    return name, end or at + 1


def label_starts(name: bytes) -> Iterator[int]:
    r"""Yield the offsets of the labels of a name in wire form, without the root's.

    >>> list(label_starts(b"\x03www\x07example\x00"))
    [0, 4]
    """
    at = 0
    while size := name[at]:
        yield at
        at += 1 + size


def host_of(name: bytes) -> str:
    r"""Return a name as policies know it: dotted, lower case, no trailing dot.

    Octets that no host has are escaped (RFC 1035, section 5.1).

    >>> host_of(b"\x03www\x07example\x00"), host_of(b"\x03a.b\x00"), host_of(b"\x00")
    ('www.example', 'a\\046b', '')
    """
    return _plain_host(name) or _escaped(name)


def _plain_host(name: bytes) -> str | None:
    """Return a name in lower case whose last octet is the only zero, as policies know it; None for a malformed or an
    unusual one.
    """
    at = labels = longest = 0
    try:
        while size := name[at]:
            at += 1 + size
            labels += 1
            if size > longest:
                longest = size
    except IndexError:
        return None
    # Lengths become dots, and so does whatever no host has. If there are more dots than lengths, the name has such
    # octets.
    host = name[1:at].translate(_TO_HOST).decode("ascii")
    return host if at < _MAX_NAME and longest <= _SHORT_LABEL and host.count(".") == labels - 1 else None


def _escaped(name: bytes) -> str:
    labels = (name[at + 1 : at + 1 + name[at]] for at in label_starts(name))
    return ".".join(
        "".join(chr(octet) if octet in _PLAIN_OCTETS else f"\\{octet:03d}" for octet in label) for label in labels
    )


def name_of(host: str) -> bytes:
    """Return the wire form of a canonical host. Raises ValueError if it has none.

    >>> name_of("www.example")
    b'\\x03www\\x07example\\x00'
    """
    if not host:
        return b"\0"
    labels = [label.encode("ascii") for label in host.lower().split(".")]
    if not all(0 < len(label) < 64 for label in labels) or len(host) > 253:
        raise ValueError(f"not a domain name: {host!r}")
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def parse_query(data: bytes, transport: str = "udp") -> Query:
    """Parse a query whose opcode is QUERY. Raises Malformed."""
    end = data.find(0, HEADER) + 1
    rest = data[end:]
    if end and len(rest) in _BEHIND_NAME:  # queries differ in little but their names
        name = data[HEADER:end].lower()
        host = _plain_host(name)
        if host is not None:
            return Query(data, end + 4, name, host, *_parse_around(data[2:HEADER], rest, transport))
    return _parse_whole(data, transport)


@lru_cache(maxsize=1024)
def _parse_around(head: bytes, rest: bytes, transport: str) -> tuple[int, int, Edns | None, int, bool, bytes]:
    """Parse a query without its name. Raises Malformed."""
    return _parse_whole(b"\0\0" + head + b"\0" + rest, transport)[4:]


def _parse_whole(data: bytes, transport: str) -> Query:
    if len(data) < HEADER:
        raise Malformed("shorter than a header")
    flags, questions, answers, authority, additional = unpack_from("!HHHHH", data, 2)
    if questions != 1 or answers or authority > 1 or additional > 2:
        raise Malformed("not exactly one question")
    name, at = read_name(data, HEADER)
    end = at + 4
    if len(data) < end or at - HEADER != len(name):
        raise Malformed("question cut short, or compressed")
    qtype, qclass = unpack_from("!HH", data, at)
    edns, cacheable, at = None, flags & 0xFECF == 0 and not authority, end
    if authority:  # the version that the client of an incremental transfer has (RFC 1995, section 3)
        if qtype != IXFR:
            raise Malformed("not exactly one question")
        at = read_record(data, at).end
    for index in range(additional):
        if data[at : at + 3] == b"\0\0\x29":
            if edns is not None:
                raise Malformed("two OPT records")
            edns = _read_edns(data, at)
            cacheable = cacheable and index == 0 and data.find(EDE_OPTION_PREFIX, end - 4 + SUFFIX_OCTETS) < 0
        record = read_record(data, at)
        if record.rtype == OPT and record.owner != b"\0":
            raise Malformed("OPT record whose owner is not the root")
        at = record.end
    if at != len(data):
        raise Malformed("octets after the end")
    if additional > 1 or (additional and edns is None) or (edns is not None and edns.version):
        cacheable = False
    shape = _shape(edns) | _TRANSPORT_SHAPES[transport]
    name = name.lower()
    return Query(
        data, end, name, host_of(name), qtype, qclass, edns, shape, cacheable, data[end - 4 : end] + bytes((shape,))
    )


def query_of(key: bytes) -> Query:
    """Return a query with this key (`Query.key`), without EDNS options.

    >>> query = parse_query(bytes.fromhex("1234 0100 0001 0000 0000 0000") + b"\\x01a\\x00\\x00\\x01\\x00\\x01")
    >>> query_of(query.key).key == query.key
    True
    """
    shape = key[-1]
    opt = opt_bytes(0, bool(shape & DNSSEC_SHAPE)) if shape & EDNS_SHAPE else b""
    return parse_query(b"\0\0" + key[:-1] + opt, _TRANSPORTS[shape & _TRANSPORT_MASK])


def record_bytes(owner: bytes, rtype: int, ttl: int, rdata: bytes) -> bytes:
    """Return one record of class IN. `owner` is in wire form or a compression pointer."""
    return owner + pack("!HHIH", rtype, IN, ttl, len(rdata)) + rdata


def option_bytes(code: int, value: bytes) -> bytes:
    return pack("!HH", code, len(value)) + value


def option_of(options: bytes, code: int) -> bytes | None:
    """Return the content of the first option with this code in the options of a parsed OPT record."""
    at = 0
    while at < len(options):
        found, size = unpack_from("!HH", options, at)
        if found == code:
            return options[at + 4 : at + 4 + size]
        at += 4 + size
    return None


def forwarded_mac(data: bytes) -> str | None:
    """Return the MAC address of the device for which a forwarder asks, as dnsmasq's `add-mac` adds it."""
    try:
        edns = parse_query(data).edns
    except Malformed:
        return None
    value = option_of(edns.options, _MAC_OPTION) if edns is not None else None
    return value.hex(":") if value is not None and len(value) == _MAC_OCTETS else None


def opt_bytes(rcode: int, dnssec: bool, options: bytes = b"") -> bytes:
    """Return our OPT record. `rcode` gives its upper eight bits."""
    return b"\0" + pack("!HHBBHH", OPT, UDP_SIZE, rcode >> 4, 0, 0x8000 if dnssec else 0, len(options)) + options


def read_record(data: bytes, at: int, question_name: bytes = b"", known: dict[int, bytes] | None = None) -> Record:
    if question_name and data[at : at + 2] == QUESTION_POINTER:
        owner, name_end = question_name, at + 2
    elif data[at : at + 1] == b"\0":
        owner, name_end = b"\0", at + 1
    else:
        owner, name_end = read_name(data, at, known)
        owner = owner.lower()
    try:
        rtype, _, ttl, size = _unpack_fields(data, name_end)
    except StructError:
        raise Malformed("record cut short") from None
    start = name_end + 10
    end = start + size
    if len(data) < end:
        raise Malformed("record runs over the end")
    return Record(owner, rtype, ttl, name_end + 4, at, start, end)


def _read_edns(data: bytes, at: int) -> Edns:
    record = read_record(data, at)
    size, ttl = unpack_from("!HI", data, at + 3)
    at = record.start
    while at < record.end:
        if at + 4 > record.end:
            raise Malformed("EDNS option cut short")
        at += 4 + int.from_bytes(data[at + 2 : at + 4])
    if at != record.end:
        raise Malformed("EDNS option runs over the end")
    return Edns(size, ttl >> 16 & 255, bool(ttl & 0x8000), data[record.start : record.end])


def _shape(edns: Edns | None) -> int:
    shape = 0
    if edns is not None:
        shape |= EDNS_SHAPE | (DNSSEC_SHAPE if edns.dnssec else 0) | (LARGE_SHAPE if edns.size >= UDP_SIZE else 0)
        error = option_of(edns.options, EXTENDED_ERROR) if edns.options else None
        if error is not None and len(error) in _EMPTY_ERROR:
            shape |= STRUCTURED_SHAPE
    return shape
