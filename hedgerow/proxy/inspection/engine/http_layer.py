"""mitmproxy's HTTP layer with our layers for connections and streams, limits, and connections that are reused.

Protocol code: no sockets, no clock, no files.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import re
from collections import deque
from types import SimpleNamespace
from typing import Any

from mitmproxy.connection import Connection
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import http as _layers

from hedgerow.frame_budget import FrameBudget, FrameTokens
from hedgerow.proxy.inspection.engine.flows import Commands, OriginServer, layers
from hedgerow.proxy.inspection.engine.http1 import Http1Client, Http1Server
from hedgerow.proxy.inspection.engine.http1_connection import MAX_PENDING, MessagePhase
from hedgerow.proxy.inspection.engine.http2 import Http2Client, Http2Server
from hedgerow.proxy.inspection.engine.http_stream import HeldStream
from hedgerow.proxy.inspection.engine.messages import ErrorRenderer

MAX_BACKLOG = 4 * 1024 * 1024
"""Bytes of responses that are scanned or wait for one HTTP/2 client, over all its streams.

The same limit applies to its uploads to HTTP/2 origins.
"""

MAX_CONNECTIONS_PER_ORIGIN = 6
"""Connections to one HTTP/1 origin for one HTTP/2 client, as many as browsers open.

Further streams wait for a free one.
"""

MAX_IDLE_ORIGINS = 32
"""Connections to origins that are kept for one client while no request uses them. Each costs a little at each event."""

MOST_HEADS = 4
"""Pipelined heads of an HTTP/1 client that are processed before its turn may end."""

MOST_OCTETS = 16 * 1024
"""Octets of an HTTP/1 client that are processed before its turn may end: some thousand chunks of a body."""

MOST_TOKENS = 40
"""Tokens of an HTTP/2 client's frames that are processed before its turn may end: ten requests."""

_END_OF_HEAD = re.compile(rb"\n\r?\n")

HTTPMode = _layers.HTTPMode

OPTIONS: Any = SimpleNamespace(
    body_size_limit=None,
    connection_strategy="lazy",  # "eager" dials hosts that are about to be blocked
    http2_ping_keepalive=58,
    keep_host_header=False,
    normalize_outbound_headers=True,
    proxy_debug=False,
    rawtcp=False,  # anything but HTTP cannot be judged
    store_streamed_bodies=False,
    stream_large_bodies=None,
    validate_inbound_headers=True,
    websocket=True,
)
"""The options that mitmproxy's layers read."""


