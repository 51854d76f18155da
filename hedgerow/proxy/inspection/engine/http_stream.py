"""Hold the answer to a request back until it is known to be good, within bounds of bytes and time.

Protocol code on top of mitmproxy's stream of one request: no sockets, no clock but the wake-up that it asks for, no files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from typing import Any, Protocol

from mitmproxy import http
from mitmproxy.proxy import commands, events, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers import http as _layers
from mitmproxy.proxy.layers.http._events import ResponseProtocolError

from hedgerow.proxy.inspection.engine.messages import is_interim, to_mitmproxy_response
from hedgerow.proxy.pages.response import ProxyResponse

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls


MAX_HELD = 1024 * 1024
"""Bytes of a body that are held back until it is known to be good; of what is longer the rest is watched as it goes."""

MAX_DISCARDED_UPLOAD = 64 * 1024 * 1024
"""Bytes of a blocked upload that are let go by: a browser that is reset while it sends would not show the answer."""

EARLY_ANSWER_BYTES = 256 * 1024
"""Bytes of such an upload after which the answer is given while it goes on."""

MAX_INTERIM = 16
"""Answers before an answer (RFC 9110, section 15.2) that are passed on; an origin that sends more does it to keep us busy."""

MAX_BUFFERED = 64 * 1024
"""Bytes of a request's body that are kept until all of it has come, where its flow does not say another limit."""

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS"})

SCANNER_KEY, REFUSAL_KEY, LIMIT = "hedgerow-watch", "hedgerow-refusal", "hedgerow-limit"
"""Keys of a flow's metadata: how its answer is watched, or what is answered in its place; the bytes of its body that may be kept."""

_TOO_LONG = ProxyResponse(413, (("Content-Type", "text/plain; charset=utf-8"),), b"Hedgerow: the body is too long for this address.\n")

layers: Any = _layers  # it exports nothing by its own account
_OF_A_BODY = (layers.ResponseData, layers.ResponseTrailers, layers.ResponseEndOfMessage)

type Commands = Generator[commands.Command, Any, None]


class ResponseScanner(Protocol):
    """Looks at a body that goes by; see `body_watch`."""

    max_hold_seconds: float

    @property
    def is_done(self) -> bool: ...
    @property
    def is_busy(self) -> bool: ...
    def feed(self, data: bytes) -> ProxyResponse | None: ...
    def go_on(self) -> ProxyResponse | None: ...
    def release(self) -> ProxyResponse | None: ...
    def end(self) -> ProxyResponse | None: ...


class StaleConnection(ResponseProtocolError):
    """An origin's connection that had served before was closed before it answered anything: it need not have heard the request."""


