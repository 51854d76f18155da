"""The header of the PROXY protocol, version 2."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as some

from hedgerow.proxy_protocol import (
    MAX_OCTETS,
    LoadBalancers,
    ProxyHeader,
    ProxyHeaderProtocol,
    ProxyProtocolError,
    parse_header,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FOUR = bytes([192, 0, 2, 7, 192, 0, 2, 1]) + b"\xd4\x31\0\x35"
SIX = bytes.fromhex("20010db8000000000000000000000007" * 2) + b"\xd4\x31\0\x35"
MAPPED = (bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7])) * 2 + b"\xd4\x31\0\x35"


def header(command: int, family: int, body: bytes, size: int | None = None) -> bytes:
    return SIGNATURE + bytes((command, family)) + (len(body) if size is None else size).to_bytes(2) + body


@pytest.mark.parametrize(
    ("data", "client", "size"),
    [
        (header(0x21, 0x11, FOUR), "192.0.2.7", 28),
        (header(0x21, 0x12, FOUR) + b"query", "192.0.2.7", 28),
        (header(0x21, 0x21, SIX), "2001:db8::7", 52),
        (header(0x21, 0x22, MAPPED), "192.0.2.7", 52),
        (header(0x21, 0x11, FOUR + b"\x04\0\x03abc"), "192.0.2.7", 34),  # an extension
        (header(0x20, 0x00, b""), None, 16),  # a health check
        (header(0x20, 0x11, FOUR), None, 28),
        (header(0x21, 0x00, b"\x04\0\x03abc"), None, 22),  # an unknown family
        (header(0x21, 0x31, bytes(216)), None, 232),  # a Unix socket
    ],
)
def test_headers(data: bytes, client: str | None, size: int) -> None:
    assert parse_header(data) == ProxyHeader(client, size)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        SIGNATURE,
        b"PROXY TCP4 192.0.2.7 192.0.2.1 1 53\r\n",
        header(0x11, 0x11, FOUR),  # version 1
        header(0x22, 0x11, FOUR),  # an unknown command
        header(0x21, 0x11, FOUR)[:-1],
        header(0x21, 0x11, FOUR[:8]),
        header(0x21, 0x21, FOUR),
        header(0x21, 0x11, bytes(MAX_OCTETS)),
    ],
)
def test_what_is_no_header(data: bytes) -> None:
    with pytest.raises(ProxyProtocolError):
        parse_header(data)


@given(some.binary(max_size=80), some.integers(0, 255), some.integers(0, 255), some.integers(0, 90))
def test_any_octets_are_a_header_or_an_error(body: bytes, command: int, family: int, size: int) -> None:
    for data in (body, header(command, family, body, size)):
        try:
            assert parse_header(data).size <= len(data)
        except ProxyProtocolError:
            pass


class Rejections:
    """Load balancers and the number of rejected connections and datagrams."""

    def __init__(self, *networks: str) -> None:
        self.count = 0
        self.balancers = LoadBalancers(lambda: tuple(map(ip_network, networks)), self.add)

    def add(self) -> None:
        self.count += 1


@pytest.mark.parametrize(
    ("networks", "address", "sends"),
    [
        ((), "127.0.0.1", False),
        (("127.0.0.0/8", "fe80::/10"), "127.0.0.1", True),
        (("127.0.0.0/8", "fe80::/10"), "fe80::1%eth0", True),
        (("127.0.0.0/8", "fe80::/10"), "192.0.2.1", False),
        (("127.0.0.0/8", "fe80::/10"), "", False),  # the peer of a Unix socket
    ],
)
def test_only_load_balancers_send_headers(networks: tuple[str, ...], address: str, sends: bool) -> None:
    assert Rejections(*networks).balancers.sends_header(address) is sends


@pytest.mark.parametrize(
    ("address", "data", "expected", "rejected"),
    [
        ("192.0.2.1", header(0x21, 0x12, FOUR) + b"query", ("192.0.2.1", header(0x21, 0x12, FOUR) + b"query"), 0),
        ("127.0.0.1", header(0x21, 0x12, FOUR) + b"query", ("192.0.2.7", b"query"), 0),
        ("127.0.0.1", header(0x20, 0x00, b"") + b"query", ("127.0.0.1", b"query"), 0),
        ("127.0.0.1", b"query", None, 1),
    ],
    ids=["a stranger's header", "a load balancer's", "a health check", "no header"],
)
def test_a_datagram_is_for_the_client_in_its_header(
    address: str,
    data: bytes,
    expected: tuple[str, bytes] | None,
    rejected: int,
) -> None:
    known = Rejections("127.0.0.0/8")
    assert known.balancers.unwrap(address, data) == expected
    assert known.count == rejected


class Echo(asyncio.Protocol):
    """A protocol that answers, once the peer has sent all, with the client's address and what it received."""

    def __init__(self, client: str) -> None:
        self.said = client.encode() + b": "

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.said += data

    def eof_received(self) -> None:
        self.transport.write(self.said)


@pytest.mark.parametrize(
    ("network", "pieces", "heard", "rejected"),
    [
        ("127.0.0.0/8", [header(0x21, 0x11, FOUR) + b"query"], b"192.0.2.7: query", 0),
        ("127.0.0.0/8", [header(0x21, 0x11, FOUR)[:7], header(0x21, 0x11, FOUR)[7:], b"query"], b"192.0.2.7: query", 0),
        ("127.0.0.0/8", [header(0x20, 0x00, b"") + b"query"], b"127.0.0.1: query", 0),
        ("192.0.2.0/24", [b"query"], b"127.0.0.1: query", 0),
        ("127.0.0.0/8", [b"a query without a header"], b"", 1),
        ("127.0.0.0/8", [header(0x21, 0x11, FOUR)[:-1]], b"", 0),
    ],
    ids=["at once", "in pieces", "a health check", "a client itself", "no header", "half a header"],
)
def test_a_connection_is_for_the_client_in_its_header(
    network: str,
    pieces: list[bytes],
    heard: bytes,
    rejected: int,
) -> None:
    known = Rejections(network)

    def make() -> ProxyHeaderProtocol:
        return ProxyHeaderProtocol(known.balancers, Echo)

    async def talk() -> bytes:
        async with await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0)
                writer.write_eof()
                return await reader.read()
            except ConnectionResetError:
                return b""
            finally:
                writer.close()

    assert asyncio.run(talk()) == heard
    assert known.count == rejected
