"""Types shared by all routes of the API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Query, Request
from fastapi.openapi.utils import get_openapi
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import Response

from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.api.problems import PROBLEM_RESPONSES
from hedgerow.dashboards.guard import SESSION_COOKIE
from hedgerow.dashboards.routes import ScopedRoute, ScopedRouter
from hedgerow.policies.text.locales import LANGUAGES


class StrictModel(BaseModel):
    """A request body. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


def _actor(request: Request) -> str:
    return str(request.state.principal.name)


type Actor = Annotated[str, Depends(_actor)]
"""Name of the account or token that makes the request, for the journal."""


def _author(request: Request) -> Principal:
    author: Principal = request.state.principal
    return author


type Author = Annotated[Principal, Depends(_author)]
"""The account or token that makes the request, for changes of the policy."""


_IdempotencyKey = Annotated[
    str | None,
    Header(
        max_length=200,
        description="A text of your own, such as a UUID. A request that is repeated with the same one, for the same "
        "action and seat or "
        "session, has the result of the first and is not carried out again.",
    ),
]


def _request_key(request: Request, idempotency_key: _IdempotencyKey = None) -> str:
    return f"{request.state.principal.name}\n{idempotency_key}" if idempotency_key else ""


type RequestKey = Annotated[str, Depends(_request_key)]
"""Identification of a request by its header `Idempotency-Key`, empty without one."""

MAX_PAGE = 1000
type PageLimit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="rows of a page")]
type PageOffset = Annotated[int, Query(ge=0, le=2**31, description="rows before the page")]


def one_page[Row](
    request: Request, response: Response, rows: Sequence[Row], limit: int, offset: int
) -> tuple[Row, ...]:
    """Return a page of the `rows` from `offset` on.

    If there are more, the header `Link` has the next page (RFC 8288).
    """
    if len(rows) > limit:
        following = request.url.include_query_params(limit=limit, offset=offset + limit)
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return tuple(rows[:limit])


def _known_language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError(f"choose one of {', '.join(LANGUAGES)}")
    return code


type LanguageCode = Annotated[str, AfterValidator(_known_language), Field(json_schema_extra={"enum": list(LANGUAGES)})]
"""A language of the pages, by its BCP 47 tag."""


class DescribedApp(FastAPI):
    """FastAPI whose OpenAPI description names the ways to sign in."""

    def openapi(self) -> dict[str, Any]:
        """Return the description, made once."""
        if self.openapi_schema is None:
            routes = [route.built if isinstance(route, ScopedRoute) else route for route in self.routes]
            description = self.openapi_schema = get_openapi(title=self.title, version=self.version, routes=routes)
            description.setdefault("components", {})["securitySchemes"] = {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token for scripts, made under *Settings*.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": SESSION_COOKIE,
                    "description": "The session of a signed-in browser.",
                },
            }
            description["security"] = [{"token": []}, {"session": []}]
        return self.openapi_schema or {}


def api_router() -> ScopedRouter:
    """Return an empty router for the API's routes."""
    return ScopedRouter(prefix="/api/v1", responses=PROBLEM_RESPONSES)
