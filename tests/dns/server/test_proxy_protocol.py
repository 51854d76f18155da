"""Queries that a load balancer passes on with the PROXY protocol, over each transport."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from struct import pack

import dnslib
import pytest
import uvloop
from small_internet import SmallInternet

from hedgerow.dns.answer_policy import AnswerPolicy
from hedgerow.dns.server.doh import DohServer
from hedgerow.dns.server.reports import Client
from hedgerow.dns.server.stream import DotServer, EncryptedFrontend
from hedgerow.dns.server.tls import ServerTls
from hedgerow.dns.transports import EncryptedServer
from hedgerow.policies.model import DeviceId
from hedgerow.policies.network import ResolverSettings
from hedgerow.policies.transports import ENCRYPTED_TRANSPORTS, Transport
from hedgerow.sockets import open_socket

from ..conftest import Running, rules, running

NAME = "dns.home.example"
CLIENTS = {"192.168.7.7": "console", "fd00::7": "laptop"}
DROPPED = ("hedgerow_dns_dropped_total", "proxy-header")
LONG = 20.0


def header(client: str | None, *, kind: int = socket.SOCK_STREAM, extension: bytes = b"") -> bytes:
    """Return a header as HAProxy and dnsdist write it; None: of a health check."""
    if client is None:
        return b"\r\n\r\n\0\r\nQUIT\n\x20\0" + pack("!H", len(extension)) + extension
    address = ip_address(client)
    addresses = address.packed + address.packed + pack("!HH", 40_000, 53)
    family = (0x10 if address.version == 4 else 0x20) | (1 if kind is socket.SOCK_STREAM else 2)
    return (
        b"\r\n\r\n\0\r\nQUIT\n\x21"
        + bytes((family,))
        + pack("!H", len(addresses) + len(extension))
        + addresses
        + extension
    )


def query(name: str = "news.example") -> bytes:
    return bytes(dnslib.DNSRecord.question(name).pack())


type Opener = Callable[[Transport, EncryptedFrontend, Path, Path], EncryptedServer]
"""Opens the server of a transport."""


@dataclass
class Served:
    running: Running
    ports: dict[str, int]
    context: ssl.SSLContext

    def devices(self) -> set[str]:
        """Return the devices whose queries were answered."""
        self.running.server.flush()
        return {device for device, *_ in self.running.seen}


@contextlib.asynccontextmanager
async def served(internet: SmallInternet, *more: tuple[str, Opener]) -> AsyncIterator[Served]:
    """A resolver behind a load balancer at 127.0.0.2, with `more` transports."""
    async with running(internet.nameserver.upstream) as plain:
        settings = ResolverSettings(proxy_protocol_from=(ip_network("127.0.0.2/32"),))
        plain.clients |= {address: Client(DeviceId(device), rules()) for address, device in CLIENTS.items()}
        plain.server.swap(plain.clients.get, plain.decisions, None, AnswerPolicy(plain.decisions, settings))
        frontend, leaf = EncryptedFrontend(plain.server.streams, NAME), internet.authority.leaf(NAME)
        servers: dict[str, EncryptedServer] = {
            "dot": DotServer(frontend, ServerTls(leaf.certificate, leaf.key, ["dot"])),
            "doh": DohServer(frontend, ServerTls(leaf.certificate, leaf.key, ["h2", "http/1.1"])),
        }
        servers |= {
            name: opened(ENCRYPTED_TRANSPORTS[name], frontend, leaf.certificate, leaf.key) for name, opened in more
        }
        ports = {"udp": plain.port, "tcp": plain.port}
        for name, server in servers.items():
            sock = open_socket("127.0.0.1", 0, ENCRYPTED_TRANSPORTS[name].socket_kind)
            await server.listen(sock)
            ports[name] = sock.getsockname()[1]
        try:
            yield Served(plain, ports, internet.authority.client_context())
        finally:
            for server in servers.values():
                server.close()
            await asyncio.sleep(0)


async def exchange(port: int, data: bytes, source: str, wait: float = LONG) -> bytes | None:
    """Send a datagram and return the answer."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", port))
        sock.send(data)
        try:
            async with asyncio.timeout(wait):
                return await loop.sock_recv(sock, 4096)
        except TimeoutError:
            return None


