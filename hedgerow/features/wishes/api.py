"""API of wishes: those that wait for an answer, and those of the last 30 days."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.pages.context import PageContext
from hedgerow.dashboards.routes import OPERATE, READ, ScopedRouter
from hedgerow.features.wishes.answers import wishes_of
from hedgerow.features.wishes.records import Wish


def add_wish_routes(api: ScopedRouter, context: PageContext) -> None:
    """Add the routes."""

    @api.serve("GET", "/wishes", OPERATE, READ)
    async def wishes() -> tuple[Wish, ...]:
        """Return the wishes of children that wait for an answer or are talked about, the newest first."""
        return await run_in_threadpool(context.part(wishes_of).store.unanswered, context.clock())

    @api.serve("GET", "/wishes/answered", OPERATE, READ)
    async def answered() -> tuple[Wish, ...]:
        """Return the wishes of the last 30 days that are answered, closed or lapsed, the newest first."""
        return await run_in_threadpool(context.part(wishes_of).store.answered, context.clock())
