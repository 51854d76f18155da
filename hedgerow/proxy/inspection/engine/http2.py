"""Both sides of an HTTP/2 connection: our error pages, checks of fields, a budget of frames, and informational
responses.

Protocol code: no sockets, no clock, no files.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Buffer, Generator, Mapping
from typing import Any

from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import Event, InformationalResponseReceived, RequestReceived, ResponseReceived, StreamReset
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HttpStream, _http2
from mitmproxy.proxy.layers.http._base import HttpConnection
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

from hedgerow.frame_budget import FrameBudget
from hedgerow.hpack_codec import FastDecoder, FastEncoder
from hedgerow.http2_streams import LimitedConnection, OnceClosedConnection
from hedgerow.proxy.inspection.engine.flows import Commands, InspectedFlow, layers
from hedgerow.proxy.inspection.engine.http2_fields import check_event, request_of, response_of
from hedgerow.proxy.inspection.engine.messages import (
    BROKEN_ANSWER,
    TOO_MANY_INTERIM,
    ErrorRenderer,
    InterimAllowance,
    may_forward_interim,
)
from hedgerow.proxy.pages.response import ProxyResponse


class _Connection(OnceClosedConnection, BufferedH2Connection):
    """mitmproxy's connection with our HPACK and our checks of received fields."""

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        decoder, encoder = FastDecoder(), FastEncoder()
        decoder.max_header_list_size = self.decoder.max_header_list_size
        decoder.max_allowed_table_size = self.decoder.max_allowed_table_size
        self.decoder, self.encoder = decoder, encoder

    def receive_data(self, data: Buffer) -> list[Event]:
        received: list[Event] = super().receive_data(data)
        for event in received:
            check_event(event, is_client=bool(self.config.client_side))
        return received


class _ServerConnection(LimitedConnection, _Connection):
    """A connection with our limit of streams."""


class _OriginConnection(_Connection):
    """A connection that accepts no pushed streams."""

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.local_settings.enable_push = 0
        self.local_settings.acknowledge()  # so that it is sent with the first settings


def _configuration(*, client_side: bool) -> H2Configuration:
    return H2Configuration(
        client_side=client_side,
        header_encoding=None,
        validate_inbound_headers=False,  # `_Connection` does
        validate_outbound_headers=False,
        normalize_inbound_headers=False,
        normalize_outbound_headers=False,
    )


class Http2Server(_http2.Http2Server):
    """The side of HTTP/2 clients.

    `render_error` writes the answers to what is refused of the `exchanges` in progress.
    """

    h2_conf = _configuration(client_side=False)

    def __init__(self, context: Context, render_error: ErrorRenderer, exchanges: Mapping[int, HttpStream]) -> None:
        HttpConnection.__init__(self, context, context.client)
        self.h2_conn = _ServerConnection(self.h2_conf)
        self.streams = {}
        self.budget = FrameBudget()
        self._render_error = render_error
        self._exchanges = exchanges

    def _handle_event(self, event: events.Event) -> Commands:
        if isinstance(event, events.DataReceived) and self.budget.fault is not None:
            yield from self.protocol_error("too many frames, or invalid ones", self.budget.fault)
            return
        if isinstance(event, layers.ResponseEndOfMessage) and self.is_open_for_us(event.stream_id):
            self.budget.answered()
        if isinstance(event, layers.ResponseProtocolError):
            status = event.code.http_status_code()
            if status is not None and self._may_answer(event.stream_id):
                request = self._exchanges[event.stream_id].flow.request
                self._send_error(event.stream_id, self._render_error(status, event.message, request, self.conn.id))
                yield commands.SendData(self.conn, self.h2_conn.data_to_send())
                return
        for command in super()._handle_event(event):
            if isinstance(command, commands.SendData):
                self.budget.sent(len(command.data))
            yield command

    def handle_h2_event(self, event: Any) -> Generator[commands.Command, Any, bool]:
        if isinstance(event, RequestReceived):
            return (yield from self._begin(event.stream_id, event))
        if isinstance(event, StreamReset):
            # mitmproxy forgets a stream once its request is complete, and would then ignore the reset: the stream would
            # keep its connection to the origin until the origin answers.
            self.streams.setdefault(event.stream_id, _http2.StreamState.HEADERS_RECEIVED)
        return bool((yield from super().handle_h2_event(event)))

    def _begin(self, number: int, event: RequestReceived) -> Generator[commands.Command, Any, bool]:
        try:
            request = request_of(event.headers)
        except ValueError as error:
            yield from self.protocol_error(f"malformed request: {error}")
            return True
        self.streams[number] = _http2.StreamState.HEADERS_RECEIVED
        flow = InspectedFlow(self.context.client, self.context.server, request)
        yield layers.ReceiveHttp(layers.RequestHeaders(number, request, event.stream_ended is not None, flow))
        return False

    def _send_error(self, stream_id: int, answer: ProxyResponse) -> None:
        fields = [(b":status", b"%d" % answer.status), (b"content-length", b"%d" % len(answer.body))]
        fields += [(name.lower().encode(), value.encode()) for name, value in answer.headers]
        self.h2_conn.send_headers(stream_id, fields)
        self.h2_conn.send_data(stream_id, answer.body)
        self.h2_conn.end_stream(stream_id)  # `send_data` of more than one frame would forget `end_stream`

    def _may_answer(self, stream_id: int) -> bool:
        is_open = self.is_open_for_us(stream_id) and not self.is_closed(stream_id)
        return is_open and not self.h2_conn.streams[stream_id].state_machine.headers_sent


