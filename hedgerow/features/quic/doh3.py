"""DNS over HTTPS by HTTP/3 (RFC 8484, RFC 9114): each request is a stream of its own, read when it is whole.

Requests are a few hundred octets, so QPACK (RFC 9204) goes without its dynamic table: nothing waits for another stream,
and no field costs more than its own octets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pylsqpack
from aioquic.quic.events import StreamDataReceived

from hedgerow.dns.server.admission import Deferred
from hedgerow.dns.server.doh import min_ttl, read_query, refusal_fields
from hedgerow.dns.server.http_codec import DohRequest, answer_fields
from hedgerow.dns.server.responder import DROPPED_METRIC
from hedgerow.features.quic.connections import MAX_REQUEST_OCTETS, BoundedQuicConnection
from hedgerow.features.quic.doq import QuicDnsConnection, QuicServer

_DATA, _HEADERS, _SETTINGS = 0x00, 0x01, 0x04
# section 7.2, and types of HTTP/2
_NOT_IN_REQUESTS: Final = frozenset((0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0D))
_NOT_IN_CONTROL: Final = frozenset((0x00, 0x01, 0x02, 0x05, 0x06, 0x08, 0x09))
_CONTROL_STREAM: Final = 0x00
_MAX_FIELD_SECTION: Final = (0x06, MAX_REQUEST_OCTETS)
_MAX_CONTROL_OCTETS: Final = 4096  # of one frame on the control stream
_CONNECTION_FIELDS: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)

NO_ERROR, GENERAL_ERROR, STREAM_CREATION_ERROR, CLOSED_CRITICAL_STREAM = 0x100, 0x101, 0x103, 0x104
FRAME_UNEXPECTED, FRAME_ERROR, EXCESSIVE_LOAD, MISSING_SETTINGS = 0x105, 0x106, 0x107, 0x10A
MESSAGE_ERROR, DECOMPRESSION_FAILED = 0x10E, 0x200
"""Error codes (RFC 9114, section 8.1; RFC 9204, section 6)."""


class Http3Error(Exception):
    """The client violates HTTP/3. `code` ends the stream if it is MESSAGE_ERROR, else the connection."""

    def __init__(self, code: int) -> None:
        super().__init__(f"error {code:#x}")
        self.code = code


def encode_varint(value: int) -> bytes:
    """Return a number as QUIC writes it (RFC 9000, section 16).

    >>> encode_varint(37).hex(), encode_varint(15293).hex()
    ('25', '7bbd')
    """
    size = 0 if value < 1 << 6 else 1 if value < 1 << 14 else 2 if value < 1 << 30 else 3
    return (value | size << (8 << size) - 2).to_bytes(1 << size)


def read_varint(data: bytes | bytearray, at: int) -> tuple[int, int] | None:
    """Return the number at an offset and the offset behind it; None if it is cut short.

    >>> read_varint(bytes.fromhex("7bbd"), 0), read_varint(b"\\x7b", 0)
    ((15293, 2), None)
    """
    if at >= len(data):
        return None
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        return None
    return int.from_bytes(data[at : at + size]) & (1 << 8 * size - 2) - 1, at + size


def frame(kind: int, payload: bytes) -> bytes:
    return encode_varint(kind) + encode_varint(len(payload)) + payload


def next_frame(data: bytes | bytearray, at: int) -> tuple[int, bytes, int] | None:
    """Return the type and payload of the frame at an offset, and the offset behind it; None if it is cut short."""
    head = read_varint(data, at)
    length = head and read_varint(data, head[1])
    if not head or not length or length[1] + length[0] > len(data):
        return None
    return head[0], bytes(data[length[1] : length[1] + length[0]]), length[1] + length[0]


def control_stream() -> bytes:
    """Return the octets with which our control stream begins: its type and SETTINGS, which forbid the dynamic table of
    QPACK.
    """
    return encode_varint(_CONTROL_STREAM) + frame(_SETTINGS, b"".join(map(encode_varint, _MAX_FIELD_SECTION)))


def parse_request(stream: int, data: bytes) -> DohRequest:
    """Parse a whole request stream. Raises Http3Error."""
    request: DohRequest | None = None
    at = 0
    while at < len(data):
        found = next_frame(data, at)
        if found is None:
            raise Http3Error(FRAME_ERROR)
        kind, payload, at = found
        if kind in _NOT_IN_REQUESTS or (kind == _DATA and request is None):
            raise Http3Error(FRAME_UNEXPECTED)
        if kind == _HEADERS and request is None:
            request = _request_of(stream, payload)
        elif kind == _DATA and request is not None:
            request.add(payload)
    if request is None:
        raise Http3Error(MESSAGE_ERROR)
    return request


def _request_of(stream: int, block: bytes) -> DohRequest:
    try:
        _, fields = pylsqpack.Decoder(0, 0).feed_header(stream, block)
    except (pylsqpack.DecompressionFailed, pylsqpack.StreamBlocked):
        raise Http3Error(DECOMPRESSION_FAILED) from None
    pseudo = dict(_pseudo_fields(fields))
    if not {b":method", b":path", b":scheme"} <= pseudo.keys() or b"@" in pseudo.get(b":authority", b""):
        raise Http3Error(MESSAGE_ERROR)
    kind = next((value for name, value in fields if name == b"content-type"), b"")
    return DohRequest(
        stream, pseudo[b":method"].decode("latin-1"), pseudo[b":path"].decode("latin-1"), kind.decode("latin-1")
    )


def _pseudo_fields(fields: Sequence[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the pseudo-header fields, each of which comes once and before the others.

    Raises Http3Error for a malformed section.
    """
    seen: set[bytes] = set()
    is_over = False
    for name, value in fields:
        is_pseudo = name.startswith(b":")
        if name in _CONNECTION_FIELDS or name != name.lower() or (is_pseudo and (is_over or name in seen)):
            raise Http3Error(MESSAGE_ERROR)
        is_over = not is_pseudo
        if is_pseudo:
            seen.add(name)
            yield name, value


