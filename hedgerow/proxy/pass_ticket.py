"""How the gate introduces a client to the inspector: one line with a signed, short-lived pass, before anything of the client's own.

Both processes read one key at their start. The line never leaves the machine.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hedgerow.proxy.http_head import Authority, HeadError, parse_authority

MAX_INTRODUCTION = 1024
"""Bytes of the line without its end."""

LIFETIME = 30.0
"""Seconds from the moment the gate signs to the moment the inspector must have read it."""

_ISSUED_FOR = 5.0
"""Seconds for which one pass introduces all connections of a client: it opens many at a time."""

KEY_BYTES = 32


def load_key(path: Path) -> bytes:
    """The key that the supervisor wrote at its start. Raises OSError, or ValueError when the file holds something else."""
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise ValueError(f"{path} does not hold a key of {KEY_BYTES} bytes")
    return key


@dataclass(frozen=True, slots=True)
class Introduced:
    """The client at `address`. It goes to `target` with TLS or HTTP, or without one asks as of a proxy, by absolute URLs.

    One that `waits` has sent a CONNECT and no answer to it was given yet.
    """

    address: str
    target: Authority | None
    waits: bool = False


def introduce(key: bytes, who: Introduced, now: float) -> bytes:
    """The line that introduces a client."""
    ticket = _issue_pass_again(key, who.address, now // _ISSUED_FOR * _ISSUED_FOR)
    return f"{ticket} {who.target or '-'} {'waits' if who.waits else '-'}\r\n".encode()


def read_introduction(key: bytes, line: bytes, now: float) -> Introduced | None:
    """Whom `introduce` was told of, from its line without the end; None when it is not the gate that speaks.

    >>> who = Introduced("192.0.2.7", Authority("a.example", 443))
    >>> read_introduction(b"k" * 32, introduce(b"k" * 32, who, 1000.0)[:-2], 1010.0) == who
    True
    """
    ticket, _, rest = line.decode("latin-1").partition(" ")
    target, _, word = rest.partition(" ")
    address = read_pass(key, ticket, now)
    if address is None:
        return None
    try:
        return Introduced(address, None if target == "-" else parse_authority(target), word == "waits")
    except HeadError:
        return None


@lru_cache(1024)
def _issue_pass_again(key: bytes, address: str, now: float) -> str:
    return issue_pass(key, address, now)


def issue_pass(key: bytes, address: str, now: float) -> str:
    """A pass for the client at `address`, as text without spaces; `now` in seconds since the epoch."""
    text = f"{now + LIFETIME:.0f} {address}".encode()
    return f"{_encode(text)}.{_encode(_sign(key, text))}"


def read_pass(key: bytes, ticket: str, now: float) -> str | None:
    """The address that a pass vouches for; None when it is forged, spent or malformed.

    >>> read_pass(b"k" * 32, issue_pass(b"k" * 32, "192.0.2.7", 1000.0), 1010.0)
    '192.0.2.7'
    >>> read_pass(b"k" * 32, issue_pass(b"k" * 32, "192.0.2.7", 1000.0), 1031.0) is None
    True
    """
    try:
        text, signature = (base64.urlsafe_b64decode(part) for part in ticket.split("."))
    except ValueError:
        return None
    if not hmac.compare_digest(signature, _sign(key, text)):
        return None
    expires, _, address = text.decode().partition(" ")
    return address if now < float(expires) else None


@lru_cache(1024)
def _sign(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii")
