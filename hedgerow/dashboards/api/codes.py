"""API of access codes and vouchers, and of the audit of a café's seats.

A code is read out over the phone and typed on the child's own page or on a block page. A voucher opens a café seat.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Annotated, Any, Protocol

from fastapi import Path, Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from hedgerow.dashboards.api.schema import OnDuty, RequestKey, StrictModel
from hedgerow.dashboards.audit import AuditRow, StatementControl, audit, audit_period
from hedgerow.dashboards.control import MadeCode, MadeVouchers
from hedgerow.dashboards.routes import OPERATE, READ, ScopedRouter
from hedgerow.journal.access_store import AccessCode, VoucherCount
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.statements import StatementStore
from hedgerow.policies.model import GrantDuration, Policy

DEFAULT_VALID_MINUTES = 15
MAX_VOUCHERS_PER_ORDER = 200

_STATEMENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "One statement per line", "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}
}
_PUBLIC_KEY: dict[int | str, dict[str, Any]] = {
    200: {"description": "The public key", "content": {"application/x-pem-file": {"schema": {"type": "string"}}}}
}


class CodeOrder(StrictModel):
    """A code that approves a request, or that gives a device or person minutes or access to something."""

    request: int | None = Field(None, ge=1, le=2**62)
    device: str | None = Field(None, max_length=253)
    person: str | None = Field(None, max_length=253)
    subject: str = Field("", max_length=2048)
    how_long: GrantDuration = GrantDuration.HOUR
    minutes: int | None = Field(None, ge=1, le=24 * 60)
    valid_minutes: int = Field(DEFAULT_VALID_MINUTES, ge=1, le=24 * 60)


class CodeControl(Protocol):
    """Codes of the running Hedgerow. Raises `InvalidInput` for unknown names and `NoSuchEntry` for a request or code that is not open."""

    async def make(self, order: CodeOrder, actor: str) -> MadeCode:
        """Make a code."""

    async def open(self) -> tuple[AccessCode, ...]:
        """Return the codes that can still be used, without their digits."""

    async def withdraw(self, code_id: str) -> None:
        """Make a code invalid."""

    async def redeem(self, device_id: str, typed: str) -> AccessCode:
        """Redeem a code typed on a device; in force everywhere on return. Raises `WrongCode`."""


def add_code_routes(api: ScopedRouter, control: CodeControl) -> None:
    """Add the routes."""

    @api.serve("POST", "/codes", OPERATE, status_code=201)
    async def make(actor: OnDuty, order: CodeOrder) -> MadeCode:
        """Make a code that opens something, adds minutes or approves a request on a device without a sign-in."""
        return await control.make(order, actor)

    @api.serve("GET", "/codes", OPERATE, READ)
    async def codes() -> tuple[AccessCode, ...]:
        """List the codes that can still be used, without their digits."""
        return await control.open()

    @api.serve("DELETE", "/codes/{code_id}", OPERATE, status_code=204)
    async def withdraw(code_id: str) -> None:
        """Make a code invalid."""
        await control.withdraw(code_id)


class VoucherOrder(StrictModel):
    """`count` vouchers, each for one session of `minutes` that begins within `valid_days`.

    `band` is as for a seat. `paid`: the price is taken now, else when the voucher is used.
    """

    count: int = Field(ge=1, le=MAX_VOUCHERS_PER_ORDER)
    band: str = Field(max_length=100)
    minutes: int = Field(ge=1, le=24 * 60)
    valid_days: int = Field(30, ge=1, le=366)
    paid: bool = True


class VoucherControl(Protocol):
    """Vouchers of the running Hedgerow. `request` is as for `TimeControl`."""

    async def make(self, order: VoucherOrder, actor: str, request: str = "") -> MadeVouchers:
        """Make vouchers."""

    async def open(self) -> tuple[VoucherCount, ...]:
        """Return the number of usable vouchers of each kind."""

    async def credit(self, session_id: str, actor: str, request: str = "") -> MadeVouchers:
        """Make a voucher for the minutes of an ended session that were paid and not used. Raises `InvalidInput` if there are none."""

    async def withdraw(self, actor: str, request: str = "") -> int:
        """Make all unused vouchers invalid and return their number."""

    async def redeem(self, device_id: str, typed: str) -> None:
        """Open or extend the session at a seat with a voucher typed there. Raises `WrongCode`."""


def add_voucher_routes(api: ScopedRouter, control: VoucherControl) -> None:
    """Add the routes."""

    @api.serve("POST", "/vouchers", OPERATE, status_code=201)
    async def make(actor: OnDuty, key: RequestKey, order: VoucherOrder) -> MadeVouchers:
        """Make vouchers for sessions at a seat.

        The codes can be had again with the same `Idempotency-Key` for ten minutes, from the same machine.
        """
        return await control.make(order, actor, key)

    @api.serve("POST", "/vouchers/credit/{session}", OPERATE, status_code=201)
    async def credit(actor: OnDuty, key: RequestKey, session: Annotated[str, Path(max_length=40)]) -> MadeVouchers:
        """Make a voucher for the minutes of an ended session that were paid and not used."""
        return await control.credit(session, actor, key)

    @api.serve("GET", "/vouchers", OPERATE, READ)
    async def vouchers() -> tuple[VoucherCount, ...]:
        """Count the vouchers that can still be used."""
        return await control.open()

    @api.serve("DELETE", "/vouchers", OPERATE)
    async def withdraw(actor: OnDuty, key: RequestKey) -> dict[str, int]:
        """Make all unused vouchers invalid."""
        return {"withdrawn": await control.withdraw(actor, key)}


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
