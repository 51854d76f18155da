"""How the gate vouches to the inspector for a client: a signed, short-lived note in a header field.

Both processes read one key at their start. The note never leaves the machine: the inspector takes it off before anything is
forwarded, and the gate drops any field of that name that a client sends.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

FIELD = "Hedgerow-Pass"
LIFETIME = 30.0
"""Seconds from the moment the gate signs to the moment the inspector must have read it."""

_KEY_BYTES = 32


def create_key(path: Path) -> bytes:
    """Write a new key to `path`, readable by its owner only, and return it. An older file is replaced in one step."""
    key = secrets.token_bytes(_KEY_BYTES)
    written = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
    written.replace(path)
    return key


def load_key(path: Path) -> bytes:
    """The key that `create_key` wrote. Raises OSError, or ValueError when the file holds something else."""
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise ValueError(f"{path} does not hold a key of {_KEY_BYTES} bytes")
    return key


def issue_pass(key: bytes, address: str, now: float) -> str:
    """A pass for the client at `address`, as text for a header field; `now` in seconds since the epoch."""
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


def _sign(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii")
