"""API of the files by which devices ask Hedgerow over encrypted DNS away from home."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from hedgerow.dashboards.away import AwayDocument, AwayFile, away_document
from hedgerow.dashboards.control import Control
from hedgerow.dashboards.routes import MANAGE, ScopedRouter

type WifiNames = Annotated[list[Annotated[str, Query(max_length=32)]], Query(max_length=20)]
"""Names of networks (SSIDs)."""

_FILE = {200: {"description": "The file", "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}


def add_away_routes(api: ScopedRouter, control: Control) -> None:
    """Add the route."""

    @api.serve("GET", "/devices/{device}/away/{form}", MANAGE, response_class=Response, responses=_FILE)
    async def away(device: str, form: AwayFile, home_wifi: WifiNames = []) -> Response:  # noqa: B006  FastAPI copies it
        return away_response(away_document(control, form, device, home_wifi))


def away_response(document: AwayDocument) -> Response:
    """Return a file to save. It has the device's id, so nothing keeps a copy."""
    headers = {"Content-Disposition": f'attachment; filename="{document.name}"', "Cache-Control": "no-store"}
    return Response(document.data, media_type=document.content_type, headers=headers)
