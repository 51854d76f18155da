"""DNS over QUIC with clients that violate it. tests/e2e covers well-behaved ones with kdig."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import dnslib
import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset
from small_internet import SmallInternet

from hedgerow.dns.server.rate_limits import HANDSHAKES_PER_SECOND, MAX_HANDSHAKES
from hedgerow.dns.server.stream import EncryptedFrontend
from hedgerow.features.quic import doq
from hedgerow.features.quic.connections import MAX_STREAMS, RetryTokens
from hedgerow.features.quic.doq import EXCESSIVE_LOAD, NO_ERROR, PROTOCOL_ERROR, DoqConnection, QuicServer, QuicTls
from hedgerow.frame_budget import MAX_TOKENS
from hedgerow.policies.network import QueryLimit
from hedgerow.sockets import open_socket

from ...dns.conftest import Running, running

LONG = 30.0


class Client(QuicConnectionProtocol):
    """Writes what it is told to, and keeps what it gets."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.answers: asyncio.Queue[bytes] = asyncio.Queue()
        self.resets: asyncio.Queue[int] = asyncio.Queue()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._parts: dict[int, bytes] = {}

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self._parts[event.stream_id] = self._parts.get(event.stream_id, b"") + event.data
            if event.end_stream:
                self.answers.put_nowait(self._parts.pop(event.stream_id))
        elif isinstance(event, StreamReset):
            self.resets.put_nowait(event.error_code)
        elif isinstance(event, ConnectionTerminated):
            self.ended.set_result(event.error_code)

    def write(self, data: bytes, *, end: bool = True, stream: int | None = None) -> int:
        number = self._quic.get_next_available_stream_id() if stream is None else stream
        self._quic.send_stream_data(number, data, end_stream=end)
        self.transmit()
        return number

    async def answer(self) -> dnslib.DNSRecord:
        async with asyncio.timeout(LONG):
            return dnslib.DNSRecord.parse((await self.answers.get())[2:])

    async def ending(self) -> int:
        async with asyncio.timeout(LONG):
            return await self.ended


def framed(name: str = "news.example", id: int = 0, options: list[dnslib.EDNSOption] | None = None) -> bytes:
    question = dnslib.DNSRecord.question(name)
    question.header.id = id
    if options is not None:
        question.add_ar(dnslib.EDNS0(udp_len=1232, opts=options))
    packed = bytes(question.pack())
    return len(packed).to_bytes(2) + packed


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not holds():  # noqa: ASYNC110 (the server tells nobody)
            await asyncio.sleep(0.01)


class Stand:
    """A server for DoQ on loopback, and clients of it."""

    def __init__(self, server: QuicServer, port: int, plain: Running) -> None:
        self.server, self.port, self.plain = server, port, plain

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        configuration = QuicConfiguration(
            alpn_protocols=["doq"], verify_mode=ssl.CERT_NONE, server_name="dns.home.example"
        )
        async with (
            asyncio.timeout(LONG),
            connect("127.0.0.1", self.port, configuration=configuration, create_protocol=Client) as client,
        ):
            yield cast(Client, client)


def with_server(internet: SmallInternet, use: Callable[[Stand], Awaitable[None]]) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as plain:
            leaf = internet.authority.leaf("dns.home.example")
            tls = QuicTls(leaf.certificate, leaf.key, ["doq"])
            server = QuicServer(EncryptedFrontend(plain.server.streams, "dns.home.example"), tls, DoqConnection)
            sock = open_socket("127.0.0.1", 0, socket.SOCK_DGRAM)
            await server.listen(sock)
            try:
                await use(Stand(server, sock.getsockname()[1], plain))
            finally:
                server.close()
                await asyncio.sleep(0)

    asyncio.run(main())


