"""Single queries after the RFCs, as ISC's compliance tests ask them (RFC 8906), over UDP and TCP.

Each says which answers are right.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from struct import pack

import dnslib
from http_conformance.outcome import Outcome

from dns_conformance.servers import HOME, Resolver

FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 1, 2, 3, 4, 5, 16
SILENCE = 1.0  # seconds after which there is no answer
PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A response with what the cases look at.

    `rcode` has the bits of the OPT record, `version` is that record's, None without one.
    """

    data: bytes
    rcode: int
    version: int | None
    dnssec: bool
    unknown_flags: int
    options: tuple[int, ...]
    records: tuple[tuple[str, int, int, str], ...]  # owner, type, TTL, rdata

    @property
    def flags(self) -> tuple[bool, bool, bool, bool, bool]:
        """QR, AA, TC, RD, RA."""
        first, second = self.data[2], self.data[3]
        return bool(first & 0x80), bool(first & 4), bool(first & 2), bool(first & 1), bool(second & 0x80)

    @property
    def opcode(self) -> int:
        return self.data[2] >> 3 & 15


def parse(data: bytes) -> Answer:
    """Parse a response. Raises an exception of dnslib's if it is malformed."""
    if len(data) == 12:
        return Answer(data, data[3] & 15, None, False, 0, (), ())
    record = dnslib.DNSRecord.parse(data)
    opt = next((each for each in record.ar if each.rtype == 41), None)
    ttl = opt.ttl if opt is not None else 0
    options = tuple(option.code for option in opt.rdata) if opt is not None else ()
    records = tuple((str(each.rname).lower(), each.rtype, each.ttl, str(each.rdata)) for each in record.rr)
    version = None if opt is None else ttl >> 16 & 255
    return Answer(
        data, record.header.rcode | (ttl >> 24) << 4, version, bool(ttl & 0x8000), ttl & 0x7FFF, options, records
    )


def ask(port: int, data: bytes, transport: str = "udp", wait: float = PATIENCE) -> bytes | None:
    """Return the first answer, or None if there is none in time or the connection is closed."""
    kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.settimeout(wait)
        try:
            sock.connect((HOME, port))
            if transport == "udp":
                sock.send(data)
                return sock.recv(65535)
            sock.sendall(len(data).to_bytes(2) + data)
            return read_framed(sock)
        except (OSError, EOFError):
            return None


def read_framed(sock: socket.socket) -> bytes:
    size = int.from_bytes(_read(sock, 2))
    return _read(sock, size)


