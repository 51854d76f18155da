"""Heads of HTTP/1 messages with one meaning each: what RFC 9112, section 6.3 lets a proxy repair is repaired before
anything reads it.

Of a response: equal lengths are merged, chunks win over a length, and 204 has no length. A transfer coding that was not
asked for is refused, since nobody after us would undo it. Heads of requests are parsed by `http_head`, as at the gate.
Heads of responses are parsed here, and those of plain messages on their fast path (`plain_messages`), which takes them
for the same or not at all.

Protocol code: no sockets, no files.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus

from mitmproxy import http

from hedgerow.proxy.http_head import RequestHead, basic_credentials, parse_status_line, parse_target
from hedgerow.proxy.inspection.engine.bodies import split_lines
from hedgerow.proxy.inspection.engine.flows import Fields, HeaderFields, HttpRequest, HttpResponse, values_of

_SCHEMES = ("http", "https")
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_OF_THE_HOP = frozenset({b"keep-alive", b"proxy-connection"})
_EXAMINED = _FRAMING | _OF_THE_HOP | {b"connection"}
# What an origin names in Connection is removed, but not what gives its answer a meaning.
_NEVER_NOMINATED = _FRAMING | frozenset(
    b"cache-control close connection content-disposition content-encoding content-range content-security-policy"
    b" content-type date location set-cookie upgrade".split()
)
# What joins lines (RFC 9112, section 5.2). A run of blanks is looked at once, whatever follows it.
_FOLD = re.compile(rb"(?<![ \t])[ \t]*+(?:\r?\n[ \t]++)+")
_PLAIN_OPTIONS = ([b"keep-alive"], [b"close"])
_CLOSE = (b"Connection", b"close")
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}


def request_of(head: RequestHead) -> HttpRequest:
    """Return a request with this head.

    A URL's user name becomes a field. Raises HeadError for a URL that is none of http or https.
    """
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.fields]
    method, version = head.method.encode(), b"HTTP/1.%d" % head.minor
    if head.target.startswith(("/", "*")) or method == b"CONNECT":
        return HttpRequest(
            method=method, path=head.target.encode("latin-1"), headers=HeaderFields(fields), http_version=version
        )
    target = parse_target(head.target, _SCHEMES)
    if target.userinfo is not None and not head.get("authorization"):
        fields.append((b"Authorization", basic_credentials(target.userinfo).encode()))
    return HttpRequest(
        method=method,
        path=target.path.encode("latin-1"),
        headers=HeaderFields(fields),
        http_version=version,
        scheme=target.scheme.encode(),
        authority=str(target.authority).encode(),
        host=target.authority.host,
        port=target.authority.port,
    )


def _read_fields(lines: list[bytes]) -> Iterable[tuple[bytes, bytes]]:
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name:
            raise ValueError(f"the line {line[:80]!r} is not a field")
        yield name, value.strip(b" \t\r")


def read_response_head(head: bytes) -> HttpResponse:
    """Parse a response's head with its empty line. The number of its lines is bounded. Raises ValueError."""
    first, _, rest = head.partition(b"\n")
    line = parse_status_line(first.removesuffix(b"\r"))
    if line is None:
        raise ValueError("it does not begin with a status line of HTTP/1")
    version, status, reason = line
    # folded lines are rare, and looked for in less time than joined
    lines = split_lines(_FOLD.sub(b" ", rest) if b"\n " in rest or b"\n\t" in rest else rest)
    response = HttpResponse(status, reason, HeaderFields(_read_fields(lines)), http_version=version)
    examined = [(key, value) for name, value in response.data.headers.fields if (key := name.lower()) in _EXAMINED]
    framing = [field for field in examined if field[0] in _FRAMING]
    if len(examined) > len(framing):
        options = [value.lower() for name, value in examined if name == b"connection"]
        if options not in _PLAIN_OPTIONS or len(examined) > len(framing) + 1:
            _strip_hop_fields(response, options)
    if len(framing) > 1 or (framing and (response.data.status_code == 204 or not _is_plain(*framing[0]))):
        _repair(response, framing)
    return response


def _is_plain(name: bytes, value: bytes) -> bool:
    return value.isdigit() if name == b"content-length" else value.lower() == b"chunked"


