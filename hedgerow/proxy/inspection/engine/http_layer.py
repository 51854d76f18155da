"""mitmproxy's HTTP layers with what a filter for hostile clients and origins needs beside: limits, trailers, pages, reuse.

mitmproxy takes its protocol classes from module globals and has no other place to give it better ones; `install` puts ours there, once
a process. Protocol code: no sockets, no clock, no files.
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

from hedgerow.proxy.inspection.engine import lean_messages
from hedgerow.proxy.inspection.engine.http1 import MAX_PENDING, Http1Client, make_body_reader, make_http1_server
from hedgerow.proxy.inspection.engine.http2 import Http2Client, make_http2_server
from hedgerow.proxy.inspection.engine.http_stream import HeldStream, WebSocketRelay
from hedgerow.proxy.inspection.engine.messages import ErrorRenderer, request_fault, response_fault
from hedgerow.proxy.inspection.engine.patches import replace

MAX_BACKLOG = 16 * 1024 * 1024
"""Bytes of answers that wait for one HTTP/2 client, of all its streams together; and as many of its uploads for HTTP/2 origins."""

MAX_CONNECTIONS_PER_ORIGIN = 6
"""Connections to one HTTP/1 origin for one HTTP/2 client, as many as browsers have; further streams wait for one to be free."""

MOST_HEADS = 16
"""Heads of an HTTP/1 client, sent without waiting for answers, that are processed before other connections have their turn."""

_END_OF_HEAD = re.compile(rb"\n\r?\n")

_DATA_FRAME = b"\0"
HTTPMode = _layers.HTTPMode

OPTIONS: Any = SimpleNamespace(
    body_size_limit=None,
    connection_strategy="lazy",  # the other way dials hosts that are about to be blocked
    http2_ping_keepalive=58,
    keep_host_header=False,
    normalize_outbound_headers=True,
    proxy_debug=False,
    rawtcp=False,  # what is no HTTP cannot be judged
    store_streamed_bodies=False,
    stream_large_bodies=None,
    validate_inbound_headers=True,
    websocket=True,
)
"""What mitmproxy's layers ask for at every turn."""

_server_ids = count(1)
layers: Any = _layers  # it exports nothing by its own account

type Commands = Generator[commands.Command, Any, None]


class OriginServer(Server):
    """A connection to an origin; it may have served another client of the same device before."""

    is_used_again = False


