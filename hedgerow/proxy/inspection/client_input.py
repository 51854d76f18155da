"""Flow control of one inspected connection: the turns in which its client's bytes are processed, and the pauses in
reading its streams.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

from mitmproxy.connection import Connection

from hedgerow.proxy.inspection.connection_streams import ConnectionStreams
from hedgerow.proxy.inspection.context import InspectorContext
from hedgerow.proxy.inspection.engine.http_layer import HttpLayer, http1_portion
from hedgerow.proxy.inspection.shares import TURN_SECONDS, DeviceShare, Turn
from hedgerow.proxy.inspection.streams import Stream

log = logging.getLogger(__name__)

_MAX_HELD = 64 * 1024
"""Bytes of a client that are kept while something else must happen first, such as the opening of an origin; then it is
not read.
"""


class BackPressure:
    """The pauses in reading the streams of a connection.

    A slow origin stops the client; a slow client stops every stream, its own too. Origins are not read either while
    too much is kept for the device. Devices without a name have as much room together as one with a name.
    """

    def __init__(self, streams: ConnectionStreams, client: Stream, share: DeviceShare) -> None:
        self._streams, self._client, self._kept = streams, client, (share.strangers or share).kept
        self._write_paused: set[Stream] = set()
        self._congested: frozenset[Connection] = frozenset()
        self._held = set[Connection]()  # origins of which bytes wait for a turn
        self._is_upload_congested = False
        self._is_input_full = False
        self._layer: HttpLayer | None = None
        self._has_kept = False
        self._kept.add(self)

    def abort(self) -> None:
        """End the connection."""
        self._client.abort()

    def close(self) -> None:
        """Keep nothing more. The connection calls this once."""
        self._kept.remove(self)
        self._layer = None

    @property
    def is_stalled(self) -> bool:
        """True if the client is not read because an origin does not take its upload."""
        return self._is_upload_congested or any(stream is not self._client for stream in self._write_paused)

    @property
    def is_client_slow(self) -> bool:
        """True if the client does not take its answers."""
        return self._client in self._write_paused

    def note_writing(self, stream: Stream, *, is_paused: bool) -> None:
        """Note whether a stream takes no more bytes for now. One that is gone is not paused."""
        (self._write_paused.add if is_paused else self._write_paused.discard)(stream)
        self.update()
        self._note_kept()

    def note_layers(self, layer: HttpLayer) -> None:
        """Note which streams the layers cannot take bytes from."""
        if (congestion := layer.congestion()) != (self._congested, self._is_upload_congested):
            self._congested, self._is_upload_congested = congestion
            self.update()
        self._layer = layer
        self._note_kept()

    def _note_kept(self) -> None:
        """Note what is kept for the device."""
        layer = self._layer
        scanned, unread = (layer.octets_scanned, layer.octets_unread) if layer is not None else (0, 0)
        if scanned or unread or self._write_paused or self._has_kept:
            unread += sum(stream.unsent for stream in self._write_paused)
            self._has_kept = scanned + unread > 0
            self._kept.note(self, scanned, unread=unread)

    def hold(self, origin: Connection, is_held: bool) -> None:
        """Note whether bytes of an origin wait for a turn."""
        (self._held.add if is_held else self._held.discard)(origin)
        self.update()

    def note_input(self, size: int) -> None:
        """Note the number of the client's bytes that are held."""
        self._is_input_full = size >= _MAX_HELD
        self.update()

    def update(self) -> None:
        """Pause or read the streams as everything that was noted demands."""
        may_read = self._kept.may_read(self)
        self._client.set_read_paused(
            is_paused=bool(self._write_paused) or self._is_upload_congested or self._is_input_full
        )
        for stream, connection in self._streams.origins():
            stream.set_read_paused(
                is_paused=not may_read
                or self.is_client_slow
                or connection in self._congested
                or connection in self._held
            )


