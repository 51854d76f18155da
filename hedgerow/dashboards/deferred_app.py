"""The web application, loaded with the first request that needs it: with its libraries it takes 35 MB and a second of processor time.

Health checks don't need it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hedgerow.dashboards.control import Status

HEALTH_PATH = "/healthz"


def health_response(status: Status) -> PlainTextResponse:
    """Return the response to a health check."""
    is_well = all(worker.state == "running" for worker in status.workers)
    return PlainTextResponse("ok\n" if is_well else "some workers are not running\n", 200 if is_well else 503)


class DeferredApp:
    """An ASGI application that has `load` return the real one, once, in a thread. Requests wait for it meanwhile.

    FastAPI builds its routes under a lock of threads: a request meanwhile would hold the loop, and with it the heartbeat.
    """

    def __init__(self, load: Callable[[], ASGIApp], status: Callable[[], Status]) -> None:
        self._load, self._status = load, status
        self._loading: asyncio.Future[ASGIApp] | None = None
        self._app: ASGIApp | None = None

    async def load(self) -> ASGIApp:
        """Return the real application. If it can't be loaded, the next call tries again."""
        if self._app is None:
            if self._loading is None or self._loading.done():
                self._loading = asyncio.ensure_future(asyncio.to_thread(self._load))
            self._app = await asyncio.shield(self._loading)
        return self._app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None and scope["type"] == "http" and scope["path"] == HEALTH_PATH and scope["method"] in ("GET", "HEAD"):
            await health_response(self._status())(scope, receive, send)
        else:
            app = self._app or await self.load()
            await app(scope, receive, send)
