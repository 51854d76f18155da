"""API of time: budgets, bonus minutes, and sessions at seats and shared devices."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path

from hedgerow.dashboards.actions.operations import TimeControl
from hedgerow.dashboards.control import BudgetRow
from hedgerow.dashboards.routes import OPERATE, READ, ScopedRouter
from hedgerow.policies.expiry import UpcomingEnd
from hedgerow.policies.model import Session

Device = Annotated[str, Path(max_length=253)]


def add_time_routes(api: ScopedRouter, control: TimeControl) -> None:
    """Add the routes."""

    @api.serve("GET", "/budgets", OPERATE, READ)
    async def budgets() -> tuple[BudgetRow, ...]:
        """Return the state of all budgets."""
        return control.budgets()

    @api.serve("GET", "/endings/{device}", READ)
    async def endings(device: Device) -> tuple[UpcomingEnd, ...]:
        """Return what ends a device's time within minutes."""
        return control.endings(device)

    @api.serve("GET", "/sessions", OPERATE, READ)
    async def sessions() -> tuple[Session, ...]:
        return control.sessions()
