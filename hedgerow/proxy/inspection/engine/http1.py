"""Both sides of an HTTP/1 connection: bounded heads, trailers, informational responses, connections that are reused.

Protocol code: no sockets, no clock, no files.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from typing import Any

import h11
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer, blank_line_regex
from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers import http as _layers
from mitmproxy.proxy.layers.http import _http1
from mitmproxy.proxy.layers.http._base import ReceiveHttp

from hedgerow.proxy.http_head import MAX_FIELDS
from hedgerow.proxy.inspection.engine.http_stream import StaleConnection
from hedgerow.proxy.inspection.engine.messages import (
    TOO_MANY_INTERIM,
    ErrorRenderer,
    InterimAllowance,
    as_http1,
    head_fault,
    is_interim,
    is_too_long,
    may_forward_interim,
    with_chunked_coding,
    without_close,
)

MAX_PENDING = 256 * 1024
"""Bytes of an incomplete head, chunk header, trailer section or pipelined request that are kept."""

_FORBIDDEN_TRAILERS = frozenset(
    b"authorization connection content-encoding content-length content-range content-type cookie host keep-alive "
    b"proxy-authenticate proxy-authorization proxy-connection set-cookie te trailer transfer-encoding upgrade".split()
)

MAX_CHUNK_LINE = 4096
"""Bytes of a chunk's size and extensions. What there is of the line is read again with each piece that comes."""

_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,20}(?:[ \t]*(?:\Z|;[^\n]*\Z|\r\Z))|\Z")
"""The beginning of a chunk's size and extensions, without the end of the line (RFC 9112, section 7.1)."""

_SHORT_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,4})(?:;[\t -~]*)?\r\n")
_MAX_JOINED = 64 * 1024

layers: Any = _layers  # mitmproxy exports nothing explicitly

type Commands = Generator[commands.Command, Any, None]


class _BoundedHttp1Connection(_http1.Http1Connection):
    """Common part of both sides: a bounded buffer, and trailers."""

    trailers_of: type[Any]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._trailers: http.Headers | None = None

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, self.trailers_of):
            self._trailers = event.trailers
            return
        yield from super()._handle_event(event)
        # After the state has run, the buffer holds the beginning of something incomplete.
        if len(self.buf) > MAX_PENDING and self.state != self.passthrough:
            yield from self._overflow()

    def _overflow(self) -> Commands:
        self.buf = ReceiveBuffer()
        self.state = self.done
        yield commands.CloseConnection(self.conn)

    def done(self, _event: events.Event) -> Commands:
        self.buf = ReceiveBuffer()
        yield from ()

    def read_body(self, event: events.Event) -> Commands:
        reader = self.body_reader
        for command in super().read_body(event):
            is_end = isinstance(command, ReceiveHttp) and isinstance(command.event, self.ReceiveEndOfMessage)
            if is_end and isinstance(reader, _ChunkedReader) and reader.trailers is not None:
                yield ReceiveHttp(self.trailers_of(self.stream_id, reader.trailers))
            yield command

    def _with_trailers(self, sent: Commands, *, is_end: bool) -> Commands:
        """Put the trailers into the last chunk."""
        for command in sent:
            if is_end and isinstance(command, commands.SendData) and command.data == b"0\r\n\r\n":
                trailers, self._trailers = self._trailers, None
                lines = b"".join(b"%s: %s\r\n" % field for field in trailers.fields) if trailers is not None else b""
                command = commands.SendData(command.connection, b"0\r\n" + lines + b"\r\n")
            yield command


