"""DNS over TCP (RFC 7766): many queries on a connection, answered in the order in which the answers are found."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

from hedgerow.dns.server.clients import CLIENT_ID_PREFIX, ClientEntry, client_id_from_sni
from hedgerow.dns.server.rate_limits import MAX_QUERY, MAX_UNSENT, rate_limit_key
from hedgerow.dns.server.responder import DROPPED_METRIC, MessageCallback, Pending, Responder
from hedgerow.dns.server.tls import ServerTls, TlsAcceptor
from hedgerow.dns.wire import HEADER

MAX_CONNECTIONS: Final = 512
MAX_CONNECTIONS_PER_CLIENT: Final = 64
MAX_UNKNOWN_CLIENTS: Final = 16
MAX_OUTSTANDING: Final = 128  # queries of one connection that wait for upstreams
MOST_AT_ONCE: Final = 64  # queries of one connection that are answered before other clients have their turn
IDLE_SECONDS: Final = 15.0
_BACKLOG: Final = 1024  # as many come at once when a whole network starts


class StreamServer:
    """The TCP side of a server: listening sockets and open connections, bounded in all and for each client."""

    def __init__(self, responder: Responder) -> None:
        self.responder = responder
        self._listening: list[asyncio.Server] = []
        self._open: dict[str, set[StreamConnection]] = {}
        self._unknown_clients: set[StreamConnection] = set()
        self._arrivals = TlsAcceptor(lambda: responder.count(DROPPED_METRIC, "handshakes"))

    async def listen(self, sock: socket.socket) -> None:
        await self.serve(sock, lambda: StreamConnection(self))

    async def serve(self, sock: socket.socket, protocol: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None = None) -> None:
        """Accept connections of another protocol too, over TLS where there is a context. They end with this server."""
        if tls is None:
            self._listening.append(await asyncio.get_running_loop().create_server(protocol, sock=sock, backlog=_BACKLOG))
        else:
            sock.listen(_BACKLOG)
            self._arrivals.listen(sock, tls, protocol)

    def admit(self, connection: StreamConnection) -> bool:
        """Count a new connection, or say that there are too many. Where all places are taken, who has long been idle gives way.

        Strangers may only be told that they are refused: a few places must do for that.
        """
        known = self.responder.client_for(connection.address, connection.address, b"")
        connection.owner = rate_limit_key(connection.address, known.client.device) if known else connection.address
        mine = self._open.setdefault(connection.owner, set())
        if known is None:
            self._unknown_clients = {other for other in self._unknown_clients if other.is_open}
            too_many = len(self._unknown_clients) >= MAX_UNKNOWN_CLIENTS
            self._unknown_clients.add(connection)
        else:
            too_many = len(mine) >= MAX_CONNECTIONS_PER_CLIENT or (self.count >= MAX_CONNECTIONS and not self._evict_idle())
        if too_many:
            self.responder.count(DROPPED_METRIC, "connections")
            return False
        mine.add(connection)
        return True

    @property
    def count(self) -> int:
        return sum(map(len, self._open.values()))

    def _evict_idle(self) -> bool:
        idle = [connection for mine in self._open.values() for connection in mine if connection.is_idle]
        if not idle:
            return False
        longest = min(idle, key=lambda connection: connection.active_at)
        self.leave(longest)
        longest.abort()
        return True

    def leave(self, connection: StreamConnection) -> None:
        mine = self._open.get(connection.owner, set())
        mine.discard(connection)
        if not mine:
            self._open.pop(connection.owner, None)

    def close_idle(self, now: float) -> None:
        """Close who has not asked and is not waiting for anything. `now` is the loop's time."""
        for connection in [connection for mine in self._open.values() for connection in mine]:
            if now - connection.active_at > IDLE_SECONDS:
                connection.abort()

    async def close(self) -> None:
        for listening in self._listening:
            listening.close()
        for connection in [connection for mine in self._open.values() for connection in mine]:
            connection.abort()
        await self._arrivals.close()
        for listening in self._listening:
            await listening.wait_closed()


