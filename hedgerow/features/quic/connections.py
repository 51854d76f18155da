"""Bounded QUIC connections over aioquic: address validation, connection ids, limits of streams and handshakes."""

from __future__ import annotations

import asyncio
import hmac
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from struct import pack
from typing import Any, Final, Protocol

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionIdIssued, ConnectionIdRetired, ConnectionTerminated, QuicEvent
from aioquic.quic.packet import (
    QuicFrameType,
    QuicHeader,
    QuicPacketType,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.stream import QuicStream
from aioquic.tls import Context, pull_client_hello

from hedgerow.client_classes import ClassedClient, ClientClass
from hedgerow.dns.server.turns import TurnScheduler

_TOKEN_SECONDS: Final = 10
_TAG_OCTETS: Final = 16


class RetryTokens:
    """Tokens that prove a client's address (RFC 9000, section 8.1.2).

    The methods are those that aioquic's server calls.

    Nothing is kept for an unproven address, so that forged addresses cost neither memory nor a handshake.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._key = os.urandom(32)
        self._clock = clock

    def create_token(self, address: tuple[str, int], original_id: bytes, retry_id: bytes) -> bytes:
        """Return a token. The connection ids, which the handshake must confirm, have at most 20 octets each."""
        body = pack("!Q", int(self._clock())) + bytes((len(original_id),)) + original_id + retry_id
        return self._seal(address, body) + body

    def validate_token(self, address: tuple[str, int], token: bytes) -> tuple[bytes, bytes]:
        """Return the two connection ids. Raises ValueError for a token that is forged, for another address, or old."""
        seal, body = token[:_TAG_OCTETS], token[_TAG_OCTETS:]
        if not hmac.compare_digest(seal, self._seal(address, body)):
            raise ValueError("not one of our tokens for this address")
        if not 0 <= self._clock() - int.from_bytes(body[:8]) <= _TOKEN_SECONDS:
            raise ValueError("an old token")
        end = 9 + body[8]
        return body[9:end], body[end:]

    def _seal(self, address: tuple[str, int], body: bytes) -> bytes:
        bound = ip_address(address[0].partition("%")[0]).packed + pack("!H", address[1])
        return hmac.digest(self._key, bound + body, "sha256")[:_TAG_OCTETS]


MAX_STREAMS: Final = 64  # of one connection at a time
# aioquic never forgets the number of a stream, so the life of a connection is bounded
MAX_STREAMS_PER_CONNECTION: Final = 10_000
_MAX_HANDSHAKE_OCTETS: Final = 32 << 10  # a ClientHello with post-quantum keys has a few thousand
MAX_STREAM_OCTETS: Final = 2 + 4096  # a query with every option that there is has a few hundred
MAX_REQUEST_OCTETS: Final = 8192  # of a request over HTTP/3, which may hold a query in its path
HTTP3: Final = "h3"
# that a client of HTTP/3 opens: three, and some of types that nobody knows (RFC 9114, section 6.2)
_MAX_UNI_STREAMS: Final = 8


class _ComputedLimit:
    """A limit of a connection as aioquic reads it. It is computed, so that aioquic's doubling it has no effect."""

    def __init__(self, frame_type: int, name: str, value: Callable[[], int]) -> None:
        self.frame_type, self.name = frame_type, name
        self.used = 0
        self._value = value
        self.sent = value()

    @property
    def value(self) -> int:
        return self._value()

    @value.setter
    def value(self, _doubled: int) -> None:
        pass


class NotingContext(Context):
    """The TLS of a connection, made from one of aioquic's before its handshake.

    `client_name` is the SNI, known with the ClientHello.
    """

    def __init__(self, fresh: Context) -> None:
        vars(self).update(vars(fresh))
        self.client_name: str | None = None

    @property
    def unread_octets(self) -> int:
        """The octets of a handshake message that is incomplete."""
        return len(self._receive_buffer)

    def _server_handle_hello(
        self, input_buf: Buffer, initial_buf: Buffer, handshake_buf: Buffer, onertt_buf: Buffer
    ) -> None:
        self.client_name = pull_client_hello(input_buf).server_name
        input_buf.seek(0)
        super()._server_handle_hello(input_buf, initial_buf, handshake_buf, onertt_buf)

    def release(self) -> None:
        """Forget all state of a connection that is over."""
        vars(self).clear()


class BoundedQuicConnection(QuicConnection):
    """A bounded connection.

    `configuration` must allow `MAX_STREAM_OCTETS` per stream, or `MAX_REQUEST_OCTETS` for HTTP/3.

    Once `is_released`, it is ending, has no open streams, and may not be used otherwise.
    """

    is_released = False
    tls: NotingContext

    def __init__(self, *, configuration: QuicConfiguration, **options: Any) -> None:
        super().__init__(configuration=configuration, **options)
        most_uni = _MAX_UNI_STREAMS if HTTP3 in (configuration.alpn_protocols or ()) else 0
        self._local_max_streams_bidi = _ComputedLimit(
            QuicFrameType.MAX_STREAMS_BIDI, "max_streams_bidi", self._stream_credit
        )  # type: ignore[assignment]
        self._local_max_streams_uni = _ComputedLimit(QuicFrameType.MAX_STREAMS_UNI, "max_streams_uni", lambda: most_uni)  # type: ignore[assignment]

    @property
    def server_name(self) -> str | None:
        """The SNI, known with the ClientHello."""
        return self.tls.client_name

    @property
    def open_streams(self) -> int:
        return 0 if self.is_released else len(self._streams)

    def is_open(self, stream: int) -> bool:
        """Return whether the client has not yet sent or acknowledged all of a stream."""
        return not self.is_released and stream in self._streams

    @property
    def owes_stream_credit(self) -> bool:
        """True if the client must be told that it may open more streams.

        aioquic ends streams only after it has written a packet's limits: without another packet a client at its limit
        would wait forever.
        """
        limit = self._local_max_streams_bidi
        return limit.value - limit.sent >= MAX_STREAMS // 4

    @property
    def is_ending(self) -> bool:
        """True if either side has closed it. aioquic reports that only seconds later."""
        return self.is_released or self._close_event is not None

    @property
    def is_flooding(self) -> bool:
        """True if the client sends a handshake message without end."""
        return hasattr(self, "tls") and self.tls.unread_octets > _MAX_HANDSHAKE_OCTETS

    @property
    def is_exhausted(self) -> bool:
        """True if it has carried as many streams as it may."""
        return not self.is_released and len(self._streams_finished) >= MAX_STREAMS_PER_CONNECTION

    def _stream_credit(self) -> int:
        return min(len(self._streams_finished) + MAX_STREAMS, MAX_STREAMS_PER_CONNECTION)

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: Any, stream: QuicStream) -> None:
        """Give credit only for the streams by which HTTP/3 is controlled: a query never needs more than a stream's
        first credit.
        """
        if stream.stream_id is not None and stream.stream_id & 2:
            super()._write_stream_limits(builder, space, stream)

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        self.tls = NotingContext(self.tls)

    def release(self) -> None:
        """Forget all state of a connection that is over.

        Its parts refer to each other: left to the garbage collector, which rarely looks at what has lived for seconds,
        thousands of connections would stay in memory.
        """
        if hasattr(self, "tls"):
            self.tls.release()
        vars(self).clear()
        self.is_released = True


