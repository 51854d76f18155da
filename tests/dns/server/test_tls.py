"""TLS handshakes: their bounds, and data right behind them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

import dnslib
import pytest
import uvloop
from small_internet import SmallInternet

from hedgerow.dns.server import tls
from hedgerow.dns.server.doh import DohServer
from hedgerow.dns.server.stream import DotServer, EncryptedFrontend
from hedgerow.dns.server.tls import ServerTls
from hedgerow.sockets import open_socket

from ..conftest import running

RUNNERS: list[Callable[[Any], Any]] = [asyncio.run, uvloop.run]
NAME = "dns.home.example"
LONG = 30.0


def framed() -> bytes:
    packed = bytes(dnslib.DNSRecord.question("adult.example").pack())
    return len(packed).to_bytes(2) + packed


async def ask(internet: SmallInternet, port: int) -> bytes:
    """One question over TLS, written as soon as may be; empty if the connection is not taken."""
    context = internet.authority.client_context()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=NAME)
    except (OSError, EOFError):
        return b""
    writer.write(framed())
    try:
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    except (OSError, EOFError):
        return b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize("run", RUNNERS)
def test_handshakes_are_bounded(
    internet: SmallInternet, run: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "MAX_HANDSHAKES_PER_CLIENT", 4)
    monkeypatch.setattr(tls, "HANDSHAKE_SECONDS", 1.0)

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            side = EncryptedFrontend(server.server.streams, NAME)
            leaf = internet.authority.leaf(NAME)
            sock = open_socket("127.0.0.1", 0, socket.SOCK_STREAM)
            port = sock.getsockname()[1]
            await DotServer(side, ServerTls(leaf.certificate, leaf.key, ["dot"])).listen(sock)
            async with asyncio.timeout(LONG):
                assert all(await asyncio.gather(*(ask(internet, port) for _ in range(3))))
                silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
                for reader, _ in silent:  # half of them at once, the others when their time is over
                    with contextlib.suppress(OSError):
                        assert await reader.read() == b""
                for _, writer in silent:
                    writer.close()
                while not await ask(internet, port):  # noqa: ASYNC110 (a place is free a moment after its connection has ended)
                    await asyncio.sleep(0.05)
            assert server.server.responder.counters["hedgerow_dns_dropped_total", "handshakes"] >= 4

    run(main())


@pytest.mark.parametrize("run", RUNNERS)
def test_request_right_behind_the_handshake_is_answered(internet: SmallInternet, run: Callable[[Any], Any]) -> None:
    """As one datagram of bytes, which is how a hurried client sends it."""

    async def main() -> None:
        async with running(internet.nameserver.upstream) as server:
            leaf = internet.authority.leaf(NAME)
            tls = ServerTls(leaf.certificate, leaf.key, ["h2", "http/1.1"])
            web = DohServer(EncryptedFrontend(server.server.streams, NAME), tls)
            sock = open_socket("127.0.0.1", 0, socket.SOCK_STREAM)
            await web.listen(sock)
            try:
                async with asyncio.timeout(LONG):
                    assert b" 200 " in await hurried(internet, sock.getsockname()[1])
            finally:
                web.close()

    run(main())


async def hurried(internet: SmallInternet, port: int) -> bytes:
    """The first line of what an HTTP/1.1 client gets that writes its request in one piece with the last of its
    handshake.
    """
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = internet.authority.client_context().wrap_bio(incoming, outgoing, server_hostname=NAME)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await reader.read(65536))
    body = framed()[2:]
    head = (
        f"POST /dns-query HTTP/1.1\r\nhost: {NAME}\r\ncontent-type: application/dns-message\r\ncontent-length:"
        f" {len(body)}\r\n\r\n"
    )
    client.write(head.encode() + body)
    writer.write(outgoing.read())
    try:
        while True:
            try:
                return client.read(200).partition(b"\r\n")[0]
            except ssl.SSLWantReadError:
                data = await reader.read(65536)
                assert data, "the connection was closed"
                incoming.write(data)
    finally:
        writer.close()