class HeldStream(_layers.HttpStream):
    """One request and its answer. Where the flow carries a watch or a refusal, the answer is held until it is known to be good."""

    _scanner: ResponseScanner
    _held: bytearray
    _later: deque[events.Event]
    _looks: commands.Command | None = None
    _is_timed: bool
    _is_late = False
    _discarded = 0
    _interim_left = MAX_INTERIM
    _is_second_try = False

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.Wakeup):
            if event.command is self._looks:
                yield from self._go_on()
            elif self.server_state == self.state_hold:
                self._is_late = True
                if self._looks is None:
                    yield from self._release()
            return
        if self._looks is not None and isinstance(event, _OF_A_BODY):
            self._later.append(event)
            return
        if isinstance(event, StaleConnection) and self._may_try_again():
            yield from self._try_again()
            return
        if isinstance(event, layers.ResponseHeaders) and is_interim(event.response):
            if self.server_state == self.state_wait_for_response_headers and self._interim_left:
                self._interim_left -= 1
                yield layers.SendHttp(event, self.context.client)
            return
        yield from super()._handle_event(event)

    # Stale connections.

    def _may_try_again(self) -> bool:
        """Once, for what may be done twice (RFC 9110, section 9.2.2) and had no body that is gone by now."""
        is_waiting = self.client_state == self.state_done and self.server_state == self.state_wait_for_response_headers
        request = self.flow.request
        return is_waiting and not self._is_second_try and request.method in _IDEMPOTENT and request.raw_content == b""

    def _try_again(self) -> Commands:
        self._is_second_try = True
        if (yield from self.make_server_connection()):
            yield layers.SendHttp(layers.RequestHeaders(self.stream_id, self.flow.request, True), self.context.server)
            yield layers.SendHttp(layers.RequestEndOfMessage(self.stream_id), self.context.server)

    # Uploads that were answered before they came.

    def state_consume_request_body(self, event: events.Event) -> Commands:
        """What is sent with a request that is answered already is let go by, not kept; a long one gets its answer meanwhile.

        So is what is longer than may be kept, whatever its head said of its length.
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
            yield layers.HttpResponseHook(self.flow)
            yield from self._send(self.flow.response)
            yield layers.SendHttp(layers.ResponseEndOfMessage(self.stream_id), self.context.client)
            self.server_state = self.state_errored

    def _is_too_much(self, data: bytes) -> bool:
        limit: int = self.flow.metadata.get(LIMIT, MAX_BUFFERED)
        return len(self.request_body_buf) + len(data) > limit

    def state_discard_upload(self, event: events.Event) -> Commands:
        """The answer is given, and the client still sends."""
        if isinstance(event, layers.RequestData):
            self._discarded += len(event.data)
            if self._discarded > MAX_DISCARDED_UPLOAD:
                self.client_state = self.state_errored
                kill = layers.ResponseProtocolError(self.stream_id, "blocked", layers.ErrorCode.KILL)
                yield layers.SendHttp(kill, self.context.client)
                yield layers.DropStream(self.stream_id)
        elif isinstance(event, layers.RequestEndOfMessage):
            self.client_state = self.state_done
            yield layers.DropStream(self.stream_id)

    # Answers that are held.

    def start_response_stream(self) -> Commands:
        refusal, scanner = self.flow.metadata.get(REFUSAL_KEY), self.flow.metadata.get(SCANNER_KEY)
        if refusal is not None:
            yield from self._refuse(refusal)
        elif scanner is None:
            yield from super().start_response_stream()
        else:
            self._scanner, self._held, self._later = scanner, bytearray(), deque()
            self._is_timed = False
            self.server_state = self.state_hold

    @property
    def is_looking(self) -> bool:
        """Whether what has come of the answer keeps the watch busy, so that no more of it is wanted now."""
        return self._looks is not None

    def _look_later(self) -> Commands:
        self._looks = commands.RequestWakeup(0)
        yield self._looks

    def _go_on(self) -> Commands:
        """The next portion of what keeps the watch busy; then what has come meanwhile."""
        self._looks = None
        if self.server_state == self.state_hold:
            yield from self._hold_on(self._scanner.go_on())
        elif self.server_state == self.state_scan_streaming:
            yield from self._watch_on(self._scanner.go_on() or self._scanner.release(), None)
        else:
            self._later.clear()
        while self._later and self._looks is None:
            yield from self._handle_event(self._later.popleft())

    def state_hold(self, event: events.Event) -> Commands:
        """Neither head nor body has gone to the client yet."""
        if isinstance(event, layers.ResponseTrailers):
            self.flow.response.trailers = event.trailers  # type: ignore[union-attr]
        elif isinstance(event, layers.ResponseData):
            self._held += event.data
            yield from self._hold_on(self._scanner.feed(event.data))
        elif isinstance(event, layers.ResponseEndOfMessage):
            refusal = self._scanner.end()
            if refusal is not None:
                yield from self._refuse(refusal)
                return
            yield from self._release_held()
            self.server_state = self.state_stream_response_body
            yield from self.state_stream_response_body(event)

    def _hold_on(self, refusal: ProxyResponse | None) -> Commands:
        if refusal is not None:
            yield from self._refuse(refusal)
            return
        if self._scanner.is_busy:
            yield from self._look_later()
        elif self._scanner.is_done or self._is_late or len(self._held) > MAX_HELD:
            yield from self._release()
            return
        if not self._is_timed and str(len(self._held)) != self.flow.response.headers.get("content-length"):  # type: ignore[union-attr]
            self._is_timed = True
            yield commands.RequestWakeup(self._scanner.max_hold_seconds)

    def state_scan_streaming(self, event: events.Event) -> Commands:
        """The client has the beginning; if the rest turns out bad, it is cut off."""
        refusal = None
        if isinstance(event, layers.ResponseData):
            refusal = self._scanner.feed(event.data) or self._scanner.release()
        elif isinstance(event, layers.ResponseEndOfMessage):
            refusal = self._scanner.end()
        yield from self._watch_on(refusal, event)

    def _watch_on(self, refusal: ProxyResponse | None, event: events.Event | None) -> Commands:
        """What keeps the watch busy is passed on once all of it was looked at."""
        if refusal is None and self._scanner.is_busy:
            if event is not None:
                self._held += event.data  # type: ignore[attr-defined]
            yield from self._look_later()
            return
        if refusal is None:
            if self._held:
                event, self._held = layers.ResponseData(self.stream_id, bytes(self._held)), bytearray()
            if event is not None:
                yield from self.state_stream_response_body(event)
            return
        self._later.clear()
        yield from self._leave_origin()
        kill = layers.ResponseProtocolError(self.stream_id, "blocked", layers.ErrorCode.KILL)
        yield layers.SendHttp(kill, self.context.client)
        self.client_state = self.server_state = self.state_errored
        yield layers.DropStream(self.stream_id)

    def _release(self) -> Commands:
        refusal = self._scanner.release()
        if refusal is not None:
            yield from self._refuse(refusal)
            return
        yield from self._release_held()
        self.server_state = self.state_stream_response_body if self._scanner.is_done else self.state_scan_streaming

    def _release_held(self) -> Commands:
        yield layers.SendHttp(layers.ResponseHeaders(self.stream_id, self.flow.response, end_stream=False), self.context.client)
        if self._held:
            yield layers.SendHttp(layers.ResponseData(self.stream_id, bytes(self._held)), self.context.client)
        self._held = bytearray()

    def _leave_origin(self) -> Commands:
        error = layers.RequestProtocolError(self.stream_id, "blocked", layers.ErrorCode.CANCEL)
        yield layers.SendHttp(error, self.context.server)

    def _refuse(self, answer: ProxyResponse) -> Commands:
        self._held, self._later = bytearray(), deque()
        yield from self._leave_origin()
        self.flow.response = to_mitmproxy_response(answer)
        self.flow.response.stream = False
        yield layers.HttpResponseHook(self.flow)
        yield from self._send(self.flow.response)
        self.server_state = self.state_errored  # which takes in what is still under way from the origin
        if self.client_state == self.state_done:
            yield from self.flow_done()
            return
        yield layers.SendHttp(layers.ResponseEndOfMessage(self.stream_id), self.context.client)
        self.client_state = self.server_state = self.state_errored

    def _send(self, response: http.Response) -> Commands:
        content = response.raw_content
        yield layers.SendHttp(layers.ResponseHeaders(self.stream_id, response, end_stream=not content), self.context.client)
        if content:
            yield layers.SendHttp(layers.ResponseData(self.stream_id, content), self.context.client)


# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls


class WebSocketRelay(layer.Layer):
    """In place of mitmproxy's layer for WebSocket. When one side ends, both do: a WebSocket says farewell in its own frames."""

    def __init__(self, context: Context, _flow: object) -> None:
        super().__init__(context)
        self._is_over = False

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
