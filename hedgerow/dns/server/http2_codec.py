"""Requests and answers of DNS over HTTPS as bytes of HTTP/2. No sockets, no clock.

Nearly all requests have one of two shapes: a GET that is one frame, or a POST that is two. They skip h2, which takes
several times as long for a request as everything else together. Whatever else a client sends goes through h2, which
also keeps the state of the connection.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import h2.stream

from hedgerow.dns.server.http_codec import (
    MAX_HEAD,
    MESSAGE_TYPE,
    DohRequest,
    Flood,
    Headers,
    HttpClientError,
    HttpCodec,
)
from hedgerow.dns.server.rate_limits import MAX_QUERY, MAX_UNSENT
from hedgerow.frame_budget import PREFACE_OCTETS, FrameBudget, FrameTokens
from hedgerow.hpack_codec import FastDecoder, FastEncoder, Field
from hedgerow.http2_streams import LimitedConnection

MAX_STREAMS: Final = 100

_DATA, _HEADERS, _CONTINUATION = 0, 1, 9
_END_STREAM, _END_HEADERS, _PRIORITY = 0x1, 0x4, 0x20
_FRAME: Final = Struct(">BHBBL")  # length in two parts, kind, flags, stream
_FRAME_OCTETS: Final = 9
_PRIORITY_OCTETS: Final = 5
_MAX_FRAME: Final = 16384  # RFC 9113, section 4.2: ours, since we announce no other
_MAX_STREAM_ID: Final = 0x7FFFFFFF

_PSEUDO_FIELDS: Final = frozenset({b":method", b":scheme", b":authority", b":path"})
_PLAIN_FIELDS: Final = frozenset(
    b"accept accept-encoding accept-language cache-control content-length content-type dnt origin pragma priority"
    b" sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-storage-access user-agent".split()
)
"""Fields of a plain request in addition to those of HTTP/2. None has a meaning for the connection."""

_LENGTH_DIGITS: Final = 6
_PATH: Final = re.compile(rb"/[!-~]*")
_FAULTY_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f]|(?:\A|\x7f)[ \t]|[ \t](?:\x7f|\Z)")
"""In values that are joined by DEL: control characters, or white space around a value."""

_WINDOW_UPDATE: Final = b"\0\0\x04\x08\0\0\0\0\0"  # of the connection, without the increment
# a quarter of the window, so that a client always has room for a query in addition to what h2 keeps back
_MOST_KEPT_BACK: Final = 16384
# streams per connection. A frame on an older one ends the connection with a less precise code.
_MOST_ANSWERED: Final = 1024
_OK: Final = b"\x88"  # entries of HPACK's static table: the status, and the names of fields
_CACHE_CONTROL, _CONTENT_LENGTH, _CONTENT_TYPE = 24, 28, 31

_STAND_IN: Final[list[Field]] = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"stand-in"),
    (b":path", b"/"),
]
_STAND_IN_ANSWER: Final[list[Field]] = [(b":status", b"200")]


class _Shape(NamedTuple):
    """Meaning of all fields of a plain request but its path. `length` is its Content-Length."""

    method: str
    content_type: str
    length: int | None


class _PlainBodies:
    """Bodies that h2 has not seen. `octets` are those that the client does not have back in the connection's window."""

    def __init__(self) -> None:
        self.octets = 0

    def give_back(self) -> bytes:
        """Return the frame that opens the window again."""
        octets, self.octets = self.octets, 0
        return _WINDOW_UPDATE + octets.to_bytes(4)


