"""The log with its filters, "allow this" at each row, and why something is as it is."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.yaml_text import exclude, include
from hedgerow.dashboards.pages.context import SEE_OTHER, PageContext, principal_of
from hedgerow.dashboards.words.languages import language_of
from hedgerow.journal.reader import DecisionFilter
from hedgerow.policies.model import GrantDuration, Verdict

_ROWS = 50

type Short = Annotated[str, Query(max_length=253)]
type Cursor = Annotated[int | None, Query(ge=1, le=2**62)]
type FormText = Annotated[str, Form(max_length=2048)]

DAYS = {"": None, "1": 1, "7": 7, "30": 30}


class LogPages:
    """`/log`, `/log/allow` and `/why`."""

    def __init__(self, site: PageContext) -> None:
        self._context = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/log", self.log, methods=["GET"])
        router.add_api_route("/why", self.why, methods=["GET"])
        router.add_api_route("/grants/new", self.allow, methods=["POST"])

    async def log(
        self,
        request: Request,
        device: Short = "",
        person: Short = "",
        verdict: Short = "",
        host: Short = "",
        days: Short = "",
        cursor: Cursor = None,
    ) -> Response:
        site = self._context
        filters = {"device": device, "person": person, "verdict": verdict, "host": host, "days": days if days in DAYS else ""}
        number = DAYS.get(days)
        wanted = DecisionFilter(
            device=device or None,
            person=person or None,
            verdict=Verdict(verdict) if verdict in set(Verdict) else None,
            host=host.strip().lower().rstrip(".") or None,
            since=None if number is None else site.clock() - number * 86400,
        )
        page = await run_in_threadpool(site.reader.decisions, wanted, cursor=cursor, limit=_ROWS)
        devices = await run_in_threadpool(site.reader.devices, site.clock())
        older = urlencode({**filters, "cursor": page.older}) if page.older else ""
        same = {name: filters[name] for name in ("device", "person", "verdict", "host")}
        export = urlencode({"format": "csv", **same} | ({} if wanted.since is None else {"since": round(wanted.since)}))
        return site.renderer.page(
            request,
            "log.html",
            page=page,
            devices=devices,
            people=sorted(site.policy().people),
            filters=filters,
            cursor=cursor,
            older=older,
            export=export,
        )

    async def why(
        self, request: Request, device: Short, target: Annotated[str, Query(max_length=8192)], at: float | None = None
    ) -> Response:
        """Every enforcement point's decision, for a moment of the past or now."""
        told = await self._context.control.explain(device, target, at)
        return self._context.renderer.page(request, "why.html", told=told, device=device, target=target, at=at)

    async def allow(
        self,
        request: Request,
        subject: FormText,
        how_long: Annotated[str, Form(alias="for", max_length=10)],
        device: FormText = "",
        person: FormText = "",
    ) -> Response:
        """For an hour or today as a grant; for good as a line of the policy file, where the device's person is known."""
        site, actor = self._context, principal_of(request).name
        if how_long == "policy":
            if person not in site.policy().people:
                raise InvalidInput("This device does not belong to anybody yet: assign it to a person first.")
            path = ("people", person)
            said = language_of(request).gettext("Allow %(what)s for %(name)s", what=subject, name=person)
            change = await site.editor.change(actor, said, exclude((*path, "block"), subject), include((*path, "allow"), subject))
            return RedirectResponse(f"/log?{urlencode({'host': subject, 'saved': change.id if change else 0})}", SEE_OTHER)
        ends = _how_long(how_long).end(site.clock(), ZoneInfo(site.control.status().timezone))
        whose = {"person": person} if person else {"device": device or None}
        await site.control.give(subject, actor, **whose, ends=ends)
        return RedirectResponse("/#grants-title", SEE_OTHER)


def _how_long(text: str) -> GrantDuration:
    try:
        return GrantDuration(text)
    except ValueError:
        raise InvalidInput("For an hour, for today or permanently.") from None
