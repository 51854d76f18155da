"""One inspected connection: mitmproxy's HTTP layers, driven from here, between the client's line and those to its origins.

mitmproxy's layers are protocol code: events go in, commands come out. Its own way of running them costs several tasks and a dozen turns
of the event loop a request; here a hook is a call, and what is written is written once, after all layers have had their say. Whatever
fails ends the connection: an error must never let something through.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Coroutine
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Connection, ConnectionState, Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context

from hedgerow.proxy.inspection.engine.http_engine import HttpLayer, HTTPMode, OriginServer, http1_portion
from hedgerow.proxy.inspection.judging import Inspection
from hedgerow.proxy.inspection.lines.line import Line
from hedgerow.proxy.inspection.lines.origins import Origin, OriginError, Waiting
from hedgerow.proxy.inspection.office import Office
from hedgerow.proxy.inspection.short_path import ShortPath

log = logging.getLogger(__name__)

_MOST_HELD = 64 * 1024
"""Bytes of a client that are kept while it is waited for something, such as its origin; then it is not read."""

_ON_SECOND_THOUGHTS = 2.0
"""Seconds after a handshake within which an app that is pinned to another certificate has looked at ours, and is gone."""


class Exchange:
    """Owns the client's line and those to its origins. `offers` are the protocols that the client offered with TLS."""

    def __init__(self, office: Office, line: Line, context: Context, offers: tuple[str, ...]) -> None:
        self.line = line
        self._loop = asyncio.get_running_loop()
        self.began = self._rested = self._loop.time()
        self._moved = 0
        self.client = context.client
        self.is_over = False
        self._has_spoken = False
        self._office = office
        self._offers = offers
        self._context = context
        self._mode = HTTPMode.transparent
        self._layer: HttpLayer | None = None
        self._short = ShortPath(self, context)
        self._judged: http.HTTPFlow | None = None  # what the layers are about to hear of was judged already
        self._unsaid: Connection | None = None  # to whom what the layers are about to say was said already
        self._events: deque[events.Event] = deque()
        self._is_busy = False
        self._unfinished: tuple[int, float] | None = None  # which head has begun, and when that was seen
        self._lines: dict[Connection, Line] = {self.client: line}
        self._connections: dict[Line, Connection] = {line: self.client}
        self._origins: dict[Line, Origin] = {}
        self._dirty: dict[Line, None] = {}
        self._closed: set[Connection] = set()
        self._working: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._stalled: set[Line] = set()
        self._clogged: frozenset[Connection] = frozenset()
        self._is_overfull = False
        self._held = bytearray()
        self._turn: asyncio.Handle | None = None  # when more of what is held is processed
        line.owner = self
        office.entered(self)

    def begin(self, mode: HTTPMode) -> None:
        self._mode = mode
        if mode is not HTTPMode.transparent or self.client.alpn == b"h2":
            self._lay()

    def abort(self) -> None:
        """End it at once, with what was still to be sent."""
        self.line.abort()

    def rests(self, now: float) -> float:
        """Seconds since this first saw that nothing moves between the client and us, in the loop's time.

        What origins say that does not reach the client is none of it: some are asked every minute whether they are still there.
        """
        if self.moved != self._moved:
            self._moved, self._rested = self.moved, now
        return now - self._rested

    def head_takes(self, now: float) -> float:
        """Seconds since the client's head that is not complete yet was first seen by this, in the loop's time; 0 where there is none."""
        number = self._layer.unfinished_head() if self._layer is not None else None
        if number is None:
            self._unfinished = None
            return 0.0
        if self._unfinished is None or self._unfinished[0] != number:
            self._unfinished = (number, now)
        return now - self._unfinished[1]

    @property
    def moved(self) -> int:
        """Bytes between us and the client, in both directions together."""
        return self.line.taken + self.line.sent

    # What happens on lines.

    def secured(self, line: Line) -> None: ...

    def received(self, line: Line, data: bytes) -> None:
        if line is not self.line:
            self._tell(events.DataReceived(self._connections[line], data))
            return
        if not self._has_spoken:
            self._has_spoken = True
            if self.client.tls:
                self._office.inspection.certificate_accepted(self.client, self._context.server.address)
        self._held += data
        if not self._must_hold:
            self._take_turn()
        if self._held:
            self._regulate()

    @property
    def _must_hold(self) -> bool:
        """Whether what the client sends must wait: for an origin, an answer, its own reading, or the connection's next turn."""
        return bool(self._working) or self._turn is not None or self.line in self._stalled or self._is_answering

    @property
    def _is_answering(self) -> bool:
        return self._layer is not None and self._layer.is_answering

    def _take_turn(self) -> None:
        """Process a portion of what the client has sent. Other connections have their turn before the rest of it."""
        held = self._held
        if held and self.line.is_open:
            size = self._layer.portion(held, self._loop.time()) if self._layer is not None else http1_portion(held)
            data = bytes(held[:size])
            del held[:size]
            if self._layer is not None and self._layer.is_flooded:
                self._office.counters.add("hedgerow_proxy_dropped_total", "flood")
                held.clear()
            if held:
                self._turn = self._loop.call_soon(self._have_turn)
            self._tell(events.DataReceived(self.client, data))

    def _have_turn(self) -> None:
        self._turn = None
        self._let_go()

    def ended(self, line: Line) -> None:
        if line is not self.line or not self._held or self._is_answering:
            self._end(line)

    def _end(self, line: Line) -> None:
        connection = self._connections[line]
        if connection is self.client:
            self._note_second_thoughts()
        connection.state &= ~ConnectionState.CAN_READ
        self._tell_closed(connection)

    def _note_second_thoughts(self) -> None:
        """The client has left: if without a word, it may have disliked our certificate."""
        has_just_begun = asyncio.get_running_loop().time() - self.began < _ON_SECOND_THOUGHTS
        if self.client.tls and not self._has_spoken and has_just_begun:
            self._has_spoken = True
            self._office.inspection.certificate_refused(self.client, self._context.server.address, None)

    def failed(self, line: Line, error: ssl.SSLError | None) -> None:
        if line is self.line:
            self._office.inspection.certificate_refused(self.client, self._context.server.address, error.reason if error else None)
        line.abort()

    def lost(self, line: Line) -> None:
        connection = self._connections.pop(line, None)
        if connection is not None:
            self._lines.pop(connection, None)
            connection.state = ConnectionState.CLOSED
            self._tell_closed(connection)
        self._stalled.discard(line)
        if line is self.line:
            if line.was_reset:
                self._note_second_thoughts()
            self._finish()
        else:
            self._origins.pop(line, None)
            self._regulate()

    def stalled(self, line: Line) -> None:
        self._stalled.add(line)
        self._regulate()

    def flows(self, line: Line) -> None:
        self._stalled.discard(line)
        self._regulate()
        if self._held:
            self._let_go()

    def _regulate(self) -> None:
        """An origin that takes nothing stops the client; a client that takes nothing stops everybody, itself too."""
        self.line.regulate(is_paused=bool(self._stalled) or self._is_overfull or len(self._held) >= _MOST_HELD)
        for line in self._origins:
            line.regulate(is_paused=self.line in self._stalled or self._connections[line] in self._clogged)

    def _finish(self) -> None:
        """The client is gone: nobody waits for what its origins still send."""
        if self.is_over:
            return
        self.is_over = True
        for task in tuple(self._working):
            task.cancel()
        for timer in self._timers:
            timer.cancel()
        if self._turn is not None:
            self._turn.cancel()
        for line, origin in tuple(self._origins.items()):
            connection = self._connections.pop(line)
            if self._is_idle(connection) and connection.id not in self._office.inspection.bound:
                self._office.origins.keep(origin, line)
            else:
                self._office.inspection.bound.discard(connection.id)
                line.abort()
        self._origins.clear()
        self._office.left(self, self.client)
        # These two know it, as it knows them: parted, all of them and the TLS are gone now, and not when the collector looks.
        del self._short, self.line.owner

    def _is_idle(self, connection: Connection) -> bool:
        return self._short.is_idle(connection) or (self._layer is not None and self._layer.is_idle(connection))

    def _tell(self, event: events.ConnectionEvent) -> None:
        try:
            is_told = self._short.hears(event)
        except Exception:
            log.exception("a connection failed at the inspector")
            self.abort()
            return
        if not is_told:
            self._handle(event)

    # The short path's way to us.

    @property
    def inspection(self) -> Inspection:
        return self._office.inspection

    @property
    def has_layers(self) -> bool:
        return self._layer is not None

    @property
    def is_at_rest(self) -> bool:
        return self._layer is None or (self._mode is HTTPMode.transparent and not self._is_busy and self._layer.is_at_rest)

    def say(self, to: Connection, data: bytes) -> None:
        line = self._lines.get(to)
        if line is not None:
            line.put(data)
            line.flush()

    def close(self, connection: Connection) -> None:
        self._close(connection, half=False)

    def give_back(self, server: Server) -> None:
        """Nothing is under way to an origin that the layers do not know of: they find it with those that are idle."""
        line = self._lines.pop(server)
        del self._connections[line]
        self._office.origins.keep(self._origins.pop(line), line)

    def take_long_way(self, flow: http.HTTPFlow, said: bytes, server: OriginServer | None, *, is_asked: bool) -> None:
        """The layers hear a request that was judged and, if it `is_asked`, sent; `server` is its origin, open or with its error."""
        layer = self._layer or self._lay()
        self._judged, layer.ready = flow, server
        if server is None or not is_asked:
            self._handle(events.DataReceived(self.client, said))
            return
        state, server.state, self._unsaid = server.state, ConnectionState.OPEN, server  # what has ended since, they are told next
        self._handle(events.DataReceived(self.client, said))
        server.state = state

    # mitmproxy's layers.

    def _lay(self) -> HttpLayer:
        self._layer = layer = HttpLayer(self._context, self._mode)
        self._handle(events.Start())
        return layer

    def _handle(self, event: events.Event) -> None:
        pending, layer = self._events, self._layer or self._lay()
        pending.append(event)
        if self._is_busy:
            return
        self._is_busy = True
        try:
            while pending:
                for command in layer.handle_event(pending.popleft()):
                    self._obey(command)
        except Exception:
            log.exception("a connection failed at the inspector")
            pending.clear()
            self._dirty.clear()
            self.abort()
        finally:
            self._is_busy = False
        if self._dirty:
            for line in self._dirty:
                line.flush()
            self._dirty.clear()
        if self._held and not self._must_hold:
            self._turn = self._loop.call_soon(self._have_turn)
        if (found := (layer.clogged(), layer.is_overfull)) != (self._clogged, self._is_overfull):
            self._clogged, self._is_overfull = found
            self._regulate()

    def _obey(self, command: commands.Command) -> None:
        match command:
            case commands.SendData():
                line = self._lines.get(command.connection)
                if command.connection is self._unsaid:
                    self._unsaid = None
                elif line is not None:
                    line.put(command.data)
                    self._dirty[line] = None
            case commands.StartHook():
                answer = self._hear(command)
                if answer is not None:
                    self.work(self._wait_for(answer, command))
                elif command.blocking:
                    self._events.append(events.HookCompleted(command))
            case commands.Log():
                pass
            case commands.OpenConnection() if command.connection.error:
                self._events.append(events.OpenConnectionCompleted(command, command.connection.error))
            case commands.OpenConnection():
                self.work(self._open_origin(command))
            case commands.CloseConnection():
                self._close(command.connection, half=isinstance(command, commands.CloseTcpConnection) and command.half_close)
            case commands.RequestWakeup():
                self._wake(command)
            case _:
                raise TypeError(f"mitmproxy wants something unknown: {command}")

    def _hear(self, hook: commands.StartHook) -> Coroutine[Any, Any, None] | None:
        if self._judged is None or hook.name != "requestheaders":
            return self._office.inspection.hear(hook.name, hook.args())
        judged, self._judged = self._judged, None
        (flow,) = hook.args()
        flow.id = judged.id
        flow.request.data, flow.request.stream = judged.request.data, judged.request.stream
        return None

    def _close(self, connection: Connection, *, half: bool) -> None:
        line = self._lines.get(connection)
        if line is None:
            return
        if half:
            line.end()
            connection.state &= ~ConnectionState.CAN_WRITE
            if connection.state is not ConnectionState.CLOSED:
                return
        connection.state = ConnectionState.CLOSED
        line.close()
        self._tell_closed(connection)

    def _tell_closed(self, connection: Connection) -> None:
        if connection not in self._closed:
            self._closed.add(connection)
            self._tell(events.ConnectionClosed(connection))

    def _wake(self, command: commands.RequestWakeup) -> None:
        def wake() -> None:
            self._timers.discard(timer)
            self._handle(events.Wakeup(command))

        timer = asyncio.get_running_loop().call_later(command.delay, wake)
        self._timers.add(timer)

    # What takes time: its client is not read meanwhile.

    def work(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.Task(work, loop=asyncio.get_running_loop(), eager_start=True)  # what need not wait is done in it
        if task.done():
            self._worked(task)
            return
        self._working.add(task)
        task.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._working.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection failed at the inspector", exc_info=error)
            self.abort()
        elif not self._working and not self.is_over:
            self._let_go()

    async def _wait_for(self, answer: Coroutine[Any, Any, None], command: commands.StartHook) -> None:
        await answer
        if command.blocking:
            self._handle(events.HookCompleted(command))

    async def _open_origin(self, command: commands.OpenConnection) -> None:
        server, waiting = command.connection, None
        try:
            waiting = await self.reach(server)
        except OriginError as error:
            server.error = str(error)
        self._handle(events.OpenConnectionCompleted(command, server.error))
        if waiting is not None:
            self.catch_up(server, waiting)

    def catch_up(self, server: Server, waiting: Waiting) -> None:
        """What has happened on a line before it was ours."""
        line = self._lines.get(server)
        if line is None:
            return
        if waiting.early:
            self.received(line, waiting.early)
        if waiting.has_ended and line in self._connections:
            self.ended(line)
        if line.is_lost and line in self._connections:
            self.lost(line)

    async def reach(self, server: Server) -> Waiting:
        """Open a line to `server`, which is ours then. Raises OriginError."""
        office, address = self._office, server.address
        assert address is not None
        device, addresses = await office.inspection.addresses_for(self.client, *address)
        alpn = () if not server.tls or not self._offers else ("h2", "http/1.1") if self.client.alpn == b"h2" else ("http/1.1",)
        origin = Origin(device, *address, server.sni if server.tls else None, alpn)
        line, waiting = await office.origins.open(origin, addresses)
        self._origins[line] = origin
        self._adopt(line, server)
        if isinstance(server, OriginServer):
            server.is_used_again = waiting.is_used_again
        return waiting

    def _adopt(self, line: Line, server: Server) -> None:
        self._lines[server], self._connections[line] = line, server
        line.owner = self
        server.state = ConnectionState.OPEN
        server.peername, server.sockname = (line.transport.get_extra_info(name) for name in ("peername", "sockname"))
        server.timestamp_tcp_setup = self._office.clock()
        if line.tls is not None:
            server.alpn = (line.tls.alpn or "").encode()
            server.timestamp_tls_setup = server.timestamp_tcp_setup

    def _let_go(self) -> None:
        """What its client sent meanwhile goes on."""
        if self._must_hold or self.is_over:
            return
        self._take_turn()
        self._regulate()
        if self.line.has_ended and not self._working and not self._held:
            self._end(self.line)
