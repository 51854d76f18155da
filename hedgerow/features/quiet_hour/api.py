"""API of the quiet hour that runs."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.pages.context import PageContext
from hedgerow.dashboards.routes import OPERATE, READ, ScopedRouter
from hedgerow.features.quiet_hour.actions import QUIET_HOUR_PATH
from hedgerow.features.quiet_hour.hours import QuietHour, quiet_hours


def add_quiet_hour_routes(api: ScopedRouter, context: PageContext) -> None:
    """Add the route."""

    @api.serve("GET", QUIET_HOUR_PATH, OPERATE, READ)
    async def quiet_hour() -> QuietHour | None:
        """Return the quiet hour that runs, null without one."""
        return await run_in_threadpool(context.part(quiet_hours).running, context.clock())
