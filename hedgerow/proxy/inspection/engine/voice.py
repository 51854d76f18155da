"""How the protocol code has what went wrong told to people."""

from __future__ import annotations

from typing import Protocol

from mitmproxy import http

from hedgerow.proxy.pages.answer import Answer


class Voice(Protocol):
    """Says in people's words what went wrong: a status, mitmproxy's message, the request if it could be read, and whose it was."""

    def __call__(self, status: int, message: str, request: http.Request | None, client: str) -> Answer: ...
