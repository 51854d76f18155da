"""How the protocol code has what went wrong told to people."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Protocol

from mitmproxy import http
from mitmproxy.net.http import status_codes
from mitmproxy.net.http.validate import validate_headers

from hedgerow.blocklists.names import host_of_url
from hedgerow.policies.model import Device, Request, RequestKind
from hedgerow.proxy.http_head import MAX_FIELDS, MAX_HEAD, Authority, parse_authority
from hedgerow.proxy.pages.response import ProxyResponse, ResponseForm, response_form


class ErrorRenderer(Protocol):
    """Says in people's words what went wrong: a status, mitmproxy's message, the request if it could be read, and whose it was."""

    def __call__(self, status: int, message: str, request: http.Request | None, client: str) -> ProxyResponse: ...


_DEFAULT_PORTS = {"http": 80, "https": 443}


def named_authorities(flow: http.HTTPFlow) -> tuple[Authority, ...]:
    """Every host that the request names: where it goes, its SNI, its :authority and its Host field. Raises HeadError.

    The last one is what the client calls the host.
    """
    request = flow.request
    named = [request.host if ":" not in request.host else f"[{request.host}]", flow.client_conn.sni or "", request.authority]
    named.append(request.host_header or "")
    authorities = [parse_authority(name, request.port) for name in named if name]
    return tuple(dict.fromkeys(authorities))


def request_of(flow: http.HTTPFlow, device: Device, authority: Authority) -> Request:
    """The request as one for `authority`, which is one of those that it names."""
    fields = flow.request.headers
    return Request(
        device=device.id,
        kind=RequestKind.HTTP,
        host=authority.host,
        port=authority.port,
        url=url_of(flow.request.scheme, authority, flow.request.path),
        method=flow.request.method,
        resource=fields.get("sec-fetch-dest", ""),
        initiator=host_of_url(fields.get("referer", "") or fields.get("origin", "")) or "",
    )


def url_of(scheme: str, authority: Authority, path: str) -> str:
    """The URL, without the port that the scheme implies.

    >>> url_of("https", Authority("a.example", 443), "/x")
    'https://a.example/x'
    """
    name = str(authority)
    if authority.port == _DEFAULT_PORTS.get(scheme):
        name = name.rpartition(":")[0]
    return f"{scheme}://{name}{path if path.startswith('/') else '/' + path}"


def form_of(fields: http.Headers) -> ResponseForm:
    """Return the form in which the client that sent these fields can show an answer."""
    return response_form(
        fields.get("sec-fetch-dest", ""), fields.get("accept", ""), fields.get("x-requested-with", ""), fields.get("sec-fetch-mode", "")
    )


def is_document(fields: http.Headers) -> bool:
    """Tell whether a browser shows the response by itself: its fields say so, or, of an old browser, that it accepts HTML."""
    is_page = form_of(fields) in {ResponseForm.PAGE, ResponseForm.FRAME}
    return is_page and ("sec-fetch-dest" in fields or "text/html" in fields.get("accept", ""))


def lane_label(flow: http.HTTPFlow) -> str:
    """The lane under which the request is counted."""
    return "inspect" if flow.request.scheme == "https" else "http"


def _shallow_copy[T](thing: T) -> T:
    """A shallow copy, as of `copy.copy`, which asks many questions first."""
    copied = object.__new__(type(thing))
    copied.__dict__.update(thing.__dict__)
    return copied


def without_close(request: http.Request) -> http.Request:
    """The request without the client's wish to close: that is between it and us (RFC 9110, section 7.6.1)."""
    if "connection" not in request.headers:
        return request
    wishes = [each.strip() for each in request.headers["connection"].split(",")]
    others = [each for each in wishes if each.lower() != "close"]
    if len(others) == len(wishes):
        return request
    kept = _shallow_copy(request)
    kept.data = _shallow_copy(request.data)
    kept.headers = http.Headers(request.headers.fields)
    if others:
        kept.headers["connection"] = ", ".join(others)
    else:
        del kept.headers["connection"]
    return kept


def with_chunked_coding(request: http.Request) -> http.Request:
    """An HTTP/2 request with a body as HTTP/1 has to say it: one of unknown length would be taken for the next request."""
    if "content-length" in request.headers:
        return request
    framed = _shallow_copy(request)
    framed.data = _shallow_copy(request.data)
    framed.headers = http.Headers((*request.headers.fields, (b"transfer-encoding", b"chunked")))
    return framed


def to_mitmproxy_response(answer: ProxyResponse, *, head_only: bool = False) -> http.Response:
    """An answer of ours as mitmproxy's, whose own way to make one asks many questions first. Its times are nobody's business."""
    body = b"" if head_only else answer.body
    fields = [(name.encode(), value.encode()) for name, value in answer.headers]
    fields.append((b"content-length", b"%d" % len(body)))
    reason = status_codes.RESPONSES.get(answer.status, "").encode()
    return http.Response(b"HTTP/1.1", answer.status, reason, http.Headers(fields), body, None, 0.0, 0.0)


