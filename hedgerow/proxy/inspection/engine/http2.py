"""Both sides of an HTTP/2 connection: our error pages, a budget of frames, and informational responses.

Protocol code: no sockets, no clock, no files.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import h2.errors
import h2.events
import h2.exceptions
from hpack.exceptions import HPACKError
from mitmproxy import http
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers import http as _layers
from mitmproxy.proxy.layers.http import _http2
from mitmproxy.proxy.layers.http._base import ReceiveHttp
from mitmproxy.proxy.layers.http._events import ResponseEndOfMessage, ResponseProtocolError
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

from hedgerow.frame_budget import FrameBudget
from hedgerow.http2_streams import LimitedConnection
from hedgerow.proxy.inspection.engine import lean_http2
from hedgerow.proxy.inspection.engine.messages import TOO_MANY_INTERIM, ErrorRenderer, InterimAllowance, may_forward_interim
from hedgerow.proxy.pages.response import ProxyResponse

layers: Any = _layers  # mitmproxy exports nothing explicitly

type Commands = Generator[commands.Command, Any, None]


class _ServerConnection(LimitedConnection, BufferedH2Connection):
    """mitmproxy's connection with our limit of streams."""


def make_http2_server(render_error: ErrorRenderer) -> type[_http2.Http2Server]:
    """Return the class for the side of HTTP/2 clients. `render_error` writes its error pages."""

    class Http2Server(_http2.Http2Server):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.h2_conn = _ServerConnection(self.h2_conf)
            lean_http2.speed_up(self.h2_conn)
            self._requests: dict[int, http.Request] = {}
            self.budget = FrameBudget()

        def _handle_event(self, event: events.Event) -> Commands:
            if isinstance(event, events.DataReceived) and self.budget.is_spent:
                yield from self.protocol_error("too many frames", h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
                return
            if isinstance(event, ResponseEndOfMessage) and self.is_open_for_us(event.stream_id):
                self.budget.answered()
            if isinstance(event, ResponseProtocolError):
                status = event.code.http_status_code()
                if status is not None and self._may_answer(event.stream_id):
                    self._send_error(
                        event.stream_id, render_error(status, event.message, self._requests.get(event.stream_id), self.conn.id)
                    )
                    yield commands.SendData(self.conn, self.h2_conn.data_to_send())
                    return
            for command in super()._handle_event(event):
                if isinstance(command, ReceiveHttp) and isinstance(command.event, layers.RequestHeaders):
                    self._requests = {id: each for id, each in self._requests.items() if id in self.streams}
                    self._requests[command.event.stream_id] = command.event.request
                if isinstance(command, commands.SendData):
                    self.budget.sent(len(command.data))
                yield command

        def handle_h2_event(self, event: Any) -> Generator[commands.Command, Any, bool]:
            if isinstance(event, h2.exceptions.ProtocolError):
                yield from self.protocol_error(f"HTTP/2 protocol error: {event}", _error_code(event))
                return True
            if isinstance(event, h2.events.StreamReset):
                # When one read brings a request's last frame and its reset, mitmproxy has forgotten the stream by now, and would
                # ignore the reset. The stream would keep its connection to the origin until the origin answers.
                self.streams.setdefault(event.stream_id, _http2.StreamState.HEADERS_RECEIVED)
            return (yield from super().handle_h2_event(event))

        def _send_error(self, stream_id: int, answer: ProxyResponse) -> None:
            fields = [(b":status", b"%d" % answer.status), (b"content-length", b"%d" % len(answer.body))]
            fields += [(name.lower().encode(), value.encode()) for name, value in answer.headers]
            self.h2_conn.send_headers(stream_id, fields)
            self.h2_conn.send_data(stream_id, answer.body)
            self.h2_conn.end_stream(stream_id)  # `send_data` of more than one frame would forget `end_stream`

        def _may_answer(self, stream_id: int) -> bool:
            if self.is_closed(stream_id) or not self.is_open_for_us(stream_id):
                return False
            return not self.h2_conn.streams[stream_id].state_machine.headers_sent

    return Http2Server


def _error_code(error: h2.exceptions.ProtocolError) -> int:
    """Return the code that RFC 9113 demands. mitmproxy knows one, and h2 none of its own for HPACK (RFC 9113, section 4.3)."""
    cause = error.__cause__
    if isinstance(cause, HPACKError) or "decoding header block" in str(error):
        return h2.errors.ErrorCodes.COMPRESSION_ERROR
    if "SETTINGS ack frame" in str(cause):
        return h2.errors.ErrorCodes.FRAME_SIZE_ERROR
    return cause.error_code if isinstance(cause, h2.exceptions.ProtocolError) else error.error_code


class Http2Client(_http2.Http2Client):
    """The side of HTTP/2 origins. mitmproxy drops informational responses."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        lean_http2.speed_up(self.h2_conn)
        self._interim: dict[int, InterimAllowance] = {}

    def handle_h2_event(self, event: Any) -> Generator[commands.Command, Any, bool]:
        if not isinstance(event, h2.events.InformationalResponseReceived):
            return (yield from super().handle_h2_event(event))
        if event.stream_id not in self._interim:
            self._interim = {id: each for id, each in self._interim.items() if id in self.streams}
            self._interim[event.stream_id] = InterimAllowance()
        if not self._interim[event.stream_id].take(sum(len(name) + len(value) for name, value in event.headers)):
            yield from self.protocol_error(TOO_MANY_INTERIM, h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
            return True
        with contextlib.suppress(ValueError):
            status, fields = _http2.parse_h2_response_headers(event.headers)
            response = http.Response(b"HTTP/2.0", status, b"", fields, None, None, 0, None)
            if may_forward_interim(response):
                yield ReceiveHttp(layers.ResponseHeaders(event.stream_id, response, False))
        return False