class StreamConnection(asyncio.Protocol):
    """One client's connection. It is not read while too much of it is unanswered or unsent."""

    kind = "tcp"

    def __init__(self, streams: StreamServer) -> None:
        self.address = ""  # as `Clients` knows who asks
        self.owner = ""  # for whom it counts
        self.active_at = asyncio.get_running_loop().time()
        self._streams = streams
        self._responder = streams.responder
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._ignored = 0  # octets that are still to come of a query that is too long
        self._outstanding = 0
        self._write_paused = False
        self._turn: asyncio.Handle | None = None  # when more of the buffer is answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has all of its methods and is no subclass
        self.address = self._client_key(self._transport)
        if not self._streams.admit(self):
            self._transport.abort()

    def _client_key(self, transport: asyncio.Transport) -> str:
        peer = transport.get_extra_info("peername")
        return peer[0] if peer else ""

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = None
        self._streams.leave(self)
        if self._turn is not None:
            self._turn.cancel()

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    @property
    def is_idle(self) -> bool:
        """Nothing is owed to it."""
        return not self._outstanding

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._work()

    def eof_received(self) -> bool:
        return self._outstanding > 0 or self._turn is not None  # who has asked and closed its side still gets its answers

    def pause_writing(self) -> None:
        self._write_paused = True
        self._update_reading()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._work()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _work(self) -> None:
        """Take whole queries off the buffer as long as there is room for their answers, and other clients need not wait long."""
        loop, left = asyncio.get_running_loop(), MOST_AT_ONCE
        while self._has_room() and (query := self._next_query()) is not None:
            self.active_at = loop.time()
            self._answer(query)
            left -= 1
            if not left:
                self._turn = loop.call_soon(self._have_turn)
        self._update_reading()

    def _have_turn(self) -> None:
        self._turn = None
        self._work()

    def _next_query(self) -> bytes | None:
        """Off the buffer; None where it is not whole yet. Of what is longer than any query the header is enough to say so."""
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

    def _answer(self, data: bytes) -> None:
        responder = self._responder
        known = responder.client_for(self.address, self.address, data)
        if known is None:
            refusal = responder.refuse(data)
            if refusal is not None:
                self._send(refusal)
            self._finish()
        elif not responder.admits(known):
            self._finish()  # over a stream there is somebody real, who may as well hear of it
        else:
            message = responder.answer(known, data, self.kind, self._send_late)
            if isinstance(message, bytes):
                self._send(message)
            elif message is not None:
                self._outstanding += 1

    def _send_late(self, message: bytes | None) -> None:
        self._outstanding -= 1
        if message is not None:
            self._send(message)
        self._work()

    def _send(self, message: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(len(message).to_bytes(2) + message)
            if self._transport.get_write_buffer_size() > MAX_UNSENT:
                self._responder.count(DROPPED_METRIC, "send")
                self.abort()

    def _finish(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _has_room(self) -> bool:
        is_there = self._transport is not None and not self._transport.is_closing()
        return is_there and not self._write_paused and self._turn is None and self._outstanding < MAX_OUTSTANDING

    def _update_reading(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._has_room():
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()


class EncryptedFrontend:
    """Finds clients by id or address for connections over TLS. `own_name`: our server name, before which an id may stand."""

    def __init__(self, streams: StreamServer, own_name: str | None) -> None:
        self.streams = streams
        self.responder = streams.responder
        self.own_name = own_name

    def client_id_of(self, transport: asyncio.Transport, tls: ServerTls) -> str | None:
        """The id in the server name that a connection asked for."""
        return client_id_from_sni(tls.server_name(transport.get_extra_info("ssl_object")), self.own_name)

    def client_key(self, address: str, client_id: str | None) -> str:
        """What to look the client up under: its id where the policy knows it, else its address."""
        key = f"{CLIENT_ID_PREFIX}{client_id}"
        return key if client_id is not None and self.find(key) is not None else address

    def find(self, key: str, data: bytes = b"") -> ClientEntry | None:
        return self.responder.client_for(key, key, data)

    def owner(self, address: str) -> str:
        """For whom connections from an address count."""
        known = self.find(address)
        return address if known is None else rate_limit_key(address, known.client.device)

    def answer(self, key: str, data: bytes, transport: str, on_answer: MessageCallback) -> bytes | Pending | None:
        """Answer one query of a client: now, not at all, or by calling `later` once."""
        known = self.find(key, data)
        if known is None:
            return self.responder.refuse(data)
        if len(data) < HEADER or not self.responder.admits(known):
            return None
        return self.responder.answer(known, data, transport, on_answer)


class DotConnection(StreamConnection):
    """As over TCP, for whoever the server name says."""

    kind = "dot"

    def __init__(self, frontend: EncryptedFrontend, tls: ServerTls) -> None:
        super().__init__(frontend.streams)
        self._frontend, self._tls = frontend, tls

    def _client_key(self, transport: asyncio.Transport) -> str:
        return self._frontend.client_key(super()._client_key(transport), self._frontend.client_id_of(transport, self._tls))

    def eof_received(self) -> bool:
        return False  # TLS has no half-closed connections here


class DotServer:
    """DNS over TLS (RFC 7858) on any number of sockets. Its connections are among those of the stream server, and end with them."""

    def __init__(self, frontend: EncryptedFrontend, tls: ServerTls) -> None:
        self.tls = tls
        self._frontend = frontend

    async def listen(self, sock: socket.socket) -> None:
        await self._frontend.streams.serve(sock, lambda: DotConnection(self._frontend, self.tls), self.tls.context)

    def close(self) -> None:
        """Do nothing: `StreamServer.close` ends the connections."""
