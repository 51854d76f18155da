"""One inspected connection: the gate's introduction, TLS with the client, and mitmproxy's HTTP layers driven from here.

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
from collections.abc import Callable, Coroutine
from itertools import count
from typing import TYPE_CHECKING, Any

from mitmproxy.connection import Client, Connection, ConnectionState, Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context

from hedgerow.proxy.client_hello import ClientHello, HelloError, HelloReader, looks_like_tls
from hedgerow.proxy.http_engine import OPTIONS, HttpLayer, HTTPMode, OriginServer
from hedgerow.proxy.line import Line
from hedgerow.proxy.origins import Origin, OriginError, Waiting
from hedgerow.proxy.pass_ticket import MAX_INTRODUCTION, read_introduction
from hedgerow.proxy.tls_session import TlsSession

if TYPE_CHECKING:
    from hedgerow.proxy.inspector import Inspector

log = logging.getLogger(__name__)

_MOST_HELD = 64 * 1024
"""Bytes of a client that are kept while it is waited for something, such as its origin; then it is not read."""

_MOST_TO_ONE_ORIGIN = 6
_numbers = count(1)


class Exchange:
    """Owns the client's line and those to its origins. `seen` is when something last moved, in the loop's time."""

    def __init__(self, inspector: Inspector) -> None:
        self.line = Line(self)
        self.seen = asyncio.get_running_loop().time()
        self.client: Client
        self.is_over = False
        self._is_introduced = False
        self._inspector = inspector
        self._receive: Callable[[bytes], None] = self._read_introduction
        self._first = b""
        self._hello = HelloReader()
        self._offers: tuple[str, ...] = ()
        self._context: Context
        self._layer: HttpLayer | None = None
        self._events: deque[events.Event] = deque()
        self._is_busy = False
        self._lines: dict[Connection, Line] = {}
        self._connections: dict[Line, Connection] = {}
        self._origins: dict[Line, Origin] = {}
        self._dirty: dict[Line, None] = {}
        self._closed: set[Connection] = set()
        self._working: set[asyncio.Task[None]] = set()
        self._slots: dict[tuple[str, int], asyncio.Semaphore] = {}
        self._slot_of: dict[Line, asyncio.Semaphore] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._stalled: set[Line] = set()
        self._clogged: frozenset[Connection] = frozenset()
        self._held = bytearray()
        inspector.entered(self)

    def abort(self) -> None:
        """End it at once, with what was still to be sent."""
        self.line.abort()

    # Who is it, and what is spoken?

    def _read_introduction(self, data: bytes) -> None:
        self._first += data
        text, end, rest = self._first.partition(b"\r\n")
        if not end:
            if len(text) > MAX_INTRODUCTION:
                self._turn_away()
            return
        found = read_introduction(self._inspector.key, text, self._inspector.clock())
        if found is None or (found[1] is not None and not self._inspector.inspection.serves(found[1].port)):
            self._turn_away()
            return
        address, target = found
        self.client = Client(
            id=f"c{next(_numbers)}", peername=(address, 0), sockname=("", 0), state=ConnectionState.OPEN,
            timestamp_start=self._inspector.clock(),
        )  # fmt: skip
        self._lines[self.client], self._connections[self.line] = self.line, self.client
        self._is_introduced = True
        self._inspector.introduced(self, self.client, address)
        self._context = Context(self.client, OPTIONS)
        self._first = b""
        if target is None:
            self._converse(HTTPMode.regular)
        else:
            self._context.server.address = (target.host, target.port)
            self._receive = self._choose
        if rest:
            self._receive(rest)

    def _turn_away(self) -> None:
        self._inspector.counters.add("hedgerow_proxy_dropped_total", "inspector")
        self.abort()

    def _choose(self, data: bytes) -> None:
        self._first += data
        match looks_like_tls(self._first):
            case True:
                self._receive = self._read_hello
            case False:
                self._converse(HTTPMode.transparent)
            case None:
                return
        first, self._first = self._first, b""
        self._receive(first)

    def _read_hello(self, data: bytes) -> None:
        self._first += data
        try:
            hello = self._hello.feed(data)
        except HelloError:
            self._turn_away()
            return
        if hello is not None:
            self._secure(hello)

    def _secure(self, hello: ClientHello) -> None:
        assert self._context.server.address is not None
        self._context.server.tls = self.client.tls = True
        self.client.sni = hello.sni
        self._offers = hello.alpn
        self._receive = self._handle_data
        context = self._inspector.leaves.context(hello.sni or self._context.server.address[0])
        self.line.secure(TlsSession(context, is_server=True), self._first)

    def _converse(self, mode: HTTPMode) -> None:
        self._receive = self._handle_data
        self._layer = HttpLayer(self._context, mode)
        self._handle(events.Start())

    # What happens on lines.

    def secured(self, line: Line) -> None:
        assert line.tls is not None
        alpn = line.tls.alpn
        self.client.alpn = alpn.encode() if alpn else None
        self.client.timestamp_tls_setup = self._inspector.clock()
        self._converse(HTTPMode.transparent)

    def received(self, line: Line, data: bytes) -> None:
        if line is not self.line:
            self._handle(events.DataReceived(self._connections[line], data))
        elif self._working:
            self._held += data
            self._regulate()
        else:
            self._receive(data)

    def _handle_data(self, data: bytes) -> None:
        self._handle(events.DataReceived(self.client, data))

    def ended(self, line: Line) -> None:
        if self._layer is None:
            self.abort()
        elif line is not self.line or not self._held:
            self._end(line)

    def _end(self, line: Line) -> None:
        connection = self._connections[line]
        connection.state &= ~ConnectionState.CAN_READ
        self._tell_closed(connection)

    def failed(self, line: Line, error: ssl.SSLError | None) -> None:
        if line is self.line:
            self._inspector.inspection.certificate_refused(self.client, self._context.server.address, error.reason if error else None)
        line.abort()

    def lost(self, line: Line) -> None:
        connection = self._connections.pop(line, None)
        if connection is not None:
            self._lines.pop(connection, None)
            connection.state = ConnectionState.CLOSED
            if self._layer is not None:
                self._tell_closed(connection)
        self._stalled.discard(line)
        if line is self.line:
            self._finish()
        else:
            self._leave(line)
            self._regulate()

    def _leave(self, line: Line) -> None:
        self._origins.pop(line, None)
        slots = self._slot_of.pop(line, None)
        if slots is not None:
            slots.release()

    def stalled(self, line: Line) -> None:
        self._stalled.add(line)
        self._regulate()

    def flows(self, line: Line) -> None:
        self._stalled.discard(line)
        self._regulate()

    def _regulate(self) -> None:
        """An origin that takes nothing stops the client; a client that takes nothing stops everybody, itself too."""
        self.line.regulate(is_paused=bool(self._stalled) or len(self._held) >= _MOST_HELD)
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
        for line, origin in tuple(self._origins.items()):
            connection = self._connections.pop(line)
            if self._layer is not None and self._layer.is_idle(connection) and connection.id not in self._inspector.inspection.bound:
                self._inspector.origins.keep(origin, line)
            else:
                self._inspector.inspection.bound.discard(connection.id)
                line.abort()
        self._origins.clear()
        self._inspector.left(self, self.client if self._is_introduced else None)

    # mitmproxy's layers.

    def _handle(self, event: events.Event) -> None:
        pending, layer = self._events, self._layer
        assert layer is not None
        pending.append(event)
        if self._is_busy:
            return
        self._is_busy = True
        self.seen = asyncio.get_running_loop().time()
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
        if self.client.alpn == b"h2" and (clogged := layer.clogged()) != self._clogged:
            self._clogged = clogged
            self._regulate()

    def _obey(self, command: commands.Command) -> None:
        match command:
            case commands.SendData():
                line = self._lines.get(command.connection)
                if line is not None:
                    line.put(command.data)
                    self._dirty[line] = None
            case commands.StartHook():
                answer = self._inspector.inspection.hear(command.name, command.args())
                if answer is not None:
                    self._start(self._wait_for(answer, command))
                elif command.blocking:
                    self._events.append(events.HookCompleted(command))
            case commands.Log():
                pass
            case commands.OpenConnection():
                self._start(self._open_origin(command))
            case commands.CloseConnection():
                self._close(command.connection, half=isinstance(command, commands.CloseTcpConnection) and command.half_close)
            case commands.RequestWakeup():
                self._wake(command)
            case _:
                raise TypeError(f"mitmproxy wants something unknown: {command}")

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
            self._handle(events.ConnectionClosed(connection))

    def _wake(self, command: commands.RequestWakeup) -> None:
        def wake() -> None:
            self._timers.discard(timer)
            self._handle(events.Wakeup(command))

        timer = asyncio.get_running_loop().call_later(command.delay, wake)
        self._timers.add(timer)

    # What takes time: its client is not read meanwhile.

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
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
            waiting = await self._reach(server)
        except OriginError as error:
            server.error = str(error)
        self._handle(events.OpenConnectionCompleted(command, server.error))
        line = self._lines.get(server)
        if waiting is None or line is None:
            return
        if waiting.early:
            self.received(line, waiting.early)
        if waiting.has_ended and line in self._connections:
            self.ended(line)
        if line.is_lost and line in self._connections:
            self.lost(line)

    async def _reach(self, server: Server) -> Waiting:
        """Open a line to `server`, which is ours then. Raises OriginError."""
        inspector, address = self._inspector, server.address
        assert address is not None
        slots = self._slots.setdefault(address, asyncio.Semaphore(_MOST_TO_ONE_ORIGIN))
        await slots.acquire()
        line = None
        try:
            device, addresses = await inspector.inspection.addresses_for(self.client, *address)
            alpn = () if not server.tls or not self._offers else ("h2", "http/1.1") if self.client.alpn == b"h2" else ("http/1.1",)
            origin = Origin(device, *address, server.sni if server.tls else None, alpn)
            line, waiting = await inspector.origins.open(origin, addresses)
        finally:
            if line is None:
                slots.release()
        self._slot_of[line], self._origins[line] = slots, origin
        self._adopt(line, server)
        if isinstance(server, OriginServer):
            server.is_used_again = waiting.is_used_again
        return waiting

    def _adopt(self, line: Line, server: Server) -> None:
        self._lines[server], self._connections[line] = line, server
        line.owner = self
        server.state = ConnectionState.OPEN
        server.peername, server.sockname = (line.transport.get_extra_info(name) for name in ("peername", "sockname"))
        server.timestamp_tcp_setup = self._inspector.clock()
        if line.tls is not None:
            server.alpn = (line.tls.alpn or "").encode()
            server.timestamp_tls_setup = server.timestamp_tcp_setup

    def _let_go(self) -> None:
        """What its client sent meanwhile goes on."""
        held, self._held = bytes(self._held), bytearray()
        self._regulate()
        if held:
            self._receive(held)
        if self.line.has_ended and not self._working:
            self._end(self.line)