class HttpLayer(_layers.HttpLayer):
    """One client's requests and the connections to their origins. The driver opens these, with TLS where needed.

    `ready` replaces the first connection that would be opened. `render_error` writes the answers to what is refused.
    """

    ready: OriginServer | None = None
    octets_scanned = 0
    """Octets that are kept until their scan is over."""

    octets_unread = 0
    """Octets that an HTTP/2 client, or HTTP/2 origins, do not read."""

    streams: dict[int, HeldStream]  # type: ignore[assignment]

    def __init__(self, context: Context, mode: HTTPMode, render_error: ErrorRenderer) -> None:
        super().__init__(context, mode)
        self._waiting_events: deque[_layers.GetHttpConnection] = deque()
        self.client_side: Http1Server | Http2Server
        if context.client.alpn == b"h2":
            self.client_side = Http2Server(context.fork(), render_error, self.streams)
        else:
            self.client_side = Http1Server(context.fork(), render_error)
        self.connections[context.client] = self.client_side

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.Start):
            yield from self.event_to_child(self.client_side, event)
            return
        if isinstance(event, events.ConnectionClosed) and event.connection not in self.connections:
            return  # `_make_room` closed it
        yield from super()._handle_event(event)
        while self._waiting_events:
            waiting = self._waiting_events[0]
            stream: Any = self.command_sources[waiting]
            if stream.is_cancelled:  # a connection would be opened, used and closed in vain
                del self.command_sources[self._waiting_events.popleft()]
                yield from self.event_to_child(
                    stream, layers.GetHttpConnectionCompleted(waiting, (None, "the client cancelled the request"))
                )
            elif self._find(waiting) is not None or not self._is_full(waiting):
                yield from self.get_connection(self._waiting_events.popleft())
            else:
                return

    def make_stream(self, stream_id: int) -> Commands:
        self.streams[stream_id] = stream = HeldStream(self.context.fork(), stream_id)
        yield from self.event_to_child(stream, events.Start())

    @property
    def is_at_rest(self) -> bool:
        """An HTTP/1 client's next request may come, and nothing of it is there."""
        client = self.client_side
        is_between = isinstance(client, Http1Server) and client.state is MessagePhase.HEAD and not client.buffer
        return is_between and not self.streams

    @property
    def is_answering(self) -> bool:
        """An HTTP/1 client's request is complete and its response is not: pipelined bytes must wait."""
        return isinstance(self.client_side, Http1Server) and self.client_side.state is MessagePhase.REST

    def portion(self, data: bytearray, now: float) -> int:
        """Return the number of octets of the client's `data` to process in this turn of the event loop."""
        client = self.client_side
        return http1_portion(data) if isinstance(client, Http1Server) else client.budget.take(data, now, MOST_TOKENS)

    def share(self, device: FrameTokens) -> None:
        """Charge the frames of an HTTP/2 client to the tokens of its device too."""
        if isinstance(self.client_side, Http2Server):
            self.client_side.budget = FrameBudget(FrameTokens(device=device))

    @property
    def is_flooded(self) -> bool:
        """An HTTP/2 client has exceeded its budget of frames. Its connection is being closed."""
        return isinstance(self.client_side, Http2Server) and self.client_side.budget.is_spent

    def unfinished_head(self) -> int | None:
        """Return the number of the request whose head is incomplete, or of the last one before it; None if there is no
        such head.
        """
        client = self.client_side
        if isinstance(client, Http2Server):
            return client.h2_conn.highest_inbound_stream_id if client.budget.is_in_head else None
        return client.stream_id if client.state is MessagePhase.HEAD and client.buffer else None

    def get_connection(self, event: _layers.GetHttpConnection, *, reuse: bool = True) -> Commands:
        """Use a free connection to the same origin, or open one. A failed connection does not stop the next attempt."""
        existing = self._find(event) if reuse else None
        if existing is None and self._is_full(event):
            self._waiting_events.append(event)
        elif existing is None:
            yield from self._new_connection(event)
        elif existing in self.waiting_for_establishment:
            self.waiting_for_establishment[existing].append(event)
        else:
            stream = self.command_sources.pop(event)
            yield from self.event_to_child(stream, layers.GetHttpConnectionCompleted(event, (existing, None)))

    def _find(self, event: _layers.GetHttpConnection) -> Connection | None:
        for connection in self.connections:
            if event.connection_spec_matches(connection):
                if connection in self.waiting_for_establishment:
                    return connection
                # An HTTP/1 origin gets one request at a time, and an HTTP/1 client has only one in flight.
                if connection.connected and (
                    connection.alpn == b"h2" or self.context.client.alpn != b"h2" or self.is_idle(connection)
                ):
                    return connection
        return None

    def _is_full(self, event: _layers.GetHttpConnection) -> bool:
        """Return whether the limit of connections is reached. One of them will become free, or close."""
        fitting = [each for each in self.connections if event.connection_spec_matches(each)]
        return (
            sum(each.connected or each in self.waiting_for_establishment for each in fitting)
            >= MAX_CONNECTIONS_PER_ORIGIN
        )

    def _new_connection(self, event: _layers.GetHttpConnection) -> Commands:
        yield from self._make_room()
        context = self.context.fork()
        ready, self.ready = self.ready, None
        is_named = event.address == self.context.server.address
        sni = self.context.client.sni if is_named else None
        context.server = server = ready or OriginServer.at(event.address, tls=event.tls, sni=sni)
        stream: Any = self.command_sources[event]
        server.must_be_new = stream.needs_new_connection
        self.connections[server] = child = _OriginConnection(context)
        self.waiting_for_establishment[server].append(event)
        yield from self.event_to_child(child, events.Start())

    def _make_room(self) -> Commands:
        """Forget closed connections to origins, and close the oldest of too many idle ones."""
        used = {self.context.client, *(stream.context.server for stream in self.streams.values())}
        idle = [each for each in self.connections if each not in used and each not in self.waiting_for_establishment]
        for each in idle[: -MAX_IDLE_ORIGINS + 1]:
            yield commands.CloseConnection(each)
            del self.connections[each]

    def congestion(self) -> tuple[frozenset[Connection], bool]:
        """Return the connections to origins that must pause, and whether the client must: mitmproxy would buffer
        everything that arrives.

        Either a scanner is busy, or an HTTP/2 client does not read the stream. A paused stream must not stop the
        client's other streams, so a connection that they share pauses last. The client pauses for an HTTP/2 origin that
        does not take its upload.
        """
        client = self.client_side
        buffers = client.h2_conn.stream_buffers if isinstance(client, Http2Server) else {}
        waiting = {number: sum(len(piece.data) for piece in buffer) for number, buffer in buffers.items()}
        answers = sum(waiting.values())
        uploads = sum(each.octets_unsent for each in self.connections.values() if isinstance(each, _OriginConnection))
        self.octets_scanned = sum(each.octets_held for each in self.streams.values())
        self.octets_unread = answers + uploads
        is_full = answers + self.octets_scanned > MAX_BACKLOG
        paused = frozenset(
            stream.context.server
            for number, stream in self.streams.items()
            if is_full
            or stream.is_scanning
            or (waiting.get(number, 0) > MAX_PENDING and stream.context.server.alpn != b"h2")
        )
        return paused, uploads > MAX_BACKLOG

    def is_idle(self, connection: Connection) -> bool:
        """Return whether this is an idle connection to an HTTP/1 origin."""
        child = self.connections.get(connection)
        protocol = child.protocol if isinstance(child, _OriginConnection) else None
        return isinstance(protocol, Http1Client) and connection.connected and protocol.is_idle


class _OriginConnection(layer.Layer):
    """A connection to an origin. Its `protocol` is known once it is open."""

    protocol: Http1Client | Http2Client | None = None

    @property
    def octets_unsent(self) -> int:
        """Octets of uploads that an HTTP/2 origin does not take."""
        if not isinstance(self.protocol, Http2Client):
            return 0
        return sum(len(piece.data) for buffer in self.protocol.h2_conn.stream_buffers.values() for piece in buffer)

    def _handle_event(self, event: events.Event) -> Commands:
        return self._open(event) if self.protocol is None else self.protocol.handle_event(event)

    def _open(self, event: events.Event) -> Commands:
        server, error = self.context.server, None
        if not server.connected:
            error = yield commands.OpenConnection(server)
        if not error:
            self.protocol = (Http2Client if server.alpn == b"h2" else Http1Client)(self.context)
            yield from self.protocol.handle_event(event)
        yield layers.RegisterHttpConnection(server, error)


def http1_portion(data: bytes | bytearray) -> int:
    """Return the number of octets of an HTTP/1 client's `data` to process in this turn of the event loop.

    >>> http1_portion(b"GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n" * 1000)
    108
    """
    at = 0
    for _ in range(MOST_HEADS):
        end = _END_OF_HEAD.search(data, at, MOST_OCTETS)
        if end is None:
            return min(len(data), MOST_OCTETS)
        at = end.end()
    return at
