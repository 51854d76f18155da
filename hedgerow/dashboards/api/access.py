"""API of decisions, requests, grants and pauses, with the log as a file and as a stream of events, and of personal
data.
"""

from __future__ import annotations

import asyncio
import csv
import dataclasses
import io
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from fastapi import Path, Query, Request
from pydantic import Field, TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from hedgerow.dashboards.api.schema import MAX_PAGE, Actor, PageLimit, PageOffset, StrictModel, one_page
from hedgerow.dashboards.api.seen_devices import SeenDevice, seen_devices
from hedgerow.dashboards.control import Control, ExplanationView, InvalidInput, SiteCorrections, Status
from hedgerow.dashboards.data_export import DataExport, csv_cell, ndjson_download
from hedgerow.dashboards.routes import MANAGE, OPERATE, READ, ScopedRouter
from hedgerow.dashboards.words.languages import language
from hedgerow.dashboards.words.reasons import reason_sentence
from hedgerow.journal.personal_data import ErasureResult
from hedgerow.journal.reader import DecisionFilter, DecisionPage, DecisionRow, JournalReader, RequestRow
from hedgerow.journal.remembered_sites import RememberedRow
from hedgerow.network.discovery import VendorLookup
from hedgerow.policies.model import Grant, Pause, Reason, RequestKind, Verdict

MAX_EVENT_STREAMS = 20
"""Each open stream of events queries the journal once per second."""

_DAY_S = 86400.0
_POLL_INTERVAL_S = 1.0
_POLLS_PER_PING = 15
_PAGE_ROWS = 1000
_FIELDS = tuple(field.name for field in dataclasses.fields(DecisionRow))
_ROW: TypeAdapter[DecisionRow | RequestRow] = TypeAdapter(DecisionRow | RequestRow)


@dataclass(frozen=True, slots=True)
class GrantsView:
    """Grants and pauses in force."""

    grants: tuple[Grant, ...]
    pauses: tuple[Pause, ...]


Cursor = Annotated[int | None, Query(ge=1, le=2**62, description="the `older` of the page before")]
Text = Annotated[str | None, Query(max_length=2048)]
Instant = Annotated[float | None, Query(ge=0, le=2**40, description="seconds since the epoch")]


class ExportFormat(StrEnum):
    CSV = "csv"
    NDJSON = "ndjson"


def add_access_routes(
    api: ScopedRouter, reader: JournalReader, control: Control, clock: Callable[[], float] = time.time
) -> None:
    """Add the routes."""
    _add_reads(api, reader, control, clock)
    _add_streams(api, reader)


def _add_reads(api: ScopedRouter, reader: JournalReader, control: Control, clock: Callable[[], float]) -> None:
    vendors = VendorLookup()

    @api.serve("GET", "/status", OPERATE, READ)
    async def status() -> Status:
        """Return the state of the processes, the policy, the lists and the journal."""
        return control.status()

    @api.serve("GET", "/devices", OPERATE, READ)
    async def devices(
        request: Request, response: Response, since: Instant = None, limit: PageLimit = MAX_PAGE, offset: PageOffset = 0
    ) -> tuple[SeenDevice, ...]:
        """Return devices that were seen, the latest first, each with its role in the home and whose it is.

        The header `Link` leads to the next page, if there is one.
        """
        begin = clock() - _DAY_S if since is None else since
        rows = await run_in_threadpool(lambda: reader.devices(begin, limit=limit + 1, offset=offset))
        page = one_page(request, response, rows, limit, offset)
        return await run_in_threadpool(seen_devices, control.policy(), page, vendors)

    @api.serve("GET", "/decisions", READ)
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

    @api.serve("GET", "/requests", OPERATE, READ)
    async def requests(
        state: Annotated[str, Query(pattern="^(open|approved|denied|all)$")] = "open",
    ) -> tuple[RequestRow, ...]:
        return await run_in_threadpool(reader.requests, None if state == "all" else state)

    @api.serve("GET", "/grants", OPERATE, READ)
    async def grants() -> GrantsView:
        """List the grants and pauses in force."""
        now = clock()
        return GrantsView(await run_in_threadpool(reader.grants, now), await run_in_threadpool(reader.pauses, now))

    @api.serve("GET", "/explain", READ)
    async def explain(
        device: Annotated[str, Query(max_length=253)],
        target: Annotated[str, Query(max_length=8192)],
        at: Instant = None,
    ) -> tuple[ExplanationView, ...]:
        told = await control.explain(device, target, at)
        english = language("en")
        return tuple(
            dataclasses.replace(each, why=reason_sentence(each.decision.reason, each.decision.what, english))
            for each in told
        )


