"""Types shared by all routes of the API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hedgerow.dashboards.api.problems import PROBLEM_RESPONSES
from hedgerow.dashboards.routes import ScopedRouter
from hedgerow.policies.text.locales import LANGUAGES


class StrictModel(BaseModel):
    """A request body. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


def _actor(request: Request) -> str:
    return str(request.state.principal.name)


type Actor = Annotated[str, Depends(_actor)]
"""Name of the account or token that makes the request, for the journal."""


def _known_language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError(f"choose one of {', '.join(LANGUAGES)}")
    return code


type LanguageCode = Annotated[str, AfterValidator(_known_language), Field(json_schema_extra={"enum": list(LANGUAGES)})]
"""A language of the pages, by its BCP 47 tag."""


def api_router() -> ScopedRouter:
    """Return an empty router for the API's routes."""
    return ScopedRouter(prefix="/api/v1", responses=PROBLEM_RESPONSES)
