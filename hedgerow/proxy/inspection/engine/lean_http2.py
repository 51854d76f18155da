"""Faster parts for h2, which behave the same for every caller: HPACK, and the checks of received fields.

h2 looks at each octet of each field by itself, in seven generators one after another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import h2.connection
import h2.utilities

from hedgerow.hpack_codec import FastDecoder, FastEncoder, Field
from hedgerow.proxy.inspection.engine.patches import replace

_REQUEST = {b":method", b":scheme", b":path", b":authority"}
_RESPONSE = {b":status"}
_NAME = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]+")
_UNUSUAL = h2.utilities.CONNECTION_HEADERS | {b"te", b"host"}
_FAULTY_VALUE = re.compile(rb"[\x00\r\n]|(?:\A|\x7f)[ \t]|[ \t](?:\x7f|\Z)")
"""In values that are joined by DEL: what none may contain, or white space around one."""

_validate_headers = h2.utilities.validate_headers


def validate_headers(headers: Iterable[Field], hdr_validation_flags: Any) -> Iterable[Field]:
    """Return fields that are valid beyond doubt, and let h2 judge all others. Raises h2.exceptions.ProtocolError."""
    fields = list(headers)
    return fields if _are_plain(fields, hdr_validation_flags) else _validate_headers(fields, hdr_validation_flags)


def _are_plain(fields: list[Field], flags: Any) -> bool:
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


def speed_up(connection: h2.connection.H2Connection) -> None:
    """Give a new connection our HPACK."""
    decoder, encoder = FastDecoder(), FastEncoder()
    decoder.max_header_list_size = connection.decoder.max_header_list_size
    decoder.max_allowed_table_size = connection.decoder.max_allowed_table_size
    connection.decoder, connection.encoder = decoder, encoder


def install() -> None:
    """Let h2 use these checks in this process. Call it once."""
    replace("h2.stream:validate_headers", validate_headers)