class Http2Codec(HttpCodec):
    """HTTP/2: many requests at once.

    Answers keep to the client's windows. `tokens` are the client's for frames, None for new ones.
    """

    def __init__(self, write: Callable[[bytes], object], tokens: FrameTokens | None = None) -> None:
        self._write = write
        self._connection = LimitedConnection(
            # Our own headers are valid. Few of the client's are read, and these are checked as octets.
            h2.config.H2Configuration(
                client_side=False, validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self._connection.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: MAX_STREAMS,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD,
                h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 0,
            },
        )
        # h2's connection refers to itself. The collector of garbage, which would find it, seldom looks at what has
        # lived as long as a client's connection does.
        weakref.finalize(self, self._connection.release).atexit = False
        self._decoder = self._connection.decoder = FastDecoder()
        self._decoder.max_header_list_size = MAX_HEAD
        self._connection.encoder = FastEncoder()
        self._requests: dict[int, DohRequest] = {}
        self._unsent: dict[int, bytearray] = {}
        self._plain: set[int] = set()  # streams of plain requests without an answer yet, of which h2 does not know
        self._answered: set[int] = set()  # the latest streams of plain requests that have their answers
        self._bodies = _PlainBodies()
        self._fields: list[Field] | None = None  # of the last plain request, without its path
        self._shape: _Shape | None = None
        self._budget = FrameBudget(tokens, free_settings=2)
        self._unread = bytearray()
        self._charged = bytearray()  # a frame that is incomplete
        self._is_in_block = False  # the client's next frame continues a block of fields
        self._preface_left = PREFACE_OCTETS
        self._window = self._connection.remote_settings.initial_window_size  # of a new stream, for answers
        self._connection.initiate_connection()
        self._flush()

    @property
    def has_more(self) -> bool:
        return bool(self._unread)

    def feed(self, data: bytes) -> None:
        self._unread += data

    def receive(self, now: float) -> list[DohRequest]:
        size = self._budget.take(self._unread, now)
        self._charged += self._unread[:size]
        del self._unread[:size]
        if self._budget.fault is not None:
            self._connection.close_connection(self._budget.fault)
            self._flush()
            raise Flood if self._budget.is_spent else HttpClientError
        try:
            requests = self._read_frames()
            self._send_unsent()
        except (h2.exceptions.ProtocolError, ValueError) as error:
            self._connection.close_connection(getattr(error, "error_code", h2.errors.ErrorCodes.PROTOCOL_ERROR))
            self._flush()
            raise HttpClientError from error
        self._flush()
        return requests

    def _read_frames(self) -> list[DohRequest]:
        """Return the requests in whole frames, and keep the rest."""
        data, requests = bytes(self._charged), list[DohRequest]()
        at = self._read_preface(data)
        while len(data) - at >= _FRAME_OCTETS:
            high, low, kind, flags, stream = _FRAME.unpack_from(data, at)
            length = (high << 16) + low
            end = at + _FRAME_OCTETS + length
            if length > _MAX_FRAME:
                raise h2.exceptions.FrameTooLargeError
            if end > len(data):
                break
            if kind == _HEADERS and flags & ~(_END_STREAM | _PRIORITY) == _END_HEADERS:
                request = self._read_plain(data, at + _FRAME_OCTETS, end, flags, stream)
                if request is not None:
                    requests.append(request)
                    at = end if flags & _END_STREAM else end + _FRAME_OCTETS + len(request.body)
                    continue
            if kind == _CONTINUATION and not self._is_in_block:
                raise h2.exceptions.ProtocolError("the frame continues no block")
            if kind in (_HEADERS, _CONTINUATION):
                self._is_in_block = not flags & _END_HEADERS
            number = stream & _MAX_STREAM_ID
            if number in self._plain or number in self._answered:
                self._open(number)
            if kind == _DATA and self._bodies.octets:
                self._write(self._bodies.give_back())  # h2 counts from here
            requests += self._read_others(data[at:end])
            at = end
        del self._charged[:at]
        return requests

    def _read_preface(self, data: bytes) -> int:
        """Let h2 check what has come of the preface. Return its octets in `data`."""
        size = min(self._preface_left, len(data))
        if size:
            self._connection.receive_data(data[:size])
            self._preface_left -= size
        return size

    # Plain requests.

    def _read_plain(self, data: bytes, at: int, end: int, flags: int, stream: int) -> DohRequest | None:
        """Return the plain request whose block of fields is from `at` to `end`, or None if h2 must read it."""
        connection, body = self._connection, b""
        # The first stream of a connection is h2's, whose own state begins with it.
        if (
            not (0 < connection.highest_inbound_stream_id < stream <= _MAX_STREAM_ID and stream & 1)
            or self._is_in_block
        ):
            return None
        if len(self._plain) + len(connection.streams) >= MAX_STREAMS:
            for number in tuple(self._plain):
                self._open(number)  # h2 must see whether there are too many
            return None
        if flags & _PRIORITY:
            if end - at < _PRIORITY_OCTETS or int.from_bytes(data[at : at + 4]) & _MAX_STREAM_ID == stream:
                return None
            at += _PRIORITY_OCTETS
        if not flags & _END_STREAM:
            found = _find_body(data, end, stream, connection.inbound_flow_control_window - self._bodies.octets)
            if found is None:
                return None
            body = found
        fields = self._decoder.decode_fields(data[at:end])
        request = self._plain_request(stream, fields, body, is_get=bool(flags & _END_STREAM))
        if request is None:
            self._decoder.hold(fields)
            return None
        connection.highest_inbound_stream_id = stream
        self._plain.add(stream)
        self._bodies.octets += len(body)
        if self._bodies.octets >= _MOST_KEPT_BACK:
            self._write(self._bodies.give_back())
        return request

    def _plain_request(self, stream: int, fields: list[Field], body: bytes, *, is_get: bool) -> DohRequest | None:
        path, others = b"", list[Field]()
        for field in fields:
            if field[0] == b":path":
                path += field[1]
                field = (b":path", b"")
            others.append(field)
        if others != self._fields:
            self._fields, self._shape = others, _shape_of(others)
        shape = self._shape
        if shape is None or (shape.method == "POST") is is_get or _PATH.fullmatch(path) is None:
            return None
        if shape.length is not None and shape.length != len(body):
            return None
        return DohRequest(stream, shape.method, path.decode("ascii"), shape.content_type, bytearray(body))

    def _open(self, stream: int) -> None:
        """Tell h2 of the stream of a plain request, and of its answer if it has one. h2 knows what a frame
        on it means.
        """
        self._plain.discard(stream)
        connection = self._connection
        made = h2.stream.H2Stream(
            stream,
            connection.config,
            connection.local_settings.initial_window_size,
            connection.remote_settings.initial_window_size,
        )
        made.max_outbound_frame_size = connection.max_outbound_frame_size
        made.receive_headers(_STAND_IN, end_stream=True, header_encoding=None)
        if stream in self._answered:
            self._answered.discard(stream)
            made.send_headers(_STAND_IN_ANSWER, FastEncoder(), end_stream=True)
        connection.streams[stream] = made

    def answer(self, request: DohRequest, message: bytes, max_age: int) -> bool:
        connection, stream, size = self._connection, request.stream, len(message)
        if stream in self._plain:
            room = min(connection.outbound_flow_control_window, self._window, connection.max_outbound_frame_size)
            if size <= room and request.method != "HEAD" and not connection.encoder.header_table.resized:
                self._plain.discard(stream)
                connection.outbound_flow_control_window -= size
                if len(self._answered) >= _MOST_ANSWERED:
                    self._answered.clear()
                self._answered.add(stream)
                head, number = _answer_head(max_age, size), stream.to_bytes(4)
                self._write(b"%b%b%b%b%b%b" % (head[0], number, head[1], head[2], number, message))
                self._budget.answered()
                self._budget.sent(2 * _FRAME_OCTETS + len(head[1]) + size)
                return True
        return super().answer(request, message, max_age)

    # All others.

    def _read_others(self, data: bytes) -> list[DohRequest]:
        events = self._connection.receive_data(data)
        self._window = self._connection.remote_settings.initial_window_size  # may be a new setting
        return [request for event in events if (request := self._take(event)) is not None]

    def _take(self, event: h2.events.Event) -> DohRequest | None:
        match event:
            case h2.events.RequestReceived():
                headers = dict(event.headers)
                method, path, kind, authority = (
                    headers.get(name, b"").decode("latin-1")
                    for name in (b":method", b":path", b"content-type", b":authority")
                )
                if "@" in authority:
                    self._connection.reset_stream(event.stream_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)
                    return None
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
        if request.stream in self._plain:
            self._open(request.stream)
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
            while (
                body
                and (
                    room := min(
                        self._connection.local_flow_control_window(stream), self._connection.max_outbound_frame_size
                    )
                )
                > 0
            ):
                self._connection.send_data(stream, bytes(body[:room]), end_stream=room >= len(body))
                del body[:room]
            if not body:
                del self._unsent[stream]

    def _flush(self) -> None:
        if written := self._connection.data_to_send():
            self._budget.sent(len(written))
            self._write(written)


