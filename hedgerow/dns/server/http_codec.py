"""Requests and answers of DNS over HTTPS as bytes of HTTP/1.1 and HTTP/2. No sockets, no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import h11

from hedgerow.dns.server.rate_limits import MAX_QUERY, MAX_UNSENT
from hedgerow.frame_budget import FrameBudget, FrameTokens

MAX_HEAD: Final = 12 << 10  # a GET carries the query in its path
MAX_STREAMS: Final = 100

type Headers = Sequence[tuple[str, str]]


class HttpClientError(Exception):
    """The client violates HTTP: the connection must end after what was written for it is sent."""


@dataclass(slots=True)
class DohRequest:
    """One request. `stream` is the HTTP/2 stream of its answer."""

    stream: int
    method: str
    target: str
    content_type: str
    body: bytearray = field(default_factory=bytearray)
    too_long: bool = False

    def add(self, data: bytes) -> None:
        """Keep a part of the body, as long as it may be that of a query."""
        if len(self.body) + len(data) > MAX_QUERY:
            self.too_long = True
            self.body.clear()
        elif not self.too_long:
            self.body += data


class Flood(HttpClientError):
    """The client sends more frames than its budget allows."""


class HttpCodec(Protocol):
    @property
    def has_more(self) -> bool:
        """True if the next `receive` may find a request in what was fed."""

    def feed(self, data: bytes) -> None:
        """Keep received octets for the next `receive`."""

    def receive(self, now: float) -> list[DohRequest]:
        """Return the whole requests in the next portion of what was fed. `now` is steady time in seconds. Raises HttpClientError."""

    def respond(self, request: DohRequest, status: int, headers: Headers, body: bytes) -> bool:
        """Write an answer. False if the connection ends with it."""


class Http1Codec(HttpCodec):
    """HTTP/1.1: the next request is not read before the last one is answered."""

    has_more = False

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._request: DohRequest | None = None

    def feed(self, data: bytes) -> None:
        if data:
            self._connection.receive_data(data)
            self.has_more = True

    def receive(self, now: float) -> list[DohRequest]:  # noqa: ARG002
        try:
            requests = self._next()
            self.has_more = bool(requests)
            return requests
        except h11.RemoteProtocolError as error:
            if self._connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self._send(error.error_status_hint, [("content-length", "0"), ("connection", "close")], b"")
            raise HttpClientError from error

    def _next(self) -> list[DohRequest]:
        while True:
            event = self._connection.next_event()
            match event:
                case h11.Request():
                    kind = next((value for name, value in event.headers if name == b"content-type"), b"")
                    self._request = DohRequest(0, event.method.decode(), _origin_form(event.target.decode()), kind.decode("latin-1"))
                    if self._connection.they_are_waiting_for_100_continue:
                        self._write(self._connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
                case h11.Data() if self._request is not None:
                    self._request.add(bytes(event.data))
                case h11.EndOfMessage() if self._request is not None:
                    request, self._request = self._request, None
                    return [request]
                case _:
                    return []

    def respond(self, request: DohRequest, status: int, headers: Headers, body: bytes) -> bool:
        self._send(status, [*headers, ("content-length", str(len(body)))], b"" if request.method == "HEAD" else body)
        if self._connection.our_state is not h11.DONE or self._connection.their_state is not h11.DONE:
            return False
        self._connection.start_next_cycle()
        return True

    def _send(self, status: int, headers: Headers, body: bytes) -> None:
        encoded = [(name.encode(), value.encode()) for name, value in headers]
        written = self._connection.send(h11.Response(status_code=status, headers=encoded)) or b""
        written += (self._connection.send(h11.Data(data=body)) or b"") if body else b""
        self._write(written + (self._connection.send(h11.EndOfMessage()) or b""))


class Http2Codec(HttpCodec):
    """HTTP/2: many requests at once. Answers keep to the client's windows. `tokens` are the client's for frames, None for new ones."""

    def __init__(self, write: Callable[[bytes], object], tokens: FrameTokens | None = None) -> None:
        self._write = write
        self._connection = h2.connection.H2Connection(
            # Our own headers are valid. Few of the client's are read, and these are checked as octets.
            h2.config.H2Configuration(client_side=False, validate_outbound_headers=False, normalize_outbound_headers=False)
        )
        self._connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD,
                h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
            },
        )
        self._requests: dict[int, DohRequest] = {}
        self._unsent: dict[int, bytearray] = {}
        self._budget = FrameBudget(tokens, free_settings=2)
        self._unread = bytearray()
        self._connection.initiate_connection()
        self._flush()

    @property
    def has_more(self) -> bool:
        return bool(self._unread)

    def feed(self, data: bytes) -> None:
        self._unread += data

    def receive(self, now: float) -> list[DohRequest]:
        size = self._budget.take(self._unread, now)
        portion = bytes(self._unread[:size])
        del self._unread[:size]
        if self._budget.is_spent:
            self._connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
            self._flush()
            raise Flood
        try:
            events = self._connection.receive_data(portion)
            requests = [request for event in events if (request := self._take(event)) is not None]
            self._send_unsent()
        except (h2.exceptions.ProtocolError, ValueError) as error:
            self._flush()
            raise HttpClientError from error
        self._flush()
        return requests

    def _take(self, event: h2.events.Event) -> DohRequest | None:
        match event:
            case h2.events.RequestReceived():
                headers = dict(event.headers)
                method, path, kind = (headers.get(name, b"").decode("latin-1") for name in (b":method", b":path", b"content-type"))
                self._requests[event.stream_id] = DohRequest(event.stream_id, method, path, kind)
            case h2.events.DataReceived():
                if event.stream_id in self._requests:
                    self._requests[event.stream_id].add(event.data)
                self._connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                return self._requests.pop(event.stream_id, None)
            case h2.events.StreamReset():
                self._requests.pop(event.stream_id, None)
                self._unsent.pop(event.stream_id, None)
            case h2.events.ConnectionTerminated():
                raise h2.exceptions.ProtocolError("the client has ended the connection")
            case _:
                pass
        return None

    def respond(self, request: DohRequest, status: int, headers: Headers, body: bytes) -> bool:
        fields = [(":status", str(status)), *headers, ("content-length", str(len(body)))]
        ends = not body or request.method == "HEAD"
        try:
            self._connection.send_headers(request.stream, fields, end_stream=ends)
            if status == 200:
                self._budget.answered()
            if not ends:
                self._unsent[request.stream] = bytearray(body)
                self._send_unsent()
        except h2.exceptions.ProtocolError:
            self._unsent.pop(request.stream, None)  # the client has cancelled it
        self._flush()
        return sum(map(len, self._unsent.values())) <= MAX_UNSENT

    def _send_unsent(self) -> None:
        for stream, body in list(self._unsent.items()):
            while body and (room := min(self._connection.local_flow_control_window(stream), self._connection.max_outbound_frame_size)) > 0:
                self._connection.send_data(stream, bytes(body[:room]), end_stream=room >= len(body))
                del body[:room]
            if not body:
                del self._unsent[stream]

    def _flush(self) -> None:
        if written := self._connection.data_to_send():
            self._budget.sent(len(written))
            self._write(written)


def _origin_form(target: str) -> str:
    """Remove scheme and authority from a target, as a client may write them (RFC 9112, section 3.2.2).

    >>> _origin_form("https://dns.home.example/dns-query?dns=AAAB"), _origin_form("/dns-query")
    ('/dns-query?dns=AAAB', '/dns-query')
    """
    if not target.lower().startswith(("https://", "http://")):
        return target
    _, slash, path = target.partition("://")[2].partition("/")
    return slash + path