_MAX_IDS: Final = 4096  # connection ids, eight per connection, closing ones included
_DATAGRAMS_PER_WAKEUP: Final = 64
# octets; QUIC over the internet has up to 1,472, and a load balancer's header comes before it
_MAX_DATAGRAM: Final = 4096
_MAX_WAITING: Final = 2048  # datagrams of all clients that wait for their turn
_MAX_WAITING_PER_CLIENT: Final = 128

type Address = tuple[str, int]
"""A peer. For IPv6 it has two more elements."""


class QuicService(Protocol):
    """The server behind a `QuicListener`."""

    @property
    def configuration(self) -> QuicConfiguration:
        """The configuration of a new connection."""

    def owner(self, client: str) -> ClassedClient:
        """Return the client that an address counts for."""

    def admits(self, client: str) -> bool:
        """Return whether an address may begin a connection, and count its handshake."""

    def begin(self, client: str, quic: BoundedQuicConnection) -> RoutedConnection:
        """Return the protocol of a new connection from an address."""

    def unwrap(self, peer: str, data: bytes) -> tuple[str, bytes] | None:
        """Return the client's address and its datagram, which a load balancer may have introduced; None for a wrong
        introduction.
        """

    def reject(self) -> None:
        """Count a datagram that found no place."""


class RoutedConnection(QuicConnectionProtocol):
    """A connection that tells its listener by which ids its datagrams come."""

    def __init__(self, quic: BoundedQuicConnection) -> None:
        super().__init__(quic)
        self.bounded = quic
        self._listener: QuicListener | None = None

    def route(self, listener: QuicListener) -> None:
        """Set the listener, before the first datagram."""
        self._listener = listener

    def quic_event_received(self, event: QuicEvent) -> None:
        if self._listener is None:
            return
        match event:
            case ConnectionIdIssued():
                self._listener.add(self, event.connection_id)
            case ConnectionIdRetired():
                self._listener.remove(self, event.connection_id)
            case ConnectionTerminated():
                self._listener.forget(self)
            case _:
                pass


