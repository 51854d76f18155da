"""Both sides of an HTTP/1 connection, as layers of mitmproxy's protocol: bounded, strict about framing, with trailers and 1xx responses.

Protocol code: no sockets, no files.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import contextlib
from abc import abstractmethod
from collections.abc import Generator
from enum import Enum, auto
from typing import Any, ClassVar

from mitmproxy import http
from mitmproxy.connection import Connection, ConnectionState
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import http as _layers
from mitmproxy.proxy.layers.http._base import HttpConnection

from hedgerow.proxy.inspection.engine.bodies import BodyError, BodyReader, Field, ReceiveBuffer, body_reader, split_lines
from hedgerow.proxy.inspection.engine.flows import HeaderFields, InspectedFlow
from hedgerow.proxy.inspection.engine.heads import read_request_head, read_response_head, request_head, response_head
from hedgerow.proxy.inspection.engine.http_stream import StaleConnection
from hedgerow.proxy.inspection.engine.messages import (
    BROKEN_ANSWER,
    TOO_MANY_INTERIM,
    ErrorRenderer,
    InterimAllowance,
    head_fault,
    is_interim,
    is_too_long,
    may_forward_interim,
)

MAX_PENDING = 256 * 1024
"""Bytes of an incomplete head, chunk header, trailer section or pipelined request that are kept."""

_FORBIDDEN_TRAILERS = frozenset(
    b"authorization connection content-encoding content-length content-range content-type cookie host keep-alive "
    b"proxy-authenticate proxy-authorization proxy-connection set-cookie te trailer transfer-encoding upgrade".split()
)

layers: Any = _layers  # mitmproxy exports nothing explicitly

type Commands = Generator[commands.Command, Any, None]


class _State(Enum):
    """The next thing in the bytes that the peer sends."""

    HEAD = auto()
    BODY = auto()
    REST = auto()  # kept until the other side's message is complete too
    OTHER_PROTOCOL = auto()  # passed on
    NOTHING = auto()  # the connection is over


class _Http1Connection(HttpConnection):
    """One side of a connection. `incoming` are the events of the messages that its peer sends: data, trailers, end, error."""

    incoming: ClassVar[tuple[Any, Any, Any, Any]]

    def __init__(self, context: Context, connection: Connection) -> None:
        super().__init__(context, connection)
        self.buffer = ReceiveBuffer()
        self.state = _State.HEAD
        self.stream_id: int | None = None
        self.request: http.Request | None = None
        self.response: http.Response | None = None
        self._reader: BodyReader
        self._is_received = self._is_sent = False  # the message of the peer, and ours
        self._in_chunks = False  # our message
        self._trailers: http.Headers | None = None

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, layers.HttpEvent):
            yield from self._send(event)
        elif isinstance(event, events.DataReceived):
            if self.state is _State.OTHER_PROTOCOL:
                yield layers.ReceiveHttp(self.incoming[0](self.stream_id, event.data))
            elif self.state is not _State.NOTHING:
                self.buffer.data += event.data
                yield from self._read()
                if len(self.buffer) > MAX_PENDING:
                    yield from self._overflow()
        elif isinstance(event, events.ConnectionClosed):
            yield from self._end()

    # Messages of the peer.

    def _read(self) -> Commands:
        if self.state is _State.HEAD:
            yield from self._read_head()
        if self.state is _State.BODY:
            yield from self._read_body()

    @abstractmethod
    def _read_head(self) -> Commands: ...

    def _read_body(self) -> Commands:
        reader, (data_of, trailers_of, end_of, _) = self._reader, self.incoming
        try:
            while not reader.is_complete:
                data = reader.read(self.buffer)
                if data:
                    yield layers.ReceiveHttp(data_of(self.stream_id, data))
                elif not reader.is_complete:
                    return
                if self.state is not _State.BODY:  # the message was refused meanwhile
                    return
        except BodyError as error:
            yield from self._refuse_body(str(error))
            return
        if (trailers := _harmless(reader.trailers)) is not None:
            yield layers.ReceiveHttp(trailers_of(self.stream_id, trailers))
        yield layers.ReceiveHttp(end_of(self.stream_id))
        yield from self._note_done(received=True)

    @abstractmethod
    def _refuse_body(self, message: str) -> Commands:
        """Fail the message whose body is malformed or incomplete, and end the connection."""

    @abstractmethod
    def _overflow(self) -> Commands:
        """End a connection whose peer sends too much of something."""

    def _end(self) -> Commands:
        """Handle the end of what the peer sends."""
        if self.state is _State.HEAD:
            yield from self._end_in_head()
        elif self.state is _State.BODY:
            try:
                self._reader.end()
            except BodyError as error:
                yield from self._refuse_body(str(error))
            else:
                yield from self._read_body()
        elif self.state is _State.OTHER_PROTOCOL:
            yield layers.ReceiveHttp(self.incoming[2](self.stream_id))
        elif self.state is _State.REST:
            yield from self._close()
            yield layers.ReceiveHttp(self.incoming[3](self.stream_id, "disconnected", layers.ErrorCode.CLIENT_DISCONNECTED))

    @abstractmethod
    def _end_in_head(self) -> Commands: ...

    def _close(self) -> Commands:
        """Close the connection, and ignore what is still to come."""
        self.state, self.buffer = _State.NOTHING, ReceiveBuffer()
        if self.conn.state is not ConnectionState.CLOSED:
            yield commands.CloseConnection(self.conn)

    # Our messages.

    @abstractmethod
    def _send(self, event: Any) -> Commands: ...

    def _send_data(self, data: bytes) -> Commands:
        if data:
            yield commands.SendData(self.conn, b"%x\r\n%b\r\n" % (len(data), data) if self._in_chunks else data)

    def _send_last_chunk(self) -> Commands:
        trailers, self._trailers = self._trailers, None
        lines = b"".join([b"%b: %b\r\n" % field for field in trailers.fields]) if trailers is not None else b""
        yield commands.SendData(self.conn, b"0\r\n%b\r\n" % lines)

    # Between two messages.

    def _note_done(self, *, received: bool = False, sent: bool = False) -> Commands:
        """Note that a message is complete, and go on with the next once both are."""
        self._is_received |= received
        self._is_sent |= sent
        if received:
            self.state = _State.REST
        if not (self._is_received and self._is_sent):
            return
        assert self.request is not None
        assert self.response is not None
        if self.response.status_code == 101:
            self.state, self._in_chunks = _State.OTHER_PROTOCOL, False
            if data := self.buffer.take(len(self.buffer)):
                yield layers.ReceiveHttp(self.incoming[0](self.stream_id, data))
        elif self._is_last(self.request, self.response):
            yield from self._close()
        else:
            self._is_received = self._is_sent = False
            self.request = self.response = None
            self._next()
            self.state = _State.HEAD
            if self.buffer:
                yield from self._read()

    def _is_last(self, request: http.Request, response: http.Response) -> bool:
        """Return whether the connection ends with this response."""
        return _ends_with_connection(request, response) or _says_close(response)

    @abstractmethod
    def _next(self) -> None:
        """Go on with the next stream."""


class Http1Server(_Http1Connection):
    """The side of HTTP/1 clients. `render_error` writes the answers to what is refused."""

    incoming = (layers.RequestData, layers.RequestTrailers, layers.RequestEndOfMessage, layers.RequestProtocolError)
    stream_id: int

    def __init__(self, context: Context, render_error: ErrorRenderer) -> None:
        super().__init__(context, context.client)
        self._render_error = render_error
        self.stream_id = 1

    def _read_head(self) -> Commands:
        buffer = self.buffer
        while buffer.data.startswith(b"\r\n"):  # RFC 9112, section 2.2: ignore empty lines before a request
            buffer.drop(2)
        size = buffer.find_head()
        if is_too_long(buffer.data[:size] if size else buffer.data):
            yield from self._overflow()
            return
        if not size:
            return
        head = buffer.take(size)
        try:
            if (fault := head_fault(head)) is not None:
                raise ValueError(fault)
            self.request = request = read_request_head(split_lines(head))
            body = http1.expected_http_body_size(request)
        except ValueError as error:
            yield from self._send_error(400, str(error))
            return
        self._reader, self.state = body_reader(body), _State.BODY
        flow = InspectedFlow(self.context.client, self.context.server, request)
        yield layers.ReceiveHttp(layers.RequestHeaders(self.stream_id, request, body == 0, flow))

    def _refuse_body(self, message: str) -> Commands:
        yield from self._send_error(400, message)
        yield layers.ReceiveHttp(
            layers.RequestProtocolError(self.stream_id, f"the request is malformed: {message}", layers.ErrorCode.GENERIC_CLIENT_ERROR)
        )

    def _overflow(self) -> Commands:
        if self.state is _State.HEAD:
            yield from self._send_error(431, "the request head is too long")
            return
        yield from self._close()
        if self.request is not None:
            error = layers.RequestProtocolError(self.stream_id, "the client sent too much", layers.ErrorCode.CLIENT_DISCONNECTED)
            yield layers.ReceiveHttp(error)

    def _end_in_head(self) -> Commands:
        yield from self._close()

    def _send(self, event: Any) -> Commands:
        assert event.stream_id == self.stream_id
        if isinstance(event, layers.ResponseHeaders):
            yield from self._send_head(event.response)
        elif isinstance(event, layers.ResponseData):
            yield from self._send_data(event.data)
        elif isinstance(event, layers.ResponseTrailers):
            self._trailers = event.trailers
        elif isinstance(event, layers.ResponseEndOfMessage):
            if self._in_chunks:
                yield from self._send_last_chunk()
            yield from self._note_done(sent=True)
        elif isinstance(event, layers.ResponseProtocolError):
            yield from self._send_error(event.code.http_status_code(), event.message)

    def _send_head(self, response: http.Response) -> Commands:
        if is_interim(response):
            if self.request is not None and self.request.is_http11:  # HTTP/1.0 has none: it would be taken for the response
                yield commands.SendData(self.conn, response_head(response))
            return
        self.response, self._trailers = response, None
        has_body = response.status_code != 304 and self.request is not None and self.request.method != "HEAD"
        self._in_chunks = has_body and _is_chunked(response)
        yield commands.SendData(self.conn, response_head(response))

    def _send_error(self, status: int | None, message: str) -> Commands:
        """Close the connection, with an answer unless it has had one, or `status` is None."""
        can_answer = self.state is not _State.NOTHING and self.conn.state & ConnectionState.CAN_WRITE
        if can_answer and status is not None and self.response is None:
            answer = self._render_error(status, message, self.request, self.conn.id)
            head_only = self.request is not None and self.request.method == "HEAD"
            yield commands.SendData(self.conn, answer.to_bytes(head_only=head_only))
        yield from self._close()

    @property
    def awaits_head(self) -> bool:
        """True between two requests, and while the head of one is incomplete."""
        return self.state is _State.HEAD

    @property
    def is_answering(self) -> bool:
        """True if a request is complete and its response is not."""
        return self.state is _State.REST

    def _is_last(self, request: http.Request, response: http.Response) -> bool:
        return super()._is_last(request, response) or _says_close(request)

    def _next(self) -> None:
        self.stream_id += 2


class Http1Client(_Http1Connection):
    """The side of HTTP/1 origins. A connection is reused after a request of an HTTP/2 client too."""

    incoming = (layers.ResponseData, layers.ResponseTrailers, layers.ResponseEndOfMessage, layers.ResponseProtocolError)

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.server)
        self._has_served = getattr(self.conn, "is_used_again", False)
        self._interim = InterimAllowance()

    def _send(self, event: Any) -> Commands:
        if isinstance(event, layers.RequestProtocolError):
            yield from self._close()
        elif isinstance(event, layers.RequestHeaders):
            assert self.stream_id is None
            self.stream_id, self.request = event.stream_id, event.request
            self._interim, self._trailers = InterimAllowance(), None
            head = request_head(event.request, has_body=not event.end_stream)
            self._in_chunks = _is_chunked(event.request) or head.endswith(b"\r\ntransfer-encoding: chunked\r\n\r\n")
            yield commands.SendData(self.conn, head)
        elif isinstance(event, layers.RequestData):
            yield from self._send_data(event.data)
        elif isinstance(event, layers.RequestTrailers):
            self._trailers = event.trailers
        elif isinstance(event, layers.RequestEndOfMessage):
            if self._in_chunks:
                yield from self._send_last_chunk()
            yield from self._note_done(sent=True)

    def _read_head(self) -> Commands:
        if self.request is None:  # nobody has asked
            yield from self._close()
            return
        yield from self._pass_interim()
        if self.state is not _State.HEAD or (lines := self.buffer.take_lines()) is None:
            return
        try:
            response = read_response_head(lines)
            body = http1.expected_http_body_size(self.request, response)
        except ValueError as error:
            yield from self._fail(f"{BROKEN_ANSWER}: {error}")
            return
        self._has_served, self.response = True, response
        self._reader, self.state = body_reader(body), _State.BODY
        yield layers.ReceiveHttp(layers.ResponseHeaders(self.stream_id, response, body == 0))

    def _pass_interim(self) -> Commands:
        """Forward informational responses (RFC 9110, section 15.2). 101 is final."""
        while (start := self.buffer.data[:13]).startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")) and start[9:12] != b"101":
            size = self.buffer.find_head()
            if not size:
                return
            if not self._interim.take(size):
                yield from self._fail(TOO_MANY_INTERIM)
                return
            with contextlib.suppress(ValueError):  # a malformed one is left out: the final response follows
                response = read_response_head(split_lines(self.buffer.take(size)))
                if may_forward_interim(response):
                    yield layers.ReceiveHttp(layers.ResponseHeaders(self.stream_id, response, False))

    def _refuse_body(self, message: str) -> Commands:
        yield from self._fail(f"{BROKEN_ANSWER}: {message}")

    def _overflow(self) -> Commands:
        yield from self._fail(f"{BROKEN_ANSWER}: its head is too long")

    def _end_in_head(self) -> Commands:
        if self.stream_id is not None and self._has_served and not self.buffer:
            yield from self._close()
            code = layers.ErrorCode.GENERIC_SERVER_ERROR
            yield layers.ReceiveHttp(StaleConnection(self.stream_id, "server closed connection", code))
            return
        yield from self._fail(f"{BROKEN_ANSWER}: its head is incomplete" if self.buffer else "server closed connection")

    def _fail(self, message: str) -> Commands:
        """Close the connection, and fail the request, if there is one."""
        yield from self._close()
        if self.stream_id is not None:
            yield layers.ReceiveHttp(layers.ResponseProtocolError(self.stream_id, message, layers.ErrorCode.GENERIC_SERVER_ERROR))

    def _is_last(self, request: http.Request, response: http.Response) -> bool:
        return super()._is_last(request, response) or (request.is_http10 and _says_close(request))

    def _next(self) -> None:
        self.stream_id = None

    @property
    def is_idle(self) -> bool:
        return self.stream_id is None and self.state is _State.HEAD and not self.buffer


def _harmless(trailers: list[Field]) -> HeaderFields | None:
    """Return the trailers without those that could deceive; None if there are none."""
    fields = [field for field in trailers if field[0] not in _FORBIDDEN_TRAILERS]
    return HeaderFields(fields) if fields else None


def _is_chunked(message: http.Message) -> bool:
    return "chunked" in message.headers.get("transfer-encoding", "").lower()


def _ends_with_connection(request: http.Request, response: http.Response) -> bool:
    try:
        return http1.expected_http_body_size(request, response) == -1
    except ValueError:  # a scanner's answer, or one that was changed
        return True


def _says_close(message: http.Message) -> bool:
    """Return whether the sender closes the connection after this message (RFC 9112, section 9.3)."""
    options = [each.strip().lower() for each in message.headers.get("connection", "").split(",")]
    return "close" in options or (message.is_http10 and "keep-alive" not in options)
