"""DNS over HTTPS with clients that flood or do not read."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import socket
import weakref
from collections.abc import AsyncIterator, Callable

import dnslib
import h2.config
import h2.connection
import h2.settings
import h11
import pytest
import uvloop
from hpack import Encoder
from hyperframe import frame
from small_internet import SmallInternet

from hedgerow.dns.server.doh import DohConnection, DohServer
from hedgerow.dns.server.http2_codec import MAX_STREAMS
from hedgerow.dns.server.rate_limits import HANDSHAKES_PER_SECOND, MAX_HANDSHAKES, MAX_UNSENT
from hedgerow.dns.server.stream import EncryptedFrontend
from hedgerow.dns.server.tls import ServerTls
from hedgerow.frame_budget import MAX_TOKENS
from hedgerow.policies.network import QueryLimit
from hedgerow.sockets import open_socket

from ..conftest import Running, ask, running

NAME = "dns.home.example"
LARGE = bytes(dnslib.DNSRecord.question("huge-text.oddities.example", "TXT").pack())
LARGE_OCTETS = 20_000


def requests(body: bytes, count: int) -> bytes:
    """So many at once, of a client that has no room for answers."""
    client = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    client.initiate_connection()
    client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    for _ in range(count):
        stream = client.get_next_available_stream_id()
        fields = [(":method", "POST"), (":scheme", "https"), (":authority", NAME), (":path", "/dns-query")]
        client.send_headers(stream, [*fields, ("content-type", "application/dns-message")])
        client.send_data(stream, body, end_stream=True)
    return client.data_to_send()


async def remember(port: int) -> None:
    """Have the large answer in the cache, as it is for whatever is no datagram."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(len(LARGE).to_bytes(2) + LARGE)
    answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    assert len(answer) > LARGE_OCTETS
    writer.close()


def test_client_that_reads_no_answers_gets_no_more(internet: SmallInternet) -> None:
    """Those of one piece of bytes are not all kept either before the connection ends."""

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            await remember(server.port)
            leaf = internet.authority.leaf(NAME)
            tls = ServerTls(leaf.certificate, leaf.key, ["h2", "http/1.1"])
            web = DohServer(EncryptedFrontend(server.server.streams, NAME), tls)
            sock = open_socket("127.0.0.1", 0, socket.SOCK_STREAM)
            await web.listen(sock)
            try:
                context = internet.authority.client_context()
                context.set_alpn_protocols(["h2"])
                port = sock.getsockname()[1]
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAME)
                writer.write(requests(LARGE, MAX_STREAMS))
                async with asyncio.timeout(20):
                    while await reader.read(65536):
                        pass
                writer.close()
                answered = server.server.responder.counters["hedgerow_dns_cache_hits_total",]
                assert MAX_UNSENT // LARGE_OCTETS <= answered <= MAX_UNSENT // LARGE_OCTETS + 2
            finally:
                web.close()

    uvloop.run(main())


# Clients that send more than they may.

QUERY = bytes(dnslib.DNSRecord.question("www.school.example").pack())
REQUEST = [(":method", "GET"), (":scheme", "https"), (":authority", NAME), (":path", "/dns-query")]


def rapid_reset(count: int) -> bytes:
    encoder, pieces = Encoder(), []
    for stream in range(1, 2 * count, 2):
        pieces.append(
            frame.HeadersFrame(stream, encoder.encode(REQUEST), flags=["END_HEADERS", "END_STREAM"]).serialize()
        )
        pieces.append(frame.RstStreamFrame(stream, error_code=8).serialize())
    return b"".join(pieces)


FLOODS = {
    "ping": frame.PingFrame(0, opaque_data=b"12345678").serialize() * 2 * MAX_TOKENS,
    "settings": frame.SettingsFrame(0, settings={4: 65535}).serialize() * MAX_TOKENS,
    "priority": frame.PriorityFrame(1, stream_weight=3).serialize() * 2 * MAX_TOKENS,
    "window update": frame.WindowUpdateFrame(0, window_increment=1).serialize() * 2 * MAX_TOKENS,
    "rapid reset": rapid_reset(MAX_TOKENS),
    "table size updates": frame.HeadersFrame(1, b"\x20" * 16_384, flags=["END_STREAM"]).serialize()
    + frame.ContinuationFrame(1, b"\x20" * 16_384).serialize() * 4,
}


@contextlib.asynccontextmanager
async def served(internet: SmallInternet) -> AsyncIterator[tuple[Running, int]]:
    """A resolver and the port of its DoH."""
    async with running(internet.nameserver.upstream) as server:
        leaf = internet.authority.leaf(NAME)
        tls = ServerTls(leaf.certificate, leaf.key, ["h2", "http/1.1"])
        web = DohServer(EncryptedFrontend(server.server.streams, NAME), tls)
        sock = open_socket("127.0.0.1", 0, socket.SOCK_STREAM)
        await web.listen(sock)
        try:
            yield server, sock.getsockname()[1]
        finally:
            web.close()


async def connect(
    internet: SmallInternet, port: int, protocol: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = internet.authority.client_context()
    context.set_alpn_protocols([protocol])
    return await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAME)