def _shape_of(fields: list[Field]) -> _Shape | None:
    """Return what the fields of a plain request say; None for any other request.

    The path is left out, though its name is not.
    """
    pseudo, plain = dict[bytes, bytes](), dict[bytes, bytes]()
    for name, value in fields:
        known, allowed = (pseudo, _PSEUDO_FIELDS) if name.startswith(b":") else (plain, _PLAIN_FIELDS)
        if name not in allowed or name in known or (known is pseudo and plain):
            return None
        known[name] = value
    method, length = pseudo.get(b":method"), plain.get(b"content-length", b"0")
    if len(pseudo) != len(_PSEUDO_FIELDS) or method not in {b"GET", b"HEAD", b"POST"} or not pseudo[b":authority"]:
        return None
    if b"@" in pseudo[b":authority"]:  # RFC 9113, section 8.3.1: no user name
        return None
    if not length.isdigit() or len(length) > _LENGTH_DIGITS or pseudo[b":scheme"] != b"https":
        return None
    if _FAULTY_VALUE.search(b"\x7f".join((*pseudo.values(), *plain.values()))) is not None:
        return None
    kind = plain.get(b"content-type", b"").decode("latin-1")
    return _Shape(method.decode(), kind, int(length) if b"content-length" in plain else None)


@lru_cache(1024)
def _answer_head(max_age: int, size: int) -> tuple[bytes, bytes, bytes]:
    """Return the two frames of an answer without their streams: the start of the first, its fields, and the start of
    the second.

    The fields are literals that are not indexed, so that they are the same whatever the connection's tables contain.
    """
    values = {
        _CONTENT_TYPE: MESSAGE_TYPE.encode(),
        _CACHE_CONTROL: b"private, max-age=%d" % max_age,
        _CONTENT_LENGTH: b"%d" % size,
    }
    fields = _OK + b"".join(b"\x0f%c%c%b" % (index - 15, len(value), value) for index, value in values.items())
    return _frame_start(_HEADERS, _END_HEADERS, len(fields)), fields, _frame_start(_DATA, _END_STREAM, size)


def _frame_start(kind: int, flags: int, length: int) -> bytes:
    return length.to_bytes(3) + bytes((kind, flags))


def _find_body(data: bytes, at: int, stream: int, window: int) -> bytes | None:
    """Return the whole body of a request, if it is one frame at `at` and there is room for it in the window."""
    if len(data) - at < _FRAME_OCTETS:
        return None
    high, length, kind, flags, number = _FRAME.unpack_from(data, at)
    if high or kind != _DATA or flags != _END_STREAM or number != stream or not 0 < length <= MAX_QUERY:
        return None
    body = data[at + _FRAME_OCTETS : at + _FRAME_OCTETS + length]
    return body if len(body) == length <= window else None
