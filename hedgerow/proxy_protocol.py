"""The PROXY protocol, version 2: the header with which a load balancer passes on the address of its client.

HAProxy and dnsdist write it (https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, section 2.2). The receiver
must know from whom to expect it and must not guess, since anybody can write such a header.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final, NamedTuple, cast

PREFIX_OCTETS: Final = 16
"""Octets that every header begins with. They give its length."""

MAX_OCTETS: Final = 2048
"""Octets of a header with its extensions. HAProxy's are below 600."""

HEADER_SECONDS: Final = 5.0
"""Time for a header to arrive."""

_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21
_ADDRESS_OCTETS: Final = {1: 4, 2: 16}  # by address family
_PORTS_OCTETS: Final = 4


class ProxyProtocolError(ValueError):
    """The sender does not speak the PROXY protocol, version 2, though it must."""


class ProxyHeader(NamedTuple):
    """The client's address, or None if the sender speaks for itself as in its health checks, and the octets of the
    header.
    """

    client: str | None
    size: int


def header_octets(prefix: bytes) -> int:
    """Return the octets of the header that begins with these `PREFIX_OCTETS`. Raises ProxyProtocolError."""
    if len(prefix) < PREFIX_OCTETS or not prefix.startswith(_SIGNATURE):
        raise ProxyProtocolError("no header of the PROXY protocol, version 2")
    size = PREFIX_OCTETS + int.from_bytes(prefix[14:16])
    if prefix[12] not in (_LOCAL, _PROXY) or size > MAX_OCTETS:
        raise ProxyProtocolError("unknown command, or too long a header")
    return size


def parse_header(data: bytes) -> ProxyHeader:
    r"""Parse the header at the beginning of `data`. Raises ProxyProtocolError, also if it is cut short.

    >>> parse_header(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\7\xc0\0\2\1\xd4\x31\0\x35" + b"the rest")
    ProxyHeader(client='192.0.2.7', size=28)
    """
    size = header_octets(data[:PREFIX_OCTETS])
    if len(data) < size:
        raise ProxyProtocolError("the header is cut short")
    octets = _ADDRESS_OCTETS.get(data[13] >> 4)
    if data[12] == _LOCAL or octets is None:
        return ProxyHeader(None, size)
    if size < PREFIX_OCTETS + 2 * octets + _PORTS_OCTETS:
        raise ProxyProtocolError("the addresses are cut short")
    address = ip_address(data[PREFIX_OCTETS : PREFIX_OCTETS + octets])
    mapped = address.ipv4_mapped if address.version == 6 else None
    return ProxyHeader(str(mapped or address), size)


class LoadBalancers:
    """The policy's load balancers, whose connections and datagrams begin with a header that names the client.

    `networks` returns their addresses. `on_rejected` is called for each connection or datagram of theirs without a
    header.
    """

    def __init__(
        self, networks: Callable[[], tuple[IPv4Network | IPv6Network, ...]], on_rejected: Callable[[], None]
    ) -> None:
        self._networks, self.on_rejected = networks, on_rejected

    def sends_header(self, address: str) -> bool:
        """Return whether connections and datagrams from an address begin with a header."""
        networks = self._networks()
        if not networks:
            return False
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(parsed in network for network in networks)

    def unwrap(self, address: str, data: bytes) -> tuple[str, bytes] | None:
        """Return the client's address and the content of a datagram from any address; None without the header that it
        must have.
        """
        if not self.sends_header(address):
            return address, data
        try:
            header = parse_header(data)
        except ProxyProtocolError:
            self.on_rejected()
            return None
        return header.client or address, data[header.size :]


class ProxyHeaderReader:
    """Reader of the header at the beginning of a connection, which may come in pieces."""

    def __init__(self) -> None:
        self._received = b""

    def feed(self, data: bytes) -> tuple[str | None, bytes] | None:
        """Return the client's address, None if the sender speaks for itself, and what follows the header.

        Raises ProxyProtocolError.

        Returns None while octets are missing.
        """
        self._received += data
        if len(self._received) < PREFIX_OCTETS or len(self._received) < header_octets(self._received[:PREFIX_OCTETS]):
            return None
        header = parse_header(self._received)
        return header.client, self._received[header.size :]


class ProxyHeaderProtocol(asyncio.Protocol):
    """First protocol of a connection: reads the header if a load balancer sends one, and hands over to `make` with the
    client's address.

    A connection without the header that it must have is closed.
    """

    def __init__(self, balancers: LoadBalancers, make: Callable[[str], asyncio.Protocol]) -> None:
        self._balancers, self._make = balancers, make
        self._reader = ProxyHeaderReader()
        self._received = b""
        self._peer = ""
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if peer else ""
        if self._balancers.sends_header(self._peer):
            self._timer = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._reject)
        else:
            self._hand_over(self._peer)

    def data_received(self, data: bytes) -> None:
        try:
            found = self._reader.feed(data)
        except ProxyProtocolError:
            self._reject()
            return
        if found is not None:
            client, self._received = found
            self._hand_over(client or self._peer)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._timer is not None:
            self._timer.cancel()

    def _reject(self) -> None:
        self._balancers.on_rejected()
        self._transport.abort()

    def _hand_over(self, client: str) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        protocol = self._make(client)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if self._received and not self._transport.is_closing():
            protocol.data_received(self._received)
