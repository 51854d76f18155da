"""Plain HTTP/1.1 messages: a GET without a body, and a short response with a length.

Parsed once, by expressions, into mitmproxy's objects.

Whatever is not plain beyond doubt is nothing here, and is left to mitmproxy's parsers. Protocol code: no sockets, no
clock, no files.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import re

from mitmproxy import http
from mitmproxy.connection import Client, Server

from hedgerow.proxy.http_head import MAX_FIELDS, MAX_HEAD
from hedgerow.proxy.inspection.engine.flows import HeaderFields, HttpRequest, HttpResponse, InspectedFlow, values_of
from hedgerow.proxy.inspection.engine.heads import response_head
from hedgerow.proxy.inspection.engine.messages import has_control_characters, target_fault

MAX_PLAIN_RESPONSE = 64 * 1024
"""Bytes of a plain response, with its head."""

_END = b"\r\n\r\n"
_CLOSE = (b"connection", b"close")
_REQUEST_LINE = re.compile(rb"GET (/[!-~]*) HTTP/1\.1\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) ((?:[^\r\n\t ][^\r\n]*)?)\r\n")
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"  # RFC 9110, section 5.6.2, in lower case
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,6}")
_EXCLUDED_FROM_REQUESTS = frozenset(
    {b"content-length", b"transfer-encoding", b"trailer", b"upgrade", b"expect", b"authorization", b"http2-settings"}
)
_EXCLUDED_FROM_RESPONSES = frozenset(
    {b"transfer-encoding", b"trailer", b"upgrade", b"www-authenticate", b"keep-alive", b"proxy-connection"}
)
_BODILESS = frozenset({204, 304})

type Fields = list[tuple[bytes, bytes]]


class PlainRequest(HttpRequest):
    """A plain request, with its bytes, and the path and fields in them. `is_ready`: they are for the origin."""

    raw: bytes
    sent: tuple[bytes, tuple[tuple[bytes, bytes], ...]]
    is_ready = False


class PlainHead:
    """The part of a plain request that follows its path: as it was sent, and as it goes on to the origin of `request`.

    Requests with the same head differ in their path only.
    """

    __slots__ = ("_data", "_rest", "_values")

    def __init__(self, request: PlainRequest) -> None:
        """The head of `request` may have been changed since it came, but not its path."""
        self._data = request.data
        self._rest = request_bytes(request)[len(b"GET ") + len(self._data.path) :]
        self._values = values_of(self._data.headers)

    def flow(self, path: bytes, client: Client, server: Server) -> InspectedFlow:
        """Return a flow for the request with this head and another path, ready to be sent."""
        data = self._data
        fields = HeaderFields(data.headers.fields, self._values)
        request = PlainRequest(
            method=b"GET", path=path, headers=fields, scheme=data.scheme, host=data.host, port=data.port
        )
        request.raw, request.sent, request.is_ready = b"GET " + path + self._rest, (path, fields.fields), True
        return InspectedFlow(client, server, request)


def head_after_path(data: bytes) -> bytes:
    """Return the part of a plain request that follows its path, by which to look for an equal one."""
    return data[data.find(b"\r\n") :]


class PlainResponse(HttpResponse):
    """A plain response, with its bytes, and its fields as they were sent."""

    raw: bytes
    sent: tuple[tuple[bytes, bytes], ...]


def parse_plain_request(data: bytes, client: Client, server: Server) -> InspectedFlow | None:
    """Return a flow for the plain request that `data` consists of, as the layers would create it; None for any other
    request.

    `server` is the client's destination.
    """
    line = _REQUEST_LINE.match(data)
    if line is None or len(data) > MAX_HEAD or data.find(_END) != len(data) - len(_END) or has_control_characters(data):
        return None
    fields, values = _fields_of(data, line.end(), len(data) - 2)
    if b"host" not in values or len(fields) > MAX_FIELDS or not _EXCLUDED_FROM_REQUESTS.isdisjoint(values):
        return None
    if len(values) != len(fields) and _are_repeated(fields, b"host", b"connection"):
        return None
    if (
        values.get(b"connection", b"close").lower() not in {b"close", b"keep-alive"}
        or target_fault(b"GET", line[1]) is not None
    ):
        return None
    assert server.address is not None
    host, port = server.address
    scheme = b"https" if server.tls else b"http"
    request = PlainRequest(
        method=b"GET", path=line[1], headers=_headers(fields, values), scheme=scheme, host=host, port=port
    )
    request.raw, request.sent = data, (line[1], request.data.headers.fields)
    return InspectedFlow(client, server, request)


def parse_plain_path(data: bytes) -> bytes | None:
    """Return the path of a request whose head is that of a plain request; None if it is not a plain request."""
    line = _REQUEST_LINE.match(data)
    if line is None or len(data) > MAX_HEAD or target_fault(b"GET", line[1]) is not None:
        return None
    return line[1]


def parse_plain_response(data: bytes) -> PlainResponse | None:
    """Return the plain response to a plain request that `data` consists of; None for any other.

    Its connection stays open.
    """
    line, end = _STATUS_LINE.match(data), data.find(_END)
    if line is None or end < 0 or len(data) > MAX_PLAIN_RESPONSE:
        return None
    fields, values = _fields_of(data, line.end(), end + 2)
    if not 0 < len(fields) <= MAX_FIELDS or not _EXCLUDED_FROM_RESPONSES.isdisjoint(values):
        return None
    if values.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    if len(values) != len(fields) and _are_repeated(fields, b"content-length", b"connection"):
        return None
    status, length = int(line[1]), values.get(b"content-length")
    if status in _BODILESS:
        size = 0 if length is None else -1
    else:
        size = int(length) if length is not None and _LENGTH.fullmatch(length) is not None else -1
    start = end + len(_END)
    if size < 0 or len(data) != start + size or b"\0" in data[:end]:
        return None
    response = PlainResponse(status, line[2], _headers(fields, values), data[start:])
    response.raw, response.sent = data, response.data.headers.fields
    return response


def _fields_of(data: bytes, start: int, end: int) -> tuple[Fields, dict[bytes, bytes]]:
    """Return the fields from `start` to `end` and their last values by name; no fields if a line is none."""
    lines = data[start : end - 2].split(b"\r\n")
    fields: Fields = []
    values: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name:
            return [], {}
        value = value.strip(b" \t")
        fields.append((name, value))
        values[name.lower()] = value
    if b"".join(values).translate(None, _TOKEN) or not data.count(b"\r", start, end) == data.count(
        b"\n", start, end
    ) == len(lines):
        return [], {}
    return fields, values


def _are_repeated(fields: Fields, *single: bytes) -> bool:
    """Return whether a field that may be there once only is repeated."""
    names = [name.lower() for name, _ in fields]
    return any(names.count(name) > 1 for name in single)


def _headers(fields: Fields, values: dict[bytes, bytes]) -> HeaderFields:
    return HeaderFields(fields, values if len(fields) == len(values) else None)


def request_bytes(request: http.Request) -> bytes:
    """Return a plain request as its origin gets it: without `Connection: close`, which concerns the client's connection
    only.
    """
    data = request.data
    if (
        isinstance(request, PlainRequest)
        and request.sent == (data.path, data.headers.fields)
        and (request.is_ready or "connection" not in data.headers)
    ):
        return request.raw
    fields = [
        b"%b: %b\r\n" % (name, value)
        for name, value in request.headers.fields
        if (name.lower(), value.lower()) != _CLOSE
    ]
    return b"GET %b HTTP/1.1\r\n%b\r\n" % (request.data.path, b"".join(fields))


def response_bytes(response: http.Response) -> bytes:
    """Return a response as the client gets it."""
    if isinstance(response, PlainResponse) and response.data.headers.fields is response.sent:
        return response.raw
    return response_head(response) + (response.data.content or b"")


def ends_connection(request: http.Request) -> bool:
    """Return whether the client wants its connection closed after the response to a plain request."""
    return bool(request.headers.get("connection", "").lower() == "close")
