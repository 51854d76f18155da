"""A nameserver on loopback for tests: UDP and TCP, IPv4 and IPv6, all on one port, with faults that can be switched on.

It answers with AA and RA set, so that it can stand for an authoritative server or for a resolver's upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import dnslib

from small_internet.background import BackgroundLoop, background_loop
from small_internet.records import Zone, look_up

PLAIN_UDP_SIZE = 512
CACHE_SIZE = 4096


class Fault(StrEnum):
    """Kinds of wrong answers."""

    DEAD = "dead"  # no answer at all; over TCP the connection stays open and silent
    SLOW = "slow"  # the right answer, `delay` seconds late
    WRONG_ID = "wrong id"
    WRONG_QUESTION = "wrong question"  # the answer of another name, with the id of this query
    TRUNCATING = "truncating"  # over UDP always TC and no records; over TCP the whole answer
    SERVFAIL = "servfail"
    REFUSED = "refused"
    # addresses of a name that nobody asked for, in the answer and in the additional section
    EXTRA_RECORDS = "extra records"
    GARBAGE = "garbage"  # bytes that are no DNS message
    HEADER_ONLY = "header only"  # twelve bytes and a question count of 1


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """`then_right` sends the right answer after the wrong one, as when somebody spoofs faster than the real server."""

    fault: Fault
    delay: float = 0.0
    then_right: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """One message to send back, `delay` seconds from now."""

    delay: float
    wire: bytes


class Nameserver:
    """The handle of a running nameserver.

    Made by `nameserver(...)`; its methods are safe to call from the test's thread.
    """

    def __init__(self, zones: Sequence[Zone], port: int, loop: BackgroundLoop) -> None:
        self.port = port
        self.host, self.host6 = "127.0.0.1", "::1"
        self._loop = loop
        self._zones = list(zones)
        self._faults: dict[str, Misbehaviour] = {}
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._answers: dict[tuple[str, bytes], tuple[tuple[str, str, str], bytes]] = {}

    @property
    def upstream(self) -> str:
        """As a policy file names it."""
        return f"udp://{self.host}:{self.port}"

    def queries(self, name: str | None = None, kind: str | None = None, transport: str | None = None) -> int:
        """The number of queries, of all or of one name (lower case, no trailing dot), type ("A") or transport ("udp",
        "tcp").
        """
        wanted = (name, kind, transport)

        def matches(key: tuple[str, str, str]) -> bool:
            return all(want is None or want == have for want, have in zip(wanted, key, strict=True))

        return self._loop.call(lambda: sum(count for key, count in self._counts.items() if matches(key)))

    def names_asked(self) -> set[str]:
        return self._loop.call(lambda: {name for name, _, _ in self._counts})

    def forget_queries(self) -> None:
        self._loop.call(self._counts.clear)

    def add_zone(self, zone: Zone) -> None:
        """Adds a zone, or replaces the one of the same name."""

        def change() -> None:
            self._zones = [old for old in self._zones if old.name != zone.name] + [zone]
            self._answers.clear()

        self._loop.call(change)

    @contextlib.contextmanager
    def misbehaving(
        self, fault: Fault, name: str = "", *, delay: float = 0.0, then_right: bool = False
    ) -> Iterator[None]:
        """While inside, answers about `name` are wrong in the given way; "" stands for all names that have no fault of
        their own.
        """
        how = Misbehaviour(fault, delay, then_right)
        self._loop.call(lambda: self._faults.update({name: how}))
        try:
            yield
        finally:
            self._loop.call(lambda: self._faults.pop(name, None))

    def replies(self, query: bytes, transport: str) -> list[Reply]:
        """Return the responses to one message, none if it is not a query. Runs on the server's loop."""
        cached = self._answers.get((transport, query[2:]))
        if cached and not self._faults:
            self._counts[cached[0]] += 1
            return [Reply(0.0, query[:2] + cached[1])]
        try:
            asked = dnslib.DNSRecord.parse(query)
        except (dnslib.DNSError, UnicodeError):
            return []
        if asked.header.qr or not asked.questions:
            return []
        name = str(asked.q.qname).rstrip(".").lower()
        key = (name, dnslib.QTYPE.get(asked.q.qtype), transport)
        self._counts[key] += 1
        right = answer_to(self._zones, asked, transport)
        if len(self._answers) < CACHE_SIZE:
            self._answers[transport, query[2:]] = (key, right[2:])
        misbehaviour = self._faults.get(name) or self._faults.get("")
        return misbehave(misbehaviour, asked, right, transport) if misbehaviour else [Reply(0.0, right)]


def answer_to(zones: Sequence[Zone], asked: dnslib.DNSRecord, transport: str) -> bytes:
    """The right answer as wire bytes, truncated over UDP to the size that the query allows (RFC 1035, RFC 6891)."""
    outcome = look_up(zones, str(asked.q.qname).rstrip(".").lower(), asked.q.qtype)
    reply = asked.reply(ra=1, aa=1)
    reply.header.rcode = outcome.rcode
    reply.header.ad = 0
    for record in outcome.answers:
        reply.add_answer(record)
    for record in outcome.authority:
        reply.add_auth(record)
    size = PLAIN_UDP_SIZE
    for option in asked.ar:
        if option.rtype == dnslib.QTYPE.OPT:
            size = max(size, option.rclass)
            reply.add_ar(dnslib.EDNS0(udp_len=1232, flags="do" if option.edns_do else ""))
    wire: bytes = reply.pack()
    if transport == "udp" and len(wire) > size:
        return truncated(reply)
    return wire


