"""Requests and responses: conversions between mitmproxy's and ours, and the reasons to refuse one. Pure."""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from mitmproxy import http
from mitmproxy.net.http import status_codes
from mitmproxy.net.http.validate import validate_headers

from hedgerow.blocklists.names import host_of_url
from hedgerow.policies.model import Device, Request, RequestKind
from hedgerow.proxy.http_head import MAX_FIELDS, MAX_HEAD, Authority, parse_authority
from hedgerow.proxy.inspection.engine.flows import HeaderFields, HttpResponse, values_of
from hedgerow.proxy.pages.response import ProxyResponse, ResponseForm, response_form

type ErrorRenderer = Callable[[int, str, http.Request | None, str], ProxyResponse]
"""Renders the answer to a failure, from a status, mitmproxy's message, the request if it was readable, and the client's
id.
"""

SIGNED_EXCHANGE = b"application/signed-exchange"


def named_authorities(flow: http.HTTPFlow) -> tuple[Authority, ...]:
    """Return every host that the request names: its destination, SNI, :authority and Host field, the last one being the
    client's name.

    Raises HeadError.
    """
    request = flow.request
    return _distinct_authorities(
        request.host, flow.client_conn.sni or "", request.authority, request.host_header or "", request.port
    )


@lru_cache(4096)
def _distinct_authorities(host: str, sni: str, authority: str, host_field: str, port: int) -> tuple[Authority, ...]:
    """Parse and compare them once: the requests of a connection name the same hosts."""
    named = (host if ":" not in host else f"[{host}]", sni, authority, host_field)
    return tuple(dict.fromkeys(parse_authority(name, port) for name in named if name))


def request_of(flow: http.HTTPFlow, device: Device, authority: Authority) -> Request:
    """Return the request for a decision, as one to `authority`, which is one of those that it names."""
    request = flow.request
    values = values_of(request.headers)
    page = (values.get(b"referer") or values.get(b"origin") or b"").decode("utf-8", "surrogateescape")
    return Request(
        device=device.id,
        kind=RequestKind.HTTP,
        host=authority.host,
        port=authority.port,
        url=url_of(request.scheme, authority, request.path),
        method=request.method,
        resource=values.get(b"sec-fetch-dest", b"").decode("utf-8", "surrogateescape"),
        initiator=(host_of_url(page) or "") if page else "",
    )


def url_of(scheme: str, authority: Authority, path: str) -> str:
    """Return the URL, without the scheme's default port.

    >>> url_of("https", Authority("a.example", 443), "/x")
    'https://a.example/x'
    """
    return f"{scheme}://{authority.as_in_url(scheme)}{path if path.startswith('/') else '/' + path}"


def form_of(fields: http.Headers) -> ResponseForm:
    """Return the form in which the client that sent these fields can show an answer."""
    values = values_of(fields)
    named = tuple([values.get(name, b"") for name in _FORM_FIELDS])
    return _form_named(*named) if sum(map(len, named)) <= _USUAL_FORM_FIELDS else _form_named.__wrapped__(*named)


_FORM_FIELDS = (b"sec-fetch-dest", b"accept", b"x-requested-with", b"sec-fetch-mode")
_USUAL_FORM_FIELDS = 512  # bytes, up to which the form is kept: browsers send the same few


@lru_cache(512)
def _form_named(resource: bytes, accept: bytes, requested_with: bytes, mode: bytes) -> ResponseForm:
    return response_form(
        *(each.decode("utf-8", "surrogateescape") for each in (resource, accept, requested_with, mode))
    )


def is_document(fields: http.Headers) -> bool:
    """Return whether a browser shows the response by itself: its fields say so, or, of an old browser, that it accepts
    HTML.
    """
    form = form_of(fields)
    if form is not ResponseForm.PAGE and form is not ResponseForm.FRAME:
        return False
    values = values_of(fields)
    return b"sec-fetch-dest" in values or b"text/html" in values.get(b"accept", b"")


def is_image(fields: http.Headers) -> bool:
    """Return whether a browser shows the response as a picture in a page, whatever its type is."""
    return values_of(fields).get(b"sec-fetch-dest") == b"image"


def lane_label(flow: http.HTTPFlow) -> str:
    """Return the lane under which the request is counted."""
    return "inspect" if flow.request.scheme == "https" else "http"


def to_mitmproxy_response(answer: ProxyResponse, *, head_only: bool = False) -> http.Response:
    """Return an answer of ours as mitmproxy's object, without the checks of `http.Response.make`."""
    body = b"" if head_only else answer.body
    fields = [(name.encode(), value.encode()) for name, value in answer.headers]
    fields.append((b"content-length", b"%d" % len(body)))
    reason = status_codes.RESPONSES.get(answer.status, "").encode()
    return HttpResponse(answer.status, reason, HeaderFields(fields), body)


