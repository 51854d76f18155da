"""JSON for scripts, under /api/v1."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.api.control import Control, Explanation, HowLong, Status, Unfit
from hedgerow.dashboards.api.giver import Giver
from hedgerow.dashboards.api.problems import PROBLEMS
from hedgerow.dashboards.pages.words import end_of
from hedgerow.journal.read import DecisionPage, DeviceRow, Reader, RequestRow
from hedgerow.journal.search import DecisionFilter
from hedgerow.policies.model import Grant, Kind, Pause, Reason, Verdict

_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Grants:
    """What holds beyond the policy file."""

    grants: tuple[Grant, ...]
    pauses: tuple[Pause, ...]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Approval(_Body):
    """For how long."""

    how_long: HowLong


class Whom(_Body):
    """A device or a person; neither means everybody."""

    device: str | None = Field(None, max_length=253)
    person: str | None = Field(None, max_length=253)


class PauseOrder(Whom):
    """For whom, and for how many minutes; without minutes until resumed."""

    minutes: float | None = Field(None, gt=0, le=60 * 24 * 365)


class GrantOrder(Whom, Approval):
    """What is to be allowed: a site, a URL pattern, a service or a category; and why, for those who see it."""

    subject: str = Field(min_length=1, max_length=2048)
    note: str = Field("", max_length=300)


Cursor = Annotated[int | None, Query(ge=1, le=2**62, description="the `older` of the page before")]
RequestId = Annotated[int, Path(ge=1, le=2**62)]
Text = Annotated[str | None, Query(max_length=2048)]
Instant = Annotated[float | None, Query(ge=0, le=2**40, description="seconds since the epoch")]


def make_api(reader: Reader, control: Control, clock: Callable[[], float] = time.time) -> APIRouter:
    """All routes under /api/v1."""
    api = APIRouter(prefix="/api/v1", responses=PROBLEMS)
    _add_readings(api, reader, control, clock)
    _add_changes(api, control, clock)
    return api


def _add_readings(api: APIRouter, reader: Reader, control: Control, clock: Callable[[], float]) -> None:
    @api.get("/status")
    async def status() -> Status:
        return control.status()

    @api.get("/devices")
    async def devices(since: Instant = None) -> tuple[DeviceRow, ...]:
        return await run_in_threadpool(reader.devices, clock() - _DAY if since is None else since)

    @api.get("/decisions")
    async def decisions(
        device: Text = None,
        person: Text = None,
        verdict: Verdict | None = None,
        reason: Reason | None = None,
        kind: Kind | None = None,
        host: Text = None,
        since: Instant = None,
        before: Instant = None,
        cursor: Cursor = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> DecisionPage:
        wanted = DecisionFilter(device, person, verdict, reason, kind, host, since, before)
        return await run_in_threadpool(reader.decisions, wanted, cursor=cursor, limit=limit)

    @api.get("/requests")
    async def requests(state: Annotated[str, Query(pattern="^(open|approved|denied|all)$")] = "open") -> tuple[RequestRow, ...]:
        return await run_in_threadpool(reader.requests, None if state == "all" else state)

    @api.get("/grants")
    async def grants() -> Grants:
        now = clock()
        return Grants(await run_in_threadpool(reader.grants, now), await run_in_threadpool(reader.pauses, now))

    @api.get("/explain")
    async def explain(
        device: Annotated[str, Query(max_length=253)], target: Annotated[str, Query(max_length=8192)], at: Instant = None
    ) -> tuple[Explanation, ...]:
        return await control.explain(device, target, at)


def _add_changes(api: APIRouter, control: Control, clock: Callable[[], float]) -> None:
    @api.post("/requests/{request_id}/approve")
    async def approve(giver: Giver, request_id: RequestId, approval: Approval) -> Grant:
        return await control.approve(request_id, approval.how_long, giver)

    @api.post("/requests/{request_id}/deny", status_code=204)
    async def deny(giver: Giver, request_id: RequestId) -> None:
        await control.deny(request_id, giver)

    @api.post("/grants", status_code=201)
    async def give(giver: Giver, order: GrantOrder) -> Grant:
        _check_one(order)
        ends = end_of(order.how_long, clock(), control.status().timezone)
        return await control.give(order.subject, giver, device=order.device, person=order.person, ends=ends, note=order.note)

    @api.delete("/grants/{grant_id}", status_code=204)
    async def revoke(giver: Giver, grant_id: str) -> None:
        await control.revoke(grant_id, giver)

    @api.post("/pause", status_code=201)
    async def pause(giver: Giver, whom: PauseOrder) -> Pause:
        _check_one(whom)
        ends = None if whom.minutes is None else clock() + whom.minutes * 60
        return await control.pause(giver, device=whom.device, person=whom.person, ends=ends)

    @api.post("/resume", status_code=204)
    async def resume(giver: Giver, whom: Whom) -> None:
        _check_one(whom)
        await control.resume(giver, device=whom.device, person=whom.person)


def _check_one(whom: Whom) -> None:
    if whom.device is not None and whom.person is not None:
        raise Unfit("Name a device or a person, not both.")
