"""The log with its filters, and the explanation of a decision."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.yaml_text import exclude, include
from hedgerow.dashboards.pages.context import PageGroup, principal_of, redirect_to
from hedgerow.dashboards.pages.openings import Opening, ask_before, tell_obstacle
from hedgerow.dashboards.routes import OPERATE, READ, get, post
from hedgerow.dashboards.words.languages import message
from hedgerow.journal.reader import DecisionFilter
from hedgerow.policies.model import GrantDuration, Verdict

_ROWS = 50
_DAYS = {"": None, "1": 1, "7": 7, "30": 30}

type Short = Annotated[str, Query(max_length=253)]
type Cursor = Annotated[int | None, Query(ge=1, le=2**62)]
type FormText = Annotated[str, Form(max_length=2048)]


class LogPages(PageGroup):
    """`/log`, `/why` and `/grants/new`."""

    @get("/log", READ)
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
        context, number = self._context, _DAYS.get(days)
        filters = {"device": device, "person": person, "verdict": verdict, "host": host}
        wanted = DecisionFilter(
            device=device or None,
            person=person or None,
            verdict=Verdict(verdict) if verdict in set(Verdict) else None,
            host=host.strip().lower().rstrip(".") or None,
            since=None if number is None else context.clock() - number * 86400,
        )
        page = await run_in_threadpool(context.reader.decisions, wanted, cursor=cursor, limit=_ROWS)
        devices = await run_in_threadpool(context.reader.devices, context.clock())
        export = urlencode({"format": "csv", **filters} | ({} if wanted.since is None else {"since": round(wanted.since)}))
        filters["days"] = days if days in _DAYS else ""
        return self._page(
            request,
            "log.html",
            page=page,
            devices=devices,
            people=sorted(context.policy().people),
            filters=filters,
            cursor=cursor,
            older=urlencode({**filters, "cursor": page.older}) if page.older else "",
            export=export,
        )

    @get("/why", READ)
    async def why(
        self, request: Request, device: Short, target: Annotated[str, Query(max_length=8192)], at: float | None = None
    ) -> Response:
        """Explain the decision of every enforcement point, now or at an instant in the past."""
        explanations = await self._context.control.explain(device, target, at)
        return self._page(request, "why.html", told=explanations, device=device, target=target, at=at)

    @post("/grants/new", OPERATE)
    async def allow(
        self,
        request: Request,
        subject: FormText,
        how_long: Annotated[str, Form(alias="for", max_length=10)],
        device: FormText = "",
        person: FormText = "",
    ) -> Response:
        """Allow a site for an hour or today with a grant, or permanently in the policy file if the device has an owner."""
        context = self._context
        opening = Opening(subject.strip(), person or None, None if person else device or None)
        if (question := await ask_before(context, request, opening)) is not None:
            return question
        if how_long == "policy":
            if person not in context.policy().people:
                raise InvalidInput("This device does not belong to anybody yet: assign it to a person first.")
            edits = exclude(("people", person, "block"), subject), include(("people", person, "allow"), subject)
            change = await self._change(request, message("Allow %(what)s for %(name)s"), *edits, what=subject, name=person)
            return redirect_to(f"/log?{urlencode({'host': subject, 'saved': change.id if change else 0})}")
        duration = _parse_duration(how_long)
        ends = duration.end(context.clock(), ZoneInfo(context.control.status().timezone))
        await context.control.give(subject, principal_of(request).name, person=opening.person, device=opening.device, ends=ends)
        return await tell_obstacle(context, request, opening, duration) or redirect_to("/?saved=done#grants-title")


def _parse_duration(text: str) -> GrantDuration:
    try:
        return GrantDuration(text)
    except ValueError:
        raise InvalidInput("For an hour, for today or permanently.") from None