class Http2Client(_http2.Http2Client):
    """The side of HTTP/2 origins. Informational responses are forwarded."""

    h2_conf = _configuration(client_side=True)

    def __init__(self, context: Context) -> None:
        HttpConnection.__init__(self, context, context.server)
        self.h2_conn = _OriginConnection(self.h2_conf)
        self.streams = {}
        self.our_stream_id, self.their_stream_id = {}, {}
        self.stream_queue = defaultdict(list)
        self._interim: dict[int, InterimAllowance] = {}

    def handle_h2_event(self, event: Any) -> Generator[commands.Command, Any, bool]:
        if isinstance(event, ResponseReceived):
            return (yield from self._receive_response(event.stream_id, event))
        if isinstance(event, InformationalResponseReceived):
            return (yield from self._pass_interim(event.stream_id, event))
        return bool((yield from super().handle_h2_event(event)))

    def _receive_response(self, number: int, event: ResponseReceived) -> Generator[commands.Command, Any, bool]:
        try:
            if self.streams.get(number) is not _http2.StreamState.EXPECTING_HEADERS:
                raise ValueError("nobody has asked for it")
            response = response_of(event.headers)
        except ValueError as error:
            yield from self.protocol_error(str(error))
            return True
        self.streams[number] = _http2.StreamState.HEADERS_RECEIVED
        yield layers.ReceiveHttp(layers.ResponseHeaders(number, response, event.stream_ended is not None))
        return False

    def _pass_interim(
        self, number: int, event: InformationalResponseReceived
    ) -> Generator[commands.Command, Any, bool]:
        if number not in self._interim:
            self._interim = {id: each for id, each in self._interim.items() if id in self.streams}
            self._interim[number] = InterimAllowance()
        if not self._interim[number].take(sum(len(name) + len(value) for name, value in event.headers)):
            yield from self.protocol_error(TOO_MANY_INTERIM, ErrorCodes.ENHANCE_YOUR_CALM)
            return True
        with contextlib.suppress(ValueError):
            response = response_of(event.headers)
            if may_forward_interim(response):
                yield layers.ReceiveHttp(layers.ResponseHeaders(number, response, False))
        return False

    def protocol_error(self, message: str, error_code: int = ErrorCodes.PROTOCOL_ERROR) -> Commands:
        """End the connection. Its requests fail with a message that says that the answer is malformed."""
        yield from super().protocol_error(f"{BROKEN_ANSWER}: {message}", error_code)
