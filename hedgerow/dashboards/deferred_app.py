"""The web application, loaded with the first request that needs it: with its libraries it takes 35 MB and a second of
processor time.

Health checks never need it: load balancers ask often, with any Host field or none, and without credentials.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from hedgerow.blocklists.rules import Problem
from hedgerow.dashboards.control import Status, WorkerHealth


@dataclass(frozen=True, slots=True)
class RunHealth:
    """The part of a run's state by which health checks answer, with the names of `Status`."""

    workers: tuple[WorkerHealth, ...]
    policy_problems: tuple[Problem, ...]
    rules_in_force: bool
    lists_are_missing: bool
    tasks_keep_rules: bool = True
    is_disk_full: bool = False


def health_of(status: Status) -> RunHealth:
    """Return the part of the whole state."""
    are_missing = any(each.is_missing for each in status.lists)
    fails = any(task.is_failing and task.area.is_for_filtering for task in status.tasks)
    return RunHealth(
        status.workers,
        status.policy_problems,
        status.rules_in_force,
        are_missing,
        tasks_keep_rules=not fails,
        is_disk_full=status.is_disk_full,
    )


def health_response(health: RunHealth) -> PlainTextResponse:
    """Return the response to `/healthz`: 200 while every process serves."""
    return _check_response(_worker_problems(health))


def readiness_response(health: RunHealth) -> PlainTextResponse:
    """Return the response to `/readyz`: 200 while every process serves and applies all that the policy asks for."""
    return _check_response(readiness_problems(health))


def readiness_problems(health: RunHealth) -> list[str]:
    """Return the reasons why the policy is not wholly applied. None of them names anybody."""
    problems = _worker_problems(health)
    if health.policy_problems:
        problems.append("the newest policy has mistakes, and the last good one is in force")
    if not health.rules_in_force:
        problems.append("the newest rules are not in force")
    if health.lists_are_missing:
        problems.append("lists are missing")
    if not health.tasks_keep_rules:
        problems.append("a part of Hedgerow keeps failing, without which the newest rules may not be enforced")
    if health.is_disk_full:
        problems.append("the disk is full, and changes can't be saved")
    return problems


HEALTH_CHECKS = {"/healthz": health_response, "/readyz": readiness_response}
"""The paths of health checks. Anybody may ask, so an answer names no list, file or person."""

_NEVER_STORED = {"Cache-Control": "no-store"}


def _worker_problems(health: RunHealth) -> list[str]:
    return [] if all(worker.state == "running" for worker in health.workers) else ["some workers are not running"]


def _check_response(problems: list[str]) -> PlainTextResponse:
    return PlainTextResponse(
        "".join(f"{each}\n" for each in problems or ["ok"]), 503 if problems else 200, _NEVER_STORED
    )


class DeferredApp:
    """An ASGI application that calls `load` for the real one, once, in a thread. Requests wait for it meanwhile.

    It answers health checks itself, by what `health` returns.
    """

    def __init__(self, load: Callable[[], ASGIApp], health: Callable[[], RunHealth]) -> None:
        self._load, self._health = load, health
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
        is_simple = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if is_simple and (check := HEALTH_CHECKS.get(scope["path"])) is not None:
            await check(self._health())(scope, receive, send)
        else:
            app = self._app or await self.load()
            await app(scope, receive, send)