class _ChunkedReader(ChunkedReader):
    """Join the chunks that have arrived, each of which would cost a round through all layers, and set trailers aside.

    mitmproxy raises an error on trailers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trailers: http.Headers | None = None
        self._next: h11.EndOfMessage | h11.ProtocolError | None = None  # follows what was joined
        self._counted, self._lines = 0, 0  # octets of the trailer section that were looked at, and the lines in them

    def __call__(self, buf: Any) -> Any:
        following, self._next = self._next, None
        if isinstance(following, h11.ProtocolError):
            raise following
        if following is not None:
            return following
        pieces, size = list[bytes](), 0
        try:
            while size < _MAX_JOINED:
                data = self._read_short_chunks(buf)
                if not data:
                    event = self._read_one(buf)
                    if not isinstance(event, h11.Data):
                        self._next = event
                        break
                    data = bytes(event.data)
                pieces.append(data)
                size += len(data)
        except h11.ProtocolError as error:
            if not pieces:
                raise
            self._next = error
        if pieces:
            return h11.Data(data=b"".join(pieces))
        event, self._next = self._next, None
        return event

    def _read_short_chunks(self, buf: Any) -> bytes:
        """Return what the next chunks contain that are whole, short and plain. h11 reads all others."""
        if not self._is_between_chunks:
            return b""
        data, at, size, pieces = buf._data, 0, 0, list[bytes]()
        while size < _MAX_JOINED and (line := _SHORT_CHUNK.match(data, at)) is not None:
            end = line.end() + int(line[1], 16)
            if end == line.end() or data[end : end + 2] != b"\r\n":
                break
            pieces.append(data[line.end() : end])
            size += end - line.end()
            at = end + 2
        if at:
            buf.maybe_extract_at_most(at)
        return b"".join(pieces)

    @property
    def _is_between_chunks(self) -> bool:
        return not (self._bytes_in_chunk or self._bytes_to_discard or self._reading_trailer)

    def _read_one(self, buf: Any) -> Any:
        if self._reading_trailer:
            self._check_trailers(buf)
        event = super().__call__(buf)
        if event is None and self._is_between_chunks:
            self._check_size(buf)
        if not isinstance(event, h11.EndOfMessage) or not event.headers:
            return event
        fields = [(bytes(name), bytes(value)) for name, value in event.headers if name.lower() not in _FORBIDDEN_TRAILERS]
        self.trailers = http.Headers(fields) if fields else None
        return h11.EndOfMessage()

    def _check_trailers(self, buf: Any) -> None:
        """Refuse a section of more lines than a head may have, complete or not."""
        if buf._data.startswith((b"\r\n", b"\n")):
            return
        end = blank_line_regex.search(buf._data, buf._multiple_lines_search)  # where h11 continues
        counted, self._counted = self._counted, len(buf) if end is None else end.end()
        self._lines += buf._data.count(b"\n", counted, self._counted)
        if self._lines > MAX_FIELDS + 1:  # the last line is empty
            raise h11.RemoteProtocolError(f"more than {MAX_FIELDS:,} lines of trailers")

    def _check_size(self, buf: Any) -> None:
        """Refuse a chunk's size as soon as no continuation could be valid: h11 waits for the end of its line."""
        if len(buf) > MAX_CHUNK_LINE or _CHUNK_SIZE.match(buf._data) is None:
            raise h11.RemoteProtocolError("illegal chunk size")


def make_body_reader(expected_size: int | None) -> Any:
    """The reader of a body of `expected_size` octets: None means chunked, -1 until the end of the connection."""
    return _ChunkedReader() if expected_size is None else _plain_body_reader(expected_size)


_plain_body_reader = _http1.make_body_reader


class Http1Server(_BoundedHttp1Connection, _http1.Http1Server):
    """The side of HTTP/1 clients. `make_http1_server` adds what writes its error pages."""

    render_error: ErrorRenderer
    trailers_of = layers.RequestTrailers

    def read_headers(self, event: events.ConnectionEvent) -> Commands:
        buffer = self.buf
        while buffer._data.startswith(b"\r\n"):  # RFC 9112, section 2.2: ignore empty lines before a request
            buffer.maybe_extract_lines()
        end = blank_line_regex.search(buffer._data, buffer._multiple_lines_search)  # where h11 continues
        head = buffer._data if end is None else buffer._data[: end.end()]
        if is_too_long(head):
            yield from self._overflow()
            return
        if end is not None and (fault := head_fault(head)) is not None:
            self.state = self.done
            yield from self._send_error(400, fault)
            return
        yield from super().read_headers(event)

    def read_body(self, event: events.Event) -> Commands:
        """Answer a malformed body with 400. mitmproxy closes the connection without an answer."""
        closing: commands.CloseConnection | None = None
        for command in super().read_body(event):
            if isinstance(command, commands.CloseConnection):
                closing = command
                continue
            fault = command.event if isinstance(command, ReceiveHttp) else None
            if closing is not None and self.response is None and isinstance(fault, layers.RequestProtocolError):
                self.state = self.done
                yield from self._send_error(400, fault.message)
                closing = None
            yield command
        if closing is not None:
            yield closing

    def send(self, event: Any) -> Commands:
        if isinstance(event, layers.ResponseTrailers):
            self._trailers = event.trailers
            return
        if isinstance(event, layers.ResponseHeaders):
            if is_interim(event.response):
                if self.request is not None and self.request.is_http11:  # HTTP/1.0 has none: it would be taken for the response
                    yield commands.SendData(self.conn, http1.assemble_response_head(as_http1(event.response)))
                return
            self._trailers = None  # left from the response before, which was not chunked
        if isinstance(event, layers.ResponseProtocolError) and not self.response:
            yield from self._send_error(event.code.http_status_code(), event.message)
            return
        yield from self._with_trailers(super().send(event), is_end=isinstance(event, layers.ResponseEndOfMessage))

    def _send_error(self, status: int | None, message: str) -> Commands:
        if not self.conn.state & ConnectionState.CAN_WRITE:
            return
        if status is not None:
            head_only = self.request is not None and self.request.method.upper() == "HEAD"
            yield commands.SendData(self.conn, self.render_error(status, message, self.request, self.conn.id).to_bytes(head_only=head_only))
        yield commands.CloseConnection(self.conn)

    def _overflow(self) -> Commands:
        if self.state == self.read_headers:
            yield commands.SendData(self.conn, self.render_error(431, "the request head is too long", None, self.conn.id).to_bytes())
        elif self.stream_id and self.request is not None:
            error = layers.RequestProtocolError(self.stream_id, "the client sent too much", layers.ErrorCode.CLIENT_DISCONNECTED)
            yield ReceiveHttp(error)
        yield from super()._overflow()