_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET_CONTROLS = re.compile(rb"[\x00-\x20\x7f]")
_FIELD_CONTROLS = re.compile(rb"[\x00\r\n]")
_HEAD_CONTROLS = bytes({*range(0x20), 0x7F} - set(b"\t\r\n"))
# Some servers undo escapes before they resolve dots, others after: then a path is two paths.
_ENCODED_PARENT = re.compile(rb"(?:%2f|%5c|\\|/)(?:\.|%2e){2}(?:%2f|%5c|\\)|(?:%2f|%5c|\\)(?:\.|%2e){2}(?:/|$)", re.IGNORECASE)
_VERSIONS = frozenset({b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0"})


def request_fault(request: http.Request, *, names_whole_url: bool) -> str | None:
    """Why a request is refused, None if it is not. `names_whole_url`: it was sent as to a proxy, with an absolute URL.

    >>> request_fault(http.Request.make("CONNECT", "http://a.example/"), names_whole_url=True)
    'a CONNECT must be the first request of its connection'
    """
    data = request.data
    if data.method == b"CONNECT":
        return "a CONNECT must be the first request of its connection"
    if names_whole_url and data.scheme == b"https":
        return "a request through the proxy must be for http, or CONNECT"
    if data.http_version not in _VERSIONS or _TOKEN.fullmatch(data.method) is None:
        return "the request line is not method, target and HTTP/1.0 or HTTP/1.1"
    if data.http_version == b"HTTP/1.1" and b"host" not in data.headers:
        return "there must be one Host field"
    return _target_fault(data.method, data.path)


def _target_fault(method: bytes, target: bytes) -> str | None:
    if not target.startswith(b"/") and (method, target) != (b"OPTIONS", b"*"):
        return "a request to a web server names a path"
    path = target.partition(b"?")[0]
    if _TARGET_CONTROLS.search(target) is not None or ((b".." in path or b"%" in path) and _ENCODED_PARENT.search(path) is not None):
        return "the path can be read in two ways"
    return None


def response_fault(response: http.Response) -> str | None:
    """Why an answer is not passed on: a field that goes on in the next line would be two to an HTTP/1 client."""
    is_split = _FIELD_CONTROLS.search(b"".join([value for _, value in response.data.headers.fields])) is not None
    return "a field of the answer holds control characters" if is_split else None


def head_fault(head: bytes | bytearray) -> str | None:
    """Why the head of an HTTP/1 request is refused before it is read, None if it is not.

    >>> head_fault(b"GET / HTTP/2.0\\r\\nHost: a\\r\\n\\r\\n")
    'HTTP/2 is not spoken in lines'
    """
    if has_control_characters(head):
        return "the head holds a bare CR or LF, or another control character"
    if is_folded(head):
        return "a field is folded over lines"
    return "HTTP/2 is not spoken in lines" if b" HTTP/2" in head[: head.find(b"\r\n")] else None


def is_too_long(head: bytes | bytearray) -> bool:
    """Whether a head, or what has come of one, is longer than the first of a connection may be."""
    return len(head) > MAX_HEAD or head.count(b"\r\n") > MAX_FIELDS + 2  # the first line and the last are no fields


def is_folded(head: bytes | bytearray) -> bool:
    """Whether a field goes on in the next line: the one who takes that line for another field reads another message."""
    return b"\r\n " in head or b"\r\n\t" in head


def has_control_characters(head: bytes | bytearray) -> bool:
    """Whether an HTTP/1 head holds a bare CR or LF, or another control character but a tab.

    >>> has_control_characters(b"GET / HTTP/1.1\\r\\n\\r\\n"), has_control_characters(b"GET / HTTP/1.1\\nHost: a\\r\\n\\r\\n")
    (False, True)
    """
    if len(head.translate(None, _HEAD_CONTROLS)) != len(head):  # a tenth of what a regular expression takes
        return True
    return not head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n")


# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls


_INTERIM_PHRASES = {status.value: status.phrase for status in HTTPStatus if status < 200}


def is_interim(response: http.Response) -> bool:
    """Whether another answer will follow. 101 is the last one of its connection."""
    return 100 <= response.status_code < 200 and response.status_code != 101


def may_forward_interim(response: http.Response) -> bool:
    """Whether an answer is of this kind, can be read in one way only, and speaks of no body."""
    try:
        validate_headers(response)
    except ValueError:
        return False
    fields = response.headers
    return is_interim(response) and response_fault(response) is None and not ("content-length" in fields or "transfer-encoding" in fields)


def as_http1(response: http.Response) -> http.Response:
    """The same for an HTTP/1 client."""
    found = response.copy()
    found.http_version = "HTTP/1.1"
    found.reason = found.reason or _INTERIM_PHRASES.get(found.status_code, "Interim")
    return found