def _strip_hop_fields(response: HttpResponse, options: list[bytes]) -> None:
    """Remove the fields that concern the origin's connection (RFC 9110, section 7.6.1)."""
    named = {each.strip() for value in options for each in value.split(b",")}
    dropped = _OF_THE_HOP | (named - _NEVER_NOMINATED) | {b"connection"}
    kept = [field for field in response.data.headers.fields if field[0].lower() not in dropped]
    kept += [(b"Connection", option) for option in (b"close", b"keep-alive", b"upgrade") if option in named]
    response.data.headers.fields = tuple(kept)


def _repair(response: HttpResponse, framing: list[tuple[bytes, bytes]]) -> None:
    lengths = [each.strip() for name, value in framing if name == b"content-length" for each in value.split(b",")]
    codings = [
        value.lower() for name, value in framing if name == b"transfer-encoding" and value.lower() != b"identity"
    ]
    if codings and codings != [b"chunked"]:
        raise ValueError(
            f"the response has the transfer coding {b', '.join(codings).decode('latin-1')!r}, which was not asked for"
        )
    if codings and not response.is_http11:
        return  # refused later: the message may have been forwarded by somebody who knows no chunks
    kept = [(name, value) for name, value in response.data.headers.fields if name.lower() not in _FRAMING]
    if codings:
        kept.append((b"Transfer-Encoding", b"chunked"))
        if lengths:
            kept = [field for field in kept if field[0].lower() != b"connection"] + [_CLOSE]
    elif len(set(lengths)) == 1 and response.data.status_code != 204:
        kept.append((b"Content-Length", lengths[0]))
    elif len(set(lengths)) > 1:
        raise ValueError("the response has two lengths")
    response.data.headers = HeaderFields(kept)


def request_head(request: http.Request, *, has_body: bool) -> bytes:
    """Return the head of a request as an HTTP/1 origin gets it.

    `Connection: close` concerns the client's connection only (RFC 9110, section 7.6.1). A body of unknown length goes
    on in chunks: an origin would read it as the next request.
    """
    data, fields = request.data, request.headers.fields
    if request.is_http2:
        return _head(b"%b %b HTTP/1.1" % (data.method, data.path), _from_http2(request, has_body=has_body))
    if request.is_http11 and b"connection" in values_of(request.headers):
        fields = _without_close(fields)
    return _head(b"%b %b %b" % (data.method, data.path, data.http_version), fields)


def has_unknown_length(request: http.Request) -> bool:
    """Return whether the body of a request, if it has one, is of a length that only its end tells: in HTTP/2 no field
    says so.
    """
    return request.is_http2 and b"content-length" not in values_of(request.headers)


def _from_http2(request: http.Request, *, has_body: bool) -> Fields:
    fields, values = request.headers.fields, values_of(request.headers)
    if b"host" not in values and request.data.authority:
        fields = ((b"Host", request.data.authority), *fields)
    if has_body and has_unknown_length(request):
        fields = (*fields, (b"transfer-encoding", b"chunked"))
    cookies = [value for name, value in fields if name == b"cookie"]
    if len(cookies) > 1:  # RFC 9113, section 8.2.3
        fields = (*[field for field in fields if field[0] != b"cookie"], (b"cookie", b"; ".join(cookies)))
    return fields


def _without_close(fields: Fields) -> Fields:
    kept = []
    for name, value in fields:
        if name.lower() == b"connection":
            options = [each.strip() for each in value.split(b",")]
            others = [each for each in options if each.lower() != b"close"]
            if not others:
                continue
            value = value if len(others) == len(options) else b", ".join(others)
        kept.append((name, value))
    return tuple(kept)


def response_head(response: http.Response) -> bytes:
    """Return the head of a response as an HTTP/1 client gets it."""
    data = response.data
    if response.is_http2:
        reason = data.reason or _PHRASES.get(data.status_code, b"")
        return _head(b"HTTP/1.1 %d %b" % (data.status_code, reason), data.headers.fields)
    return _head(b"%b %d %b" % (data.http_version, data.status_code, data.reason), data.headers.fields)


def _head(first: bytes, fields: Fields) -> bytes:
    return b"%b\r\n%b\r\n" % (first, b"".join([b"%b: %b\r\n" % field for field in fields]))
