"""Headers of each change over the API that tell whether DNS and proxy apply the newest rules."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hedgerow.dashboards.control import Enforcement, InvalidInput
from hedgerow.dashboards.words.enforcement import enforcement_text
from hedgerow.dashboards.words.languages import language

IN_FORCE, PROBLEM = "Hedgerow-In-Force", "Hedgerow-Problem"
"""`?1` or `?0` (a boolean of RFC 9651), and a percent-encoded sentence if something is wrong."""

_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class EnforcementHeaders:
    """Middleware that adds the headers to successful changes below `/api/`."""

    def __init__(self, app: ASGIApp, enforcement: Callable[[], Enforcement]) -> None:
        self._app, self._enforcement = app, enforcement

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _CHANGES or not scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                self._add(MutableHeaders(scope=message))
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _add(self, headers: MutableHeaders) -> None:
        try:
            state = self._enforcement()
        except InvalidInput:  # Hedgerow is still starting
            return
        headers[IN_FORCE] = "?1" if state.is_complete else "?0"
        if not state.is_complete or state.problem:
            headers[PROBLEM] = quote(enforcement_text(state, language("en")), safe=" ():,'/")
