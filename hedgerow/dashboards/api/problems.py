"""Errors of the API as RFC 9457 problem details, those of the pages as a page."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DatabaseError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from hedgerow.dashboards.api.control import Unfit
from hedgerow.dashboards.api.guard import SECURITY_HEADERS
from hedgerow.journal.ledger import NoSuchEntry

log = logging.getLogger("hedgerow.web")

_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {"type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"}, "detail": {"type": "string"}},
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": HTTPStatus(status).phrase, "content": {"application/problem+json": {"schema": _SCHEMA}}}
    for status in (401, 403, 404, 405, 413, 421, 422, 500, 503)
}
"""What every call may answer instead, for the OpenAPI description."""

type ErrorPage = Callable[[int, str], Response]


def problem(status: int, detail: str, **more: object) -> JSONResponse:
    """One problem; `detail` is a sentence for a person."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return JSONResponse(body, status, media_type="application/problem+json")


def wants_json(path: str) -> bool:
    """Whether the asker of this path is a script."""
    return path.startswith(("/api/", "/metrics", "/healthz"))


def install_handlers(app: FastAPI, error_page: ErrorPage) -> None:
    """Makes every error of `app` a problem or a page."""

    def answer(request: Request, status: int, detail: str, **more: object) -> Response:
        return problem(status, detail, **more) if wants_json(request.url.path) else error_page(status, detail)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        response = answer(request, error.status_code, str(error.detail))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(NoSuchEntry)
    async def _missing(request: Request, error: NoSuchEntry) -> Response:
        return answer(request, 404, str(error))

    @app.exception_handler(Unfit)
    async def _unfit(request: Request, error: Unfit) -> Response:
        return answer(request, 422, str(error))

    @app.exception_handler(DatabaseError)
    async def _journal(request: Request, error: DatabaseError) -> Response:
        log.error("The journal can't be used: %s", error.orig)
        return answer(request, 503, "The journal can't be used just now; Hedgerow goes on filtering.")

    @app.exception_handler(Exception)
    async def _ours(request: Request, _error: Exception) -> Response:
        # Made outside of the guard's middleware, so it brings the headers itself.
        response = answer(request, 500, "Something went wrong inside Hedgerow; its log says what.")
        response.headers.update(SECURITY_HEADERS)
        return response

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        wrong = [{"field": ".".join(map(str, item["loc"])), "message": item["msg"]} for item in error.errors()]
        return answer(request, 422, "The request does not fit.", errors=wrong)
