"""API of access codes and vouchers, and of the audit of a café's seats.

A code is read out over the phone and typed on the child's own page or on a block page. A voucher opens a café seat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Annotated, Any

from fastapi import Query
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from hedgerow.dashboards.actions.operations import CodeControl, VoucherControl
from hedgerow.dashboards.audit import AuditRow, StatementControl, audit, audit_period
from hedgerow.dashboards.routes import OPERATE, READ, ScopedRouter
from hedgerow.journal.access_store import AccessCode, VoucherCount
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.statements import StatementStore
from hedgerow.policies.model import Policy

_STATEMENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "One statement per line", "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}
}
_PUBLIC_KEY: dict[int | str, dict[str, Any]] = {
    200: {"description": "The public key", "content": {"application/x-pem-file": {"schema": {"type": "string"}}}}
}


def add_code_routes(api: ScopedRouter, control: CodeControl) -> None:
    """Add the routes."""

    @api.serve("GET", "/codes", OPERATE, READ)
    async def codes() -> tuple[AccessCode, ...]:
        """List the codes that can still be used, without their digits."""
        return await control.open()


def add_voucher_routes(api: ScopedRouter, control: VoucherControl) -> None:
    """Add the routes."""

    @api.serve("GET", "/vouchers", OPERATE, READ)
    async def vouchers() -> tuple[VoucherCount, ...]:
        """Count the vouchers that can still be used."""
        return await control.open()


def add_audit_routes(
    api: ScopedRouter, reader: JournalReader, policy: Callable[[], Policy], statements: StatementControl, clock: Callable[[], float]
) -> None:
    """Add the routes."""

    @api.serve("GET", "/audit", OPERATE, READ)
    async def audited(first: Annotated[date | None, Query()] = None, last: Annotated[date | None, Query()] = None) -> tuple[AuditRow, ...]:
        """Count the blocks at the seats by day and reason, without names; by default of a month."""
        since, until = audit_period(clock(), first, last)
        if since > until:
            raise HTTPException(422, f"There are no days from {since} to {until}: the first comes after the last.")
        return await run_in_threadpool(audit, reader, policy(), since, until)

    @api.serve("GET", "/audit/statements", OPERATE, READ, response_class=Response, responses=_STATEMENTS)
    async def stated(site: Annotated[str | None, Query(max_length=100)] = None) -> Response:
        """Return the daily statements as lines of JSON, of this site or, from a store for several, of another."""
        store = reader.store if site is None else replace(reader.store, site=site)
        chain = await run_in_threadpool(StatementStore(store).chain)
        return Response("".join(f"{each.line}\n" for each in chain), media_type="application/x-ndjson")

    @api.serve("GET", "/audit/key", OPERATE, READ, response_class=Response, responses=_PUBLIC_KEY)
    async def key() -> Response:
        """Return the public key with which this machine signs statements, or receipts for those of other sites."""
        try:
            return Response(await run_in_threadpool(statements.public_key), media_type="application/x-pem-file")
        except (OSError, ValueError) as error:
            raise HTTPException(503, f"The key can't be used: {error}") from error
