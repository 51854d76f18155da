"""Checks of received HTTP/2 fields (RFC 9113, section 8), and the messages that they make.

The verdicts are those of h2, which looks at each octet of each field by itself, in seven generators one after another.

Protocol code: no sockets, no clock, no files.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import re
import time
from functools import lru_cache
from typing import Any

from h2 import events
from h2.utilities import CONNECTION_HEADERS, HeaderValidationFlags, validate_headers
from mitmproxy.net.http import url

from hedgerow.hpack_codec import Field
from hedgerow.proxy.inspection.engine.flows import HeaderFields, HttpRequest, HttpResponse

_REQUEST = frozenset({b":method", b":scheme", b":path", b":authority"})
_RESPONSE = frozenset({b":status"})
_NAME = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]+")
_STATUS = re.compile(rb"[1-9][0-9][0-9]")
_Response = events.ResponseReceived | events.InformationalResponseReceived
_UNUSUAL = CONNECTION_HEADERS | {b"te", b"host"}
_FAULTY_VALUE = re.compile(rb"[\x00\r\n]|(?:\A|\x7f)[ \t]|[ \t](?:\x7f|\Z)")
"""In values that are joined by DEL: octets that no value may contain, or white space around a value."""


def check_event(event: events.Event, *, is_client: bool) -> None:
    """Check the fields of an event that has some.

    `is_client`: they came from a server. Raises h2.exceptions.ProtocolError.
    """
    if isinstance(event, events.RequestReceived | events.TrailersReceived | _Response):
        is_trailer, is_response = isinstance(event, events.TrailersReceived), isinstance(event, _Response)
        check_fields(event.headers, HeaderValidationFlags(is_client, is_trailer, is_response, False))


def check_fields(fields: list[Any], flags: HeaderValidationFlags) -> None:
    """Let fields pass that are valid beyond doubt, and have h2 judge all others. Raises h2.exceptions.ProtocolError."""
    if not _are_plain(fields, flags):
        for _ in validate_headers(fields, flags):
            pass


def _are_plain(fields: list[Field], flags: HeaderValidationFlags) -> bool:
    if flags.is_trailer or flags.is_push_promise:
        return False
    pseudo = _RESPONSE if flags.is_response_header else _REQUEST
    if {name for name, _ in fields[: len(pseudo)]} != pseudo:
        return False
    for name, _ in fields[len(pseudo) :]:
        if name in _UNUSUAL or _NAME.fullmatch(name) is None:
            return False
    if (b":path", b"") in fields or (b":method", b"CONNECT") in fields:
        return False
    return _FAULTY_VALUE.search(b"\x7f".join([value for _, value in fields])) is None


def request_of(fields: list[Any]) -> HttpRequest:
    """Return the request with these fields, which were checked. Raises ValueError."""
    pseudo, others = _split(fields)
    if not {b":method", b":scheme", b":path"} <= pseudo.keys() <= _REQUEST:
        raise ValueError("the request is not one for a resource")
    authority, scheme = pseudo.get(b":authority", b""), pseudo[b":scheme"]
    host, port = _parse_authority(authority, 80 if scheme == b"http" else 443) if authority else ("", 0)
    return HttpRequest(
        method=pseudo[b":method"],
        path=pseudo[b":path"],
        headers=others,
        http_version=b"HTTP/2.0",
        scheme=scheme,
        authority=authority,
        host=host,
        port=port,
        received=time.time(),
    )


@lru_cache(1024)
def _parse_authority(authority: bytes, default_port: int) -> tuple[str, int]:
    host, port = url.parse_authority(authority, check=True)
    return host, port or default_port


def response_of(fields: list[Any]) -> HttpResponse:
    """Return the response with these fields, which were checked. Raises ValueError."""
    pseudo, others = _split(fields)
    status = pseudo.get(b":status", b"")
    if len(pseudo) != 1 or _STATUS.fullmatch(status) is None:
        raise ValueError("the response has no status")
    return HttpResponse(int(status), b"", others, http_version=b"HTTP/2.0")


def _split(fields: list[Field]) -> tuple[dict[bytes, bytes], HeaderFields]:
    """Return the pseudo-fields, which come first, and the others."""
    pseudo = dict[bytes, bytes]()
    for name, value in fields:
        if not name.startswith(b":"):
            break
        pseudo[name] = value
    return pseudo, HeaderFields(fields[len(pseudo) :])
