"""The pages and their forms. Every change is a POST that answers with a redirect, so that reloading does nothing twice."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Query, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from hedgerow.dashboards.api.control import Control, HowLong, Status
from hedgerow.dashboards.api.guard import SESSION_COOKIE, Guard, peer_address
from hedgerow.dashboards.pages import words
from hedgerow.journal.read import DecisionPage, DeviceRow, Reader, ReasonCount, RequestRow
from hedgerow.journal.search import DecisionFilter
from hedgerow.policies.model import Grant, Pause, Verdict

GIVER = "web page"

_HERE = pathlib.Path(__file__).parent
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path fill="#3c8f54"'
    ' d="M4 27V17c0-5 3-9 6-9s5 3 6 6c1-5 4-9 7-9 4 0 6 5 6 11v11z"/></svg>'
)
_ROWS = 40
_SESSION_SECONDS = 30 * 86400
_SEE_OTHER = 303

type _RequestId = Annotated[int, Path(ge=1, le=2**62)]
type _Cursor = Annotated[int | None, Query(ge=1, le=2**62)]
type Short = Annotated[str, Query(max_length=253)]
type Name = Annotated[str, Form(max_length=253)]


@dataclass(frozen=True, slots=True)
class _Home:
    """What the first page shows."""

    devices: tuple[DeviceRow, ...]
    page: DecisionPage
    reasons: tuple[ReasonCount, ...]
    requests: tuple[RequestRow, ...]
    grants: tuple[Grant, ...]
    pauses: tuple[Pause, ...]


class Pages:
    """Renders; holds the templates and what they are filled from."""

    def __init__(self, reader: Reader, control: Control, guard: Guard, clock: Callable[[], float]) -> None:
        self._reader, self._control, self._guard, self._clock = reader, control, guard, clock
        self._css = (_HERE / "static" / "hedgerow.css").read_bytes()
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._templates.globals |= {
            "css_version": hashlib.sha256(self._css).hexdigest()[:12],
            "reason_words": words.reason_words,
            "verdict_words": words.verdict_words,
            "ago": words.ago_words,
            "iso": words.iso,
        }

    def router(self) -> APIRouter:
        """The routes of all pages."""
        router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
        for path, page in (
            ("/", self.home),
            ("/device", self.device),
            ("/sign-in", self.sign_in_form),
            ("/static/hedgerow.css", self.css),
            ("/static/hedgerow.svg", self.icon),
        ):
            router.add_api_route(path, page, methods=["GET"])
        for path, change in (
            ("/requests/{request_id}/approve", self.approve),
            ("/requests/{request_id}/deny", self.deny),
            ("/grants/{grant_id}/revoke", self.revoke),
            ("/pause", self.pause),
            ("/resume", self.resume),
            ("/sign-in", self.sign_in),
            ("/sign-out", self.sign_out),
        ):
            router.add_api_route(path, change, methods=["POST"])
        return router

    async def home(
        self, device: Short = "", verdict: Short = "", host: Short = "", cursor: Annotated[int | None, Query(ge=1, le=2**62)] = None
    ) -> Response:
        """Everything on one page."""
        now, status = self._clock(), self._control.status()
        chosen = Verdict(verdict) if verdict in set(Verdict) else None
        wanted = DecisionFilter(device=device or None, verdict=chosen, host=host.strip().lower() or None)
        today = words.midnight_before(now, words.zone(status.timezone))
        home = await run_in_threadpool(self._read_home, wanted, cursor, today, now)
        filters = {"device": device, "verdict": verdict, "host": host, "cursor": cursor}
        return self._render("home.html", status=status, home=home, filters=filters, people=sorted({*status.people, *_people(home.devices)}))

    async def device(self, request: Request) -> Response:
        """What the asking device may know of itself: its profile, its last blocks, and where help is."""
        view = self._control.device_at(peer_address(request.scope))
        if view is None:
            return self.error(403, "This device is not part of this network.")
        blocked = DecisionFilter(device=view.device, verdict=Verdict.BLOCK)
        page = await run_in_threadpool(self._reader.decisions, blocked, limit=20)
        return self._render("device.html", view=view, page=page)

    async def css(self) -> Response:
        """The one style sheet; its address changes when it does."""
        return Response(self._css, media_type="text/css", headers={"Cache-Control": "max-age=31536000, immutable"})

    async def icon(self) -> Response:
        return Response(_ICON, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})

    async def approve(self, request_id: _RequestId, how_long: Annotated[HowLong, Form(alias="for")]) -> Response:
        await self._control.approve(request_id, how_long, GIVER)
        return _back()

    async def deny(self, request_id: _RequestId) -> Response:
        await self._control.deny(request_id, GIVER)
        return _back()

    async def revoke(self, grant_id: str) -> Response:
        await self._control.revoke(grant_id, GIVER)
        return _back()

    async def pause(self, minutes: Annotated[int | None, Form(gt=0, le=525600)] = None, device: Name = "", person: Name = "") -> Response:
        ends = None if minutes is None else self._clock() + minutes * 60
        await self._control.pause(GIVER, device=device or None, person=person or None, ends=ends)
        return _back()

    async def resume(self, device: Name = "", person: Name = "") -> Response:
        await self._control.resume(GIVER, device=device or None, person=person or None)
        return _back()

    async def sign_in_form(self) -> Response:
        return self._render("sign_in.html", failed=False)

    async def sign_in(self, request: Request, token: Annotated[str, Form(max_length=500)] = "") -> Response:
        """The token opens a session of a month; without it the form comes again."""
        if not self._guard.is_token(token.strip()):
            return self._render("sign_in.html", 403, failed=True)
        response = _back()
        response.set_cookie(
            SESSION_COOKIE,
            self._guard.session(),
            max_age=_SESSION_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def sign_out(self) -> Response:
        response = _back()
        response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
        return response

    def error(self, status: int, message: str) -> Response:
        """A refusal or an error as a page."""
        return self._render("error.html", status, code=status, message=message)

    def _read_home(self, wanted: DecisionFilter, cursor: int | None, today: float, now: float) -> _Home:
        reader = self._reader
        return _Home(
            devices=reader.devices(today),
            page=reader.decisions(wanted, cursor=cursor, limit=_ROWS),
            reasons=tuple(item for item in reader.reasons(today) if item.verdict is not Verdict.ALLOW)[:12],
            requests=reader.requests(),
            grants=reader.grants(now),
            pauses=reader.pauses(now),
        )

    def _render(self, template: str, code_of_answer: int = 200, **values: Any) -> Response:
        now, status = self._clock(), self._status_for_page()
        where = words.zone(status.timezone)
        values |= {"now": now, "timezone": status.timezone, "clock": lambda at: words.clock_words(at, now, where)}
        return HTMLResponse(self._templates.get_template(template).render(values), code_of_answer)

    def _status_for_page(self) -> Status:
        return self._control.status()


def _people(devices: tuple[DeviceRow, ...]) -> set[str]:
    return {device.person for device in devices if device.person}


def _back() -> RedirectResponse:
    return RedirectResponse("/", _SEE_OTHER)
