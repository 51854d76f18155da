"""Parts of every response: problem details (RFC 9457) for scripts, error pages for people, and whether a change is in
force.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DatabaseError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hedgerow.dashboards.control import Enforcement, InvalidInput
from hedgerow.dashboards.guard import SECURITY_HEADERS
from hedgerow.dashboards.routes import wants_json
from hedgerow.dashboards.words.changes import enforcement_text
from hedgerow.dashboards.words.languages import language, message
from hedgerow.journal.access_store import NoSuchEntry

log = logging.getLogger("hedgerow.web")

_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}
IN_FORCE, PROBLEM = "Hedgerow-In-Force", "Hedgerow-Problem"
"""`?1` or `?0` (a boolean of RFC 9651), and a percent-encoded sentence if something is wrong."""

_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return error responses for the OpenAPI description."""
    content = {"application/problem+json": {"schema": _SCHEMA}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


PROBLEM_RESPONSES = problem_responses(400, 401, 403, 404, 405, 409, 413, 421, 422, 500, 503)
"""Error responses of every call, for the OpenAPI description."""

type ErrorPage = Callable[[Request, int, str, Mapping[str, object]], Response]
type FormPage = Callable[[Request, InvalidInput], Awaitable[Response | None]]
"""Shows the page of a refused form again, or returns None if it cannot."""
type FieldProblem = Callable[[Mapping[str, Any]], InvalidInput]
"""Turns an error of pydantic into a problem with a field."""

_PAGE_TEXTS = {404: message("This page does not exist."), 405: message("This page does not accept that kind of data.")}


def problem(status: int, detail: str, **more: object) -> JSONResponse:
    """Return a problem; `detail` is a sentence for people."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return JSONResponse(body, status, media_type="application/problem+json")


def install_handlers(
    app: FastAPI,
    error_page: ErrorPage,
    form_page: FormPage,
    field_problem: FieldProblem,
    is_full: Callable[[BaseException], bool],
) -> None:
    """Turn every error of the application into a problem, the page of the refused form, or an error page.

    `is_full` tells whether an error of the journal says that its disk is full.
    """

    def answer(
        request: Request, status: int, text: str, values: Mapping[str, object] | None = None, **more: object
    ) -> Response:
        if wants_json(request.url.path):
            return problem(status, text % values if values else text, **more)
        return error_page(request, status, text, values or {})

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        text = (
            str(error.detail) if wants_json(request.url.path) else _PAGE_TEXTS.get(error.status_code, str(error.detail))
        )
        response = answer(request, error.status_code, text)
        response.headers.update(error.headers or {})
        if error.status_code == 405:
            # The router knows the methods of one route only, and each method has a route of its own.
            response.headers["Allow"] = ", ".join(request.app.state.access.methods(request.url.path))
        return response

    @app.exception_handler(ClientDisconnect)
    async def _disconnected(_request: Request, _error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # the client disconnected in the middle of its form

    @app.exception_handler(NoSuchEntry)
    async def _missing(request: Request, error: NoSuchEntry) -> Response:
        return answer(
            request,
            404,
            str(error)
            if wants_json(request.url.path)
            else message("That no longer exists: somebody has answered or removed it."),
        )

    @app.exception_handler(InvalidInput)
    async def _invalid_input(request: Request, error: InvalidInput) -> Response:
        shown = None if wants_json(request.url.path) else await form_page(request, error)
        return shown or answer(request, error.status, error.text, error.values, **error.more)

    @app.exception_handler(DatabaseError)
    async def _journal(request: Request, error: DatabaseError) -> Response:
        log.error("Cannot use the journal: %s", error.orig)
        if is_full(error):
            text = message(
                "The disk is full, so this was not saved and is not in force. Make room on it and try again."
            )
            return answer(request, 503, text)
        return answer(request, 503, message("The journal is unavailable at the moment; Hedgerow goes on filtering."))

    @app.exception_handler(Exception)
    async def _internal(request: Request, _error: Exception) -> Response:
        # Starlette makes this response outside the guard's middleware, which would add the headers.
        response = answer(request, 500, message("Something went wrong inside Hedgerow; see its log."))
        response.headers.update(SECURITY_HEADERS)
        return response

    @app.exception_handler(RequestValidationError)
    async def _invalid_form(request: Request, error: RequestValidationError) -> Response:
        # A field that is wrong comes before one that is missing: the latter may be hidden, and filled in by a script.
        first = min(error.errors(), key=lambda item: item["type"] == "missing")
        if not wants_json(request.url.path) and (shown := await form_page(request, field_problem(first))) is not None:
            return shown
        errors = [{"field": ".".join(map(str, item["loc"])), "message": item["msg"]} for item in error.errors()]
        return answer(request, 422, message("The data sent does not match the form."), errors=errors)


class EnforcementHeaders:
    """Middleware that adds headers to successful changes below `/api/`: whether DNS and proxy apply the
    newest rules, once `settle` has waited for them.
    """

    def __init__(
        self, app: ASGIApp, enforcement: Callable[[], Enforcement], settle: Callable[[], Awaitable[None]]
    ) -> None:
        self._app, self._enforcement, self._settle = app, enforcement, settle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in _CHANGES or not scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400:
                await self._settle()
                headers, state = MutableHeaders(scope=message), self._enforcement()
                headers[IN_FORCE] = "?1" if state.is_complete else "?0"
                if not state.is_complete or state.problem:
                    headers[PROBLEM] = quote(enforcement_text(state, language("en")), safe=" ():,'/")
            await send(message)

        await self._app(scope, receive, send_with_headers)