class HttpLayer(_layers.HttpLayer):
    """One client's requests, and the connections to origins that they go over. Whoever drives it opens these, with TLS where it is due.

    `ready` is used in place of the first connection that would be made.
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
        """The client reset the stream while it was queued. A connection would be opened, asked, and closed for nobody."""
        return any(isinstance(each, layers.RequestProtocolError) for each in self.command_sources[event]._paused_event_queue)

    @property
    def is_at_rest(self) -> bool:
        """Whether an HTTP/1 client's next request may come, and nothing of it is there yet."""
        server = self.connections[self.context.client]
        is_reading = isinstance(server, _http1.Http1Server) and server.state == server.read_headers and not server.buf
        return is_reading and not self.streams

    @property
    def is_answering(self) -> bool:
        """Whether an HTTP/1 client's request is whole and its answer is not: what the client has sent behind it must wait."""
        server = self.connections[self.context.client]
        return isinstance(server, _http1.Http1Server) and server.state == server.wait

    def portion(self, data: bytearray, now: float) -> int:
        """The number of octets of the client's `data` to process in this turn of the event loop."""
        server: Any = self.connections[self.context.client]
        return http1_portion(data) if isinstance(server, _http1.Http1Server) else server.budget.take(data, now)

    @property
    def is_flooded(self) -> bool:
        """Whether an HTTP/2 client has sent more frames than its budget allows; its connection is ended."""
        server: Any = self.connections[self.context.client]
        return not isinstance(server, _http1.Http1Server) and bool(server.budget.is_spent)

    def unfinished_head(self) -> int | None:
        """The number of the client's request whose head has begun and is not complete, or of the last before it; None if there is none."""
        server: Any = self.connections[self.context.client]
        if isinstance(server, _http2.Http2Server):
            buffer = server.h2_conn.incoming_buffer
            is_in_frame = bool(buffer._data) and buffer._data[3:4] != _DATA_FRAME  # which comes at the pace of an upload
            return server.h2_conn.highest_inbound_stream_id if is_in_frame or buffer._headers_buffer else None
        is_unfinished = isinstance(server, _http1.Http1Server) and server.state == server.read_headers and bool(server.buf)
        return server.stream_id if is_unfinished else None

    def get_connection(self, event: _layers.GetHttpConnection, *, reuse: bool = True) -> Commands:
        """A connection that fits and is free, or a new one. One that failed says nothing about the next attempt."""
        found = self._find(event) if reuse else None
        if found is None and self._is_full(event):
            self._waiting_events.append(event)
        elif found is None:
            yield from self._new_connection(event)
        elif found in self.waiting_for_establishment:
            self.waiting_for_establishment[found].append(event)
        else:
            stream = self.command_sources.pop(event)
            yield from self.event_to_child(stream, layers.GetHttpConnectionCompleted(event, (found, None)))

    def _find(self, event: _layers.GetHttpConnection) -> Connection | None:
        for connection in self.connections:
            if event.connection_spec_matches(connection):
                if connection in self.waiting_for_establishment:
                    return connection
                # To HTTP/1 origins one request at a time; an HTTP/1 client has but one under way.
                if connection.connected and (connection.alpn == b"h2" or self.context.client.alpn != b"h2" or self.is_idle(connection)):
                    return connection
        return None

    def _is_full(self, event: _layers.GetHttpConnection) -> bool:
        """Whether there are as many connections as there may be; one of them will be free, or closed."""
        fitting = [each for each in self.connections if event.connection_spec_matches(each)]
        return sum(each.connected or each in self.waiting_for_establishment for each in fitting) >= MAX_CONNECTIONS_PER_ORIGIN

    def _new_connection(self, event: _layers.GetHttpConnection) -> Commands:
        context = self.context.fork()
        ready, self.ready = self.ready, None
        context.server = server = ready or OriginServer(address=event.address, id=f"s{next(_server_ids)}", tls=event.tls)
        if event.tls and ready is None:
            is_named = event.address == self.context.server.address
            server.sni = (self.context.client.sni if is_named else None) or event.address[0]
        self.connections[server] = child = layers.HttpClient(context)
        self.waiting_for_establishment[server].append(event)
        yield from self.event_to_child(child, events.Start())

    def congested_origins(self) -> frozenset[Connection]:
        """The connections to origins of whose answers no more is wanted now: mitmproxy would keep all that comes in memory.

        Some keep their watch busy, others an HTTP/2 client does not take. Others of the client's streams go on: one that it has paused
        must not stop them. Where they share a connection to the origin, that is stopped last.
        """
        streams: Any = self.streams.values()
        scanning = frozenset(each.context.server for each in streams if each.is_scanning)
        return scanning | self._not_taken()

    def _not_taken(self) -> frozenset[Connection]:
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
        """Whether HTTP/2 origins take a client's uploads so much slower that no more may be read: mitmproxy would keep it."""
        waiting = 0
        for child in self.connections.values():
            last = child.context.layers[-1]
            if isinstance(last, Http2Client) and (buffers := last.h2_conn.stream_buffers):
                waiting += sum(len(piece.data) for buffer in buffers.values() for piece in buffer)
        return waiting > MAX_BACKLOG

    def is_idle(self, connection: Connection) -> bool:
        """Whether this is a connection to an HTTP/1 origin on which nothing is under way."""
        child = self.connections.get(connection)
        last = child.context.layers[-1] if child is not None else None
        return isinstance(last, Http1Client) and connection.connected and last.is_idle


def http1_portion(data: bytes | bytearray) -> int:
    """The number of octets of an HTTP/1 client's `data` to process in this turn of the event loop.

    >>> http1_portion(b"GET / HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n" * 1000)
    432
    """
    at = 0
    for _ in range(MOST_HEADS):
        found = _END_OF_HEAD.search(data, at)
        if found is None:
            return len(data)
        at = found.end()
    return at


_validate_request, _validate_headers = layers.validate_request, layers.validate_headers


def check_request(mode: HTTPMode, request: http.Request, validate_inbound_headers: bool) -> str | None:
    """As mitmproxy's `validate_request`, and what it lets through."""
    fault: str | None = _validate_request(mode, request, validate_inbound_headers)
    return fault or request_fault(request, names_whole_url=mode is HTTPMode.regular)


def check_headers(message: http.Message) -> None:
    """As mitmproxy's `validate_headers`, which raises ValueError."""
    _validate_headers(message)
    if isinstance(message, http.Response) and (fault := response_fault(message)) is not None:
        raise ValueError(fault)


def install(render_error: ErrorRenderer) -> None:
    """Make every connection of this process speak HTTP as described here. Call it once, after `patches.check`."""
    lean_messages.install()
    classes = {"Http1Server": make_http1_server(render_error), "Http1Client": Http1Client, "HttpStream": HeldStream}
    classes |= {"Http2Server": make_http2_server(render_error), "Http2Client": Http2Client}
    for name, replacement in classes.items():
        replace(f"mitmproxy.proxy.layers.http:{name}", replacement)
    replace("mitmproxy.proxy.layers.http:websocket", SimpleNamespace(WebsocketLayer=WebSocketRelay))
    replace("mitmproxy.proxy.layers.http:validate_request", check_request)
    replace("mitmproxy.proxy.layers.http:validate_headers", check_headers)
    replace("mitmproxy.proxy.layers.http._http1:make_body_reader", make_body_reader)
    replace(
        "mitmproxy.proxy.layers.http._http1:make_error_response",
        lambda status_code, message="": render_error(status_code, message, None, "").to_bytes(),
    )
