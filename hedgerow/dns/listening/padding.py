"""Answers over encrypted channels that are filled up, so that their length says little of what was asked (RFC 7830). Pure."""

from __future__ import annotations

from struct import unpack_from
from typing import Final

from hedgerow.dns import wire

ENCRYPTED: Final = frozenset(("dot", "doh", "doq"))
BLOCK: Final = 468  # octets to a multiple of which answers are filled up (RFC 8467, section 4.1)
_PADDING: Final = 12  # the EDNS option
_MOST: Final = 65_535
_OPT: Final = wire.opt_bytes(0, dnssec=False)
_OPT_BEGINS: Final = _OPT[:5]  # name, type and our datagram size


def wants_padding(query: bytes) -> bool:
    """Does this query hold padding itself? Only who pads is padded for."""
    if _PADDING.to_bytes(2) not in query:
        return False
    end = query.find(0, wire.HEADER) + 5
    at = end + len(_OPT)
    if query[end : end + 3] != _OPT_BEGINS[:3]:
        return False
    while at + 4 <= len(query):
        code, size = unpack_from("!HH", query, at)
        if code == _PADDING:
            return True
        at += 4 + size
    return False


def padded(message: bytes) -> bytes:
    """An answer of ours with padding behind the other options; as it is where it has no OPT record, or no room."""
    at = message.rfind(_OPT_BEGINS) + len(_OPT)
    size = int.from_bytes(message[at - 2 : at])
    fill = -(len(message) + 4) % BLOCK
    if at < wire.HEADER or at + size != len(message) or len(message) + 4 + fill > _MOST:
        return message
    return message[: at - 2] + (size + 4 + fill).to_bytes(2) + message[at:] + wire.option_bytes(_PADDING, bytes(fill))
