"""Fields that concern one hop of a request (RFC 9110, section 7.6): removed, counted down or added before the request
goes on. Pure.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

from mitmproxy import http

from hedgerow.proxy.inspection.engine.flows import values_of
from hedgerow.proxy.pages.response import ProxyResponse

VIA_KEY = "hedgerow-via"
"""Key of a flow's metadata: its client uses us as a proxy, and the messages of both directions say so in Via."""

PSEUDONYM = "hedgerow"

# Programs behind CGI and its successors cannot tell the names with underscores from those that decide where a message
# ends and what becomes of a connection (RFC 3875, section 4.1.18).
_HOP_BY_HOP = frozenset(
    b"proxy-connection proxy-authorization keep-alive content_length transfer_encoding keep_alive"
    b" proxy_connection proxy_authorization http2_settings max_forwards".split()
)
_EXAMINED = frozenset({b"connection", b"te", b"upgrade", b"http2-settings", b"max-forwards"})
_CONCERNED = _HOP_BY_HOP | _EXAMINED
_PLAIN_OPTIONS = frozenset({b"close", b"keep-alive"})
_PASSED_OPTIONS = _PLAIN_OPTIONS | {b"te", b"upgrade"}
# What a client names in Connection is removed, but never what an origin needs in order to understand the request.
_NEVER_NOMINATED = frozenset(
    b"authorization content-encoding content-length content-type cookie close expect host keep-alive origin range"
    b" referer te transfer-encoding upgrade".split()
)
_SECRETS = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
_ENDING_HERE = frozenset({b"TRACE", b"OPTIONS"})
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"


def strip_hop_fields(request: http.Request) -> None:
    """Remove the fields that are for us. An upgrade is left only for WebSocket, and TE only for trailers."""
    if _CONCERNED.isdisjoint(values_of(request.headers)):
        return
    kept, is_examined = [], False
    for field in request.headers.fields:
        name = field[0].lower()
        if name in _HOP_BY_HOP:
            continue
        kept.append(field)
        if name in _EXAMINED and not (name == b"connection" and field[1].lower() in _PLAIN_OPTIONS):
            is_examined = True
    if len(kept) != len(request.headers.fields):
        request.headers.fields = tuple(kept)
    if is_examined:
        _strip_nominated(request.headers)


def _strip_nominated(fields: http.Headers) -> None:
    options = [each.strip().lower() for each in values_of(fields).get(b"connection", b"").split(b",")]
    dropped = set(options) - _NEVER_NOMINATED
    if fields.get("upgrade", "").lower() != "websocket":
        dropped |= {b"upgrade", b"http2-settings"}
    if "trailers" in [each.strip().lower() for each in fields.get("te", "").split(",")]:
        fields["te"] = "trailers"
    else:
        dropped.add(b"te")
    fields.fields = tuple(field for field in fields.fields if field[0].lower() not in dropped)
    if "connection" in fields:
        others = [each for each in options if each in _PASSED_OPTIONS - dropped]
        if others:
            fields["connection"] = b", ".join(others).decode()
        else:
            del fields["connection"]


def last_hop(request: http.Request) -> ProxyResponse | None:
    """Return our answer to a TRACE or OPTIONS that may be forwarded no further, None for any other.

    Counts Max-Forwards down.
    """
    if request.data.method not in _ENDING_HERE:
        return None
    left = request.headers.get("max-forwards", "")
    if not (left.isascii() and left.isdigit()):
        return None
    if int(left[:9]) > 0:
        request.headers["max-forwards"] = str(int(left[:9]) - 1)
        return None
    if request.method == "OPTIONS":
        return ProxyResponse(200, (("Allow", _METHODS),), b"")
    lines = [b"TRACE %s %s" % (request.data.path, request.data.http_version)]
    lines += [b"%s: %s" % field for field in request.headers.fields if field[0].lower() not in _SECRETS]
    return ProxyResponse(200, (("Content-Type", "message/http"),), b"\r\n".join(lines) + b"\r\n\r\n")


def add_via(message: http.Message) -> None:
    """Name us in Via (RFC 9110, section 7.6.3)."""
    before = message.headers.get("via", "")
    entry = f"{message.http_version.removeprefix('HTTP/')} {PSEUDONYM}"
    message.headers["Via"] = f"{before}, {entry}" if before else entry
