"""One request and its response, held back until it is scanned, within bounds of bytes and time.

Protocol code on top of mitmproxy's stream: no sockets, no files, no clock but the wake-ups that it requests.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Any

from mitmproxy import flow, http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.layers import http as _layers
from mitmproxy.proxy.layers.http._events import ResponseProtocolError

from hedgerow.proxy.inspection.engine.flows import Commands, layers
from hedgerow.proxy.inspection.engine.messages import (
    BROKEN_ANSWER,
    is_interim,
    request_fault,
    response_fault,
    to_mitmproxy_response,
)
from hedgerow.proxy.pages.response import ProxyResponse
from hedgerow.proxy.scanners.response_scanner import BodyScanner

MAX_HELD = 1024 * 1024
"""Bytes of a body that are held back until it is scanned.

The rest of a longer one is scanned as it passes, unless it is checked whole.
"""

MAX_DISCARDED_UPLOAD = 64 * 1024 * 1024
"""Bytes of a blocked upload that are read and discarded: a browser that is reset while it sends would not show the
answer.
"""

EARLY_ANSWER_BYTES = 256 * 1024
"""Bytes of such an upload after which the answer is sent before its end."""

MAX_BUFFERED = 64 * 1024
"""Bytes of a request body that are buffered, unless its flow sets another limit."""

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS"})

SCANNER_KEY, REFUSAL_KEY, LIMIT_KEY = "hedgerow-scanner", "hedgerow-refusal", "hedgerow-limit"
"""Keys of a flow's metadata: the scanner of its response, the answer in its place, the bytes of its request body that
may be buffered.
"""

EXPECT_KEY = "hedgerow-expect"
"""Key of a flow's metadata: the value of the field Expect, which its origin answers and not we (RFC 9110, section
10.1.1).
"""

_TOO_LONG = ProxyResponse(
    413, (("Content-Type", "text/plain; charset=utf-8"),), b"Hedgerow: the body is too long for this address.\n"
)

_BODY_EVENTS = (layers.ResponseData, layers.ResponseTrailers, layers.ResponseEndOfMessage)


class WaitForScan(commands.RequestWakeup):
    """A command: wake the stream up when its scanner is not busy any more."""

    def __init__(self, scanner: BodyScanner) -> None:
        super().__init__(0)
        self.scanner = scanner


class StaleConnection(ResponseProtocolError):
    """A reused connection was closed by its origin before any answer: the origin may not have received the request."""


class HeldStream(_layers.HttpStream):
    """One request and its response.

    If the flow carries a scanner or a refusal, the response is held back until it is scanned.
    """

    _scanner: BodyScanner
    _held: bytearray
    _later: deque[events.Event]
    _end_event: events.Event | None = None
    _wait: WaitForScan | None = None
    _is_timed = False
    _is_late = False
    _is_released = False  # the client has the head, and what was scanned of the body
    _discarded = 0
    _is_second_try = False
    is_cancelled = False
    """The client has given the request up."""

    def handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, layers.RequestProtocolError):
            self.is_cancelled = True  # at once, though the stream may wait for a connection
        return super().handle_event(event)

    def _handle_event(self, event: events.Event) -> Commands:
        if self.child_layer is not None:
            yield from self.passthrough(event)
            return
        if isinstance(event, events.Wakeup):
            if event.command is self._wait:
                yield from self._continue()
            elif self.server_state == self.state_scan and not self._is_released:
                self._is_late = True
                if self._wait is None:
                    yield from self._act_on(None)
            return
        if self._wait is not None and isinstance(event, _BODY_EVENTS):
            self._later.append(event)
            return
        if isinstance(event, StaleConnection) and self._may_try_again():
            yield from self._try_again()
            return
        if isinstance(event, layers.ResponseHeaders) and is_interim(event.response):
            if self.server_state == self.state_wait_for_response_headers:
                yield layers.SendHttp(event, self.context.client)
            return
        if isinstance(event, layers.ResponseHeaders) and event.response.status_code == 101 and not self._may_switch():
            yield from self._leave_origin()
            message = f"{BROKEN_ANSWER}: it switches to a protocol that was not asked for, or too early"
            event = layers.ResponseProtocolError(self.stream_id, message, layers.ErrorCode.GENERIC_SERVER_ERROR)
        yield from super()._handle_event(event)

    def _may_switch(self) -> bool:
        """Return whether the client can go on with another protocol: it has asked, and HTTP/2 has no 101 (RFC 9113,
        section 8.6).

        It must have sent its whole request (RFC 9110, section 7.8).
        """
        request = self.flow.request
        return request.is_http11 and "upgrade" in request.headers and self.client_state == self.state_done

    def check_invalid(self, request: bool) -> Generator[commands.Command, Any, bool]:
        """Refuse a message that others could read differently. Return True if it was refused."""
        if request:
            fault = request_fault(self.flow.request, names_whole_url=self.mode is layers.HTTPMode.regular)
        else:
            fault = response_fault(self.flow.response)  # type: ignore[arg-type]  # it is there
        if fault is None:
            return False
        self.flow.error = flow.Error(fault)
        if request:
            yield layers.HttpRequestHeadersHook(self.flow)
        else:
            yield from self._leave_origin()
        yield layers.HttpErrorHook(self.flow)
        code = layers.ErrorCode.REQUEST_VALIDATION_FAILED if request else layers.ErrorCode.RESPONSE_VALIDATION_FAILED
        yield layers.SendHttp(layers.ResponseProtocolError(self.stream_id, fault, code), self.context.client)
        yield from self._drop()
        return True

    def handle_protocol_error(self, event: Any) -> Commands:
        """End the exchange.

        An origin that answered an upload before its end is left: its connection waits for the rest in vain.
        """
        if isinstance(event, ResponseProtocolError) and self.server_state == self.state_errored:
            yield layers.DropStream(self.stream_id)  # the client has its answer already
            return
        is_upload = self.client_state == self.state_stream_request_body and self.server_state == self.state_done
        if is_upload and isinstance(event, layers.RequestProtocolError):
            yield from self._leave_origin()
        yield from super().handle_protocol_error(event)

    def flow_done(self) -> Commands:
        """Go on as a WebSocket, if that was agreed; else the exchange is over."""
        if self.flow.websocket is None:
            yield from super().flow_done()
            return
        self.child_layer = WebSocketRelay(self.context)
        yield from self.child_layer.handle_event(events.Start())
        yield layers.SendHttp(layers.ResponseEndOfMessage(self.stream_id), self.context.client)

    # Stale connections.

    @property
    def needs_new_connection(self) -> bool:
        """The request cannot be repeated (again): its origin may be closing an idle connection just now."""
        return self._is_second_try or self.flow.request.method not in _IDEMPOTENT

    def _may_try_again(self) -> bool:
        """A request is repeated once, if it is idempotent (RFC 9110, section 9.2.2) and had no body, which would be
        gone by now.
        """
        is_waiting = self.client_state == self.state_done and self.server_state == self.state_wait_for_response_headers
        request = self.flow.request
        return is_waiting and not self._is_second_try and request.method in _IDEMPOTENT and request.raw_content == b""

    def _try_again(self) -> Commands:
        self._is_second_try = True
        if (yield from self.make_server_connection()):
            yield layers.SendHttp(layers.RequestHeaders(self.stream_id, self.flow.request, True), self.context.server)
            yield layers.SendHttp(layers.RequestEndOfMessage(self.stream_id), self.context.server)

    # Uploads that are answered before they end.

    def start_request_stream(self) -> Commands:
        if EXPECT_KEY in self.flow.metadata:
            self.flow.request.headers["expect"] = self.flow.metadata[EXPECT_KEY]
        yield from super().start_request_stream()

    def state_consume_request_body(self, event: events.Event) -> Commands:
        """Discard the body of a request that has its answer, and of one that exceeds its limit, whatever length its
        head declares.
        """
        if self.flow.response is None and isinstance(event, layers.RequestData) and self._is_too_much(event.data):
            self.request_body_buf.clear()
            self.flow.response = to_mitmproxy_response(_TOO_LONG)
        if self.flow.response is None or not isinstance(event, layers.RequestData):
            yield from super().state_consume_request_body(event)
            return
        self._discarded += len(event.data)
        if self._discarded > EARLY_ANSWER_BYTES:
            self.client_state = self.state_discard_upload
            yield from self._answer(self.flow.response)
            self.server_state = self.state_errored

    def _is_too_much(self, data: bytes) -> bool:
        limit: int = self.flow.metadata.get(LIMIT_KEY, MAX_BUFFERED)
        return len(self.request_body_buf) + len(data) > limit

    def state_discard_upload(self, event: events.Event) -> Commands:
        """Discard an upload whose answer is already sent."""
        if isinstance(event, layers.RequestData):
            self._discarded += len(event.data)
            if self._discarded > MAX_DISCARDED_UPLOAD:
                yield from self._kill()
        elif isinstance(event, layers.RequestEndOfMessage):
            self.client_state = self.state_done
            yield layers.DropStream(self.stream_id)

    # Responses that are held back.

    def start_response_stream(self) -> Commands:
        refusal, scanner = self.flow.metadata.get(REFUSAL_KEY), self.flow.metadata.get(SCANNER_KEY)
        if refusal is not None:
            yield from self._refuse(refusal)
        elif scanner is None:
            yield from super().start_response_stream()
        else:
            self._scanner, self._held, self._later = scanner, bytearray(), deque()
            self.server_state = self.state_scan

    @property
    def octets_held(self) -> int:
        """Octets of the response that are kept for the client, and those that its scan keeps.

        Bodies that are checked whole have bounds of their own.
        """
        if self.server_state != self.state_scan or self._scanner.is_collecting:
            return 0
        return len(self._held) + self._scanner.octets_kept

    @property
    def is_scanning(self) -> bool:
        """The scanner is busy: no more of the response is wanted now.

        After its end, others may go on over the same connection.
        """
        return self._wait is not None and self._end_event is None

    def _continue(self) -> Commands:
        """Act on the scanner's result, then on the events that came meanwhile."""
        self._wait = None
        if self.server_state == self.state_scan:
            yield from self._act_on(self._scanner.result())
        else:
            self._later.clear()
        while self._later and self._wait is None:
            yield from self._handle_event(self._later.popleft())

    def state_scan(self, event: events.Event) -> Commands:
        """Scan the body: while it is held back, and then as it passes."""
        if isinstance(event, layers.ResponseTrailers):
            self.flow.response.trailers = event.trailers  # type: ignore[union-attr]
        elif isinstance(event, layers.ResponseData):
            self._held += event.data
            yield from self._act_on(self._scanner.feed(event.data))
        elif isinstance(event, layers.ResponseEndOfMessage):
            self._end_event = event
            yield from self._act_on(self._scanner.end())

    def _act_on(self, refusal: ProxyResponse | None) -> Commands:
        """Refuse the response, wait for its scanner, pass on what is scanned, or hold it back for longer."""
        scanner, is_whole = self._scanner, self._end_event is not None
        is_wanted = scanner.is_done or self._is_late or (len(self._held) > MAX_HELD and not scanner.is_collecting)
        may_pass = (is_whole or self._is_released or is_wanted) and not scanner.is_busy
        if refusal is None and may_pass and not is_whole:
            refusal = scanner.release()
        if refusal is not None:
            yield from (self._cut_off() if self._is_released else self._refuse(refusal))
            return
        if may_pass:
            yield from self._pass_on()
            return
        if scanner.is_busy:
            self._wait = WaitForScan(scanner)
            yield self._wait
        length = self.flow.response.headers.get("content-length")  # type: ignore[union-attr]
        if not (self._is_timed or self._is_released) and str(len(self._held)) != length:
            self._is_timed = True
            yield commands.RequestWakeup(scanner.max_hold_seconds)

    def _pass_on(self) -> Commands:
        """Send what is held, with the head before it and the end after it."""
        response, data, self._held = self.flow.response, bytes(self._held), bytearray()
        if not self._is_released:
            self._is_released = True
            yield layers.SendHttp(
                layers.ResponseHeaders(self.stream_id, response, end_stream=False), self.context.client
            )
        if data:
            yield layers.SendHttp(layers.ResponseData(self.stream_id, data), self.context.client)
        if self._scanner.is_done or self._end_event is not None:
            self.server_state = self.state_stream_response_body
        if self._end_event is not None:
            yield from self.state_stream_response_body(self._end_event)

    def _leave_origin(self) -> Commands:
        yield layers.SendHttp(
            layers.RequestProtocolError(self.stream_id, "blocked", layers.ErrorCode.CANCEL), self.context.server
        )

    def _cut_off(self) -> Commands:
        """End a response whose beginning the client has, so that it can tell that the rest is missing."""
        self._later.clear()
        yield from self._leave_origin()
        yield from self._kill()

    def _kill(self) -> Commands:
        yield layers.SendHttp(
            layers.ResponseProtocolError(self.stream_id, "blocked", layers.ErrorCode.KILL), self.context.client
        )
        yield from self._drop()

    def _refuse(self, refusal: ProxyResponse) -> Commands:
        self._held, self._later = bytearray(), deque()
        yield from self._leave_origin()
        self.flow.response = to_mitmproxy_response(refusal)
        yield from self._answer(self.flow.response)
        yield from self._drop()

    def _answer(self, response: http.Response) -> Commands:
        """Send an answer of ours."""
        yield layers.HttpResponseHook(self.flow)
        content = response.raw_content
        yield layers.SendHttp(
            layers.ResponseHeaders(self.stream_id, response, end_stream=not content), self.context.client
        )
        if content:
            yield layers.SendHttp(layers.ResponseData(self.stream_id, content), self.context.client)
        yield layers.SendHttp(layers.ResponseEndOfMessage(self.stream_id), self.context.client)

    def _drop(self) -> Commands:
        """End the exchange. What still comes of it is ignored."""
        self.client_state = self.server_state = self.state_errored
        yield layers.DropStream(self.stream_id)


class WebSocketRelay(layer.Layer):
    """A relay in place of mitmproxy's WebSocket layer.

    Both sides end when one ends (a WebSocket closes with frames of its own).
    """

    _is_over = False

    def _handle_event(self, event: events.Event) -> Generator[commands.Command, Any, None]:
        if self._is_over or not isinstance(event, events.ConnectionEvent):
            return
        context = self.context
        other = context.server if event.connection is context.client else context.client
        if isinstance(event, events.DataReceived):
            yield commands.SendData(other, event.data)
        elif isinstance(event, events.ConnectionClosed):
            self._is_over = True
            yield commands.CloseConnection(other)
            yield commands.CloseConnection(event.connection)