def truncated(reply: dnslib.DNSRecord) -> bytes:
    """The same answer with TC set and without its records."""
    short = dnslib.DNSRecord(
        dnslib.DNSHeader(id=reply.header.id, bitmap=reply.header.bitmap), questions=reply.questions
    )
    short.header.tc = 1
    for record in reply.ar:
        if record.rtype == dnslib.QTYPE.OPT:
            short.add_ar(record)
    wire: bytes = short.pack()
    return wire


def misbehave(how: Misbehaviour, asked: dnslib.DNSRecord, right: bytes, transport: str) -> list[Reply]:
    """The replies under a fault; a reply that comes `then_right` follows 20 ms after the wrong one."""
    wrong = _wrong_answer(how.fault, asked, right, transport)
    replies = [Reply(how.delay, wrong)] if wrong is not None else []
    if how.then_right:
        replies.append(Reply(how.delay + 0.02, right))
    return replies


def _wrong_answer(fault: Fault, asked: dnslib.DNSRecord, right: bytes, transport: str) -> bytes | None:
    match fault:
        case Fault.DEAD:
            return None
        case Fault.SLOW:
            return right
        case Fault.WRONG_ID:
            return struct.pack("!H", asked.header.id ^ 0x5555) + right[2:]
        case Fault.TRUNCATING:
            return truncated(dnslib.DNSRecord.parse(right)) if transport == "udp" else right
        case Fault.SERVFAIL | Fault.REFUSED:
            reply = asked.reply(ra=1)
            reply.header.rcode = getattr(dnslib.RCODE, fault.value.upper())
        case Fault.WRONG_QUESTION:
            reply = dnslib.DNSRecord.parse(right)
            reply.questions = [dnslib.DNSQuestion("not-asked.example", asked.q.qtype)]
            reply.rr = [_stray("not-asked.example")]
        case Fault.EXTRA_RECORDS:
            reply = dnslib.DNSRecord.parse(right)
            reply.add_answer(_stray("stray.example"))
            reply.add_ar(_stray("stray.example"))
        case Fault.GARBAGE:
            return struct.pack("!H", asked.header.id) + b"\xff" * 30
        case Fault.HEADER_ONLY:
            return right[:4] + struct.pack("!HHHH", 1, 0, 0, 0)
    wire: bytes = reply.pack()
    return wire


def _stray(name: str) -> dnslib.RR:
    return dnslib.RR(name, dnslib.QTYPE.A, ttl=300, rdata=dnslib.A("127.6.6.6"))


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: Nameserver) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.DatagramTransport)
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        for reply in self._server.replies(data, "udp"):
            if reply.delay:
                asyncio.get_running_loop().call_later(reply.delay, self._send, reply.wire, addr)
            else:
                self._send(reply.wire, addr)

    def _send(self, wire: bytes, addr: tuple[str, int]) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(wire, addr)


async def _serve_stream(server: Nameserver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            for reply in server.replies(await reader.readexactly(length), "tcp"):
                await asyncio.sleep(reply.delay)
                writer.write(struct.pack("!H", len(reply.wire)) + reply.wire)
                await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def _bind_all(tries: int = 50) -> list[socket.socket]:
    """UDP and TCP sockets of both families on one port that was free in all four."""
    for _ in range(tries):
        sockets = [_socket(socket.AF_INET, socket.SOCK_DGRAM)]
        try:
            sockets[0].bind(("127.0.0.1", 0))
            port = sockets[0].getsockname()[1]
            for family, kind, host in (
                (socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1"),
                (socket.AF_INET6, socket.SOCK_DGRAM, "::1"),
                (socket.AF_INET6, socket.SOCK_STREAM, "::1"),
            ):
                sockets.append(_socket(family, kind))
                sockets[-1].bind((host, port))
                if kind == socket.SOCK_STREAM:
                    sockets[-1].listen()  # Only this claims a port under SO_REUSEADDR.
        except OSError:
            for taken in sockets:
                taken.close()
            continue
        return sockets
    raise OSError("no port is free for UDP and TCP over both families")


def _socket(family: int, kind: int) -> socket.socket:
    made = socket.socket(family, kind)
    made.setblocking(False)
    if kind == socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    else:
        # A load generator must not lose queries here, or a test would blame the program under test.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    return made


@contextlib.contextmanager
def nameserver(zones: Sequence[Zone]) -> Iterator[Nameserver]:
    """A running nameserver for `zones` on a free port of 127.0.0.1 and ::1."""
    sockets = _bind_all()
    with background_loop("nameserver") as loop:
        server = Nameserver(zones, sockets[0].getsockname()[1], loop)
        closing = loop.run(_start(server, sockets))
        try:
            yield server
        finally:
            loop.run(closing.aclose())


async def _start(server: Nameserver, sockets: Sequence[socket.socket]) -> contextlib.AsyncExitStack:
    loop = asyncio.get_running_loop()
    closing = contextlib.AsyncExitStack()
    for sock in sockets:
        if sock.type == socket.SOCK_DGRAM:
            transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(server), sock=sock)
            closing.callback(transport.close)
        else:
            listener = await asyncio.start_server(lambda r, w: _serve_stream(server, r, w), sock=sock)
            closing.callback(listener.close)
    return closing