def _read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def query(
    name: str = "news.example",
    kind: int = 1,
    klass: int = 1,
    *,
    flags: int = 0x0100,
    additional: bytes = b"",
    count: int = 0,
) -> bytes:
    """Return a query with the id 0x4D2, and `count` records in `additional`."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split(".") if label) + b"\0"
    return pack("!HHHHHH", 0x04D2, flags, 1, 0, 0, count) + labels + pack("!HH", kind, klass) + additional


def opt(options: bytes = b"", *, version: int = 0, flags: int = 0, size: int = 1232, owner: bytes = b"\0") -> bytes:
    return owner + pack("!HHBBHH", 41, size, 0, version, flags, len(options)) + options


def edns(
    options: bytes = b"",
    *,
    name: str = "news.example",
    kind: int = 1,
    version: int = 0,
    flags: int = 0,
    size: int = 1232,
) -> bytes:
    return query(name, kind, additional=opt(options, version=version, flags=flags, size=size), count=1)


type Judge = Callable[[Answer | None], bool]


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    section: str
    data: bytes
    judge: Judge
    transports: tuple[str, ...] = ("udp", "tcp")


def answered(answer: Answer | None) -> bool:
    return answer is not None and answer.rcode == 0 and any(kind == 1 for _, kind, _, _ in answer.records)


def empty(answer: Answer | None) -> bool:
    return answer is not None and answer.rcode == 0 and not answer.records


def code(*rcodes: int) -> Judge:
    return lambda answer: answer is not None and answer.rcode in rcodes


def silent_or(*rcodes: int) -> Judge:
    return lambda answer: answer is None or answer.rcode in rcodes


def plain(answer: Answer | None) -> bool:
    return answered(answer) and answer is not None and answer.version is None


def with_edns(answer: Answer | None) -> bool:
    return answered(answer) and answer is not None and answer.version == 0 and answer.unknown_flags == 0


def echoes_no_option(answer: Answer | None) -> bool:
    return with_edns(answer) and answer is not None and 0xFFF0 not in answer.options


def bad_version(answer: Answer | None) -> bool:
    return (
        answer is not None
        and answer.rcode == BADVERS
        and answer.version == 0
        and not answer.records
        and 0xFFF0 not in answer.options
    )


def header_is_right(answer: Answer | None) -> bool:
    return (
        answered(answer)
        and answer is not None
        and answer.flags == (True, False, False, True, True)
        and answer.data[:2] == b"\x04\xd2"
    )


def zero_bit(answer: Answer | None) -> bool:
    return answer is not None and (answer.rcode == FORMERR or (answered(answer) and not answer.data[3] & 0x40))


def truncated(answer: Answer | None) -> bool:
    return answer is not None and answer.flags[2] and len(answer.data) <= 512


def spelled(answer: Answer | None) -> bool:
    return answered(answer) and answer is not None and b"\x04nEwS\x07ExAmPlE" in answer.data


LONG = "x" * 64
CASES = (
    Case("plain DNS", "8906 8.1.1", query(), plain),
    Case("header of an answer", "1035 4.1.1", query(), header_is_right),
    Case("unknown type", "8906 8.1.2", query(kind=1000), empty),
    Case("name that does not exist", "1035 4.1.1", query("no-such-name.example"), code(NXDOMAIN)),
    Case("AD flag", "8906 8.1.3.2", query(flags=0x0120), plain),
    Case("CD flag", "8906 8.1.3.1", query(flags=0x0110), plain),
    Case("reserved flag", "8906 8.1.3.3", query(flags=0x0140), zero_bit),
    Case("recursion not desired", "8906 8.1.3.4", query(flags=0), code(0, REFUSED)),
    Case("unknown opcode", "8906 8.1.4", query(flags=0x7900), code(NOTIMP)),
    Case("unknown opcode, header only", "8906 8.1.4", query(flags=0x7900)[:4] + bytes(8), silent_or(NOTIMP, FORMERR)),
    Case("opcode UPDATE", "2136 3.1", query(flags=0x2800), code(NOTIMP, REFUSED, FORMERR, 9)),
    Case("opcode NOTIFY", "1996 3", query(flags=0x2000), code(NOTIMP, REFUSED, FORMERR, 9)),
    Case("EDNS", "8906 8.2.1", edns(), with_edns),
    Case("EDNS with an unknown version", "8906 8.2.2", edns(version=1), bad_version),
    Case("EDNS with an unknown option", "8906 8.2.3", edns(b"\xff\xf0\0\0"), echoes_no_option),
    Case("EDNS with an unknown flag", "8906 8.2.4", edns(flags=0x0040), with_edns),
    Case("EDNS with unknown version and option", "8906 8.2.5", edns(b"\xff\xf0\0\0", version=1), bad_version),
    Case("EDNS with an unknown version and flag", "8906 8.2.6", edns(version=1, flags=0x0040), bad_version),
    Case(
        "EDNS with DO",
        "8906 8.2.7",
        edns(flags=0x8000),
        lambda answer: with_edns(answer) and answer is not None and answer.dnssec,
    ),
    Case(
        "EDNS with several options",
        "8906 8.2.8",
        edns(b"\0\x0a\0\x08\1\2\3\4\5\6\7\x08\0\3\0\0\0\x0c\0\2\0\0"),
        with_edns,
    ),
    Case("EDNS with a size below 512", "6891 6.2.3", edns(size=100), with_edns),
    Case(
        "no OPT record without one in the query",
        "6891 6.1.1",
        query(kind=28),
        lambda answer: answer is not None and answer.version is None,
    ),
    Case("two OPT records", "6891 6.1.1", query(additional=opt() * 2, count=2), code(FORMERR)),
    Case(
        "OPT record whose owner is not the root",
        "6891 6.1.2",
        query(additional=opt(owner=b"\1a\0"), count=1),
        code(FORMERR),
    ),
    Case("option that runs over the end", "6891 6.1.2", edns(b"\0\x0a\0\xffab"), silent_or(FORMERR)),
    Case("truncation at 512 octets", "1035 4.2.1", query("huge-text.oddities.example", 16), truncated, ("udp",)),
    Case(
        "long answer over TCP",
        "7766 5",
        query("huge-text.oddities.example", 16),
        lambda answer: answer is not None and len(answer.data) > 20_000,
        ("tcp",),
    ),
    Case("spelling of the question", "1034 3.5", query("nEwS.ExAmPlE"), spelled),
    Case("no question", "9619 3", query()[:4] + bytes(8), silent_or(FORMERR)),
    Case("two questions", "9619 3", query()[:4] + b"\0\2" + query()[6:] + query()[12:], silent_or(FORMERR, NOTIMP)),
    Case("question cut short", "1035 4.1.2", query()[:-3], silent_or(FORMERR)),
    Case(
        "octets after the end",
        "1035 4.1",
        query() + b"abc",
        lambda answer: answer is None or answer.rcode == FORMERR or answered(answer),
    ),
    Case("label of 64 octets", "1035 2.3.4", query().replace(b"\x04news", b"\x40" + b"x" * 64), silent_or(FORMERR)),
    Case("compression pointer in the question", "1035 4.1.4", query()[:12] + b"\xc0\x0c\0\1\0\1", silent_or(FORMERR)),
    Case("response instead of a query", "1035 4.1.1", query(flags=0x8180), lambda answer: answer is None),
    Case("less than a header", "1035 4.1.1", query()[:11], lambda answer: answer is None or answer.rcode == FORMERR),
    Case("type OPT in a question", "6891 6.1.1", query(kind=41), code(FORMERR, REFUSED, NOTIMP, SERVFAIL, 0)),
    Case("type TSIG in a question", "8945 4.2", query(kind=250), code(FORMERR, REFUSED, NOTIMP)),
    Case("type 0 in a question", "6895 3.1", query(kind=0), code(FORMERR, REFUSED, NOTIMP, 0)),
    Case("type MAILB in a question", "1035 3.2.3", query(kind=253), code(0, FORMERR, NOTIMP, REFUSED)),
    Case(
        "type ANY",
        "8482 4",
        query(kind=255),
        lambda answer: answer is not None and answer.rcode in (0, NOTIMP, REFUSED) and len(answer.data) <= 512,
    ),
    Case("transfer of a zone", "5936 4.2", query("example", 252), code(REFUSED, NOTIMP, FORMERR)),
    Case("class CHAOS", "1035 3.2.4", query("version.bind", 16, 3), code(REFUSED, NOTIMP, 0)),
    Case(
        "keepalive over TCP",
        "7828 3.2.1",
        edns(b"\0\x0b\0\0"),
        lambda answer: with_edns(answer) and answer is not None and 11 in answer.options,
        ("tcp",),
    ),
    Case(
        "no keepalive over UDP",
        "7828 3.2.1",
        edns(b"\0\x0b\0\0"),
        lambda answer: with_edns(answer) and answer is not None and 11 not in answer.options,
        ("udp",),
    ),
    Case("localhost stays here", "6761 6.3", query("localhost"), answered),
    Case("invalid does not exist", "6761 6.4", query("name.invalid"), code(NXDOMAIN)),
    Case("onion does not exist", "7686 2", query("name.onion"), code(NXDOMAIN)),
    Case(
        "reverse names of private addresses stay here",
        "6303 3",
        query("1.1.168.192.in-addr.arpa", 12),
        code(NXDOMAIN, 0),
    ),
)


def run_messages(resolver: Resolver) -> Iterator[Outcome]:
    """Ask every case over its transports."""
    for case in CASES:
        for transport in case.transports:
            data = ask(resolver.ports[transport], case.data, transport, SILENCE if case.judge(None) else PATIENCE)
            answer = None
            with contextlib.suppress(dnslib.DNSError):
                answer = parse(data) if data is not None else None
            seen = (
                "no answer"
                if answer is None
                else f"code {answer.rcode}, {len(answer.records)} records, EDNS {answer.version}, "
                f"options {answer.options}"
            )
            yield Outcome(f"queries over {transport.upper()}", case.name, case.section, case.judge(answer), seen)
