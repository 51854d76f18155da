"""JSON for codes that somebody reads out over the phone: made here by those in charge, typed on the child's own page or a block page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from hedgerow.dashboards.api.access import Actor
from hedgerow.dashboards.api.problems import PROBLEM_RESPONSES
from hedgerow.dashboards.audit import AuditRow
from hedgerow.journal.access_store import AccessCode, Voucher, VoucherCount
from hedgerow.journal.reader import DailyBlockedCount, JournalReader
from hedgerow.policies.model import GrantDuration, Policy

DEFAULT_VALID_MINUTES = 15


class WrongCode(Exception):
    """What was typed is no code here. The message is a sentence for who typed it, and tells nothing about codes that there are."""


class CodeOrder(BaseModel):
    """Either a request that the code answers, or whom it is for and what it gives: minutes on top, or something that it opens."""

    model_config = ConfigDict(extra="forbid")

    request: int | None = Field(None, ge=1, le=2**62)
    device: str | None = Field(None, max_length=253)
    person: str | None = Field(None, max_length=253)
    subject: str = Field("", max_length=2048)
    how_long: GrantDuration = GrantDuration.HOUR
    minutes: int | None = Field(None, ge=1, le=24 * 60)
    valid_minutes: int = Field(DEFAULT_VALID_MINUTES, ge=1, le=24 * 60)


@dataclass(frozen=True, slots=True)
class MadeCode:
    """`digits` are told this once."""

    digits: str
    code: AccessCode


class CodeControl(Protocol):
    """Raises `InvalidInput` for unknown names, `NoSuchEntry` where a request or a code is not open."""

    async def make(self, order: CodeOrder, actor: str) -> MadeCode:
        """Makes a code."""
        ...

    async def open(self) -> tuple[AccessCode, ...]:
        """The codes that can still be used; their digits are known to nobody."""
        ...

    async def withdraw(self, code_id: str) -> None:
        """Makes a code useless."""
        ...

    async def redeem(self, device_id: str, typed: str) -> AccessCode:
        """Takes a code that was typed at a device, which holds at both points when this returns. Raises `WrongCode`."""
        ...


def make_code_api(control: CodeControl) -> APIRouter:
    """Routes under /api/v1."""
    api = APIRouter(prefix="/api/v1", responses=PROBLEM_RESPONSES)

    @api.post("/codes", status_code=201)
    async def make(actor: Actor, order: CodeOrder) -> MadeCode:
        return await control.make(order, actor)

    @api.get("/codes")
    async def codes() -> tuple[AccessCode, ...]:
        return await control.open()

    @api.delete("/codes/{code_id}", status_code=204)
    async def withdraw(code_id: str) -> None:
        await control.withdraw(code_id)

    return api


MAX_VOUCHERS_PER_ORDER = 200
AUDIT_DAYS = 31


class VoucherOrder(BaseModel):
    """So many vouchers, each for one session of `minutes` that begins within `valid_days`."""

    model_config = ConfigDict(extra="forbid")

    count: int = Field(ge=1, le=MAX_VOUCHERS_PER_ORDER)
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

    async def make(self, order: VoucherOrder, actor: str) -> MadeVouchers:
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


def audit(reader: JournalReader, policy: Policy, first: date, last: date) -> tuple[AuditRow, ...]:
    """Both days included. Of the seats together: neither seats nor guests nor sites are told apart. Waits for the disk."""
    seats = [device.id for device in policy.devices.values() if device.is_seat]
    return tuple(map(_audit_row, reader.blocked_by_day(seats, _day_number(first), _day_number(last))))


def _audit_row(counted: DailyBlockedCount) -> AuditRow:
    return AuditRow(f"{_EPOCH + timedelta(days=counted.day)}", counted.reason.value, counted.what, counted.count)


_EPOCH = date(1970, 1, 1)


def _day_number(day: date) -> int:
    return (day - _EPOCH).days


def last_days(now: float, first: date | None = None, last: date | None = None) -> tuple[date, date]:
    """What an audit tells where nobody says otherwise: up to today, and a month of it."""
    last = last or datetime.fromtimestamp(now, UTC).date()
    return first or last - min(timedelta(days=AUDIT_DAYS - 1), last - date.min), last


def make_voucher_api(control: VoucherControl) -> APIRouter:
    """Routes under /api/v1."""
    api = APIRouter(prefix="/api/v1", responses=PROBLEM_RESPONSES)

    @api.post("/vouchers", status_code=201)
    async def make(actor: Actor, order: VoucherOrder) -> MadeVouchers:
        return await control.make(order, actor)

    @api.get("/vouchers")
    async def vouchers() -> tuple[VoucherCount, ...]:
        return await control.open()

    @api.delete("/vouchers")
    async def withdraw() -> dict[str, int]:
        return {"withdrawn": await control.withdraw()}

    return api


def add_audit_routes(api: APIRouter, reader: JournalReader, policy: Callable[[], Policy], clock: Callable[[], float]) -> None:
    """`GET /audit`."""

    @api.get("/audit")
    async def audited(first: Annotated[date | None, Query()] = None, last: Annotated[date | None, Query()] = None) -> tuple[AuditRow, ...]:
        since, until = last_days(clock(), first, last)
        if since > until:
            raise HTTPException(422, f"There are no days from {since} to {until}: the first comes after the last.")
        return await run_in_threadpool(audit, reader, policy(), since, until)