class _DatagramSender(asyncio.DatagramTransport):
    """Sender of the datagrams of all connections of a socket.

    Those that do not fit into its buffer are lost, and QUIC repeats them.
    """

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._socket = sock

    def sendto(self, data: Any, addr: Any = None) -> None:
        try:
            self._socket.sendto(data, addr)
        except OSError:
            pass  # also BlockingIOError


class QuicListener:
    """Receiver of the datagrams of all connections of one socket.

    It serves clients in turn. `close` closes the socket.
    """

    def __init__(self, sock: socket.socket, service: QuicService, turns: TurnScheduler) -> None:
        self._socket, self._service, self._turns = sock, service, turns
        self._tokens = RetryTokens()
        self._connections: dict[bytes, RoutedConnection] = {}
        self._transport = _DatagramSender(sock)
        asyncio.get_running_loop().add_reader(sock, self._drain)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        for connection in set(self._connections.values()):
            connection.close()
        self._connections.clear()
        self._socket.close()

    def _drain(self) -> None:
        """Receive all waiting datagrams.

        The datagrams of one client never keep those of another out of the socket's buffer.
        """
        service, turns = self._service, self._turns
        for _ in range(_DATAGRAMS_PER_WAKEUP):
            try:
                data, addr = self._socket.recvfrom(_MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:  # an earlier datagram could not be delivered
                continue
            unwrapped = service.unwrap(addr[0], data)
            if unwrapped is None:
                continue
            client, data = unwrapped
            owner = service.owner(client)
            most = _MAX_WAITING if owner.rank is ClientClass.NAMED else _MAX_WAITING // 2
            if turns.all_waiting >= most or turns.waiting(owner) >= _MAX_WAITING_PER_CLIENT:
                service.reject()
            else:
                turns.run(owner, partial(self._receive, data, addr, client))

    def _receive(self, data: bytes, addr: Address, client: str) -> None:
        if self._socket.fileno() < 0:
            return
        configuration = self._service.configuration
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=configuration.connection_id_length)
        except ValueError:
            return
        connection = self._connections.get(header.destination_cid)
        if connection is None and len(data) >= SMALLEST_MAX_DATAGRAM_SIZE:
            connection = self._begin_connection(header, addr, client, configuration)
        if connection is not None:
            connection.datagram_received(data, addr)

    def _begin_connection(
        self, header: QuicHeader, addr: Address, client: str, configuration: QuicConfiguration
    ) -> RoutedConnection | None:
        """Begin a connection if the datagram may; else tell the client what to send, in fewer octets than it sent."""
        if header.version is not None and header.version not in configuration.supported_versions:
            versions = configuration.supported_versions
            self._send(encode_quic_version_negotiation(header.destination_cid, header.source_cid, versions), addr)
        elif header.packet_type is not QuicPacketType.INITIAL:
            pass
        elif not header.token:
            self._send(self._retry(header, addr), addr)
        else:
            return self._accept_validated(header, addr, client, configuration)
        return None

    def _accept_validated(
        self, header: QuicHeader, addr: Address, client: str, configuration: QuicConfiguration
    ) -> RoutedConnection | None:
        try:
            original, retried = self._tokens.validate_token(addr, header.token)
        except ValueError:
            return None
        if len(self._connections) >= _MAX_IDS or not self._service.admits(client):
            return None
        quic = BoundedQuicConnection(
            configuration=configuration, original_destination_connection_id=original, retry_source_connection_id=retried
        )
        return self._start(header.destination_cid, self._service.begin(client, quic))

    def _retry(self, header: QuicHeader, addr: tuple[str, int]) -> bytes:
        assert header.version is not None
        source = os.urandom(8)
        token = self._tokens.create_token(addr, header.destination_cid, source)
        return encode_quic_retry(header.version, source, header.source_cid, header.destination_cid, token)

    def _start(self, destination: bytes, connection: RoutedConnection) -> RoutedConnection:
        connection.connection_made(self._transport)
        connection.route(self)
        self._connections[destination] = self._connections[connection.bounded.host_cid] = connection
        return connection

    def add(self, connection: RoutedConnection, number: bytes) -> None:
        """Route the datagrams with a connection id."""
        self._connections[number] = connection

    def remove(self, connection: RoutedConnection, number: bytes) -> None:
        """Route a connection id no longer."""
        if self._connections.get(number) is connection:
            del self._connections[number]

    def forget(self, connection: RoutedConnection) -> None:
        """Route nothing to a connection that is over, and release it."""
        for number in [number for number, other in self._connections.items() if other is connection]:
            del self._connections[number]
        asyncio.get_running_loop().call_soon(connection.bounded.release)  # aioquic still works on its events

    def _send(self, data: bytes, addr: Address) -> None:
        self._transport.sendto(data, addr)
