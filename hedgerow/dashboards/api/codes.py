"""API of access codes.

A code is read out over the phone and typed on the child's own page or on a block page.
"""

from __future__ import annotations

from hedgerow.dashboards.actions.operations import CodeControl
from hedgerow.dashboards.routes import OPERATE, READ, ScopedRouter
from hedgerow.journal.access_store import AccessCode


def add_code_routes(api: ScopedRouter, control: CodeControl) -> None:
    """Add the routes."""

    @api.serve("GET", "/codes", OPERATE, READ)
    async def codes() -> tuple[AccessCode, ...]:
        """List the codes that can still be used, without their digits."""
        return await control.open()
