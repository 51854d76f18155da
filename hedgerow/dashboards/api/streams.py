"""What goes on for long: exports of the journal, and events as they happen."""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import io
import json
from collections.abc import AsyncIterator, Iterator
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from hedgerow.dashboards.api.control import Unfit
from hedgerow.journal.read import DecisionRow, Reader
from hedgerow.journal.search import DecisionFilter
from hedgerow.policies.model import Kind, Reason, Verdict

LISTENERS = 20
"""Streams of events at a time: each asks the journal once a second."""
_EVERY_S = 1.0
_PING_AFTER = 15
_PAGE = 1000
_FIELDS = tuple(field.name for field in dataclasses.fields(DecisionRow))

type Text = Annotated[str | None, Query(max_length=2048)]
type Instant = Annotated[float | None, Query(ge=0, le=2**40, description="seconds since the epoch")]


class Format(StrEnum):
    CSV = "csv"
    NDJSON = "ndjson"


def add_streams(api: APIRouter, reader: Reader) -> None:
    """Adds the routes."""

    @api.get("/decisions/export", response_class=StreamingResponse, responses=_answers("text/csv", "application/x-ndjson"))
    async def export(
        format: Format = Format.NDJSON,
        device: Text = None,
        person: Text = None,
        verdict: Annotated[str | None, Query(max_length=20)] = None,
        reason: Reason | None = None,
        kind: Kind | None = None,
        host: Text = None,
        since: Instant = None,
        before: Instant = None,
    ) -> Response:
        """All decisions that fit, the newest first, read page by page while they are sent."""
        if verdict and verdict not in set(Verdict):
            raise Unfit("There is no such verdict.")
        chosen = Verdict(verdict) if verdict else None
        wanted = DecisionFilter(device or None, person or None, chosen, reason, kind, host or None, since, before)
        rows = _all(reader, wanted)
        if format is Format.CSV:
            headers = {"Content-Disposition": 'attachment; filename="hedgerow-decisions.csv"'}
            return StreamingResponse(_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)
        lines = (json.dumps(dataclasses.asdict(row), ensure_ascii=False) + "\n" for row in rows)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    listening: set[object] = set()

    @api.get("/events", response_class=StreamingResponse, responses=_answers("text/event-stream"))
    async def events() -> Response:
        """Decisions and requests for access from now on, as server-sent events."""
        if len(listening) >= LISTENERS:
            raise Unfit("%(LISTENERS)s are listening already.", LISTENERS=LISTENERS)
        mark = object()
        listening.add(mark)

        async def watched() -> AsyncIterator[str]:
            try:
                async for text in _live(reader):
                    yield text
            finally:
                listening.discard(mark)

        return StreamingResponse(watched(), media_type="text/event-stream")


def _answers(*media_types: str) -> dict[int | str, dict[str, Any]]:
    return {200: {"description": "As they are read", "content": {media: {"schema": {"type": "string"}} for media in media_types}}}


def _all(reader: Reader, wanted: DecisionFilter) -> Iterator[DecisionRow]:
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


async def _live(reader: Reader) -> AsyncIterator[str]:
    seen, asked = await run_in_threadpool(_newest, reader)
    yield ": listening\n\n"
    quiet = 0
    while True:
        await asyncio.sleep(_EVERY_S)
        page = await run_in_threadpool(reader.decisions, None, limit=200)
        fresh = [row for row in reversed(page.rows) if row.id > seen]
        requests = [row for row in reversed(await run_in_threadpool(reader.requests)) if row.id > asked]
        for kind, rows in (("decision", fresh), ("request", requests)):
            for row in rows:
                yield f"event: {kind}\nid: {row.id}\ndata: {json.dumps(dataclasses.asdict(row), ensure_ascii=False)}\n\n"
        seen = max([seen, *(row.id for row in fresh)])
        asked = max([asked, *(row.id for row in requests)])
        quiet = 0 if fresh or requests else quiet + 1
        if quiet >= _PING_AFTER:
            quiet = 0
            yield ": still here\n\n"


def _newest(reader: Reader) -> tuple[int, int]:
    rows, requests = reader.decisions(limit=1).rows, reader.requests(None, limit=1)
    return (rows[0].id if rows else 0), (requests[0].id if requests else 0)
