"""API of access codes, and of the audit of a café's seats.

A code is read out over the phone and typed on the child's own page or on a block page.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Annotated

from fastapi import Query
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from hedgerow.dashboards.actions.operations import CodeControl
from hedgerow.dashboards.audit import AuditRow, audit, audit_period
from hedgerow.dashboards.routes import OPERATE, READ, ScopedRouter
from hedgerow.journal.access_store import AccessCode
from hedgerow.journal.reader import JournalReader
from hedgerow.policies.model import Policy


def add_code_routes(api: ScopedRouter, control: CodeControl) -> None:
    """Add the routes."""

    @api.serve("GET", "/codes", OPERATE, READ)
    async def codes() -> tuple[AccessCode, ...]:
        """List the codes that can still be used, without their digits."""
        return await control.open()


def add_audit_routes(
    api: ScopedRouter, reader: JournalReader, policy: Callable[[], Policy], clock: Callable[[], float]
) -> None:
    """Add the routes."""

    @api.serve("GET", "/audit", OPERATE, READ)
    async def audited(
        first: Annotated[date | None, Query()] = None, last: Annotated[date | None, Query()] = None
    ) -> tuple[AuditRow, ...]:
        """Count the blocks at the seats by day and reason, without names; by default of a month."""
        since, until = audit_period(clock(), first, last)
        if since > until:
            raise HTTPException(422, f"There are no days from {since} to {until}: the first comes after the last.")
        return await run_in_threadpool(audit, reader, policy(), since, until)
