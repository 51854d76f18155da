"""mitmproxy's HTTP layers, driven for one connection: events go in, commands are executed.

mitmproxy's own way to run them costs several tasks and a dozen turns of the event loop per request. Here a hook is a
call, and the output is written once, after all layers have run.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Connection, ConnectionState, Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context

from hedgerow.proxy.inspection.addon import InspectionAddon
from hedgerow.proxy.inspection.connection_streams import ConnectionStreams
from hedgerow.proxy.inspection.engine.flows import OriginServer
from hedgerow.proxy.inspection.engine.http_layer import HttpLayer, HTTPMode
from hedgerow.proxy.inspection.engine.http_stream import WaitForScan
from hedgerow.watched_tasks import note_unexpected


class LayerDriver:
    """The driver of mitmproxy's layers.

    `work` runs a coroutine for the connection. `open_origin` opens an origin, or notes the failure, and goes on with a
    call.

    `on_handled` is called when the layers have settled after an event, `on_error` when they failed.
    """

    def __init__(
        self,
        inspection: InspectionAddon,
        context: Context,
        streams: ConnectionStreams,
        *,
        work: Callable[[Coroutine[Any, Any, None]], None],
        open_origin: Callable[[Server, Callable[[], None]], Coroutine[Any, Any, None]],
        on_handled: Callable[[HttpLayer], None],
        on_error: Callable[[], None],
    ) -> None:
        self.layer: HttpLayer | None = None
        self.mode = HTTPMode.transparent
        self.is_busy = False
        self._inspection = inspection
        self._context = context
        self._streams = streams
        self._work, self._open_origin, self._on_handled, self._on_error = work, open_origin, on_handled, on_error
        self._already_judged: http.HTTPFlow | None = None  # the request that the layers get next
        self._already_sent_to: Connection | None = None  # the origin that has what the layers send next
        self._events: deque[events.Event] = deque()
        self._timers: set[asyncio.TimerHandle] = set()
        self._is_cancelled = False

    def start(self) -> HttpLayer:
        """Create the layers."""
        self.layer = layer = HttpLayer(self._context, self.mode, self._inspection.explain)
        self.handle(events.Start())
        return layer

    def cancel(self) -> None:
        """Drop timers and results that are still to come."""
        self._is_cancelled = True
        for timer in self._timers:
            timer.cancel()

    @property
    def is_at_rest(self) -> bool:
        """An HTTP/1 client's next request may come, and nothing of it is there."""
        return self.layer is None or (self.mode is HTTPMode.transparent and not self.is_busy and self.layer.is_at_rest)

    def fall_back(
        self, flow: http.HTTPFlow, raw_request: bytes, server: OriginServer | None, *, is_asked: bool
    ) -> None:
        """Hand over a request that was judged and, if it `is_asked`, sent.

        `server` is its origin, open or with its error.
        """
        layer = self.layer or self.start()
        self._already_judged, layer.ready = flow, server
        data = events.DataReceived(self._context.client, raw_request)
        if server is None or not is_asked:
            self.handle(data)
            return
        # If the origin has closed since, the layers hear of it next.
        state, server.state, self._already_sent_to = server.state, ConnectionState.OPEN, server
        self.handle(data)
        server.state = state

    def handle(self, event: events.Event) -> None:
        """Hand an event to the layers, and execute their commands."""
        pending, layer = self._events, self.layer or self.start()
        pending.append(event)
        if self.is_busy:
            return
        self.is_busy = True
        try:
            while pending:
                for command in layer.handle_event(pending.popleft()):
                    self._execute(command)
        except Exception:
            note_unexpected("a connection failed at the inspector")
            pending.clear()
            self._on_error()
        finally:
            self.is_busy = False
        self._streams.flush()
        self._on_handled(layer)

    def _execute(self, command: commands.Command) -> None:
        match command:
            case commands.SendData():
                if command.connection is self._already_sent_to:
                    self._already_sent_to = None
                else:
                    self._streams.put(command.connection, command.data)
            case commands.StartHook():
                answer = self._run_hook(command)
                if answer is not None:
                    self._work(self._await_hook(answer, command))
                elif command.blocking:
                    self._events.append(events.HookCompleted(command))
            case commands.Log():
                pass
            case commands.OpenConnection() if command.connection.error:
                self._events.append(events.OpenConnectionCompleted(command, command.connection.error))
            case commands.OpenConnection():
                self._work(self._open_origin(command.connection, partial(self._note_opened, command)))
            case commands.CloseConnection():
                if self._streams.close(command.connection):
                    self._events.append(events.ConnectionClosed(command.connection))
            case WaitForScan():
                command.scanner.when_ready(lambda: self._wake(command))
            case commands.RequestWakeup():
                self._wake_later(command)
            case _:
                raise TypeError(f"unknown command of mitmproxy: {command}")

    def _run_hook(self, hook: commands.StartHook) -> Coroutine[Any, Any, None] | None:
        if self._already_judged is None or hook.name != "requestheaders":
            run: Callable[..., Coroutine[Any, Any, None] | None] = getattr(self._inspection, hook.name)
            return run(*hook.args())
        judged, self._already_judged = self._already_judged, None
        (flow,) = hook.args()
        flow.id = judged.id
        flow.request.data, flow.request.stream = judged.request.data, judged.request.stream
        return None

    async def _await_hook(self, answer: Coroutine[Any, Any, None], command: commands.StartHook) -> None:
        await answer
        if command.blocking:
            self.handle(events.HookCompleted(command))

    def _note_opened(self, command: commands.OpenConnection) -> None:
        self.handle(events.OpenConnectionCompleted(command, command.connection.error))

    def _wake_later(self, command: commands.RequestWakeup) -> None:
        def wake() -> None:
            self._timers.discard(timer)
            self._wake(command)

        timer = asyncio.get_running_loop().call_later(command.delay, wake)
        self._timers.add(timer)

    def _wake(self, command: commands.RequestWakeup) -> None:
        if not self._is_cancelled:
            self.handle(events.Wakeup(command))
