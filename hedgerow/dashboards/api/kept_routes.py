"""JSON about what is kept about somebody: all of it as it is, and none of it any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from hedgerow.dashboards.api.problems import PROBLEMS
from hedgerow.dashboards.kept_desk import KeptDesk
from hedgerow.journal.kept import Erased


class Erasure(BaseModel):
    """Whose: a person's or a device's name, also one that the policy knows no longer."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=253)


def download(lines: Iterator[str]) -> StreamingResponse:
    """All that is kept as a file."""
    headers = {"Content-Disposition": 'attachment; filename="hedgerow-kept.ndjson"'}
    return StreamingResponse(lines, media_type="application/x-ndjson", headers=headers)


def make_kept_api(desk: KeptDesk) -> APIRouter:
    """Routes under /api/v1."""
    api = APIRouter(prefix="/api/v1", responses=PROBLEMS)
    content = {"application/x-ndjson": {"schema": {"type": "string"}}}

    @api.get("/kept", response_class=StreamingResponse, responses={200: {"description": "A row a line", "content": content}})
    async def kept(name: Annotated[str, Query(min_length=1, max_length=253)]) -> Response:
        return download(await run_in_threadpool(desk.lines, desk.whose(name)))

    @api.post("/kept/erase")
    async def erase(order: Erasure) -> Erased:
        return await run_in_threadpool(desk.erase, order.name)

    return api
