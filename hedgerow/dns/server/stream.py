"""DNS over TCP and TLS (RFC 7766, RFC 7858): many queries per connection, answered in the order in which the answers
are found.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final

from hedgerow.client_classes import ClassedClient, ClientClass
from hedgerow.dns.server.admission import Deferred, MessageCallback
from hedgerow.dns.server.clients import CLIENT_ID_PREFIX, ClientEntry, client_id_from_sni
from hedgerow.dns.server.connections import ClientConnection, ClientConnectionTable, StreamProtocol, affordable
from hedgerow.dns.server.rate_limits import MAX_QUERY, MAX_UNSENT
from hedgerow.dns.server.responder import DROPPED_METRIC, Responder
from hedgerow.dns.server.tls import ServerTls, TlsAcceptor
from hedgerow.dns.server.turns import TurnScheduler
from hedgerow.dns.wire import HEADER
from hedgerow.frame_budget import FrameTokens
from hedgerow.proxy_protocol import ProxyHeaderProtocol

MAX_CONNECTIONS: Final = 512
MAX_CONNECTIONS_PER_CLIENT: Final = 64
MAX_UNKNOWN_CLIENTS: Final = 16  # connections of clients that may not ask; enough to refuse them
MAX_OUTSTANDING: Final = 128  # queries of one connection that wait for upstreams
MOST_AT_ONCE: Final = 64  # queries of one connection that are answered before other clients have their turn
IDLE_SECONDS: Final = 15.0
_BACKLOG: Final = 1024  # as many connect at once when a whole network starts


class StreamServer:
    """The TCP side of a server: listening sockets and open connections."""

    def __init__(self, responder: Responder) -> None:
        self.responder = responder
        self.turns = TurnScheduler()
        self.table: ClientConnectionTable[StreamConnection] = ClientConnectionTable(
            affordable(MAX_CONNECTIONS),
            MAX_CONNECTIONS_PER_CLIENT,
            lambda: responder.count(DROPPED_METRIC, "connections"),
        )
        self._listening: list[asyncio.Server] = []
        self._acceptor = TlsAcceptor(
            responder.admits_handshake,
            responder.connecting.class_of,
            responder.load_balancers.sends_header,
            lambda: responder.count(DROPPED_METRIC, "handshakes"),
        )

    async def listen(self, sock: socket.socket) -> None:
        """Serve DNS over TCP on a bound socket."""
        balancers, make = self.responder.load_balancers, partial(StreamConnection, self)
        self._listening.append(
            await asyncio.get_running_loop().create_server(
                lambda: ProxyHeaderProtocol(balancers, make), sock=sock, backlog=_BACKLOG
            )
        )

    def serve(self, sock: socket.socket, tls: ssl.SSLContext, protocol: Callable[[str], asyncio.Protocol]) -> None:
        """Accept TLS connections of any protocol, which is made with the client's address.

        They end with this server.
        """
        sock.listen(_BACKLOG)
        self._acceptor.listen(sock, tls, protocol)

    def admit(self, connection: StreamConnection) -> bool:
        """Add a connection to the table if there is room for it."""
        connection.owner = self.responder.connecting.class_of(connection.address)
        connection.is_known = connection.owner.rank is not ClientClass.OUTSIDE
        unknown = 0 if connection.is_known else self.table.places.count_of_class(ClientClass.OUTSIDE)
        return self.table.admit(connection, is_refused=unknown >= MAX_UNKNOWN_CLIENTS)

    async def close(self) -> None:
        for listening in self._listening:
            listening.close()
        self.table.close()
        self.turns.close()
        await self._acceptor.close()
        for listening in self._listening:
            await listening.wait_closed()


class QueryFramer:
    """Splitter of a stream into queries, each behind its length in two octets (RFC 1035, section 4.2.2). No sockets."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._ignored = 0  # octets still to come of a query that is too long

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_query(self) -> bytes | None:
        """Return the next whole query, else None.

        One that is longer than any query is cut to its header, which suffices to refuse it.
        """
        passed = min(self._ignored, len(self._buffer))
        del self._buffer[:passed]
        self._ignored -= passed
        if len(self._buffer) < 2:
            return None
        size = int.from_bytes(self._buffer[:2])
        taken = size if size <= MAX_QUERY else HEADER
        if len(self._buffer) < 2 + taken:
            return None
        query = bytes(self._buffer[2 : 2 + taken])
        del self._buffer[: 2 + taken]
        self._ignored = size - taken
        return query


