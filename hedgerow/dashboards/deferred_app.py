"""The web application, loaded with the first request that needs it: with its libraries it takes 35 MB and a second of processor time.

Health checks don't need it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hedgerow.dashboards.control import Status


def health_response(status: Status) -> PlainTextResponse:
    """Return the response to `/healthz`: 200 while every process serves."""
    return _check_response(_worker_problems(status))


def readiness_response(status: Status) -> PlainTextResponse:
    """Return the response to `/readyz`: 200 while every process serves and applies all that the policy asks for."""
    return _check_response(readiness_problems(status))


def readiness_problems(status: Status) -> list[str]:
    """Return the reasons why the policy is not wholly applied. None of them names anybody."""
    problems = _worker_problems(status)
    if status.policy_problems:
        problems.append("the newest policy has mistakes, and the last good one is in force")
    if not status.rules_in_force:
        problems.append("the newest rules are not in force")
    if any(not each.is_in_force and (each.waiting or each.problem) for each in status.lists):
        problems.append("lists are missing")
    return problems


HEALTH_CHECKS = {"/healthz": health_response, "/readyz": readiness_response}
"""The paths of health checks. Anybody may ask, so an answer names no list, file or person."""


def _worker_problems(status: Status) -> list[str]:
    return [] if all(worker.state == "running" for worker in status.workers) else ["some workers are not running"]


def _check_response(problems: list[str]) -> PlainTextResponse:
    return PlainTextResponse("".join(f"{each}\n" for each in problems or ["ok"]), 503 if problems else 200)


class DeferredApp:
    """An ASGI application that calls `load` for the real one, once, in a thread. Requests wait for it meanwhile."""

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
        is_simple = self._app is None and scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if is_simple and (check := HEALTH_CHECKS.get(scope["path"])) is not None:
            await check(self._status())(scope, receive, send)
        else:
            app = self._app or await self.load()
            await app(scope, receive, send)