@pytest.mark.parametrize("kind", FLOODS)
def test_frame_flood_ends_its_connection_and_delays_nobody(internet: SmallInternet, kind: str) -> None:
    async def main() -> None:
        async with served(internet) as (server, port):
            reader, writer = await connect(internet, port, "h2")
            client = h2.connection.H2Connection()
            client.initiate_connection()
            writer.write(client.data_to_send() + FLOODS[kind])
            answers = [await ask(server.port, QUERY, source="127.0.0.2") for _ in range(20)]
            assert None not in answers
            async with asyncio.timeout(20):
                said = await reader.read(-1)
            writer.close()
            assert said.endswith(b"\x07" + bytes(5) + said[-8:-4] + b"\0\0\0\x0b")  # GOAWAY with ENHANCE_YOUR_CALM
            assert server.server.responder.counters["hedgerow_dns_dropped_total", "flood"] == 1

    uvloop.run(main())


def test_client_that_connects_again_has_no_new_budget(internet: SmallInternet) -> None:
    """Neither of frames nor of handshakes."""

    async def main() -> None:
        async with served(internet) as (server, port):
            server.server.limit(QueryLimit(exempt=()))
            accepted = ends = 0
            client = h2.connection.H2Connection()
            client.initiate_connection()
            flood = client.data_to_send() + FLOODS["ping"][: MAX_TOKENS // 4 * 17]
            for _ in range(MAX_HANDSHAKES + 10):
                try:
                    reader, writer = await connect(internet, port, "h2")
                except OSError:
                    continue
                accepted += 1
                with contextlib.suppress(OSError):
                    writer.write(flood)
                    if accepted > 4:
                        async with asyncio.timeout(2):  # some come when there are tokens again, and are not ended soon
                            ends += (await reader.read(-1))[-4:] == b"\0\0\0\x0b"
                writer.close()
                assert await ask(server.port, QUERY, source="127.0.0.2") is not None
            assert accepted <= MAX_HANDSHAKES + HANDSHAKES_PER_SECOND * 20
            assert ends > accepted // 2, "the tokens are those of the client"

    uvloop.run(main())


@pytest.mark.parametrize("protocol", ["tcp", "http/1.1"])
def test_many_queries_on_one_connection_do_not_delay_others(internet: SmallInternet, protocol: str) -> None:
    """Another client's query that comes after the first of them is answered before the last."""
    count = 1000

    async def main() -> None:
        async with served(internet) as (server, port):
            other, to_other = await asyncio.open_connection("127.0.0.1", server.port, local_addr=("127.0.0.2", 0))
            to_other.write(len(QUERY).to_bytes(2) + QUERY)
            await other.readexactly(int.from_bytes(await other.readexactly(2)))  # the answer is in the cache now
            if protocol == "tcp":
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                one = len(QUERY).to_bytes(2) + QUERY
            else:
                reader, writer = await connect(internet, port, protocol)
                one = b"GET /dns-query?dns=%b HTTP/1.1\r\nHost: h\r\n\r\n" % base64.urlsafe_b64encode(QUERY).rstrip(
                    b"="
                )
            before = hits(server)
            writer.write(one * count)
            async with asyncio.timeout(20):
                await reader.readexactly(2)
                to_other.write(len(QUERY).to_bytes(2) + QUERY)
                await other.readexactly(2)
                assert hits(server) - before < count
                while hits(server) - before < count:
                    assert await reader.read(65536)
            for each in (writer, to_other):
                each.close()

    uvloop.run(main())


def hits(server: Running) -> float:
    return server.server.responder.counters.get(("hedgerow_dns_cache_hits_total",), 0)


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
@pytest.mark.parametrize("is_served", [True, False])
def test_connections_that_the_server_closes_leave_nothing_behind(
    internet: SmallInternet, protocol: str, is_served: bool
) -> None:
    """Those that have lived for long are not for the collector of garbage, which hardly ever looks at what is old."""

    async def main() -> None:
        async with served(internet) as (_server, port):
            clients = [await connect(internet, port, protocol) for _ in range(5)]
            if is_served:
                for reader, writer in clients:
                    writer.write(H2_REQUEST if protocol == "h2" else b"GET /dns-query HTTP/1.1\r\nHost: h\r\n\r\n")
                    assert await reader.read(1)
            await _until(lambda: len(_objects(h2.connection.H2Connection, h11.Connection)) == len(clients))
            open_ones = [weakref.ref(each) for each in _objects(DohConnection)]
            codecs: list[weakref.ref[object]] = [
                weakref.ref(each) for each in _objects(h2.connection.H2Connection, h11.Connection)
            ]
            assert len(open_ones) == len(codecs) == len(clients)
            for each in _objects(DohConnection):
                each.evict()
            del each
            for reader, writer in clients:
                with contextlib.suppress(OSError):
                    await reader.read(-1)
                writer.close()
            await _until(
                lambda: all(found() is None for found in open_ones) and all(found() is None for found in codecs)
            )

    gc.collect()
    gc.disable()
    try:
        uvloop.run(main())
    finally:
        gc.enable()


H2_REQUEST = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    + frame.SettingsFrame(0).serialize()
    + frame.HeadersFrame(1, b"\x82\x84\x87\x41\x01x", flags=["END_STREAM", "END_HEADERS"]).serialize()
)


async def _until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the condition is not reached")


def _objects[T](*kinds: type[T]) -> list[T]:
    return [each for each in gc.get_objects() if isinstance(each, kinds)]
