"""mitmproxy's HTTP layer with limits and connection reuse, and the installation of our protocol classes.

mitmproxy takes its protocol classes from module globals and offers no other way to replace them. `install` sets ours, once per process.
Protocol code: no sockets, no clock, no files.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import re
from collections import deque
from collections.abc import Generator
from itertools import count
from types import SimpleNamespace
from typing import Any

from mitmproxy import http
from mitmproxy.connection import Connection, Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import http as _layers
from mitmproxy.proxy.layers.http import _http1, _http2

from hedgerow.frame_budget import FrameBudget, FrameTokens
from hedgerow.proxy.inspection.engine import lean_http2, lean_messages
from hedgerow.proxy.inspection.engine.framing import read_request_head, read_response_head
from hedgerow.proxy.inspection.engine.http1 import MAX_PENDING, Http1Client, make_body_reader, make_http1_server
from hedgerow.proxy.inspection.engine.http2 import Http2Client, make_http2_server
from hedgerow.proxy.inspection.engine.http_stream import HeldStream, WebSocketRelay
from hedgerow.proxy.inspection.engine.messages import ErrorRenderer, request_fault, response_fault
from hedgerow.proxy.inspection.engine.patches import replace

MAX_BACKLOG = 16 * 1024 * 1024
"""Bytes of responses that wait for one HTTP/2 client, over all its streams. The same limit holds for its uploads to HTTP/2 origins."""

MAX_CONNECTIONS_PER_ORIGIN = 6
"""Connections to one HTTP/1 origin for one HTTP/2 client, as many as browsers open. Further streams wait for a free one."""

MOST_HEADS = 4
"""Pipelined heads of an HTTP/1 client that are processed before its turn may end."""

MOST_OCTETS = 16 * 1024
"""Octets of an HTTP/1 client that are processed before its turn may end: some thousand chunks of a body."""

MOST_TOKENS = 40
"""Tokens of an HTTP/2 client's frames that are processed before its turn may end: ten requests."""

_END_OF_HEAD = re.compile(rb"\n\r?\n")

_DATA_FRAME = b"\0"
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

_server_ids = count(1)
layers: Any = _layers  # mitmproxy exports nothing explicitly

type Commands = Generator[commands.Command, Any, None]


class OriginServer(Server):
    """A connection to an origin. It may have served another client of the same device before, unless it `must_be_new`."""

    must_be_new = False
    is_used_again = False


