"""Heads of HTTP/1 messages with one meaning each: what RFC 9112, section 6.3 lets a proxy repair is repaired before anything reads it.

Of a response: equal lengths are merged, chunks win over a length, and 204 has no length. A transfer coding that was not asked for is
refused, since nobody after us would undo it. Of a request: a user name in the URL becomes a field.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import re

from mitmproxy import http
from mitmproxy.net.http import http1

from hedgerow.proxy.http_head import MAX_FIELDS, basic_credentials

_read_request_head, _read_response_head = http1.read_request_head, http1.read_response_head
_USERINFO = re.compile(rb"(?i:(\S+ http://))([A-Za-z0-9._~!$&'()*+,;=:%-]*)@(.*)", re.DOTALL)
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_OF_THE_HOP = frozenset({b"keep-alive", b"proxy-connection"})
_EXAMINED = _FRAMING | _OF_THE_HOP | {b"connection"}
# What an origin names in Connection is removed, but not what gives its answer a meaning.
_NEVER_NOMINATED = _FRAMING | frozenset(
    b"cache-control close connection content-disposition content-encoding content-range content-security-policy content-type date location "
    b"set-cookie upgrade".split()
)
_FOLD = (b" ", b"\t")
_PLAIN_OPTIONS = ([b"keep-alive"], [b"close"])
_CLOSE = (b"Connection", b"close")


def read_request_head(lines: list[bytes]) -> http.Request:
    """Parse a request's head. Raises ValueError."""
    found = _USERINFO.fullmatch(lines[0]) if b"@" in lines[0] else None
    if found is None:
        return _read_request_head(lines)
    request = _read_request_head([found[1] + found[3], *lines[1:]])
    if "authorization" not in request.headers:
        request.headers["Authorization"] = basic_credentials(found[2].decode())
    return request


def read_response_head(lines: list[bytes]) -> http.Response:
    """Parse a response's head. Raises ValueError, also for more fields than a request may have: each is looked at many times."""
    if len(lines) > MAX_FIELDS + 1:
        raise ValueError(f"the response has more than {MAX_FIELDS:,} lines of fields")
    response = _read_response_head(_unfolded(lines))
    examined = [(key, value) for name, value in response.data.headers.fields if (key := name.lower()) in _EXAMINED]
    framing = [field for field in examined if field[0] in _FRAMING]
    if not 100 <= response.data.status_code <= 999:
        raise ValueError(f"the status {response.data.status_code} has not three digits")
    if len(examined) > len(framing):
        options = [value.lower() for name, value in examined if name == b"connection"]
        if options not in _PLAIN_OPTIONS or len(examined) > len(framing) + 1:
            _strip_hop_fields(response, options)
    if len(framing) > 1 or (framing and (response.data.status_code == 204 or not _is_plain(*framing[0]))):
        _repair(response, framing)
    return response


def _unfolded(lines: list[bytes]) -> list[bytes]:
    """Join folded lines with a space (RFC 9112, section 5.2). mitmproxy copies the whole field for each of its lines."""
    if not any(line.startswith(_FOLD) for line in lines):
        return lines
    fields: list[list[bytes]] = []
    for line in lines:
        if len(fields) > 1 and line.startswith(_FOLD):
            fields[-1].append(line.strip())
        else:
            fields.append([line])
    return [b" ".join(field) for field in fields]


def _is_plain(name: bytes, value: bytes) -> bool:
    return value.isdigit() if name == b"content-length" else value.lower() == b"chunked"


def _strip_hop_fields(response: http.Response, options: list[bytes]) -> None:
    """Remove the fields that concern the origin's connection (RFC 9110, section 7.6.1)."""
    named = {each.strip() for value in options for each in value.split(b",")}
    dropped = _OF_THE_HOP | (named - _NEVER_NOMINATED)
    response.data.headers.fields = tuple(field for field in response.data.headers.fields if field[0].lower() not in dropped)


def _repair(response: http.Response, framing: list[tuple[bytes, bytes]]) -> None:
    lengths = [each.strip() for name, value in framing if name == b"content-length" for each in value.split(b",")]
    codings = [value.lower() for name, value in framing if name == b"transfer-encoding" and value.lower() != b"identity"]
    if codings and codings != [b"chunked"]:
        raise ValueError(f"the response has the transfer coding {b', '.join(codings).decode('latin-1')!r}, which was not asked for")
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
    response.data.headers = http.Headers(kept)