def make_http1_server(render_error: ErrorRenderer) -> type[Http1Server]:
    """Return the class for the side of HTTP/1 clients. `render_error` writes its error pages."""
    return type("Server", (Http1Server,), {"render_error": staticmethod(render_error)})


class Http1Client(_BoundedHttp1Connection, _http1.Http1Client):
    """The side of HTTP/1 origins. A connection is reused after a request of an HTTP/2 client too."""

    trailers_of = layers.ResponseTrailers

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._has_served = getattr(self.conn, "is_used_again", False)
        self._interim = InterimAllowance()

    def send(self, event: Any) -> Commands:
        if isinstance(event, layers.RequestTrailers):
            self._trailers = event.trailers
            return
        if isinstance(event, layers.RequestHeaders):
            request = event.request
            if request.is_http11:
                request = without_close(request)
            elif not event.end_stream:
                request = with_chunked_coding(request)
            event = layers.RequestHeaders(event.stream_id, request, event.end_stream)
            self._interim = InterimAllowance()
            self._trailers = None  # left from the request before, which was not chunked
        yield from self._with_trailers(super().send(event), is_end=isinstance(event, layers.RequestEndOfMessage))

    def read_headers(self, event: events.ConnectionEvent) -> Commands:
        if self.request is not None:
            yield from self._pass_interim()
        if self.state == self.done:
            return
        if isinstance(event, events.ConnectionClosed) and self._has_served and self.stream_id and not self.buf:
            if self.conn.state & ConnectionState.CAN_WRITE:
                yield commands.CloseConnection(self.conn)
            code = layers.ErrorCode.GENERIC_SERVER_ERROR
            yield ReceiveHttp(StaleConnection(self.stream_id, "server closed connection", code))
            return
        yield from super().read_headers(event)

    def _pass_interim(self) -> Commands:
        """Forward informational responses (RFC 9110, section 15.2), which mitmproxy takes for the final one. 101 is final."""
        while (data := bytes(memoryview(self.buf._data)[:13])).startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")) and data[9:12] != b"101":
            lines = self.buf.maybe_extract_lines()
            if lines is None:
                return
            if not self._interim.take(sum(map(len, lines))):
                yield from self._give_up(TOO_MANY_INTERIM)
                return
            with contextlib.suppress(ValueError):  # a malformed one is left out: the final response follows
                response = http1.read_response_head([bytes(line) for line in lines])
                if may_forward_interim(response):
                    yield ReceiveHttp(layers.ResponseHeaders(self.stream_id, response, False))

    def mark_done(self, *, request: bool = False, response: bool = False) -> Commands:
        """Keep the connection for the next stream. mitmproxy closes it where the client speaks HTTP/2."""
        sent = self.request
        self._has_served = self._has_served or response
        if sent is not None and (sent.is_http2 or sent.is_http3) and (self.request_done or request) and (self.response_done or response):
            self.request = sent.copy()
            self.request.http_version = "HTTP/1.1"
        yield from super().mark_done(request=request, response=response)

    @property
    def is_idle(self) -> bool:
        return self.stream_id is None and self.state == self.read_headers and not self.buf

    def _overflow(self) -> Commands:
        yield from self._give_up("the response head is too long")

    def _give_up(self, message: str) -> Commands:
        """Fail the request, and close the connection."""
        if self.stream_id is not None:
            yield ReceiveHttp(layers.ResponseProtocolError(self.stream_id, message, layers.ErrorCode.GENERIC_SERVER_ERROR))
        yield from super()._overflow()
