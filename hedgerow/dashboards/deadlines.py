"""Deadlines of connections to the pages: for requests to arrive, and for responses to be read.

uvicorn has none of its own: a client that sends or reads slowly, or not at all, could keep its connections for ever.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
from typing import Any, Final, cast

import uvicorn
from starlette.types import Message
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from hedgerow.dashboards.web_places import WebPlace
from hedgerow.dashboards.work_queue import RequestTurn

REQUEST_TIMEOUT_S: Final = 20.0
"""Maximum time for a request to arrive with its body, from the connection or from its first byte."""

READING_TIMEOUT_S: Final = 30.0
"""Time in which a client has to take `LEAST_READ` octets, or all that wait for it."""

LEAST_READ: Final = 8192

DEADLINE: Final = "hedgerow.deadline"
"""Key of a connection's `DeadlineProtocol` in the state of its requests' scopes."""

PLACE: Final = "hedgerow.place"
"""Key of a connection's `WebPlace` in the state that its `DeadlineProtocol` is made with."""

_LOOKS: Final = 6
_NO_LINGER: Final = struct.pack("ii", 1, 0)  # struct linger: on, for no time
_TCP_INFO_SIZE: Final = 128
_OCTETS_ACKNOWLEDGED: Final = struct.Struct("120x Q")  # tcpi_bytes_acked in struct tcp_info, linux/tcp.h


class ReadingPace:
    """Judgement of how fast a client reads. Pure: `now` is in seconds, on any clock."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._since: float | None = None
        self._taken = 0

    def is_too_slow(self, now: float, waiting: int, taken: int) -> bool:
        """Return whether a client has taken too little for too long.

        Arguments:
            waiting: octets that have been sent to the client and that it has not taken.
            taken: octets that it has taken since the connection began, or any count that grows in the same way.
        """
        if not waiting:
            self._since = None
            return False
        if self._since is None or taken - self._taken >= LEAST_READ:
            self._since, self._taken = now, taken
        return now - self._since >= self._timeout


class DeadlineProtocol(asyncio.Protocol):
    """uvicorn's HTTP protocol with deadlines, so that slow clients cannot hold connections.

    A request's time runs while the server waits for the client: until the head is complete, and while the application
    waits for the body. Inside the application, which finds this object in the scope's state, `limit_requests` stops it.
    Between two requests uvicorn's keep-alive timeout applies. Whatever waits to be read, also after the last response,
    has the deadline of `ReadingPace`.
    """

    def __init__(
        self,
        timeout: float,
        reading_timeout: float,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._timeout, self._left, self._is_idle = timeout, timeout, True
        self._pace, self._look_interval = ReadingPace(reading_timeout), reading_timeout / _LOOKS
        self._timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self.owes_response = False
        self.is_write_paused = False
        self.turn: RequestTurn | None = None
        """The turn of the last request."""
        self.place: WebPlace | None = app_state.get(PLACE)
        state = {key: value for key, value in app_state.items() if key != PLACE}
        self._http = H11Protocol(config, server_state, {**state, DEADLINE: self}, _loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.place is not None:
            if self.place.is_ending:
                self._reset()
            self.place.on_end = self._reset
        self._look_later()
        self.begin_request()
        self._http.connection_made(self._transport)

    def data_received(self, data: bytes) -> None:
        if self._is_idle:
            self.begin_request()
        self._http.data_received(data)

    def eof_received(self) -> bool:
        """Finish a response that has not begun, to a client that has closed its side. asyncio's TLS has no half-closed
        connections.

        A request whose body is not complete never will be: it ends now, or when the application waits for the rest.
        """
        self._http.eof_received()
        is_incomplete = self._timer is not None
        if is_incomplete or not self.owes_response or self._transport.get_extra_info("ssl_object") is not None:
            return False
        self._left = 0.0
        self._http.shutdown()  # after the response
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop()
        if self._look_timer is not None:
            self._look_timer.cancel()
        if self.place is not None:
            self.place.leave()
        self._http.connection_lost(exc)
        if self.turn is not None:
            self.turn.give_up()

    def pause_writing(self) -> None:
        self.is_write_paused = True
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self.is_write_paused = False
        self._http.resume_writing()

    def begin_request(self) -> None:
        """Give the client the time of a whole request, unless one has begun."""
        if self._is_idle:
            self._is_idle, self._left = False, self._timeout
            self.wait()

    def wait(self) -> None:
        """Let the rest of the time run."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._left, self._transport.abort)

    def stop(self) -> None:
        """Keep the rest of the time: the server is at work, or the request is complete."""
        if self._timer is not None:
            self._left = max(0.0, self._timer.when() - asyncio.get_running_loop().time())
            self._timer.cancel()
            self._timer = None

    def begin_response(self, turn: RequestTurn) -> None:
        """Note that the application is about to answer a request."""
        self.begin_request()  # a pipelined request came with the one before
        self.stop()
        self.owes_response, self.turn = True, turn
        if self.place is not None:
            self.place.is_working = True

    def note_sent(self, message: Message) -> None:
        """Note a message of the response that was sent, and wait for the next request after the last one."""
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.stop()
            self._is_idle = True
            if self.place is not None:
                self.place.is_working = False

    def _look_later(self) -> None:
        self._look_timer = asyncio.get_running_loop().call_later(self._look_interval, self._look)

    def _look(self) -> None:
        """Abort a connection whose client reads too slowly."""
        self._look_later()
        unsent = self._transport.get_write_buffer_size()
        try:
            waiting, taken = _queue_of(self._transport.get_extra_info("socket"), unsent)
        except (OSError, ValueError):  # it is being closed
            return
        if self._pace.is_too_slow(asyncio.get_running_loop().time(), waiting, taken):
            self._reset()

    def _reset(self) -> None:
        """Abort the connection.

        The kernel forgets what it has yet to send, which it would keep for a client that does not read.
        """
        with contextlib.suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()


def _queue_of(connection: socket.socket, unsent: int) -> tuple[int, int]:
    """Return the octets that a client has yet to take, and a count that grows with those it has taken.

    `unsent` are the transport's.

    TCP counts what was acknowledged. Elsewhere, as on Unix sockets, the count grows as what waits gets less.
    """
    queued = array.array("i", [0])
    fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, queued)
    waiting = unsent + queued[0]
    if connection.family in (socket.AF_INET, socket.AF_INET6):
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        if len(info) >= _OCTETS_ACKNOWLEDGED.size:
            return waiting, _OCTETS_ACKNOWLEDGED.unpack_from(info)[0]
    return waiting, -waiting