def response(
    stream: int, status: int, fields: Sequence[tuple[str, str]], body: bytes, *, has_body: bool = True
) -> bytes:
    """Return the octets of a whole answer.

    `has_body` is False for HEAD: some clients refuse a length without a body.
    """
    length = [("content-length", str(len(body)))] if has_body else []
    section = [(":status", str(status)), *fields, *length]
    _, block = pylsqpack.Encoder().encode(stream, [(name.encode(), value.encode()) for name, value in section])
    return frame(_HEADERS, block) + (frame(_DATA, body) if body and has_body else b"")


class ControlReader:
    """Reader of the client's unidirectional streams. Only the order of their frames matters here. No sockets."""

    def __init__(self) -> None:
        self._types: dict[int, int] = {}
        self._buffers: dict[int, bytearray] = {}
        self._has_settings = False

    def feed(self, stream: int, data: bytes, *, ends: bool) -> None:
        """Take the next bytes of a stream. Raises Http3Error."""
        buffer = self._buffers.setdefault(stream, bytearray())
        buffer += data
        if stream not in self._types:
            found = read_varint(buffer, 0)
            if found is None:
                return
            if found[0] == _CONTROL_STREAM and _CONTROL_STREAM in self._types.values():
                raise Http3Error(STREAM_CREATION_ERROR)
            self._types[stream] = found[0]
            del buffer[: found[1]]
        if self._types[stream] != _CONTROL_STREAM:
            buffer.clear()  # of QPACK, whose tables stay empty, or of a type that nobody knows
            return
        if ends:
            raise Http3Error(CLOSED_CRITICAL_STREAM)
        while (found_frame := next_frame(buffer, 0)) is not None:
            kind, _, behind = found_frame
            if not self._has_settings and kind != _SETTINGS:
                raise Http3Error(MISSING_SETTINGS)
            if kind in _NOT_IN_CONTROL or (kind == _SETTINGS and self._has_settings):
                raise Http3Error(FRAME_UNEXPECTED)
            self._has_settings = True
            del buffer[:behind]
        if len(buffer) > _MAX_CONTROL_OCTETS:
            raise Http3Error(EXCESSIVE_LOAD)


class Doh3Connection(QuicDnsConnection):
    """A client's connection over HTTP/3."""

    no_error, protocol_error, excessive_load = NO_ERROR, GENERAL_ERROR, EXCESSIVE_LOAD

    def __init__(self, server: QuicServer, address: str, quic: BoundedQuicConnection) -> None:
        super().__init__(server, address, quic)
        self._control = ControlReader()

    def _begin(self) -> None:
        stream = self._quic.get_next_available_stream_id(is_unidirectional=True)
        self._quic.send_stream_data(stream, control_stream())

    def _take(self, event: StreamDataReceived) -> None:
        try:
            if not self.is_ready:
                raise Http3Error(GENERAL_ERROR)
            if event.stream_id & 2:
                self._control.feed(event.stream_id, event.data, ends=event.end_stream)
            else:
                self._take_request(event)
        except Http3Error as error:
            if error.code == MESSAGE_ERROR:
                self._quic.reset_stream(event.stream_id, error.code)
                self._go_on()
            else:
                self.close(error.code)

    def _take_request(self, event: StreamDataReceived) -> None:
        buffer = self._partial.setdefault(event.stream_id, bytearray())
        buffer += event.data
        if event.end_stream:
            del self._partial[event.stream_id]
            self._serve(parse_request(event.stream_id, bytes(buffer)))
        elif len(buffer) >= MAX_REQUEST_OCTETS:  # the client's credit for this stream
            del self._partial[event.stream_id]
            self._quic.stop_stream(event.stream_id, NO_ERROR)
            self._finish_stream(event.stream_id, response(event.stream_id, 413, refusal_fields(413), b""))

    def _serve(self, request: DohRequest) -> None:
        query, client_id = read_query(request)
        if isinstance(query, int):
            self._frontend.responder.count(DROPPED_METRIC, "malformed")
            self._respond(request, query, refusal_fields(query), b"")
            return
        key = self._frontend.client_key(self.address, client_id or self._client_id)
        message = self._frontend.answer(self, key, query, "doh3", lambda late: self._answer_late(request, late))
        if not isinstance(message, Deferred):
            self._answer(request, message)

    def _answer_late(self, request: DohRequest, message: bytes | None) -> None:
        self.outstanding -= 1
        self._answer(request, message)

    def _answer(self, request: DohRequest, message: bytes | None) -> None:
        if message is None:
            status = 429 if self.is_known else 403
            self._respond(request, status, refusal_fields(status), b"")
        else:
            self._respond(request, 200, answer_fields(min_ttl(message)), message)

    def _respond(self, request: DohRequest, status: int, fields: Sequence[tuple[str, str]], body: bytes) -> None:
        if self._is_waiting(request.stream):
            self._finish_stream(
                request.stream, response(request.stream, status, fields, body, has_body=request.method != "HEAD")
            )