class HttpLayer(_layers.HttpLayer):
    """One client's requests and the connections to their origins. The driver opens these, with TLS where needed.

    `ready` replaces the first connection that would be opened.
    """

    ready: OriginServer | None = None

    def __init__(self, context: Context, mode: HTTPMode) -> None:
        super().__init__(context, mode)
        self._waiting_events: deque[_layers.GetHttpConnection] = deque()

    def _handle_event(self, event: events.Event) -> Commands:
        yield from super()._handle_event(event)
        while self._waiting_events:
            waiting = self._waiting_events[0]
            if self._is_cancelled(waiting):
                stream = self.command_sources.pop(self._waiting_events.popleft())
                yield from self.event_to_child(
                    stream, layers.GetHttpConnectionCompleted(waiting, (None, "the client cancelled the request"))
                )
            elif self._find(waiting) is not None or not self._is_full(waiting):
                yield from self.get_connection(self._waiting_events.popleft())
            else:
                return

    def _is_cancelled(self, event: _layers.GetHttpConnection) -> bool:
        """Return whether the client reset the stream while it was queued. A connection would be opened, used and closed in vain."""
        return any(isinstance(each, layers.RequestProtocolError) for each in self.command_sources[event]._paused_event_queue)

    @property
    def is_at_rest(self) -> bool:
        """An HTTP/1 client's next request may come, and nothing of it is there."""
        server = self.connections[self.context.client]
        is_reading = isinstance(server, _http1.Http1Server) and server.state == server.read_headers and not server.buf
        return is_reading and not self.streams

    @property
    def is_answering(self) -> bool:
        """An HTTP/1 client's request is complete and its response is not: pipelined bytes must wait."""
        server = self.connections[self.context.client]
        return isinstance(server, _http1.Http1Server) and server.state == server.wait

    def portion(self, data: bytearray, now: float) -> int:
        """Return the number of octets of the client's `data` to process in this turn of the event loop."""
        server: Any = self.connections[self.context.client]
        return http1_portion(data) if isinstance(server, _http1.Http1Server) else server.budget.take(data, now, MOST_TOKENS)

    def share(self, device: FrameTokens) -> None:
        """Charge the frames of an HTTP/2 client to the tokens of its device too."""
        server: Any = self.connections[self.context.client]
        if isinstance(server, _http2.Http2Server):
            server.budget = FrameBudget(FrameTokens(device=device))  # type: ignore[attr-defined]

    @property
    def is_flooded(self) -> bool:
        """An HTTP/2 client has exceeded its budget of frames. Its connection is being closed."""
        server: Any = self.connections[self.context.client]
        return not isinstance(server, _http1.Http1Server) and bool(server.budget.is_spent)

    def unfinished_head(self) -> int | None:
        """Return the number of the request whose head is incomplete, or of the last one before it; None if there is no such head."""
        server: Any = self.connections[self.context.client]
        if isinstance(server, _http2.Http2Server):
            buffer = server.h2_conn.incoming_buffer
            is_in_frame = bool(buffer._data) and buffer._data[3:4] != _DATA_FRAME  # DATA comes at the pace of an upload
            return server.h2_conn.highest_inbound_stream_id if is_in_frame or buffer._headers_buffer else None
        is_unfinished = isinstance(server, _http1.Http1Server) and server.state == server.read_headers and bool(server.buf)
        return server.stream_id if is_unfinished else None

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
                if connection.connected and (connection.alpn == b"h2" or self.context.client.alpn != b"h2" or self.is_idle(connection)):
                    return connection
        return None

    def _is_full(self, event: _layers.GetHttpConnection) -> bool:
        """Return whether the limit of connections is reached. One of them will become free, or close."""
        fitting = [each for each in self.connections if event.connection_spec_matches(each)]
        return sum(each.connected or each in self.waiting_for_establishment for each in fitting) >= MAX_CONNECTIONS_PER_ORIGIN

    def _new_connection(self, event: _layers.GetHttpConnection) -> Commands:
        context = self.context.fork()
        ready, self.ready = self.ready, None
        context.server = server = ready or OriginServer(address=event.address, id=f"s{next(_server_ids)}", tls=event.tls)
        if event.tls and ready is None:
            is_named = event.address == self.context.server.address
            server.sni = (self.context.client.sni if is_named else None) or event.address[0]
        stream: Any = self.command_sources[event]
        server.must_be_new = stream.needs_new_connection
        self.connections[server] = child = layers.HttpClient(context)
        self.waiting_for_establishment[server].append(event)
        yield from self.event_to_child(child, events.Start())

    def congested_origins(self) -> frozenset[Connection]:
        """Return the connections to origins that must pause: mitmproxy would buffer everything that arrives.

        Either a scanner is busy, or an HTTP/2 client does not read the stream. A paused stream must not stop the client's other streams,
        so a connection that they share pauses last.
        """
        streams: Any = self.streams.values()
        scanning = frozenset(each.context.server for each in streams if each.is_scanning)
        return scanning | self._unread_origins()

    def _unread_origins(self) -> frozenset[Connection]:
        server: Any = self.connections[self.context.client]
        buffers = server.h2_conn.stream_buffers if isinstance(server, _http2.Http2Server) else {}
        if not buffers:
            return frozenset()
        waiting = {number: sum(len(piece.data) for piece in buffer) for number, buffer in buffers.items()}
        full = [number for number, size in waiting.items() if size > MAX_PENDING and number in self.streams]
        origins = frozenset(self.streams[number].context.server for number in full)
        if sum(waiting.values()) > MAX_BACKLOG:
            return origins
        return frozenset(each for each in origins if each.alpn != b"h2")

    @property
    def is_upload_congested(self) -> bool:
        """HTTP/2 origins read a client's uploads so slowly that the client must pause: mitmproxy would buffer them."""
        waiting = 0
        for child in self.connections.values():
            last = child.context.layers[-1]
            if isinstance(last, Http2Client) and (buffers := last.h2_conn.stream_buffers):
                waiting += sum(len(piece.data) for buffer in buffers.values() for piece in buffer)
        return waiting > MAX_BACKLOG

    def is_idle(self, connection: Connection) -> bool:
        """Return whether this is an idle connection to an HTTP/1 origin."""
        child = self.connections.get(connection)
        last = child.context.layers[-1] if child is not None else None
        return isinstance(last, Http1Client) and connection.connected and last.is_idle


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


_validate_request, _validate_headers = layers.validate_request, layers.validate_headers


def check_request(mode: HTTPMode, request: http.Request, validate_inbound_headers: bool) -> str | None:
    """Apply mitmproxy's `validate_request` and our stricter rules. Return the reason to refuse, or None."""
    fault: str | None = _validate_request(mode, request, validate_inbound_headers)
    return fault or request_fault(request, names_whole_url=mode is HTTPMode.regular)


def check_headers(message: http.Message) -> None:
    """Apply mitmproxy's `validate_headers` and our stricter rules. Raises ValueError."""
    _validate_headers(message)
    if isinstance(message, http.Response) and (fault := response_fault(message)) is not None:
        raise ValueError(fault)


def install(render_error: ErrorRenderer) -> None:
    """Make every connection of this process speak HTTP as described here. Call it once, after `patches.check`."""
    lean_messages.install()
    lean_http2.install()
    classes = {"Http1Server": make_http1_server(render_error), "Http1Client": Http1Client, "HttpStream": HeldStream}
    classes |= {"Http2Server": make_http2_server(render_error), "Http2Client": Http2Client}
    for name, replacement in classes.items():
        replace(f"mitmproxy.proxy.layers.http:{name}", replacement)
    replace("mitmproxy.net.http.http1:read_request_head", read_request_head)
    replace("mitmproxy.net.http.http1:read_response_head", read_response_head)
    replace("mitmproxy.proxy.layers.http:websocket", SimpleNamespace(WebsocketLayer=WebSocketRelay))
    replace("mitmproxy.proxy.layers.http:validate_request", check_request)
    replace("mitmproxy.proxy.layers.http:validate_headers", check_headers)
    replace("mitmproxy.proxy.layers.http._http1:make_body_reader", make_body_reader)
    replace(
        "mitmproxy.proxy.layers.http._http1:make_error_response",
        lambda status_code, message="": render_error(status_code, message, None, "").to_bytes(),
    )
