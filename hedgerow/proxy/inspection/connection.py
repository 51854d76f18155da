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

from hedgerow.proxy.inspection.addon import InspectionAddon
from hedgerow.proxy.inspection.context import InspectorContext
from hedgerow.proxy.inspection.engine.http_layer import HttpLayer, HTTPMode, OriginServer, http1_portion
from hedgerow.proxy.inspection.engine.http_stream import WaitForScan
from hedgerow.proxy.inspection.fast_path import FastPath
from hedgerow.proxy.inspection.origins import OriginError, OriginKey, PendingStream
from hedgerow.proxy.inspection.streams import Stream

log = logging.getLogger(__name__)

_MAX_HELD = 64 * 1024
"""Bytes of a client that are kept while it is waited for something, such as its origin; then it is not read."""

_EARLY_CLOSE_SECONDS = 2.0
"""Seconds after a handshake within which an app that is pinned to another certificate has looked at ours, and is gone."""


class InspectedConnection:
    """Owns the client's line and those to its origins. `offers` are the protocols that the client offered with TLS."""

    def __init__(self, inspector: InspectorContext, stream: Stream, context: Context, offers: tuple[str, ...]) -> None:
        self.stream = stream
        self._loop = asyncio.get_running_loop()
        self.began = self._idle_since = self._loop.time()
        self._bytes_moved = 0
        self.client = context.client
        self.is_over = False
        self._has_spoken = False
        self._inspector = inspector
        self._offers = offers
        self._context = context
        self._mode = HTTPMode.transparent
        self._layer: HttpLayer | None = None
        self._fast_path = FastPath(self, context)
        self._already_judged: http.HTTPFlow | None = None  # what the layers are about to hear of was judged already
        self._already_sent_to: Connection | None = None  # to whom what the layers are about to say was said already
        self._events: deque[events.Event] = deque()
        self._is_busy = False
        self._unfinished: tuple[int, float] | None = None  # which head has begun, and when that was seen
        self._streams: dict[Connection, Stream] = {self.client: stream}
        self._connections: dict[Stream, Connection] = {stream: self.client}
        self._origins: dict[Stream, OriginKey] = {}
        self._dirty: dict[Stream, None] = {}
        self._closed: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._write_paused: set[Stream] = set()
        self._congested: frozenset[Connection] = frozenset()
        self._is_upload_congested = False
        self._held = bytearray()
        self._turn: asyncio.Handle | None = None  # when more of what is held is processed
        stream.owner = self
        inspector.register(self)

    def begin(self, mode: HTTPMode) -> None:
        self._mode = mode
        if mode is not HTTPMode.transparent or self.client.alpn == b"h2":
            self._create_layer()

    def abort(self) -> None:
        """End it at once, with what was still to be sent."""
        self.stream.abort()

    def idle_seconds(self, now: float) -> float:
        """Seconds since this first saw that nothing moves between the client and us, in the loop's time.

        What origins say that does not reach the client is none of it: some are asked every minute whether they are still there.
        """
        if self.bytes_moved != self._bytes_moved:
            self._bytes_moved, self._idle_since = self.bytes_moved, now
        return now - self._idle_since

    def head_seconds(self, now: float) -> float:
        """Seconds since the client's head that is not complete yet was first seen by this, in the loop's time; 0 where there is none."""
        number = self._layer.unfinished_head() if self._layer is not None else None
        if number is None:
            self._unfinished = None
            return 0.0
        if self._unfinished is None or self._unfinished[0] != number:
            self._unfinished = (number, now)
        return now - self._unfinished[1]

    @property
    def bytes_moved(self) -> int:
        """Bytes between us and the client, in both directions together."""
        return self.stream.bytes_received + self.stream.bytes_sent

    # What happens on lines.

    def secured(self, stream: Stream) -> None: ...

    def received(self, stream: Stream, data: bytes) -> None:
        if stream is not self.stream:
            self._dispatch(events.DataReceived(self._connections[stream], data))
            return
        if not self._has_spoken:
            self._has_spoken = True
            if self.client.tls:
                self._inspector.inspection.certificates.accepted(self.client, self._context.server.address)
        self._held += data
        if not self._must_hold:
            self._take_turn()
        if self._held:
            self._update_reading()

    @property
    def _must_hold(self) -> bool:
        """Whether what the client sends must wait: for an origin, an answer, its own reading, or the connection's next turn."""
        return bool(self._tasks) or self._turn is not None or self.stream in self._write_paused or self._is_answering

    @property
    def _is_answering(self) -> bool:
        return self._layer is not None and self._layer.is_answering

    def _take_turn(self) -> None:
        """Process a portion of what the client has sent. Other connections have their turn before the rest of it."""
        held = self._held
        if held and self.stream.is_open:
            size = self._layer.portion(held, self._loop.time()) if self._layer is not None else http1_portion(held)
            data = bytes(held[:size])
            del held[:size]
            if self._layer is not None and self._layer.is_flooded:
                self._inspector.counters.add("hedgerow_proxy_dropped_total", "flood")
                held.clear()
            if held:
                self._turn = self._loop.call_soon(self._have_turn)
            self._dispatch(events.DataReceived(self.client, data))

    def _have_turn(self) -> None:
        self._turn = None
        self._release_held()

    def ended(self, stream: Stream) -> None:
        if stream is not self.stream or not self._held or self._is_answering:
            self._end(stream)

    def _end(self, stream: Stream) -> None:
        connection = self._connections[stream]
        if connection is self.client:
            self._note_early_close()
        connection.state &= ~ConnectionState.CAN_READ
        self._dispatch_closed(connection)

    def _note_early_close(self) -> None:
        """The client has left: if without a word, it may have disliked our certificate."""
        has_just_begun = asyncio.get_running_loop().time() - self.began < _EARLY_CLOSE_SECONDS
        if self.client.tls and not self._has_spoken and has_just_begun:
            self._has_spoken = True
            self._inspector.inspection.certificates.refused(self.client, self._context.server.address, None)

    def failed(self, stream: Stream, error: ssl.SSLError | None) -> None:
        if stream is self.stream:
            self._inspector.inspection.certificates.refused(self.client, self._context.server.address, error.reason if error else None)
        stream.abort()

    def lost(self, stream: Stream) -> None:
        connection = self._connections.pop(stream, None)
        if connection is not None:
            self._streams.pop(connection, None)
            connection.state = ConnectionState.CLOSED
            self._dispatch_closed(connection)
        self._write_paused.discard(stream)
        if stream is self.stream:
            if stream.was_reset:
                self._note_early_close()
            self._finish()
        else:
            self._origins.pop(stream, None)
            self._update_reading()

    def write_paused(self, stream: Stream) -> None:
        self._write_paused.add(stream)
        self._update_reading()

    def write_resumed(self, stream: Stream) -> None:
        self._write_paused.discard(stream)
        self._update_reading()
        if self._held:
            self._release_held()

    def _update_reading(self) -> None:
        """An origin that takes nothing stops the client; a client that takes nothing stops everybody, itself too."""
        self.stream.set_read_paused(is_paused=bool(self._write_paused) or self._is_upload_congested or len(self._held) >= _MAX_HELD)
        for stream in self._origins:
            stream.set_read_paused(is_paused=self.stream in self._write_paused or self._connections[stream] in self._congested)

    def _finish(self) -> None:
        """The client is gone: nobody waits for what its origins still send."""
        if self.is_over:
            return
        self.is_over = True
        for task in tuple(self._tasks):
            task.cancel()
        for timer in self._timers:
            timer.cancel()
        if self._turn is not None:
            self._turn.cancel()
        for stream, origin in tuple(self._origins.items()):
            connection = self._connections.pop(stream)
            if self._is_idle(connection) and connection.id not in self._inspector.inspection.bound:
                self._inspector.origins.keep(origin, stream)
            else:
                self._inspector.inspection.bound.discard(connection.id)
                stream.abort()
        self._origins.clear()
        self._inspector.unregister(self, self.client)
        # These two know it, as it knows them: parted, all of them and the TLS are gone now, and not when the collector looks.
        del self._fast_path, self.stream.owner

    def _is_idle(self, connection: Connection) -> bool:
        return self._fast_path.is_idle(connection) or (self._layer is not None and self._layer.is_idle(connection))

    def _dispatch(self, event: events.ConnectionEvent) -> None:
        try:
            is_told = self._fast_path.handle_event(event)
        except Exception:
            log.exception("a connection failed at the inspector")
            self.abort()
            return
        if not is_told:
            self._handle(event)

    # The short path's way to us.

    @property
    def inspection(self) -> InspectionAddon:
        return self._inspector.inspection

    @property
    def has_layers(self) -> bool:
        return self._layer is not None

    @property
    def is_at_rest(self) -> bool:
        return self._layer is None or (self._mode is HTTPMode.transparent and not self._is_busy and self._layer.is_at_rest)

    def send_now(self, to: Connection, data: bytes) -> None:
        stream = self._streams.get(to)
        if stream is not None:
            stream.put(data)
            stream.flush()

    def close(self, connection: Connection) -> None:
        self._close(connection, half=False)

    def return_origin(self, server: Server) -> None:
        """Nothing is under way to an origin that the layers do not know of: they find it with those that are idle."""
        stream = self._streams.pop(server)
        del self._connections[stream]
        self._inspector.origins.keep(self._origins.pop(stream), stream)

    def fall_back(self, flow: http.HTTPFlow, raw_request: bytes, server: OriginServer | None, *, is_asked: bool) -> None:
        """The layers hear a request that was judged and, if it `is_asked`, sent; `server` is its origin, open or with its error."""
        layer = self._layer or self._create_layer()
        self._already_judged, layer.ready = flow, server
        if server is None or not is_asked:
            self._handle(events.DataReceived(self.client, raw_request))
            return
        state, server.state, self._already_sent_to = server.state, ConnectionState.OPEN, server  # what has ended since, they are told next
        self._handle(events.DataReceived(self.client, raw_request))
        server.state = state

    # mitmproxy's layers.

    def _create_layer(self) -> HttpLayer:
        self._layer = layer = HttpLayer(self._context, self._mode)
        self._handle(events.Start())
        return layer

    def _handle(self, event: events.Event) -> None:
        pending, layer = self._events, self._layer or self._create_layer()
        pending.append(event)
        if self._is_busy:
            return
        self._is_busy = True
        try:
            while pending:
                for command in layer.handle_event(pending.popleft()):
                    self._execute(command)
        except Exception:
            log.exception("a connection failed at the inspector")
            pending.clear()
            self._dirty.clear()
            self.abort()
        finally:
            self._is_busy = False
        if self._dirty:
            for stream in self._dirty:
                stream.flush()
            self._dirty.clear()
        if self._held and not self._must_hold:
            self._turn = self._loop.call_soon(self._have_turn)
        if (found := (layer.congested_origins(), layer.is_upload_congested)) != (self._congested, self._is_upload_congested):
            self._congested, self._is_upload_congested = found
            self._update_reading()

    def _execute(self, command: commands.Command) -> None:
        match command:
            case commands.SendData():
                stream = self._streams.get(command.connection)
                if command.connection is self._already_sent_to:
                    self._already_sent_to = None
                elif stream is not None:
                    stream.put(command.data)
                    self._dirty[stream] = None
            case commands.StartHook():
                answer = self._run_hook(command)
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
            case WaitForScan():
                command.scanner.when_ready(lambda: None if self.is_over else self._handle(events.Wakeup(command)))
            case commands.RequestWakeup():
                self._wake(command)
            case _:
                raise TypeError(f"mitmproxy wants something unknown: {command}")

    def _run_hook(self, hook: commands.StartHook) -> Coroutine[Any, Any, None] | None:
        if self._already_judged is None or hook.name != "requestheaders":
            return self._inspector.inspection.run_hook(hook.name, hook.args())
        judged, self._already_judged = self._already_judged, None
        (flow,) = hook.args()
        flow.id = judged.id
        flow.request.data, flow.request.stream = judged.request.data, judged.request.stream
        return None

    def _close(self, connection: Connection, *, half: bool) -> None:
        stream = self._streams.get(connection)
        if stream is None:
            return
        if half:
            stream.end()
            connection.state &= ~ConnectionState.CAN_WRITE
            if connection.state is not ConnectionState.CLOSED:
                return
        connection.state = ConnectionState.CLOSED
        stream.close()
        self._dispatch_closed(connection)

    def _dispatch_closed(self, connection: Connection) -> None:
        if connection not in self._closed:
            self._closed.add(connection)
            self._dispatch(events.ConnectionClosed(connection))

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
            self._task_done(task)
            return
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection failed at the inspector", exc_info=error)
            self.abort()
        elif not self._tasks and not self.is_over:
            self._release_held()

    async def _wait_for(self, answer: Coroutine[Any, Any, None], command: commands.StartHook) -> None:
        await answer
        if command.blocking:
            self._handle(events.HookCompleted(command))

    async def _open_origin(self, command: commands.OpenConnection) -> None:
        server, waiting = command.connection, None
        try:
            waiting = await self.open_origin(server)
        except OriginError as error:
            server.error = str(error)
        self._handle(events.OpenConnectionCompleted(command, server.error))
        if waiting is not None:
            self.replay(server, waiting)

    def replay(self, server: Server, waiting: PendingStream) -> None:
        """What has happened on a line before it was ours."""
        stream = self._streams.get(server)
        if stream is None:
            return
        if waiting.early:
            self.received(stream, waiting.early)
        if waiting.has_ended and stream in self._connections:
            self.ended(stream)
        if stream.is_lost and stream in self._connections:
            self.lost(stream)

    async def open_origin(self, server: Server) -> PendingStream:
        """Open a line to `server`, which is ours then. Raises OriginError."""
        inspector, address = self._inspector, server.address
        assert address is not None
        device, addresses = await inspector.inspection.origins.addresses_for(self.client, *address)
        alpn = () if not server.tls or not self._offers else ("h2", "http/1.1") if self.client.alpn == b"h2" else ("http/1.1",)
        origin = OriginKey(device, *address, server.sni if server.tls else None, alpn)
        stream, waiting = await inspector.origins.open(origin, addresses)
        self._origins[stream] = origin
        self._adopt(stream, server)
        if isinstance(server, OriginServer):
            server.is_used_again = waiting.is_used_again
        return waiting

    def _adopt(self, stream: Stream, server: Server) -> None:
        self._streams[server], self._connections[stream] = stream, server
        stream.owner = self
        server.state = ConnectionState.OPEN
        server.peername, server.sockname = (stream.transport.get_extra_info(name) for name in ("peername", "sockname"))
        server.timestamp_tcp_setup = self._inspector.clock()
        if stream.tls is not None:
            server.alpn = (stream.tls.alpn or "").encode()
            server.timestamp_tls_setup = server.timestamp_tcp_setup

    def _release_held(self) -> None:
        """What its client sent meanwhile goes on."""
        if self._must_hold or self.is_over:
            return
        self._take_turn()
        self._update_reading()
        if self.stream.has_ended and not self._tasks and not self._held:
            self._end(self.stream)
