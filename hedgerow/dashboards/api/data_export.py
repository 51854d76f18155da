"""API of personal data: export and erasure."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from hedgerow.dashboards.api.schema import StrictModel
from hedgerow.dashboards.data_export import DataExport, ndjson_download
from hedgerow.dashboards.routes import MANAGE, READ, ScopedRouter
from hedgerow.journal.personal_data import ErasureResult

_NDJSON = {200: {"description": "One row per line", "content": {"application/x-ndjson": {"schema": {"type": "string"}}}}}


class ErasureOrder(StrictModel):
    """Name of a person or device, which may be gone from the policy."""

    name: str = Field(min_length=1, max_length=253)


def add_data_export_routes(api: ScopedRouter, export: DataExport) -> None:
    """Add the routes."""

    @api.serve("GET", "/kept", READ, response_class=StreamingResponse, responses=_NDJSON)
    async def kept(name: Annotated[str, Query(min_length=1, max_length=253)]) -> Response:
        """Return all data about a person or device."""
        return ndjson_download(await run_in_threadpool(export.lines, export.data_subject(name)))

    @api.serve("POST", "/kept/erase", MANAGE)
    async def erase(order: ErasureOrder) -> ErasureResult:
        """Erase the data about a person or device for good."""
        return await run_in_threadpool(export.erase, order.name)