def _add_streams(api: ScopedRouter, reader: JournalReader) -> None:
    @api.serve(
        "GET",
        "/decisions/export",
        READ,
        response_class=StreamingResponse,
        responses=_stream_responses("text/csv", "application/x-ndjson"),
    )
    async def export(
        format: ExportFormat = ExportFormat.NDJSON,
        device: Text = None,
        person: Text = None,
        verdict: Annotated[str | None, Query(max_length=20)] = None,
        reason: Reason | None = None,
        kind: RequestKind | None = None,
        host: Text = None,
        since: Instant = None,
        before: Instant = None,
    ) -> Response:
        """Export all matching decisions, newest first."""
        if verdict and verdict not in set(Verdict):
            raise InvalidInput("There is no such verdict.")
        chosen = Verdict(verdict) if verdict else None
        wanted = DecisionFilter(device or None, person or None, chosen, reason, kind, host or None, since, before)
        pages = _all_decisions(reader, wanted)
        if format is ExportFormat.CSV:
            headers = {"Content-Disposition": 'attachment; filename="hedgerow-decisions.csv"'}
            return StreamingResponse(_csv(pages), media_type="text/csv; charset=utf-8", headers=headers)
        lines = (b"".join(_ROW.dump_json(row) + b"\n" for row in page) for page in pages)
        return StreamingResponse(lines, media_type="application/x-ndjson")

    streams: set[object] = set()

    @api.serve(
        "GET", "/events", READ, response_class=StreamingResponse, responses=_stream_responses("text/event-stream")
    )
    async def events() -> Response:
        """Stream decisions and requests for access from now on as server-sent events."""
        if len(streams) >= MAX_EVENT_STREAMS:
            raise InvalidInput("%(count)s clients are listening already.", count=MAX_EVENT_STREAMS)
        stream = object()
        streams.add(stream)

        async def counted() -> AsyncIterator[bytes]:
            try:
                async for event in _event_stream(reader):
                    yield event
            finally:
                streams.discard(stream)

        return StreamingResponse(counted(), media_type="text/event-stream")


def _stream_responses(*media_types: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: {
            "description": "Rows as they are read",
            "content": {media: {"schema": {"type": "string"}} for media in media_types},
        }
    }


def add_site_routes(api: ScopedRouter, sites: SiteCorrections) -> None:
    """Add the routes of the sites that are remembered for their pages."""

    @api.serve("GET", "/sites/remembered", READ)
    async def remembered_sites() -> tuple[RememberedRow, ...]:
        """List the sites whose pages were recognised, the newest first.

        `at` is the instant of the last page, `ends` that of forgetting.
        """
        return await sites.sites()

    @api.serve("DELETE", "/sites/remembered/{host}", MANAGE, status_code=204)
    async def forget_site(actor: Actor, host: Annotated[str, Path(max_length=253)]) -> None:
        """Forget a site, and never remember it again."""
        await sites.correct(host, actor)


def _all_decisions(reader: JournalReader, wanted: DecisionFilter) -> Iterator[Sequence[DecisionRow]]:
    """Yield the rows a page at a time. Between two pages no connection to the journal is in use."""
    cursor = None
    while True:
        page = reader.decisions(wanted, cursor=cursor, limit=_PAGE_ROWS)
        yield page.rows
        cursor = page.older
        if cursor is None:
            return


def _csv(pages: Iterator[Sequence[DecisionRow]]) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_FIELDS)
    for rows in pages:
        writer.writerows([csv_cell(getattr(row, name)) for name in _FIELDS] for row in rows)
        yield out.getvalue()
        out.seek(0)
        out.truncate()


async def _event_stream(reader: JournalReader) -> AsyncIterator[bytes]:
    last_decision, last_request = await run_in_threadpool(_newest_ids, reader)
    yield b": listening\n\n"
    quiet_polls = 0
    while True:
        await asyncio.sleep(_POLL_INTERVAL_S)
        page = await run_in_threadpool(reader.decisions, None, limit=200)
        decisions = [row for row in reversed(page.rows) if row.id > last_decision]
        requests = [row for row in reversed(await run_in_threadpool(reader.requests)) if row.id > last_request]
        for kind, rows in (("decision", decisions), ("request", requests)):
            for row in rows:
                yield f"event: {kind}\nid: {row.id}\ndata: ".encode() + _ROW.dump_json(row) + b"\n\n"
        last_decision = max([last_decision, *(row.id for row in decisions)])
        last_request = max([last_request, *(row.id for row in requests)])
        quiet_polls = 0 if decisions or requests else quiet_polls + 1
        if quiet_polls >= _POLLS_PER_PING:
            quiet_polls = 0
            yield b": still here\n\n"


def _newest_ids(reader: JournalReader) -> tuple[int, int]:
    rows, requests = reader.decisions(limit=1).rows, reader.requests(None, limit=1)
    return (rows[0].id if rows else 0), (requests[0].id if requests else 0)


class ErasureOrder(StrictModel):
    """Name of a person or device, which may be gone from the policy."""

    name: str = Field(min_length=1, max_length=253)


def add_data_export_routes(api: ScopedRouter, export: DataExport) -> None:
    """Add the routes."""

    @api.serve(
        "GET", "/kept", READ, response_class=StreamingResponse, responses=_stream_responses("application/x-ndjson")
    )
    async def kept(name: Annotated[str, Query(min_length=1, max_length=253)]) -> Response:
        """Return all data about a person or device."""
        return ndjson_download(await run_in_threadpool(export.pieces, export.data_subject(name)))

    @api.serve("POST", "/kept/erase", MANAGE)
    async def erase(order: ErasureOrder) -> ErasureResult:
        """Erase the data about a person or device for good."""
        return await run_in_threadpool(export.erase, order.name)