async def open_behind(
    port: int, first: bytes, source: str, tls: ssl.SSLContext | None, alpn: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect as a load balancer does: the header comes before everything else."""
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    try:
        sock.setblocking(False)
        sock.bind((source, 0))
        await loop.sock_connect(sock, ("127.0.0.1", port))
        for octets in (first[:3], first[3:]):
            await loop.sock_sendall(sock, octets)
            await asyncio.sleep(0)
        if tls is not None:
            tls.set_alpn_protocols([alpn])
        return await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=NAME if tls else None)
    except BaseException:
        sock.close()
        raise


async def over_stream(stand: Served, transport: str, first: bytes, source: str = "127.0.0.2") -> bytes:
    """Return the answer to one query, or nothing if the connection is closed instead."""
    tls = stand.context if transport != "tcp" else None
    alpn = {"dot": "dot", "doh": "http/1.1"}.get(transport, "")
    async with asyncio.timeout(LONG):
        try:
            reader, writer = await open_behind(stand.ports[transport], first, source, tls, alpn)
        except (OSError, EOFError):
            return b""
        try:
            if transport == "doh":
                head = (
                    f"POST /dns-query HTTP/1.1\r\nHost: {NAME}\r\nContent-Type:"
                    f" application/dns-message\r\nContent-Length: {len(query())}"
                )
                writer.write(head.encode() + b"\r\n\r\n" + query())
                answered = await reader.readuntil(b"\r\n\r\n")
                size = int(answered.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            else:
                writer.write(len(query()).to_bytes(2) + query())
                size = int.from_bytes(await reader.readexactly(2))
            return await reader.readexactly(size)
        except (OSError, EOFError):
            return b""
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@pytest.mark.parametrize("client", [*CLIENTS, None])
@pytest.mark.parametrize("transport", ["tcp", "dot", "doh"])
def test_streams_are_for_the_client_in_the_header(internet: SmallInternet, transport: str, client: str | None) -> None:
    """A health check counts as the load balancer's own, which may ask here."""

    async def main() -> None:
        async with served(internet) as stand:
            assert dnslib.DNSRecord.parse(
                await over_stream(stand, transport, header(client, extension=b"\x04\0\x03abc"))
            ).rr
            assert stand.devices() == {CLIENTS.get(client or "", "tablet")}

    uvloop.run(main())


@pytest.mark.parametrize(
    "first",
    [
        b"",
        header("192.168.9.9"),
        b"PROXY TCP4 192.168.7.7 127.0.0.1 1 53\r\n",
        header("192.168.7.7")[:14] + b"\xff\xff",
    ],
)
@pytest.mark.parametrize("transport", ["tcp", "dot"])
def test_wrong_headers_and_strangers_get_nothing(internet: SmallInternet, transport: str, first: bytes) -> None:
    async def main() -> None:
        async with served(internet) as stand:
            answer = await over_stream(stand, transport, first)
            assert not answer or dnslib.DNSRecord.parse(answer).header.rcode == 5
            assert stand.devices() == set()
            if transport == "dot":  # over TCP it is the beginning of a very long query
                assert not await over_stream(stand, transport, header("192.168.7.7"), source="127.0.0.1"), (
                    "nobody else may send a header"
                )
            assert await over_stream(stand, transport, b"", source="127.0.0.1")

    asyncio.run(main())


@pytest.mark.usefixtures("each_listener")
def test_datagrams_are_for_the_client_in_the_header(internet: SmallInternet) -> None:
    async def main() -> None:
        async with served(internet) as stand:
            port, datagram = stand.ports["udp"], socket.SOCK_DGRAM
            for client, device in CLIENTS.items():
                for _ in range(2):  # the second answer comes from the cache
                    answer = await exchange(port, header(client, kind=datagram) + query(), "127.0.0.2")
                    assert answer is not None
                    assert dnslib.DNSRecord.parse(answer).rr
                    assert stand.devices() == {device}
                stand.running.seen.clear()
            for wrong in (query(), header("192.168.7.7", kind=datagram)[:20], header("192.168.7.7")):
                assert await exchange(port, wrong, "127.0.0.2", wait=0.2) is None
            assert stand.running.server.responder.counters[DROPPED] == 2
            stranger = await exchange(port, header("192.168.9.9", kind=datagram) + query(), "127.0.0.2")
            assert stranger is not None
            assert dnslib.DNSRecord.parse(stranger).header.rcode == 5
            assert await exchange(port, query(), "127.0.0.1") is not None

    asyncio.run(main())
