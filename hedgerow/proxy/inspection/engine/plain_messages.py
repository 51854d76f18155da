"""The plainest HTTP/1.1 messages: a GET without a body, and a short answer whose length its head says. Pure.

Who finds such a message whole may spare it the many layers that know all of HTTP. Whatever has anything else about it is no plain message:
the layers read it then, and refuse it where they must.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import re

from mitmproxy import http
from mitmproxy.connection import Client, Server
from mitmproxy.net.http import http1

from hedgerow.proxy.http_head import MAX_FIELDS, MAX_HEAD
from hedgerow.proxy.inspection.engine.http_engine import HTTPMode, stricter_headers, stricter_request
from hedgerow.proxy.inspection.engine.request_fault import is_folded, is_unclear_head

MAX_ANSWER = 64 * 1024
"""Bytes of an answer, its head among them, that is looked at in one piece."""

_END = b"\r\n\r\n"
_FOLDED = re.compile(rb"\r\n[ \t]")
_CLOSE = (b"connection", b"close")
_STATUS_LINE = re.compile(rb"HTTP/1\.1 [2-5][0-9][0-9] ")
_NOT_IN_REQUESTS = frozenset(
    {b"content-length", b"transfer-encoding", b"trailer", b"upgrade", b"expect", b"authorization", b"http2-settings"}
)
_NOT_IN_ANSWERS = frozenset({b"transfer-encoding", b"trailer", b"upgrade", b"www-authenticate"})


def read_request(data: bytes, client: Client, server: Server) -> http.HTTPFlow | None:
    """The flow for a request that is all of `data`, as the layers would begin it; None unless it is plain.

    `server` is where the client was going.
    """
    if not data.startswith(b"GET /") or len(data) > MAX_HEAD or data.find(_END) != len(data) - len(_END):
        return None
    if is_unclear_head(data) or is_folded(data) or data.count(b"\r\n") > MAX_FIELDS:
        return None
    try:
        request = http1.read_request_head(data[: -len(_END)].split(b"\r\n"))
    except ValueError:
        return None
    path = request.data.path
    if not path.isascii() or not data.startswith(b"GET %s HTTP/1.1\r\n" % path):
        return None
    if not _is_plain(request.headers, _NOT_IN_REQUESTS, {b"close", b"keep-alive"}):
        return None
    if sum(name.lower() == b"host" for name, _ in request.headers.fields) != 1:
        return None
    if stricter_request(HTTPMode.transparent, request, validate_inbound_headers=True) is not None:
        return None
    assert server.address is not None
    request.data.host, request.data.port = server.address
    request.data.scheme = b"https" if server.tls else b"http"
    flow = http.HTTPFlow(client, server, live=True)
    flow.request = request
    return flow


def read_answer(data: bytes, request: http.Request) -> http.Response | None:
    """The answer that is all of `data`, with its body; None unless it is plain. Another may follow on its connection."""
    end = data.find(_END)
    if end < 0 or len(data) > MAX_ANSWER or _STATUS_LINE.match(data) is None or _FOLDED.search(data, 0, end) is not None:
        return None
    try:
        response = http1.read_response_head(data[:end].split(b"\r\n"))
        stricter_headers(response)
        size = http1.expected_http_body_size(request, response)
    except ValueError:
        return None
    if size is None or len(data) != end + len(_END) + size or not _is_plain(response.headers, _NOT_IN_ANSWERS, {b"keep-alive"}):
        return None
    response.data.content = data[end + len(_END) :]
    return response


def _is_plain(headers: http.Headers, never: frozenset[bytes], wishes: set[bytes]) -> bool:
    """Whether no field is one of `never`, and Connection, if it is there, says one of `wishes`."""
    for name, value in headers.fields:
        key = name.lower()
        if key in never or (key == b"connection" and value.lower() not in wishes):
            return False
    return True


def request_bytes(request: http.Request) -> bytes:
    """A plain request as it goes to its origin; whether its connection is kept is between the client and us."""
    fields = [b"%s: %s\r\n" % (name, value) for name, value in request.headers.fields if (name.lower(), value.lower()) != _CLOSE]
    return b"GET %s HTTP/1.1\r\n%s\r\n" % (request.data.path, b"".join(fields))


def answer_bytes(response: http.Response) -> bytes:
    """An answer as it goes to the client."""
    return bytes(http1.assemble_response_head(response) + (response.data.content or b""))


def ends_connection(request: http.Request) -> bool:
    """Whether the client wants its connection closed after the answer."""
    return bool(http1.connection_close(request.http_version, request.headers))
