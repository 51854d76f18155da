"""JSON about what is kept about somebody: all of it as it is, and none of it any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from hedgerow.dashboards.api.problems import PROBLEM_RESPONSES
from hedgerow.dashboards.data_export import DataExport
from hedgerow.journal.personal_data import ErasureResult


class ErasureOrder(BaseModel):
    """Whose: a person's or a device's name, also one that the policy knows no longer."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=253)


def ndjson_download(lines: Iterator[str]) -> StreamingResponse:
    """All that is kept as a file."""
    headers = {"Content-Disposition": 'attachment; filename="hedgerow-kept.ndjson"'}
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)


def make_data_export_api(export: DataExport) -> APIRouter:
    """Routes under /api/v1."""
    api = APIRouter(prefix="/api/v1", responses=PROBLEM_RESPONSES)
    content = {"application/x-ndjson": {"schema": {"type": "string"}}}

    @api.get("/kept", response_class=StreamingResponse, responses={200: {"description": "A row a line", "content": content}})
    async def kept(name: Annotated[str, Query(min_length=1, max_length=253)]) -> Response:
        return ndjson_download(await run_in_threadpool(export.lines, export.data_subject(name)))

    @api.post("/kept/erase")
    async def erase(order: ErasureOrder) -> ErasureResult:
        return await run_in_threadpool(export.erase, order.name)

    return api
