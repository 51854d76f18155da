"""mitmproxy's header fields and messages, the same to whoever uses them, without what costs most in them.

They convert every name of every field at each look-up, and check the type of every attribute of each message. A request takes dozens
of look-ups.
"""

from __future__ import annotations

from typing import Any

from mitmproxy import http

_HOW = ("utf-8", "surrogateescape")


def _key(name: str | bytes) -> bytes:
    return (name.encode(*_HOW) if isinstance(name, str) else name).lower()


def _get_all(self: http.Headers, name: str | bytes) -> list[str]:
    key = _key(name)
    return [value.decode(*_HOW) for each, value in self.fields if each.lower() == key]


def _get(self: http.Headers, name: str | bytes, default: Any = None) -> Any:
    values = _get_all(self, name)
    return ", ".join(values) if values else default


def _contains(self: http.Headers, name: object) -> bool:
    if not isinstance(name, str | bytes):
        return False
    key = _key(name)
    for each, _ in self.fields:  # noqa: SIM110  any() takes twice as long
        if each.lower() == key:
            return True
    return False


def install() -> None:
    """Make all header fields and messages of this process lean. Call it once."""
    headers: Any = http.Headers
    headers.get_all, headers.get, headers.__contains__ = _get_all, _get, _contains
    data: Any = http.MessageData
    data.__post_init__ = lambda _self: None