class ClientInputQueue:
    """The processing of the client's bytes in the turns of its device.

    Bytes are held while something else must happen first.

    `process` handles a portion of the client's bytes. `end` is called with the client's stream once it has ended and
    all of its bytes are processed.
    """

    def __init__(
        self,
        inspector: InspectorContext,
        share: DeviceShare,
        pressure: BackPressure,
        stream: Stream,
        *,
        process: Callable[[bytes], None],
        end: Callable[[Stream], None],
    ) -> None:
        self._inspector, self._share, self._pressure, self._stream = inspector, share, pressure, stream
        self._process, self._end = process, end
        self._loop = asyncio.get_running_loop()
        self._layer: HttpLayer | None = None  # once the layers are needed
        self._tasks: set[asyncio.Task[None]] = set()
        self._held = bytearray()
        self._turn: Turn | None = None  # the next turn of the bytes that are held
        self._is_in_turn = False
        self._is_closed = False

    def receive(self, data: bytes) -> None:
        """Process the client's bytes now, or hold them."""
        shares, is_free = self._inspector.shares, self._layer is None and not self._held and not self._must_hold
        if is_free and shares.serves(self._share) and http1_portion(data) == len(data):
            self._is_in_turn = True
            self._process(data)  # one request, in the turn in which its handshake has ended
            self._is_in_turn = False
            return
        self._held += data
        if not self._must_hold:
            if shares.must_wait(self._share, perf_counter()):
                self._wait_for_turn()
            else:
                shares.run(self._share, self._take_turn)
        if self._held:
            self._pressure.note_input(len(self._held))

    def work(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`. The client's bytes are held until it is done."""
        task = asyncio.Task(work, loop=self._loop, eager_start=True)  # runs at once up to the first wait
        if task.done():
            self._task_done(task)
            return
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def settle(self, layer: HttpLayer) -> None:
        """Adapt to the state of the layers after they have handled an event."""
        self._layer = layer
        if self._held and not self._must_hold:
            self._wait_for_turn()
        self._pressure.note_layers(layer)

    def resume(self) -> None:
        """Process the bytes that are held, unless they must still wait."""
        if self._held:
            self._release_held()

    def close(self) -> None:
        """Cancel what is under way, and process nothing more. The connection calls this once."""
        self._is_closed = True
        for task in tuple(self._tasks):
            task.cancel()
        if self._turn is not None:
            self._turn.cancel()
        del self._process, self._end  # references both ways

    @property
    def holds_unanswered(self) -> bool:
        """True if bytes of the client are held, and not for an answer."""
        return bool(self._held) and not self._is_answering

    @property
    def _must_hold(self) -> bool:
        """True if the client's bytes must wait: for the next turn or the end of this one, or for what `_is_waiting`
        names.
        """
        return self._turn is not None or self._is_in_turn or self._is_closed or self._is_waiting

    @property
    def _is_waiting(self) -> bool:
        """True if the client must wait for an origin, an answer, or its own reading."""
        return bool(self._tasks) or self._pressure.is_client_slow or self._is_answering

    @property
    def _is_answering(self) -> bool:
        return self._layer is not None and self._layer.is_answering

    def _take_turn(self) -> None:
        """Process the client's bytes for some milliseconds. Other connections have their turn before the rest."""
        held, ends = self._held, perf_counter() + TURN_SECONDS
        self._is_in_turn = True
        while held and self._stream.is_open and not self._is_waiting:
            layer = self._layer
            size = layer.portion(held, self._loop.time()) if layer is not None else http1_portion(held)
            data = bytes(held[:size])
            del held[:size]
            if layer is not None and layer.is_flooded:
                self._inspector.counters.add("hedgerow_proxy_dropped_total", "flood")
                held.clear()
            self._process(data)
            if self._is_closed or perf_counter() >= ends:
                break
        self._is_in_turn = False
        if held and not self._is_closed and not self._is_waiting:
            self._wait_for_turn()

    def _wait_for_turn(self) -> None:
        if self._turn is None:
            self._turn = self._inspector.shares.wait(self._share, self._have_turn)

    def _have_turn(self) -> None:
        self._turn = None
        self._release_held()

    def _release_held(self) -> None:
        if self._must_hold:
            return
        self._inspector.shares.run(self._share, self._take_turn)
        if self._is_closed:
            return
        self._pressure.note_input(len(self._held))
        if self._stream.has_ended and not self._tasks and not self._held:
            self._end(self._stream)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a connection failed at the inspector", exc_info=error)
            self._stream.abort()
        elif not self._tasks and not self._is_closed:
            self._release_held()