class StreamConnection(StreamProtocol):
    """A client's connection over TCP."""

    transport_name = "tcp"
    max_outstanding = MAX_OUTSTANDING
    idle_seconds = IDLE_SECONDS

    def __init__(self, server: StreamServer, address: str) -> None:
        super().__init__(server.turns, address)
        self._server, self._responder = server, server.responder
        self._framer = QueryFramer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.address = self._client_key()
        if not self._server.admit(self):
            self.abort()

    def _client_key(self) -> str:
        """Return the key by which to find the client."""
        return self.address

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._server.table.discard(self)

    def identify(self, owner: ClassedClient) -> None:
        self._server.table.identify(self, owner)

    def data_received(self, data: bytes) -> None:
        self._framer.feed(data)
        self._work_soon()

    def eof_received(self) -> bool:
        return self.outstanding > 0 or self._awaits_turn  # a client that has closed its side still gets its answers

    def _work(self) -> None:
        loop, left = asyncio.get_running_loop(), MOST_AT_ONCE
        while self._has_room() and (query := self._framer.next_query()) is not None:
            self.active_at = loop.time()
            self._answer(query)
            left -= 1
            if not left:
                self._yield_turn()
        self._update_reading()

    def _answer(self, data: bytes) -> None:
        responder = self._responder
        client = responder.client_for(self.address, self.address, data)
        if client is None:
            refusal = responder.refuse(data)
            if refusal is not None:
                self._send(refusal)
            self._finish()
        elif not responder.admits(client):
            self._finish()  # the peer's address is real, so the client may learn of its limit
        else:
            message = responder.answer(client, data, self.transport_name, self._send_late, IDLE_SECONDS)
            if isinstance(message, bytes):
                self._send(message)
            elif message is not None:
                self.outstanding += 1

    def _send_late(self, message: bytes | None) -> None:
        self.outstanding -= 1
        if message is not None:
            self._send(message)
        self._work_soon()

    def _send(self, message: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(len(message).to_bytes(2) + message)
            if self._transport.get_write_buffer_size() > MAX_UNSENT:
                self._responder.count(DROPPED_METRIC, "send")
                self.abort()

    def _finish(self) -> None:
        if self._transport is not None:
            self._transport.close()


class EncryptedFrontend:
    """Look-up of the clients of connections over TLS, by id or address.

    `own_name` is our server name, which an id may precede.
    """

    def __init__(self, streams: StreamServer, own_name: str | None) -> None:
        self.streams = streams
        self.responder = streams.responder
        self.own_name = own_name
        self._proven_ids: set[str] = set()

    def client_id_of(self, transport: asyncio.Transport, tls: ServerTls) -> str | None:
        """Return the client id in the SNI of a connection."""
        return client_id_from_sni(tls.server_name(transport.get_extra_info("ssl_object")), self.own_name)

    def client_key(self, address: str, client_id: str | None) -> str:
        """Return the key of a client: its id if the policy knows it, but not the device at its address, else its
        address.

        The address follows the id where the gateway admits addresses, which it does by the MAC address that belongs to
        it. Guessing ids is limited for all clients together. Ids that were right before are not affected.
        """
        here = self.find(address) if client_id is not None else None
        if client_id is None or (here is not None and here.client.is_named):
            return address
        key = f"{CLIENT_ID_PREFIX}{client_id}"
        tries = self.responder.clients.limits.client_ids
        if key not in self._proven_ids and tries.left <= 0:
            return address
        if self.find(key) is None:
            self._proven_ids.discard(key)
            tries.left -= 1
            return address
        self._proven_ids.add(key)
        key = f"{key}@{address}" if self.responder.admission.is_needed else key
        self.responder.connecting.note_proven(key, address)
        return key

    def find(self, key: str, data: bytes = b"") -> ClientEntry | None:
        return self.responder.client_for(key, key, data)

    def owner(self, address: str) -> ClassedClient:
        """Return the client that connections from an address count for."""
        return self.responder.connecting.class_of(address)

    def frame_tokens(self, address: str) -> FrameTokens | None:
        """Return the tokens for frames that all connections from an address share; None for clients without a limit."""
        client = self.find(address)
        return (self.responder.clients.limits.unknown_clients if client is None else client.bucket).frames

    def answer(
        self, connection: ClientConnection, key: str, data: bytes, transport: str, on_answer: MessageCallback
    ) -> bytes | Deferred | None:
        """Return `Responder.answer` for the client with this key, within its rate limit. An unknown client is refused.

        A deferred answer counts as outstanding until `on_answer` subtracts it.
        """
        client = self.find(key, data)
        if client is None:
            return self.responder.refuse(data)
        connection.is_known = True
        if client.classed.rank > connection.owner.rank:
            connection.identify(client.classed)
        connection.active_at = asyncio.get_running_loop().time()
        if len(data) < HEADER or not self.responder.admits(client):
            return None
        message = self.responder.answer(client, data, transport, on_answer)
        if isinstance(message, Deferred):
            connection.outstanding += 1
        return message


class DotConnection(StreamConnection):
    """A connection over TLS, of the client that the SNI names."""

    transport_name = "dot"

    def __init__(self, frontend: EncryptedFrontend, tls: ServerTls, address: str) -> None:
        super().__init__(frontend.streams, address)
        self._frontend, self._tls = frontend, tls

    def _client_key(self) -> str:
        assert self._transport is not None
        return self._frontend.client_key(self.address, self._frontend.client_id_of(self._transport, self._tls))

    def eof_received(self) -> bool:
        return False  # asyncio's TLS has no half-closed connections


class DotServer:
    """DNS over TLS on any number of sockets.

    Its connections are among those of the stream server, and end with them.
    """

    def __init__(self, frontend: EncryptedFrontend, tls: ServerTls) -> None:
        self.tls = tls
        self._frontend = frontend

    async def listen(self, sock: socket.socket) -> None:
        self._frontend.streams.serve(sock, self.tls.context, partial(DotConnection, self._frontend, self.tls))

    def close(self) -> None:
        """Do nothing: `StreamServer.close` ends the connections."""