def test_each_query_is_answered_on_its_stream(internet: SmallInternet) -> None:
    async def use(stand: Stand) -> None:
        async with stand.client() as client:
            for _ in range(3 * MAX_STREAMS):  # credit comes back as streams end
                client.write(framed())
            answers = [await client.answer() for _ in range(3 * MAX_STREAMS)]
            assert {str(answer.a.rdata) for answer in answers} == {internet.address_of("news.example")}
            half = framed("adult.example")
            stream = client.write(half[:9], end=False)
            client.write(half[9:], stream=stream)
            assert str((await client.answer()).a.rdata) == "0.0.0.0"

    with_server(internet, use)


@pytest.mark.parametrize(
    "data",
    [
        framed(id=7),
        framed() + framed(),
        framed()[:-1],
        b"\0\5abcde",
        framed(options=[dnslib.EDNSOption(11, b"")]),
    ],
    ids=["an id", "two in a stream", "cut short", "no message", "a keepalive"],
)
def test_protocol_violation_ends_the_connection(internet: SmallInternet, data: bytes) -> None:
    async def use(stand: Stand) -> None:
        async with stand.client() as client:
            client.write(data)
            assert await client.ending() == PROTOCOL_ERROR
        async with stand.client() as client:
            client.write(framed())
            assert await client.answer()

    with_server(internet, use)


@pytest.mark.parametrize("end", [True, False])
def test_query_that_is_too_long_is_cancelled(internet: SmallInternet, end: bool) -> None:
    """Its client would else wait for credit that never comes."""

    async def use(stand: Stand) -> None:
        async with stand.client() as client:
            client.write((5000).to_bytes(2) + bytes(5000), end=end)
            async with asyncio.timeout(LONG):
                assert await client.resets.get() == EXCESSIVE_LOAD
            client.write(framed())
            assert await client.answer()

    with_server(internet, use)


def test_finished_connection_leaves_nothing_behind(internet: SmallInternet) -> None:
    """Without the garbage collector, which rarely looks at objects that have lived for seconds."""

    async def use(stand: Stand) -> None:
        ended: list[weakref.ref[object]] = []
        for _ in range(5):
            async with stand.client() as client:
                client.write(framed())
                await client.answer()
                (connection,) = stand.server.table.connections
                ended += [weakref.ref(each) for each in (connection, connection.bounded, connection.bounded.tls)]
            del connection, client
        await until(lambda: not any(each() for each in ended))

    gc.collect()
    gc.disable()
    try:
        with_server(internet, use)
    finally:
        gc.enable()


def test_flood_of_packets_ends_the_connection_and_keeps_the_client_out(internet: SmallInternet) -> None:
    async def use(stand: Stand) -> None:
        stand.plain.server.limit(QueryLimit(exempt=()))
        async with stand.client() as client:
            sent = 0
            while not client.ended.done():
                client._quic.send_ping(sent)
                client.transmit()
                sent += 1
                await asyncio.sleep(0)
            assert await client.ending() == EXCESSIVE_LOAD
            assert sent > MAX_TOKENS // 2
        counted = stand.plain.server.responder.counters
        assert counted["hedgerow_dns_dropped_total", "flood"] == 1
        stand.plain.server.responder.clients.limits.bucket("127.0.0.1", "tablet").frames.left = -1000.0  # type: ignore[union-attr]
        assert not stand.server.admits("127.0.0.1")
        assert stand.server.admits("127.0.0.2")

    with_server(internet, use)


def test_handshakes_of_one_client_are_limited(internet: SmallInternet) -> None:
    async def use(stand: Stand) -> None:
        stand.plain.server.limit(QueryLimit(exempt=()))
        assert sum(stand.server.admits("127.0.0.1") for _ in range(2 * MAX_HANDSHAKES)) == MAX_HANDSHAKES
        assert stand.server.admits("127.0.0.2"), "another client is not affected"
        stand.plain.server.responder.clients.limits.refill()
        assert sum(stand.server.admits("127.0.0.1") for _ in range(2 * MAX_HANDSHAKES)) == HANDSHAKES_PER_SECOND

    with_server(internet, use)


