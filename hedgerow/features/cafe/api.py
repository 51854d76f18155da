"""API of a café's counter: its entries, reports, payments and staff, and the audit of its seats."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Annotated

from fastapi import Path, Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from hedgerow.dashboards.api.schema import StrictModel
from hedgerow.dashboards.metrics import Metrics
from hedgerow.dashboards.pages.context import PageContext
from hedgerow.dashboards.routes import ADMIN, OPERATE, READ, ScopedRouter
from hedgerow.features.cafe.audit import AuditRow, audit, audit_period
from hedgerow.features.cafe.calls import SeatCall, seat_calls_of
from hedgerow.features.cafe.cash import Till, till
from hedgerow.features.cafe.counter_store import CounterEntry, CounterStore
from hedgerow.features.cafe.members import members_of
from hedgerow.features.cafe.metrics import MOVED_NOW
from hedgerow.features.cafe.settings import cafe_of
from hedgerow.features.cafe.shifts import ReportDays, ShiftReport, debts_of, shift_report
from hedgerow.features.cafe.staff import DEFAULT_ROLE, staff_of
from hedgerow.features.cafe.voucher_store import VoucherCount
from hedgerow.features.cafe.vouchers import vouchers_of
from hedgerow.policies.model import Policy, Session
from hedgerow.policies.seats import SEAT_PREFIX, is_adult_kind


@dataclass(frozen=True, slots=True)
class StaffView:
    """A member of the counter's staff."""

    name: str
    role: str
    created_at: float


@dataclass(frozen=True, slots=True)
class SeatTraffic:
    """Bits per second to a seat (`down`) and from it (`up`) in the last seconds, and the limits of its session; null
    for no limit.
    """

    seat: str
    down: int
    up: int
    down_limit: int | None = None
    up_limit: int | None = None


def seat_traffic(metrics: Metrics, policy: Policy, sessions: Iterable[Session]) -> tuple[SeatTraffic, ...]:
    """Return the traffic of the seats with a session; nothing while there is no gateway that counts it."""
    rates = metrics.levels(MOVED_NOW)
    found = []
    for session in sessions:
        seat, limit = session.device, cafe_of(policy).bandwidth.get((session.profile or "").removeprefix(SEAT_PREFIX))
        if (down := rates.get((seat, "down"))) is not None:
            down_limit, up_limit = (limit.down, limit.up) if limit is not None else (None, None)
            found.append(SeatTraffic(seat, int(8 * down), int(8 * rates.get((seat, "up"), 0.0)), down_limit, up_limit))
    return tuple(found)


class StaffOrder(StrictModel):
    """A role, and a PIN of 4 to 12 digits."""

    role: str = Field(DEFAULT_ROLE, max_length=40)
    pin: str = Field(max_length=40)


type StaffName = Annotated[str, Path(max_length=60)]
type Day = Annotated[date | None, Query(description="a day of business, which begins at 5:00; by default today")]
type Person = Annotated[
    str | None, Query(max_length=100, description="somebody who works at the counter; by default everybody")
]


def add_routes(api: ScopedRouter, context: PageContext) -> None:
    """Add the routes."""
    store, policy_in_force = CounterStore(context.reader.store), context.control.policy

    async def entries_of(first: date | None, last: date | None, person: str | None) -> tuple[CounterEntry, ...]:
        period = ReportDays.of(first, last, policy_in_force().network.timezone, context.clock())
        return await run_in_threadpool(store.entries, period.since, period.before, person)

    @api.serve("GET", "/counter/entries", OPERATE, READ)
    async def entries(first: Day = None, last: Day = None, person: Person = None) -> tuple[CounterEntry, ...]:
        """Return the entries of the counter, in order. Amounts are in the smallest unit of their currency."""
        return await entries_of(first, last, person)

    @api.serve("GET", "/counter/report", OPERATE, READ)
    async def report(first: Day = None, last: Day = None, person: Person = None) -> ShiftReport:
        """Return the totals of the counter for some days."""
        policy = policy_in_force()
        found, members = await entries_of(first, last, person), await run_in_threadpool(context.part(members_of).all)
        debts = debts_of(await run_in_threadpool(store.unpaid), members)
        return shift_report(found, lambda kind: is_adult_kind(kind, policy.profiles), debts)

    @api.serve("GET", "/counter/till", OPERATE, READ)
    async def till_now(
        currency: Annotated[str | None, Query(max_length=3, description="by default that of the policy")] = None,
    ) -> Till:
        """Return what should be in the till now."""
        return await run_in_threadpool(till, store, policy_in_force(), context.clock(), currency)

    @api.serve("GET", "/counter/traffic", OPERATE, READ)
    async def traffic() -> tuple[SeatTraffic, ...]:
        """Return the traffic of seats with a session, where the policy limits their bandwidth (`cafe.bandwidth`)."""
        return seat_traffic(context.metrics, policy_in_force(), context.time.sessions())

    @api.serve("GET", "/counter/calls", OPERATE, READ)
    async def calls() -> tuple[SeatCall, ...]:
        """Return the seats that have called the staff, the longest first, until somebody answers."""
        return context.part(seat_calls_of).open()

    @api.serve("GET", "/audit", OPERATE, READ)
    async def audited(
        first: Annotated[date | None, Query()] = None, last: Annotated[date | None, Query()] = None
    ) -> tuple[AuditRow, ...]:
        """Count the blocks at the seats by day and reason, without names; by default of a month."""
        since, until = audit_period(context.clock(), first, last)
        if since > until:
            raise HTTPException(422, f"There are no days from {since} to {until}: the first comes after the last.")
        return await run_in_threadpool(audit, context.reader, policy_in_force(), since, until)

    @api.serve("GET", "/staff", ADMIN)
    async def members() -> tuple[StaffView, ...]:
        """List the people who work at the counter."""
        return tuple(StaffView(row.name, row.role, row.created_at) for row in await context.part(staff_of).members())

    @api.serve("PUT", "/staff/{name}", ADMIN, status_code=204)
    async def put(name: StaffName, order: StaffOrder) -> None:
        """Add somebody to the staff, or change their role and PIN."""
        await context.part(staff_of).put(name, order.role, order.pin)

    @api.serve("DELETE", "/staff/{name}", ADMIN, status_code=204)
    async def remove(name: StaffName) -> None:
        await context.part(staff_of).remove(name)

    @api.serve("GET", "/vouchers", OPERATE, READ)
    async def vouchers() -> tuple[VoucherCount, ...]:
        """Count the vouchers that can still be used."""
        return await context.part(vouchers_of).open()
