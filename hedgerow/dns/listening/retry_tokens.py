"""Tokens that prove a QUIC client's address (RFC 9000, section 8.1.2): whoever sends one back has received it. No sockets.

Nothing is kept for an address that is not proven, so that forged ones cost neither memory nor a handshake.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable
from ipaddress import ip_address
from struct import pack
from typing import Final

_GOOD_FOR: Final = 10  # seconds
_MAC_OCTETS: Final = 16


class RetryTokens:
    """Makes and checks tokens under a key of its own. The methods are those that aioquic's server calls."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._key = os.urandom(32)
        self._clock = clock

    def create_token(self, address: tuple[str, int], original_id: bytes, retry_id: bytes) -> bytes:
        """`original_id` and `retry_id` are the connection ids that the handshake must confirm; at most 20 octets each."""
        body = pack("!Q", int(self._clock())) + bytes((len(original_id),)) + original_id + retry_id
        return self._seal(address, body) + body

    def validate_token(self, address: tuple[str, int], token: bytes) -> tuple[bytes, bytes]:
        """The two ids. Raises ValueError for a token that is not ours, is another's, or is old."""
        seal, body = token[:_MAC_OCTETS], token[_MAC_OCTETS:]
        if not hmac.compare_digest(seal, self._seal(address, body)):
            raise ValueError("not a token for this address")
        if not 0 <= self._clock() - int.from_bytes(body[:8]) <= _GOOD_FOR:
            raise ValueError("an old token")
        end = 9 + body[8]
        return body[9:end], body[end:]

    def _seal(self, address: tuple[str, int], body: bytes) -> bytes:
        bound = ip_address(address[0].partition("%")[0]).packed + pack("!H", address[1])
        return hmac.digest(self._key, bound + body, "sha256")[:_MAC_OCTETS]