_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET_CONTROLS = re.compile(rb"[\x00-\x20\x7f]")
_FIELD_CONTROLS = re.compile(rb"[\x00\r\n]")
_HEAD_CONTROLS = bytes({*range(0x20), 0x7F} - set(b"\t\r\n"))
# Some servers decode escapes before they resolve dots, others after: such a path has two meanings.
_ENCODED_PARENT = re.compile(
    rb"(?:%2f|%5c|\\|/)(?:\.|%2e){2}(?:%2f|%5c|\\)|(?:%2f|%5c|\\)(?:\.|%2e){2}(?:/|$)", re.IGNORECASE
)


def request_fault(request: http.Request, *, names_whole_url: bool) -> str | None:
    """Return the reason to refuse a request, or None. `names_whole_url`: it was sent to a proxy, with an absolute URL.

    >>> request_fault(http.Request.make("CONNECT", "http://a.example/"), names_whole_url=True)
    'a CONNECT must be the first request of its connection'
    """
    data = request.data
    if request.scheme not in {"http", "https", ""}:
        return "a request must be for http or https"
    try:
        if request.is_http2:  # `http_head` has checked those of HTTP/1
            validate_headers(request)
    except ValueError as error:
        return f"a field of the request is malformed: {error}"
    if data.method.upper() == b"CONNECT":  # mitmproxy's layers know no case
        return "a CONNECT must be the first request of its connection"
    if names_whole_url and data.scheme == b"https":
        return "a request through the proxy must be for http, or CONNECT"
    if _TOKEN.fullmatch(data.method) is None:
        return "the method is malformed"
    return target_fault(data.method, data.path)


def target_fault(method: bytes, target: bytes) -> str | None:
    """Return the reason to refuse a request for its target, or None."""
    if not target.startswith(b"/") and (method, target) != (b"OPTIONS", b"*"):
        return "a request to a web server names a path"
    path = target.partition(b"?")[0]
    if _TARGET_CONTROLS.search(target) is not None or (
        (b".." in path or b"%" in path) and _ENCODED_PARENT.search(path) is not None
    ):
        return "the path is ambiguous"
    return None


def response_fault(response: http.Response) -> str | None:
    """Return the reason to refuse a response, or None.

    A line break in a field or in the reason would make two fields of it for an HTTP/1 client: browsers take a bare CR
    for one.
    """
    try:
        validate_headers(response)
    except ValueError as error:
        return f"{BROKEN_ANSWER}: {error}"
    parts = [response.data.reason, *[value for _, value in response.data.headers.fields]]
    is_clean = _FIELD_CONTROLS.search(b"".join(parts)) is None
    return None if is_clean else f"{BROKEN_ANSWER}: its head contains control characters"


def is_signed_exchange(response: http.Response) -> bool:
    """Return whether browsers show the body as a page of another site, which has signed it (Signed HTTP Exchanges,
    draft-yasskin).

    Nobody asks that site for anything, so that no rule about it is applied.
    """
    return SIGNED_EXCHANGE in values_of(response.headers).get(b"content-type", b"").lower()


def is_too_long(head: bytes | bytearray) -> bool:
    """Return whether a head, or the part that has arrived, exceeds the limits for the first head of a connection."""
    return len(head) > MAX_HEAD or head.count(b"\r\n") > MAX_FIELDS + 2  # the first and the last line are not fields


def has_control_characters(head: bytes | bytearray) -> bool:
    """Return whether an HTTP/1 head contains a bare CR or LF, or another control character except tabs.

    >>> (has_control_characters(b"GET / HTTP/1.1\\r\\n\\r\\n"),
    ...  has_control_characters(b"GET / HTTP/1.1\\nHost: a\\r\\n\\r\\n"))
    (False, True)
    """
    if len(head.translate(None, _HEAD_CONTROLS)) != len(head):  # a tenth of the time of a regular expression
        return True
    return not head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n")


BROKEN_ANSWER = "the answer of the site is malformed"
"""Start of the messages of errors about responses that cannot be understood."""

MAX_INTERIM = 32
"""Informational responses (RFC 9110, section 15.2) to one request, forwarded or not. More of them are an attack."""

MAX_INTERIM_OCTETS = 64 * 1024
"""Octets of the informational responses to one request."""


TOO_MANY_INTERIM = "the site sends too many informational responses, and no response"
"""The message of the error beyond these limits."""


@dataclass(slots=True, eq=False)
class InterimAllowance:
    """Informational responses that an origin may still send before its response to one request."""

    _left: int = MAX_INTERIM
    _octets: int = MAX_INTERIM_OCTETS

    def take(self, octets: int) -> bool:
        """Count one of this length. Return False if it is too much."""
        self._left -= 1
        self._octets -= octets
        return self._left >= 0 and self._octets >= 0


def is_interim(response: http.Response) -> bool:
    """Return whether a response is informational: another one follows. 101 is final."""
    return 100 <= response.status_code < 200 and response.status_code != 101


def may_forward_interim(response: http.Response) -> bool:
    """Return whether a response is informational, unambiguous and without a body."""
    fields = response.headers
    return (
        is_interim(response)
        and response_fault(response) is None
        and not ("content-length" in fields or "transfer-encoding" in fields)
    )
