"""What a request of mitmproxy's says that it wants, in our nouns, and what of it goes on. Pure."""

from __future__ import annotations

from mitmproxy import http
from mitmproxy.net.http import status_codes

from hedgerow.policies.model import Device, Kind, Request
from hedgerow.proxy.asking import host_of_url
from hedgerow.proxy.http_head import Authority, parse_authority
from hedgerow.proxy.pages.answer import Answer

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
        kind=Kind.HTTP,
        host=authority.host,
        port=authority.port,
        url=url_of(flow.request.scheme, authority, flow.request.path),
        method=flow.request.method,
        resource=fields.get("sec-fetch-dest", ""),
        initiator=host_of_url(fields.get("referer", "") or fields.get("origin", "")),
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


def lane_of(flow: http.HTTPFlow) -> str:
    """The lane under which the request is counted."""
    return "inspect" if flow.request.scheme == "https" else "http"


def _copied[T](thing: T) -> T:
    """A shallow copy, as of `copy.copy`, which asks many questions first."""
    copied = object.__new__(type(thing))
    copied.__dict__.update(thing.__dict__)
    return copied


def kept(request: http.Request) -> http.Request:
    """The request without the client's wish to close: that is between it and us (RFC 9110, section 7.6.1)."""
    if "connection" not in request.headers:
        return request
    wishes = [each.strip() for each in request.headers["connection"].split(",")]
    others = [each for each in wishes if each.lower() != "close"]
    if len(others) == len(wishes):
        return request
    kept = _copied(request)
    kept.data = _copied(request.data)
    kept.headers = http.Headers(request.headers.fields)
    if others:
        kept.headers["connection"] = ", ".join(others)
    else:
        del kept.headers["connection"]
    return kept


def chunked(request: http.Request) -> http.Request:
    """An HTTP/2 request with a body as HTTP/1 has to say it: one of unknown length would be taken for the next request."""
    if "content-length" in request.headers:
        return request
    framed = _copied(request)
    framed.data = _copied(request.data)
    framed.headers = http.Headers((*request.headers.fields, (b"transfer-encoding", b"chunked")))
    return framed


def response_of(answer: Answer, *, head_only: bool = False) -> http.Response:
    """An answer of ours as mitmproxy's, whose own way to make one asks many questions first. Its times are nobody's business."""
    body = b"" if head_only else answer.body
    fields = [(name.encode(), value.encode()) for name, value in answer.headers]
    fields.append((b"content-length", b"%d" % len(body)))
    reason = status_codes.RESPONSES.get(answer.status, "").encode()
    return http.Response(b"HTTP/1.1", answer.status, reason, http.Headers(fields), body, None, 0.0, 0.0)
