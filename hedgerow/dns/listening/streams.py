"""DNS over TCP (RFC 7766): many queries on a connection, answered in the order in which the answers are found."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

from hedgerow.dns.listening.arrivals import Arrivals
from hedgerow.dns.listening.limits import MAX_QUERY, MAX_UNSENT, owner_of
from hedgerow.dns.listening.responder import DROPPED, Responder
from hedgerow.dns.wire import HEADER

MAX_CONNECTIONS: Final = 512
MAX_CONNECTIONS_OF_ONE: Final = 64
MAX_STRANGERS: Final = 16
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
        self._strangers: set[StreamConnection] = set()
        self._arrivals = Arrivals(lambda: responder.count(DROPPED, "handshakes"))

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
        known = self.responder.asker(connection.address, connection.address, b"")
        connection.owner = owner_of(connection.address, known.client.device) if known else connection.address
        mine = self._open.setdefault(connection.owner, set())
        if known is None:
            self._strangers = {stranger for stranger in self._strangers if stranger.is_open}
            too_many = len(self._strangers) >= MAX_STRANGERS
            self._strangers.add(connection)
        else:
            too_many = len(mine) >= MAX_CONNECTIONS_OF_ONE or (self.count >= MAX_CONNECTIONS and not self._make_room())
        if too_many:
            self.responder.count(DROPPED, "connections")
            return False
        mine.add(connection)
        return True

    @property
    def count(self) -> int:
        return sum(map(len, self._open.values()))

    def _make_room(self) -> bool:
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
        self._stuck = False
        self._turn: asyncio.Handle | None = None  # when more of the buffer is answered

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's has all of its methods and is no subclass
        self.address = self._who(self._transport)
        if not self._streams.admit(self):
            self._transport.abort()

    def _who(self, transport: asyncio.Transport) -> str:
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
        self._stuck = True
        self._steer()

    def resume_writing(self) -> None:
        self._stuck = False
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
        self._steer()

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
        known = responder.asker(self.address, self.address, data)
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
                self._responder.count(DROPPED, "send")
                self.abort()

    def _finish(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _has_room(self) -> bool:
        is_there = self._transport is not None and not self._transport.is_closing()
        return is_there and not self._stuck and self._turn is None and self._outstanding < MAX_OUTSTANDING

    def _steer(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._has_room():
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
