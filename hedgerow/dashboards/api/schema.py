"""Types shared by all routes of the API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict

from hedgerow.dashboards.api.problems import PROBLEM_RESPONSES
from hedgerow.dashboards.routes import ScopedRouter


class StrictModel(BaseModel):
    """A request body. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


def _actor(request: Request) -> str:
    return str(request.state.principal.name)


type Actor = Annotated[str, Depends(_actor)]
"""Name of the account or token that makes the request, for the journal."""


def api_router() -> ScopedRouter:
    """Return an empty router for the API's routes."""
    return ScopedRouter(prefix="/api/v1", responses=PROBLEM_RESPONSES)
