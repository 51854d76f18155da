"""DNS over TCP (RFC 7766): many queries on a connection, answered in the order in which the answers are found."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final, cast

from hedgerow.dns.arrivals import Arrivals
from hedgerow.dns.responder import DROPPED, Responder

MAX_CONNECTIONS: Final = 512
MAX_CONNECTIONS_OF_ONE: Final = 64
MAX_STRANGERS: Final = 16
MAX_OUTSTANDING: Final = 128  # queries of one connection that wait for upstreams
IDLE_SECONDS: Final = 15.0
_BACKLOG: Final = 256


class StreamServer:
    """The TCP side of a server: listening sockets and open connections, bounded in all and for each address."""

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
        mine = self._open.setdefault(connection.address, set())
        known = self.responder.asker(connection.address, connection.address, b"")
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
        mine = self._open.get(connection.address, set())
        mine.discard(connection)
        if not mine:
            self._open.pop(connection.address, None)

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
        self.active_at = asyncio.get_running_loop().time()
        self._streams = streams
        self._responder = streams.responder
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._outstanding = 0
        self._stuck = False

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
        return self._outstanding > 0  # who has asked and closed its side still gets its answers

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
        """Take whole queries off the buffer as long as there is room for their answers."""
        while self._has_room() and len(self._buffer) >= 2:
            size = int.from_bytes(self._buffer[:2])
            if len(self._buffer) < 2 + size:
                break
            query = bytes(self._buffer[2 : 2 + size])
            del self._buffer[: 2 + size]
            self.active_at = asyncio.get_running_loop().time()
            self._answer(query)
        self._steer()

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

    def _finish(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _has_room(self) -> bool:
        return self._transport is not None and not self._stuck and self._outstanding < MAX_OUTSTANDING

    def _steer(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._has_room():
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
