"""DNS over HTTP/3 with the HTTP/3 of aioquic, which shares no code with ours above QUIC, and with clients that violate
it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast

import dnslib
import pytest
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamReset
from small_internet import SmallInternet

from hedgerow.dns.server.stream import EncryptedFrontend
from hedgerow.features.quic import doh3
from hedgerow.features.quic.doh3 import Doh3Connection, Http3Error, encode_varint, frame, parse_request
from hedgerow.features.quic.doq import QuicServer, QuicTls
from hedgerow.sockets import open_socket

from ...dns.conftest import running

LONG = 30.0
NAME = "dns.home.example"
GET = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", NAME.encode()), (b":path", b"/")]

type Answer = tuple[dict[bytes, bytes], bytes]


class Client(QuicConnectionProtocol):
    """Asks as a browser does, or writes what it is told to."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self.http: H3Connection | None = None
        self.answers: dict[int, asyncio.Future[Answer]] = {}
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.resets: asyncio.Queue[int] = asyncio.Queue()
        self._parts: dict[int, Answer] = {}

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ConnectionTerminated):
            self.ended.set_result(event.error_code)
        elif isinstance(event, StreamReset):
            self.resets.put_nowait(event.error_code)
        for found in self.http.handle_event(event) if self.http else ():
            if isinstance(found, HeadersReceived):
                self._parts[found.stream_id] = (dict(found.headers), b"")
            elif isinstance(found, DataReceived):
                fields, body = self._parts[found.stream_id]
                self._parts[found.stream_id] = (fields, body + found.data)
            if isinstance(found, HeadersReceived | DataReceived) and found.stream_ended:
                self.answers[found.stream_id].set_result(self._parts.pop(found.stream_id))

    async def ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/dns-message") -> Answer:
        self.http = self.http or H3Connection(self._quic)
        stream = self._quic.get_next_available_stream_id()
        self.answers[stream] = asyncio.get_running_loop().create_future()
        fields = [(b":method", method.encode()), *GET[1:3], (b":path", path.encode()), (b"user-agent", b"test")]
        fields += [(b"content-type", kind.encode())] if body else []
        self.http.send_headers(stream, fields, end_stream=not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        async with asyncio.timeout(LONG):
            return await self.answers[stream]

    def write(self, data: bytes, *, is_control: bool = False, end: bool = True) -> int:
        stream = self._quic.get_next_available_stream_id(is_unidirectional=is_control)
        self._quic.send_stream_data(stream, data, end_stream=end)
        self.transmit()
        return stream


class Stand:
    def __init__(self, server: QuicServer, port: int) -> None:
        self.server, self.port = server, port

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        configuration = QuicConfiguration(alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE, server_name=NAME)
        async with (
            asyncio.timeout(LONG),
            connect("127.0.0.1", self.port, configuration=configuration, create_protocol=Client) as client,
        ):
            yield cast(Client, client)


def with_server(internet: SmallInternet, use: Callable[[Stand], Awaitable[None]]) -> None:
    async def main() -> None:
        async with running(internet.nameserver.upstream) as plain:
            leaf = internet.authority.leaf(NAME)
            server = QuicServer(
                EncryptedFrontend(plain.server.streams, NAME),
                QuicTls(leaf.certificate, leaf.key, ["h3"]),
                Doh3Connection,
            )
            sock = open_socket("127.0.0.1", 0, socket.SOCK_DGRAM)
            await server.listen(sock)
            try:
                await use(Stand(server, sock.getsockname()[1]))
            finally:
                server.close()
                await asyncio.sleep(0)

    asyncio.run(main())


def query(name: str) -> bytes:
    question = dnslib.DNSRecord.question(name)
    question.header.id = 0
    return bytes(question.pack())


def in_path(name: str) -> str:
    return "/dns-query?dns=" + base64.urlsafe_b64encode(query(name)).decode().rstrip("=")


def address(answer: Answer) -> str:
    return str(dnslib.DNSRecord.parse(answer[1]).a.rdata)


def test_get_and_post_are_answered_at_once_and_over_a_long_connection(internet: SmallInternet) -> None:
    async def use(stand: Stand) -> None:
        async with stand.client() as client:
            asked = await asyncio.gather(
                client.ask("GET", in_path("news.example")),
                client.ask("POST", "/dns-query", query("news.example")),
                client.ask("GET", in_path("adult.example")),
            )
            assert [address(each) for each in asked] == [internet.address_of("news.example")] * 2 + ["0.0.0.0"]
            fields = asked[0][0]
            assert (fields[b":status"], fields[b"content-type"]) == (b"200", b"application/dns-message")
            assert fields[b"cache-control"].startswith(b"private, max-age=")
            for _ in range(200):  # more streams than may be open at once
                assert address(await client.ask("GET", in_path("news.example"))) == internet.address_of("news.example")
            for _ in range(100):  # as Chromium does for each request: more than the first credit of the control stream
                assert client.http is not None
                assert client.http._local_control_stream_id is not None
                client._quic.send_stream_data(
                    client.http._local_control_stream_id, frame(0xF0700, b"\0u=1, i" + bytes(80))
                )
                client.transmit()
                await client.ping()
            assert address(await client.ask("GET", in_path("news.example"))) == internet.address_of("news.example")

    with_server(internet, use)


def test_semantics_are_those_of_the_other_versions_of_http(internet: SmallInternet) -> None:
    async def use(stand: Stand) -> None:
        async with stand.client() as client:
            asked = [
                await client.ask("GET", "/"),
                await client.ask("GET", "/dns-query"),
                await client.ask("DELETE", in_path("news.example")),
                await client.ask("POST", "/dns-query", query("news.example"), "text/plain"),
                await client.ask("POST", "/dns-query", bytes(5000)),
                await client.ask("POST", "/dns-query", bytes(20_000)),
            ]
            assert [each[0][b":status"] for each in asked] == [b"404", b"400", b"405", b"415", b"413", b"413"]
            assert asked[2][0][b"allow"] == b"GET, POST"
            head = await client.ask("HEAD", in_path("news.example"))
            assert (head[0][b":status"], head[1]) == (b"200", b"")

    with_server(internet, use)


SETTINGS = b"\0" + frame(4, b"")


@pytest.mark.parametrize(
    ("data", "is_control", "code"),
    [
        (frame(1, b"\xff" * 20), False, doh3.DECOMPRESSION_FAILED),
        (frame(0, b"body first"), False, doh3.FRAME_UNEXPECTED),
        (frame(4, b""), False, doh3.FRAME_UNEXPECTED),
        (frame(1, b"x")[:-1], False, doh3.FRAME_ERROR),
        (b"\0" + frame(7, b"\0"), True, doh3.MISSING_SETTINGS),
        (SETTINGS + frame(4, b""), True, doh3.FRAME_UNEXPECTED),
        (SETTINGS + encode_varint(0x21) + encode_varint(1 << 20) + bytes(5000), True, doh3.EXCESSIVE_LOAD),
    ],
)
def test_violation_ends_the_connection(internet: SmallInternet, data: bytes, is_control: bool, code: int) -> None:
    async def use(stand: Stand) -> None:
        async with stand.client() as client:
            client.write(data, is_control=is_control, end=not is_control)
            async with asyncio.timeout(LONG):
                assert await client.ended == code
        async with stand.client() as client:
            assert address(await client.ask("GET", in_path("news.example"))) == internet.address_of("news.example")

    with_server(internet, use)


def test_control_stream_is_single_and_never_ends(internet: SmallInternet) -> None:
    async def use(stand: Stand) -> None:
        for ends, code in ((False, doh3.STREAM_CREATION_ERROR), (True, doh3.CLOSED_CRITICAL_STREAM)):
            async with stand.client() as client:
                client.write(SETTINGS, is_control=True, end=ends)
                client.write(SETTINGS, is_control=True, end=ends)
                async with asyncio.timeout(LONG):
                    assert await client.ended == code

    with_server(internet, use)


def block(*fields: tuple[bytes, bytes]) -> bytes:
    """A field section of literals (RFC 9204, section 4.5.6), in which nothing is checked."""
    found = b"\0\0"
    for name, value in fields:
        length = bytes((0x20 | len(name),)) if len(name) < 7 else bytes((0x27, len(name) - 7))
        found += length + name + bytes((len(value),)) + value
    return found


@pytest.mark.parametrize(
    "fields",
    [
        [(b":path", b"/")],
        [(b":path", b"/"), (b":path", b"/dns")],
        [(b"x", b"y"), (b":path", b"/")],
        [(b":path", b"/"), (b"X", b"y")],
        [*GET[:2], (b":authority", b"user@" + NAME.encode()), (b":path", b"/")],
    ],
)
def test_malformed_request_is_reset(internet: SmallInternet, fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Http3Error) as caught:
        parse_request(0, frame(1, block(*fields)))
    assert caught.value.code == doh3.MESSAGE_ERROR

    async def use(stand: Stand) -> None:
        async with stand.client() as client:
            client.write(frame(1, block(*fields)))
            async with asyncio.timeout(LONG):
                assert await client.resets.get() == doh3.MESSAGE_ERROR
            assert address(await client.ask("GET", in_path("news.example"))) == internet.address_of("news.example")

    with_server(internet, use)


def test_client_that_inserts_into_the_table_gains_nothing(internet: SmallInternet) -> None:
    """A field of the dynamic table, referred to by each octet of a request, would cost kilobytes each time."""

    async def use(stand: Stand) -> None:
        async with stand.client() as client:
            # capacity 4096; a literal name with 4,000 octets
            insert = b"\x3f\xe1\x1f" + b"\x41x" + b"\x7f\x81\x1e" + bytes(4000)
            client.write(b"\2" + insert, is_control=True, end=False)
            client.write(frame(1, b"\2\0" + b"\x80" * 1000))
            async with asyncio.timeout(LONG):
                assert await client.ended == doh3.DECOMPRESSION_FAILED

    with_server(internet, use)
