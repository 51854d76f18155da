"""One inspected connection: its client's stream, pace and lifetime. Whatever fails ends it: an error must never let something through."""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Coroutine
from time import perf_counter
from typing import Any

from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.proxy import events
from mitmproxy.proxy.context import Context

from hedgerow.proxy.inspection.connection_streams import ConnectionStreams
from hedgerow.proxy.inspection.context import InspectorContext
from hedgerow.proxy.inspection.engine.http_layer import HttpLayer, HTTPMode, http1_portion
from hedgerow.proxy.inspection.fast_path import FastPath
from hedgerow.proxy.inspection.layer_driver import LayerDriver
from hedgerow.proxy.inspection.origins import PendingStream
from hedgerow.proxy.inspection.shares import TURN_SECONDS, Turn
from hedgerow.proxy.inspection.streams import Stream

log = logging.getLogger(__name__)

_MAX_HELD = 64 * 1024
"""Bytes of a client that are kept while something else must happen first, such as the opening of an origin; then it is not read."""

_EARLY_CLOSE_SECONDS = 2.0
"""Seconds after a handshake within which an app that pins another certificate has checked ours and closed."""


class InspectedConnection:
    """Owns the client's stream and those to its origins. `offers` are the protocols that the client offered with TLS."""

    def __init__(self, inspector: InspectorContext, stream: Stream, context: Context, offers: tuple[str, ...]) -> None:
        self.stream = stream
        self.client = context.client
        self.is_over = False
        self._loop = asyncio.get_running_loop()
        self.began = self._idle_since = self._loop.time()
        self._bytes_moved = 0
        self._has_spoken = False
        self._inspector = inspector
        self._share = inspector.share_of(context.client)
        self._context = context
        self._streams = ConnectionStreams(inspector, context.client, stream, offers, self)
        self._driver = LayerDriver(
            inspector.inspection, context, self._streams, work=self.work, replay=self.replay, on_handled=self._settle, on_error=self.abort
        )
        self._fast_path = FastPath(
            inspector.inspection, context, self._streams, self._driver, work=self.work, replay=self.replay, close=self.close
        )
        self._unfinished: tuple[int, float] | None = None  # the number of the incomplete head, and when it was first seen
        self._tasks: set[asyncio.Task[None]] = set()
        self._write_paused: set[Stream] = set()
        self._congested: frozenset[Connection] = frozenset()
        self._is_upload_congested = False
        self._held = bytearray()
        self._turn: Turn | None = None  # the next turn of the bytes that are held
        self._is_in_turn = False
        inspector.register(self)

    def begin(self, mode: HTTPMode) -> None:
        """Take requests."""
        self._driver.mode = mode
        if mode is not HTTPMode.transparent or self.client.alpn == b"h2":
            self._driver.start().share(self._share.tokens)

    def abort(self) -> None:
        """End at once, and drop what is not sent."""
        self.stream.abort()

    def idle_seconds(self, now: float) -> float:
        """Return the seconds since this method first saw that no byte moves to or from the client, in the loop's time.

        Traffic of origins that does not reach the client does not count: some send a ping every minute.
        """
        if self.bytes_moved != self._bytes_moved:
            self._bytes_moved, self._idle_since = self.bytes_moved, now
        return now - self._idle_since

    @property
    def is_stalled(self) -> bool:
        """The client is not read, because an origin does not take its upload."""
        return self._is_upload_congested or any(stream is not self.stream for stream in self._write_paused)

    def head_seconds(self, now: float) -> float:
        """Return the seconds since this method first saw the client's incomplete head, in the loop's time; 0 if there is none."""
        number = self._layer.unfinished_head() if self._layer is not None else None
        if number is None:
            self._unfinished = None
            return 0.0
        if self._unfinished is None or self._unfinished[0] != number:
            self._unfinished = (number, now)
        return now - self._unfinished[1]

    @property
    def bytes_moved(self) -> int:
        """Bytes between the inspector and the client, in both directions together."""
        return self.stream.bytes_received + self.stream.bytes_sent

    # Events of streams.

    def secured(self, stream: Stream) -> None: ...

    def received(self, stream: Stream, data: bytes) -> None:
        if stream is not self.stream:
            self._dispatch(events.DataReceived(self._streams.connection(stream), data))
            return
        if not self._has_spoken:
            self._has_spoken = True
            if self.client.tls:
                self._inspector.inspection.certificates.accepted(self.client, self._context.server.address)
        self._held += data
        if not self._must_hold:
            if self._inspector.shares.must_wait(self._share, perf_counter()):
                self._wait_for_turn()
            else:
                self._take_turn()
        if self._held:
            self._update_reading()

    def ended(self, stream: Stream) -> None:
        if stream is not self.stream or not self._held or self._is_answering:
            self._end(stream)

    def failed(self, stream: Stream, error: ssl.SSLError | None) -> None:
        if stream is self.stream:
            self._inspector.inspection.certificates.refused(self.client, self._context.server.address, error.reason if error else None)
        stream.abort()

    def lost(self, stream: Stream) -> None:
        connection = self._streams.remove(stream)
        if connection is not None:
            self._dispatch_end(stream, connection)
        self._write_paused.discard(stream)
        if stream is self.stream:
            if stream.was_reset:
                self._note_early_close()
            self._finish()
        else:
            self._update_reading()

    def write_paused(self, stream: Stream) -> None:
        self._write_paused.add(stream)
        self._update_reading()

    def write_resumed(self, stream: Stream) -> None:
        self._write_paused.discard(stream)
        self._update_reading()
        if self._held:
            self._release_held()

    def _end(self, stream: Stream) -> None:
        connection = self._streams.connection(stream)
        if connection is self.client:
            self._note_early_close()
        connection.state &= ~ConnectionState.CAN_READ
        self._dispatch_end(stream, connection)

    def _dispatch_end(self, stream: Stream, connection: Connection) -> None:
        if self._streams.note_closed(connection):
            self._streams.is_origin_cut = stream is not self.stream and stream.is_cut
            self._dispatch(events.ConnectionClosed(connection))
            self._streams.is_origin_cut = False

    def _note_early_close(self) -> None:
        """The client has left. If it sent nothing, it may have refused our certificate."""
        if self.client.tls and not self._has_spoken and self._loop.time() - self.began < _EARLY_CLOSE_SECONDS:
            self._has_spoken = True
            self._inspector.inspection.certificates.refused(self.client, self._context.server.address, None)

    def _dispatch(self, event: events.ConnectionEvent) -> None:
        try:
            is_handled = self._fast_path.handle_event(event)
        except Exception:
            log.exception("a connection failed at the inspector")
            self.abort()
            return
        if not is_handled:
            self._driver.handle(event)

    def _finish(self) -> None:
        """The client is gone: nobody waits for its origins' answers."""
        if self.is_over:
            return
        self.is_over = True
        for task in tuple(self._tasks):
            task.cancel()
        self._driver.cancel()
        if self._turn is not None:
            self._turn.cancel()
        self._streams.release(
            lambda each: self._fast_path.is_idle(each) or (self._layer is not None and self._layer.is_idle(each)),
        )
        self._inspector.unregister(self, self.client)
        # References both ways: cut here, so that everything and the TLS state is freed now, and not when the collector runs.
        del self._fast_path, self._driver, self.stream.owner

    # The client's pace: it is not read while something else must happen first.

    @property
    def _layer(self) -> HttpLayer | None:
        return self._driver.layer

    @property
    def _must_hold(self) -> bool:
        """The client's bytes must wait: for the next turn or the end of this one, or for what `_is_waiting` names."""
        return self._turn is not None or self._is_in_turn or self._is_waiting

    @property
    def _is_waiting(self) -> bool:
        """The client must wait for an origin, an answer, or its own reading."""
        return bool(self._tasks) or self.stream in self._write_paused or self._is_answering

    @property
    def _is_answering(self) -> bool:
        return self._layer is not None and self._layer.is_answering

    def _take_turn(self) -> None:
        """Process the client's bytes for some milliseconds. Other connections have their turn before the rest."""
        held, now = self._held, perf_counter()
        began, ends = now, now + TURN_SECONDS
        self._is_in_turn = True
        while held and now < ends and self.stream.is_open and not self._is_waiting:
            self._process_portion(held)
            now = perf_counter()
            if self.is_over:
                break
        self._is_in_turn = False
        self._share.charge(now - began, now)
        if held and not self.is_over and not self._is_waiting:
            self._wait_for_turn()

    def _process_portion(self, held: bytearray) -> None:
        layer = self._layer
        size = layer.portion(held, self._loop.time()) if layer is not None else http1_portion(held)
        data = bytes(held[:size])
        del held[:size]
        if layer is not None and layer.is_flooded:
            self._inspector.counters.add("hedgerow_proxy_dropped_total", "flood")
            held.clear()
        self._dispatch(events.DataReceived(self.client, data))

    def _wait_for_turn(self) -> None:
        if self._turn is None:
            self._turn = self._inspector.shares.wait(self._share, self._have_turn)

    def _have_turn(self) -> None:
        self._turn = None
        self._release_held()

    def _release_held(self) -> None:
        if self._must_hold or self.is_over:
            return
        self._take_turn()
        if self.is_over:
            return
        self._update_reading()
        if self.stream.has_ended and not self._tasks and not self._held:
            self._end(self.stream)

    def _settle(self, layer: HttpLayer) -> None:
        """The layers have handled an event."""
        if self._held and not self._must_hold:
            self._wait_for_turn()
        if (congestion := (layer.congested_origins(), layer.is_upload_congested)) != (self._congested, self._is_upload_congested):
            self._congested, self._is_upload_congested = congestion
            self._update_reading()

    def _update_reading(self) -> None:
        """A slow origin stops the client. A slow client stops every stream, its own too."""
        self.stream.set_read_paused(is_paused=bool(self._write_paused) or self._is_upload_congested or len(self._held) >= _MAX_HELD)
        for stream, connection in self._streams.origins():
            stream.set_read_paused(is_paused=self.stream in self._write_paused or connection in self._congested)

    def work(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`. The client is not read before it is done."""
        task = asyncio.Task(work, loop=self._loop, eager_start=True)  # runs at once up to the first wait
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

    # For the driver and the fast path.

    def close(self, connection: Connection) -> None:
        if self._streams.close(connection):
            self._dispatch(events.ConnectionClosed(connection))

    def replay(self, server: Connection, pending: PendingStream) -> None:
        """Handle what an origin sent before its stream was ours."""
        stream = self._streams.get(server)
        if stream is None:
            return
        if pending.early:
            self.received(stream, pending.early)
        if pending.has_ended and stream in self._streams:
            self.ended(stream)
        if stream.is_lost and stream in self._streams:
            self.lost(stream)
