"""Who gives, answers or changes something by the API: the name of the token or the account, for the journal."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import io
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from hedgerow.dashboards.api.problems import PROBLEM_RESPONSES
from hedgerow.dashboards.control import Control, ExplanationView, InvalidInput, Status
from hedgerow.journal.reader import DecisionFilter, DecisionPage, DecisionRow, DeviceRow, JournalReader, RequestRow
from hedgerow.policies.model import Grant, GrantDuration, Pause, Reason, RequestKind, Verdict


def _actor(request: Request) -> str:
    return str(request.state.principal.name)


type Actor = Annotated[str, Depends(_actor)]


_DAY = 86400.0


@dataclass(frozen=True, slots=True)
class GrantsView:
    """What holds beyond the policy file."""

    grants: tuple[Grant, ...]
    pauses: tuple[Pause, ...]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Approval(_Body):
    """For how long."""

    how_long: GrantDuration


class GrantTarget(_Body):
    """A device or a person; neither means everybody."""

    device: str | None = Field(None, max_length=253)
    person: str | None = Field(None, max_length=253)


class PauseOrder(GrantTarget):
    """For whom, and for how many minutes; without minutes until resumed."""

    minutes: float | None = Field(None, gt=0, le=60 * 24 * 365)


class GrantOrder(GrantTarget, Approval):
    """What is to be allowed: a site, a URL pattern, a service or a category; and why, for those who see it."""

    subject: str = Field(min_length=1, max_length=2048)
    note: str = Field("", max_length=300)


Cursor = Annotated[int | None, Query(ge=1, le=2**62, description="the `older` of the page before")]
RequestId = Annotated[int, Path(ge=1, le=2**62)]
Text = Annotated[str | None, Query(max_length=2048)]
Instant = Annotated[float | None, Query(ge=0, le=2**40, description="seconds since the epoch")]


def make_access_api(reader: JournalReader, control: Control, clock: Callable[[], float] = time.time) -> APIRouter:
    """All routes under /api/v1."""
    api = APIRouter(prefix="/api/v1", responses=PROBLEM_RESPONSES)
    _add_access_reads(api, reader, control, clock)
    _add_access_changes(api, control, clock)
    return api


def _add_access_reads(api: APIRouter, reader: JournalReader, control: Control, clock: Callable[[], float]) -> None:
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
        kind: RequestKind | None = None,
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
    async def grants() -> GrantsView:
        now = clock()
        return GrantsView(await run_in_threadpool(reader.grants, now), await run_in_threadpool(reader.pauses, now))

    @api.get("/explain")
    async def explain(
        device: Annotated[str, Query(max_length=253)], target: Annotated[str, Query(max_length=8192)], at: Instant = None
    ) -> tuple[ExplanationView, ...]:
        return await control.explain(device, target, at)


def _add_access_changes(api: APIRouter, control: Control, clock: Callable[[], float]) -> None:
    @api.post("/requests/{request_id}/approve")
    async def approve(actor: Actor, request_id: RequestId, approval: Approval) -> Grant:
        return await control.approve(request_id, approval.how_long, actor)

    @api.post("/requests/{request_id}/deny", status_code=204)
    async def deny(actor: Actor, request_id: RequestId) -> None:
        await control.deny(request_id, actor)

    @api.post("/grants", status_code=201)
    async def give(actor: Actor, order: GrantOrder) -> Grant:
        _check_target(order)
        ends = order.how_long.end(clock(), ZoneInfo(control.status().timezone))
        return await control.give(order.subject, actor, device=order.device, person=order.person, ends=ends, note=order.note)

    @api.delete("/grants/{grant_id}", status_code=204)
    async def revoke(actor: Actor, grant_id: str) -> None:
        await control.revoke(grant_id, actor)

    @api.post("/pause", status_code=201)
    async def pause(actor: Actor, whom: PauseOrder) -> Pause:
        _check_target(whom)
        ends = None if whom.minutes is None else clock() + whom.minutes * 60
        return await control.pause(actor, device=whom.device, person=whom.person, ends=ends)

    @api.post("/resume", status_code=204)
    async def resume(actor: Actor, whom: GrantTarget) -> None:
        _check_target(whom)
        await control.resume(actor, device=whom.device, person=whom.person)


def _check_target(whom: GrantTarget) -> None:
    if whom.device is not None and whom.person is not None:
        raise InvalidInput("Name a device or a person, not both.")


LISTENERS = 20
"""Streams of events at a time: each asks the journal once a second."""
_POLL_INTERVAL_S = 1.0
_POLLS_PER_PING = 15
_PAGE = 1000
_FIELDS = tuple(field.name for field in dataclasses.fields(DecisionRow))

type ExportText = Annotated[str | None, Query(max_length=2048)]
type ExportInstant = Annotated[float | None, Query(ge=0, le=2**40, description="seconds since the epoch")]


class ExportFormat(StrEnum):
    CSV = "csv"
    NDJSON = "ndjson"


def add_stream_routes(api: APIRouter, reader: JournalReader) -> None:
    """Adds the routes."""

    @api.get("/decisions/export", response_class=StreamingResponse, responses=_stream_responses("text/csv", "application/x-ndjson"))
    async def export(
        format: ExportFormat = ExportFormat.NDJSON,
        device: ExportText = None,
        person: ExportText = None,
        verdict: Annotated[str | None, Query(max_length=20)] = None,
        reason: Reason | None = None,
        kind: RequestKind | None = None,
        host: ExportText = None,
        since: ExportInstant = None,
        before: ExportInstant = None,
    ) -> Response:
        """All decisions that fit, the newest first, read page by page while they are sent."""
        if verdict and verdict not in set(Verdict):
            raise InvalidInput("There is no such verdict.")
        chosen = Verdict(verdict) if verdict else None
        wanted = DecisionFilter(device or None, person or None, chosen, reason, kind, host or None, since, before)
        rows = _all_decisions(reader, wanted)
        if format is ExportFormat.CSV:
            headers = {"Content-Disposition": 'attachment; filename="hedgerow-decisions.csv"'}
            return StreamingResponse(_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)
        lines = (json.dumps(dataclasses.asdict(row), ensure_ascii=False) + "\n" for row in rows)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    listening: set[object] = set()

    @api.get("/events", response_class=StreamingResponse, responses=_stream_responses("text/event-stream"))
    async def events() -> Response:
        """Decisions and requests for access from now on, as server-sent events."""
        if len(listening) >= LISTENERS:
            raise InvalidInput("%(LISTENERS)s are listening already.", LISTENERS=LISTENERS)
        mark = object()
        listening.add(mark)

        async def watched() -> AsyncIterator[str]:
            try:
                async for text in _event_stream(reader):
                    yield text
            finally:
                listening.discard(mark)

        return StreamingResponse(watched(), media_type="text/event-stream")


def _stream_responses(*media_types: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": "As they are read", "content": {media: {"schema": {"type": "string"}} for media in media_types}}}


def _all_decisions(reader: JournalReader, wanted: DecisionFilter) -> Iterator[DecisionRow]:
    cursor = None
    while True:
        page = reader.decisions(wanted, cursor=cursor, limit=_PAGE)
        yield from page.rows
        cursor = page.older
        if cursor is None:
            return


def _csv(rows: Iterator[DecisionRow]) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_FIELDS)
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in _FIELDS])
        yield out.getvalue()
        out.seek(0)
        out.truncate()
    yield out.getvalue()


def _cell(value: object) -> object:
    """Text that a spreadsheet would take for a formula gets an apostrophe.

    >>> _cell("=1+1"), _cell("www.example.org"), _cell(None)
    ("'=1+1", 'www.example.org', '')
    """
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") and value else value


async def _event_stream(reader: JournalReader) -> AsyncIterator[str]:
    seen, asked = await run_in_threadpool(_newest_ids, reader)
    yield ": listening\n\n"
    quiet = 0
    while True:
        await asyncio.sleep(_POLL_INTERVAL_S)
        page = await run_in_threadpool(reader.decisions, None, limit=200)
        fresh = [row for row in reversed(page.rows) if row.id > seen]
        requests = [row for row in reversed(await run_in_threadpool(reader.requests)) if row.id > asked]
        for kind, rows in (("decision", fresh), ("request", requests)):
            for row in rows:
                yield f"event: {kind}\nid: {row.id}\ndata: {json.dumps(dataclasses.asdict(row), ensure_ascii=False)}\n\n"
        seen = max([seen, *(row.id for row in fresh)])
        asked = max([asked, *(row.id for row in requests)])
        quiet = 0 if fresh or requests else quiet + 1
        if quiet >= _POLLS_PER_PING:
            quiet = 0
            yield ": still here\n\n"


def _newest_ids(reader: JournalReader) -> tuple[int, int]:
    rows, requests = reader.decisions(limit=1).rows, reader.requests(None, limit=1)
    return (rows[0].id if rows else 0), (requests[0].id if requests else 0)
