"""One inspected connection: the events of its streams, and its lifetime.

Any failure ends it: an error must never let something through.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mitmproxy.connection import Connection, ConnectionState, Server
from mitmproxy.proxy import events
from mitmproxy.proxy.context import Context

from hedgerow.policies.model import DeviceId
from hedgerow.proxy.inspection.client_input import BackPressure, ClientInputQueue
from hedgerow.proxy.inspection.connection_streams import ConnectionStreams
from hedgerow.proxy.inspection.context import InspectorContext, InspectorSession
from hedgerow.proxy.inspection.engine.http_layer import HTTPMode
from hedgerow.proxy.inspection.fast_path import FastPath
from hedgerow.proxy.inspection.layer_driver import LayerDriver
from hedgerow.proxy.inspection.origin_input import OriginInputQueue
from hedgerow.proxy.inspection.origins import OriginError
from hedgerow.proxy.inspection.shares import DeviceShare
from hedgerow.proxy.inspection.streams import Stream
from hedgerow.proxy.tunnel_traffic import TunnelUse
from hedgerow.watched_tasks import note_unexpected

_EARLY_CLOSE_SECONDS = 2.0
"""Seconds after a handshake within which an app that pins another certificate has checked ours and closed."""


class InspectedConnection(InspectorSession):
    """The owner of the client's stream and of those to its origins.

    `offers` are the protocols that the client offered with TLS.
    """

    def __init__(
        self, inspector: InspectorContext, stream: Stream, context: Context, offers: tuple[str, ...], share: DeviceShare
    ) -> None:
        super().__init__(inspector, context, stream)
        self._loop = asyncio.get_running_loop()
        self.began = self._idle_since = self._loop.time()
        self._bytes_moved, self._taken = 0, (0, 0)
        self._has_spoken = False
        self._share = share
        self._streams = ConnectionStreams(inspector, context.client, stream, offers, self)
        self._pressure = BackPressure(self._streams, stream, share)
        self._input = client_input = ClientInputQueue(
            inspector, self._share, self._pressure, stream, process=self._process, end=self._end
        )
        self._origin_input = OriginInputQueue(
            inspector.shares,
            share,
            process_whole=self._offer_origin,
            process=self._process_origin,
            pause=self._pressure.hold,
        )
        self._driver = LayerDriver(
            inspector.inspection,
            context,
            self._streams,
            work=client_input.work,
            open_origin=self._open,
            on_handled=client_input.settle,
            on_error=self.abort,
        )
        self._fast_path = FastPath(
            inspector.inspection,
            context,
            self._streams,
            self._driver,
            work=client_input.work,
            open_origin=self._open,
            close=self.close,
        )
        # the number of the incomplete head, and when it was first seen
        self._unfinished: tuple[int, float] | None = None
        inspector.register(self)

    def begin(self, mode: HTTPMode) -> None:
        """Take requests."""
        self._driver.mode = mode
        if mode is not HTTPMode.transparent or self.client.alpn == b"h2":
            self._driver.start().share(self._share.tokens)

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
        return self._pressure.is_stalled

    def head_seconds(self, now: float) -> float:
        """Return the seconds since this method first saw the client's incomplete head, in the loop's time; 0 if there
        is none.
        """
        layer = self._driver.layer
        number = layer.unfinished_head() if layer is not None else None
        if number is None:
            self._unfinished = None
            return 0.0
        if self._unfinished is None or self._unfinished[0] != number:
            self._unfinished = (number, now)
        return now - self._unfinished[1]

    def take_use(self, address: str, device: DeviceId, *, is_unlisted: bool) -> TunnelUse:
        """Return what the device at an address has moved since the last call of this method."""
        up, down = self._taken
        self._taken = self.stream.bytes_received, self.stream.bytes_sent
        moved = self._taken[0] - up, self._taken[1] - down
        return TunnelUse(address, device, self.host, is_unlisted, *moved)

    @property
    def host(self) -> str:
        """The host of all requests of the connection, empty where each names its own."""
        place = self._context.server.address
        return "" if place is None else self.client.sni or place[0]

    @property
    def bytes_moved(self) -> int:
        """Bytes between the inspector and the client, in both directions together."""
        return self.stream.bytes_received + self.stream.bytes_sent

    # Events of streams.

    def received(self, stream: Stream, data: bytes) -> None:
        if stream is not self.stream:
            origin = self._streams.connection(stream)
            # What an idle origin sends is seen before a request that it could seem to answer.
            self._origin_input.receive(origin, data, may_wait=not self._is_idle(origin))
            return
        if not self._has_spoken:
            self._has_spoken = True
            if self.client.tls:
                self._inspector.inspection.certificates.accepted(self.client, self._context.server.address)
        self._input.receive(data)

    def ended(self, stream: Stream) -> None:
        if stream is not self.stream or not self._input.holds_unanswered:
            self._end(stream)

    def lost(self, stream: Stream) -> None:
        connection = self._streams.remove(stream)
        if connection is not None:
            self._dispatch_end(stream, connection)
        if stream is self.stream:
            if stream.was_reset:
                self._note_early_close()
            self._finish()
        else:
            self._pressure.note_writing(stream, is_paused=False)

    def note_writing(self, stream: Stream, *, is_paused: bool) -> None:
        self._pressure.note_writing(stream, is_paused=is_paused)
        if not is_paused:
            self._input.resume()

    def _end(self, stream: Stream) -> None:
        connection = self._streams.connection(stream)
        if connection is self.client:
            self._note_early_close()
        connection.state &= ~ConnectionState.CAN_READ
        self._dispatch_end(stream, connection)

    def _dispatch_end(self, stream: Stream, connection: Connection) -> None:
        is_deferred = self._origin_input.defer(connection, lambda: self._dispatch_end(stream, connection))
        if not is_deferred and self._streams.note_closed(connection):
            self._streams.is_origin_cut = stream is not self.stream and stream.is_cut
            self._dispatch_closed(connection)
            self._streams.is_origin_cut = False

    def _note_early_close(self) -> None:
        """Note that the client has left. If it sent nothing, it may have refused our certificate."""
        if self.client.tls and not self._has_spoken and self._loop.time() - self.began < _EARLY_CLOSE_SECONDS:
            self._has_spoken = True
            self._note_refusal(None)

    def _process(self, data: bytes) -> None:
        if not self._offer(self.client, data):
            self._driver.handle(events.DataReceived(self.client, data))

    def _dispatch_closed(self, connection: Connection) -> None:
        if not self._offer(connection, None):
            self._driver.handle(events.ConnectionClosed(connection))

    def _offer(self, connection: Connection, data: bytes | None) -> bool:
        """Have the fast path handle what a connection has sent, or its end (None). Return False if the layers must."""
        try:
            return self._fast_path.handle_end(connection) if data is None else self._fast_path.receive(connection, data)
        except Exception:
            note_unexpected("a connection failed at the inspector")
            self.abort()
            return True

    def _offer_origin(self, origin: Connection, data: bytes) -> bool:
        return self._streams.is_closed(origin) or self._offer(origin, data)

    def _process_origin(self, origin: Connection, data: bytes) -> None:
        if not self._streams.is_closed(origin):  # else what is left is of no use
            self._driver.handle(events.DataReceived(origin, data))

    def _finish(self) -> None:
        """Release everything after the client has left: its origins' answers are of no use."""
        self._input.close()
        self._driver.cancel()
        self._streams.release(self._is_idle)
        self._pressure.close()
        self._origin_input.close()
        self._inspector.unregister(self)
        # References both ways: cut here, so that everything and the TLS state is freed now, and not when the collector
        # runs.
        del self._fast_path, self._driver, self._origin_input, self.stream.owner

    def _is_idle(self, origin: Connection) -> bool:
        if self._origin_input.holds(origin):
            return False
        layer = self._driver.layer
        return self._fast_path.is_idle(origin) or (layer is not None and layer.is_idle(origin))

    # For the driver and the fast path.

    def close(self, connection: Connection) -> None:
        if self._streams.close(connection):
            self._dispatch_closed(connection)

    async def _open(self, server: Server, go_on: Callable[[], None]) -> None:
        """Open an origin, or note the failure; then `go_on`, and handle what the origin sent meanwhile."""
        pending = None
        try:
            pending = await self._streams.open(server)
        except OriginError as error:
            server.error = error.args[0]  # as it is: it may be a `ResolutionBlock`
        self._pressure.update()
        go_on()
        stream = self._streams.get(server)
        if pending is None or stream is None:
            return
        if pending.early:
            self.received(stream, pending.early)
        if pending.has_ended and stream in self._streams:
            self.ended(stream)
        if stream.is_lost and stream in self._streams:
            self.lost(stream)