def test_open_streams_use_up_the_credit(internet: SmallInternet) -> None:
    async def use(stand: Stand) -> None:
        async with stand.client() as client:
            for _ in range(2 * MAX_STREAMS):
                client.write(framed()[:-1], end=False)
            await until(
                lambda: any(
                    connection.bounded.open_streams >= MAX_STREAMS for connection in stand.server.table.connections
                )
            )
            await client.ping()
            (connection,) = stand.server.table.connections
            assert connection.bounded.open_streams == MAX_STREAMS
            assert client._quic._remote_max_streams_bidi == MAX_STREAMS
            assert client._quic._remote_max_streams_uni == 0

    with_server(internet, use)


def test_connections_are_bounded_and_closed_ones_make_room(
    internet: SmallInternet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doq, "MAX_CONNECTIONS", 2)

    async def use(stand: Stand) -> None:
        async with stand.client() as first, stand.client() as second:
            for client in (first, second):
                client.write(framed())
                await client.answer()
            async with stand.client() as third:  # the longest idle gives way
                third.write(framed())
                assert await third.answer()
                assert await first.ending() == EXCESSIVE_LOAD
                assert len(stand.server.table.connections) == 2
        await until(lambda: not stand.server.table.connections)

    with_server(internet, use)


def test_one_address_may_reconnect_many_times(internet: SmallInternet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that connect anew for each question leave connections behind: some closed, some not even that."""
    monkeypatch.setattr(doq, "MAX_CONNECTIONS_PER_CLIENT", 2)

    async def use(stand: Stand) -> None:
        for _ in range(5):
            async with stand.client() as client:
                client.write(framed())
                await client.answer()
        async with contextlib.AsyncExitStack() as left_open:
            for _ in range(5):
                client = await left_open.enter_async_context(stand.client())
                client.write(framed())
                await client.answer()
                assert len(stand.server.table.connections) <= 2

    with_server(internet, use)


def test_idle_client_is_disconnected(internet: SmallInternet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doq, "UNKNOWN_CLIENT_SECONDS", 0.1)
    monkeypatch.setattr(doq, "_SWEEP_SECONDS", 0.05)

    async def use(stand: Stand) -> None:
        async with stand.client() as client:
            assert await client.ending() == NO_ERROR

    with_server(internet, use)


def test_unproven_address_costs_no_memory(internet: SmallInternet) -> None:
    """A first datagram gets a Retry that is smaller than itself; what follows must come from where that was sent to."""

    async def use(stand: Stand) -> None:
        loop = asyncio.get_running_loop()
        initial = bytes.fromhex("c000000001") + b"\x08" + bytes(8) + b"\0\0" + b"\x44\x80" + bytes(1200)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.connect(("127.0.0.1", stand.port))
            for junk in (b"", b"\xc0", bytes(1200), b"\xff" * 1200, initial[:500]):
                sock.send(junk)
            sock.send(initial)
            async with asyncio.timeout(LONG):
                reply = await loop.sock_recv(sock, 4096)
        assert reply[0] & 0xF0 == 0xF0  # a Retry
        assert len(reply) < len(initial)
        assert not stand.server.table.connections

    with_server(internet, use)


def test_token_is_valid_for_its_address_and_for_a_while() -> None:
    now = 1000.0
    tokens = RetryTokens(lambda: now)
    home, other = ("192.0.2.1", 5000), ("192.0.2.1", 5001)
    token = tokens.create_token(home, b"original", b"retried")
    assert tokens.validate_token(home, token) == (b"original", b"retried")
    for address, bad in ((other, token), (home, token[:-1]), (home, b""), (("::1", 5000), token)):
        with pytest.raises(ValueError, match="token"):
            tokens.validate_token(address, bad)
    now = 1011.0
    with pytest.raises(ValueError, match="old"):
        tokens.validate_token(home, token)
