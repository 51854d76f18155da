"""JSON for a café's vouchers, and for what an inspection asks: what was blocked at the seats, without names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from hedgerow.dashboards.api.giver import Giver
from hedgerow.dashboards.api.problems import PROBLEMS
from hedgerow.dashboards.audit_rows import AuditRow
from hedgerow.journal.read import BlockedCount, Reader
from hedgerow.journal.vouchers import Voucher, VoucherCount
from hedgerow.policies.model import Policy

MOST_AT_ONCE = 200
AUDIT_DAYS = 31


class VoucherOrder(BaseModel):
    """So many vouchers, each for one session of `minutes` that begins within `valid_days`."""

    model_config = ConfigDict(extra="forbid")

    count: int = Field(ge=1, le=MOST_AT_ONCE)
    band: Literal["child", "adult"]
    minutes: int = Field(ge=1, le=24 * 60)
    valid_days: int = Field(30, ge=1, le=366)


@dataclass(frozen=True, slots=True)
class MadeVouchers:
    """`codes` are told this once."""

    codes: tuple[str, ...]
    voucher: Voucher


class VoucherControl(Protocol):
    """Vouchers of the running Hedgerow."""

    async def make(self, order: VoucherOrder, giver: str) -> MadeVouchers:
        """Makes vouchers."""
        ...

    async def open(self) -> tuple[VoucherCount, ...]:
        """How many can still be used, by kind; their codes are known to nobody."""
        ...

    async def withdraw(self) -> int:
        """Makes those useless that were not used yet; returns how many."""
        ...

    async def redeem(self, device_id: str, typed: str) -> None:
        """Opens a seat, or lets its session go on, by a code that was typed there. Raises `api.codes.WrongCode`."""
        ...


def audit(reader: Reader, policy: Policy, first: date, last: date) -> tuple[AuditRow, ...]:
    """Both days included. Of the seats together: neither seats nor guests nor sites are told apart. Waits for the disk."""
    seats = [device.id for device in policy.devices.values() if device.is_seat]
    return tuple(map(_row, reader.blocked_by_day(seats, _number(first), _number(last))))


def _row(counted: BlockedCount) -> AuditRow:
    return AuditRow(f"{_EPOCH + timedelta(days=counted.day)}", counted.reason.value, counted.what, counted.count)


_EPOCH = date(1970, 1, 1)


def _number(day: date) -> int:
    return (day - _EPOCH).days


def last_days(now: float, first: date | None = None, last: date | None = None) -> tuple[date, date]:
    """What an audit tells where nobody says otherwise: up to today, and a month of it."""
    last = last or datetime.fromtimestamp(now, UTC).date()
    return first or last - min(timedelta(days=AUDIT_DAYS - 1), last - date.min), last


def make_voucher_api(control: VoucherControl) -> APIRouter:
    """Routes under /api/v1."""
    api = APIRouter(prefix="/api/v1", responses=PROBLEMS)

    @api.post("/vouchers", status_code=201)
    async def make(giver: Giver, order: VoucherOrder) -> MadeVouchers:
        return await control.make(order, giver)

    @api.get("/vouchers")
    async def vouchers() -> tuple[VoucherCount, ...]:
        return await control.open()

    @api.delete("/vouchers")
    async def withdraw() -> dict[str, int]:
        return {"withdrawn": await control.withdraw()}

    return api


def add_audit(api: APIRouter, reader: Reader, policy: Callable[[], Policy], clock: Callable[[], float]) -> None:
    """`GET /audit`."""

    @api.get("/audit")
    async def audited(first: Annotated[date | None, Query()] = None, last: Annotated[date | None, Query()] = None) -> tuple[AuditRow, ...]:
        since, until = last_days(clock(), first, last)
        if since > until:
            raise HTTPException(422, f"There are no days from {since} to {until}: the first comes after the last.")
        return await run_in_threadpool(audit, reader, policy(), since, until)
