"""Both sides of an HTTP/1 connection, as layers of mitmproxy's protocol: bounded, strict about framing, with trailers
and 1xx responses.

Protocol code: no sockets, no files.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.net.http import http1
from mitmproxy.proxy import commands
from mitmproxy.proxy.context import Context

from hedgerow.proxy.http_head import MAX_FIELDS, HeadError, parse_head
from hedgerow.proxy.inspection.engine.bodies import body_reader
from hedgerow.proxy.inspection.engine.flows import Commands, InspectedFlow, layers
from hedgerow.proxy.inspection.engine.heads import (
    has_unknown_length,
    read_response_head,
    request_head,
    request_of,
    response_head,
)
from hedgerow.proxy.inspection.engine.http1_connection import (
    Http1Connection,
    MessagePhase,
    is_chunked,
    says_close,
)
from hedgerow.proxy.inspection.engine.http_stream import StaleConnection
from hedgerow.proxy.inspection.engine.messages import (
    BROKEN_ANSWER,
    TOO_MANY_INTERIM,
    ErrorRenderer,
    InterimAllowance,
    is_interim,
    is_too_long,
    may_forward_interim,
)

MOST_LINES = MAX_FIELDS + 2
"""Lines of a response's head: its status, its fields, and the empty line."""
_WITHOUT_BODY = frozenset({204, 304})  # RFC 9112, section 6.3
TOO_MANY_FIELDS = f"{BROKEN_ANSWER}: it has more than {MAX_FIELDS:,} lines of fields"


class Http1Server(Http1Connection):
    """The side of HTTP/1 clients. `render_error` writes the answers to what is refused."""

    incoming = (layers.RequestData, layers.RequestTrailers, layers.RequestEndOfMessage, layers.RequestProtocolError)

    def __init__(self, context: Context, render_error: ErrorRenderer) -> None:
        super().__init__(context, context.client)
        self._render_error = render_error
        self._is_waiting = False  # the client sends its body once it is told to go on

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
        try:
            text = buffer.take(size).decode("latin-1").removesuffix("\r\n\r\n")
            self.request = request = request_of(parse_head(text, has_raw_target=True))
            body = http1.expected_http_body_size(request)
        except HeadError as error:
            yield from self._send_error(error.status, str(error))
            return
        except ValueError as error:
            yield from self._send_error(400, str(error))
            return
        self.stream_id += 2
        self._reader, self.state = body_reader(body), MessagePhase.BODY
        self._is_waiting = "expect" in request.headers
        flow = InspectedFlow(self.context.client, self.context.server, request)
        yield layers.ReceiveHttp(layers.RequestHeaders(self.stream_id, request, body == 0, flow))

    def _refuse_body(self, message: str) -> Commands:
        yield from self._send_error(400, message)
        yield layers.ReceiveHttp(
            layers.RequestProtocolError(
                self.stream_id, f"the request is malformed: {message}", layers.ErrorCode.GENERIC_CLIENT_ERROR
            )
        )

    def _overflow(self) -> Commands:
        if self.state is MessagePhase.HEAD:
            yield from self._send_error(431, "the request head is too long")
        else:
            yield from self._leave("the client sent too much")

    def _leave(self, message: str) -> Commands:
        """Close the connection in the middle of a request, if there is one."""
        yield from self._close()
        if self.request is not None:
            yield layers.ReceiveHttp(
                layers.RequestProtocolError(self.stream_id, message, layers.ErrorCode.CLIENT_DISCONNECTED)
            )

    def _end_in_head(self) -> Commands:
        yield from self._close()

    def _begin(self, event: Any) -> Commands:
        assert event.stream_id == self.stream_id
        if isinstance(event, layers.ResponseHeaders):
            yield from self._send_head(event.response)
        elif isinstance(event, layers.ResponseProtocolError):
            yield from self._send_error(event.code.http_status_code(), event.message)

    def _send_head(self, response: http.Response) -> Commands:
        if is_interim(response):
            # HTTP/1.0 has none: it would be treated as the response
            if self.request is not None and self.request.is_http11:
                self._is_waiting &= response.status_code != 100
                yield commands.SendData(self.conn, response_head(response))
            return
        if self._is_waiting and self.state is MessagePhase.BODY:
            response.headers["connection"] = "close"
        self.response, self._trailers = response, None
        self._has_body = (
            response.status_code not in _WITHOUT_BODY and self.request is not None and self.request.method != "HEAD"
        )
        self._in_chunks = self._has_body and is_chunked(response)
        yield commands.SendData(self.conn, response_head(response))

    def _note_done(self, *, received: bool = False, sent: bool = False) -> Commands:
        yield from super()._note_done(received=received, sent=sent)
        if sent and self._is_waiting and self.state is MessagePhase.BODY:  # what follows may be a body or a request
            yield from self._leave("the client was not told to go on")

    def _send_error(self, status: int | None, message: str) -> Commands:
        """Close the connection, with an answer unless it has had one, or `status` is None."""
        can_answer = self.state is not MessagePhase.NOTHING and self.conn.state & ConnectionState.CAN_WRITE
        if can_answer and status is not None and self.response is None:
            answer = self._render_error(status, message, self.request, self.conn.id)
            head_only = self.request is not None and self.request.method == "HEAD"
            yield commands.SendData(self.conn, answer.to_bytes(head_only=head_only))
        yield from self._close()

    def _is_last(self, request: http.Request, response: http.Response) -> bool:
        return super()._is_last(request, response) or says_close(request)


class Http1Client(Http1Connection):
    """The side of HTTP/1 origins. A connection is reused after a request of an HTTP/2 client too."""

    incoming = (layers.ResponseData, layers.ResponseTrailers, layers.ResponseEndOfMessage, layers.ResponseProtocolError)

    def __init__(self, context: Context) -> None:
        super().__init__(context, context.server)
        self._has_served = getattr(self.conn, "is_used_again", False)
        self._interim = InterimAllowance()

    def _begin(self, event: Any) -> Commands:
        if isinstance(event, layers.RequestProtocolError):
            yield from self._close()
        elif isinstance(event, layers.RequestHeaders):
            assert self.request is None
            self.stream_id, self.request = event.stream_id, event.request
            self._interim, self._trailers = InterimAllowance(), None
            self._in_chunks = is_chunked(event.request) or (has_unknown_length(event.request) and not event.end_stream)
            yield commands.SendData(self.conn, request_head(event.request, has_body=not event.end_stream))

    def _read_head(self) -> Commands:
        if self.request is None:  # nobody has asked
            yield from self._close()
            return
        yield from self._pass_interim()
        if self.state is not MessagePhase.HEAD:
            return
        size = yield from self._find_head()
        if not size:
            return
        try:
            response = read_response_head(self.buffer.take(size))
            if is_interim(response):  # `_pass_interim` has not recognised it
                raise ValueError("the line of its informational status is malformed")
            body = http1.expected_http_body_size(self.request, response)
        except ValueError as error:
            yield from self._fail(f"{BROKEN_ANSWER}: {error}")
            return
        self._has_served, self.response = True, response
        self._reader, self.state = body_reader(body), MessagePhase.BODY
        yield layers.ReceiveHttp(layers.ResponseHeaders(self.stream_id, response, body == 0))

    def _find_head(self) -> Generator[commands.Command, Any, int]:
        """Return the length of the next head, or 0 if it is incomplete or has too many lines, which fails
        the request.
        """
        size = self.buffer.find_head()
        if self.buffer.lines <= MOST_LINES:
            return size
        yield from self._fail(TOO_MANY_FIELDS)
        return 0

    def _pass_interim(self) -> Commands:
        """Forward informational responses (RFC 9110, section 15.2). 101 is final."""
        while (start := self.buffer.data[:13]).startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")) and start[9:12] != b"101":
            size = yield from self._find_head()
            if not size:
                return
            if not self._interim.take(size):
                yield from self._fail(TOO_MANY_INTERIM)
                return
            with contextlib.suppress(ValueError):  # a malformed one is left out: the final response follows
                response = read_response_head(self.buffer.take(size))
                if may_forward_interim(response):
                    yield layers.ReceiveHttp(layers.ResponseHeaders(self.stream_id, response, False))

    def _refuse_body(self, message: str) -> Commands:
        yield from self._fail(f"{BROKEN_ANSWER}: {message}")

    def _overflow(self) -> Commands:
        yield from self._fail(f"{BROKEN_ANSWER}: its head is too long")

    def _end_in_head(self) -> Commands:
        if self.request is not None and self._has_served and not self.buffer:
            yield from self._close()
            yield layers.ReceiveHttp(
                StaleConnection(self.stream_id, "server closed connection", layers.ErrorCode.GENERIC_SERVER_ERROR)
            )
            return
        yield from self._fail(f"{BROKEN_ANSWER}: its head is incomplete" if self.buffer else "server closed connection")

    def _fail(self, message: str) -> Commands:
        """Close the connection, and fail the request, if there is one."""
        yield from self._close()
        if self.request is not None:
            yield layers.ReceiveHttp(
                layers.ResponseProtocolError(self.stream_id, message, layers.ErrorCode.GENERIC_SERVER_ERROR)
            )

    def _is_last(self, request: http.Request, response: http.Response) -> bool:
        return super()._is_last(request, response) or (request.is_http10 and says_close(request))

    @property
    def is_idle(self) -> bool:
        return self.request is None and self.state is MessagePhase.HEAD and not self.buffer
