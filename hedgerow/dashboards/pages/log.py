"""Activity by service and site, the raw log, and permissions given from both."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import Form, HTTPException, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.rules import allow_edits
from hedgerow.dashboards.guard import NOT_IN_CHARGE
from hedgerow.dashboards.pages.activity_groups import Period, group_activity, owners_of, periods, services_named
from hedgerow.dashboards.pages.context import PageGroup, principal_of, redirect_after_save, redirect_to, referring_page
from hedgerow.dashboards.pages.device_cards import RECENT_DEVICES
from hedgerow.dashboards.pages.openings import ask_before, explain_obstacle, opened_path
from hedgerow.dashboards.reports import weekly_report
from hedgerow.dashboards.routes import MANAGE, OPERATE, READ, get, post
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.journal.activity import Activity, ActivityFilter
from hedgerow.journal.reader import DecisionFilter, DeviceRow
from hedgerow.policies.access_subject import access_subject
from hedgerow.policies.model import GrantDuration, Policy, Verdict

_ROWS = 24
_GROUPS, _ALL_GROUPS = 40, 400
_DAYS = {"": None, "1": 1, "7": 7, "30": 30}

type Short = Annotated[str, Query(max_length=253)]
type Cursor = Annotated[int | None, Query(ge=1, le=2**62)]
type FormText = Annotated[str, Form(max_length=2048)]


class LogPages(PageGroup):
    """`/log`, `/log/raw` and `/grants/new`."""

    @get("/log", READ)
    async def activity(
        self,
        request: Request,
        device: Short = "",
        person: Short = "",
        verdict: Short = "",
        host: Short = "",
        day: Short = "",
        every: Annotated[bool, Query(alias="all")] = False,
    ) -> Response:
        """Show what was done in a period, by service and site. `host` is a part of a name, a service or a site."""
        context = self._context
        choices = periods(context.clock(), labels.zone(context.control.status().timezone))
        period = next((each for each in choices if each.value == day), choices[0])
        filters = {"person": person, "device": device, "verdict": verdict, "host": host.strip(), "day": period.value}
        devices = await run_in_threadpool(context.reader.recent_devices, context.clock(), RECENT_DEVICES)
        activity = await run_in_threadpool(self._read, filters, period, devices)
        # A week of a whole home takes long enough that other pages would wait.
        limit = _ALL_GROUPS if every else _GROUPS
        grouped = await run_in_threadpool(group_activity, activity.hosts, context.control.names().known, limit)
        return self._page(
            request,
            "activity.html",
            grouped=grouped,
            is_complete=activity.is_complete,
            periods=choices,
            period=period,
            filters=filters,
            devices=devices,
            people=sorted(context.policy().people),
            owners=owners_of(context.policy(), devices),
        )

    def _read(self, filters: dict[str, str], period: Period, devices: tuple[DeviceRow, ...]) -> Activity:
        reader, text = self._context.activity, filters["host"].lower().strip(".")
        hosts = None
        if text:
            domains = [domain for service in services_named(text) for domain in service.domains]
            hosts = reader.find_hosts(text, dict.fromkeys(domains))
        return reader.activity(
            ActivityFilter(
                period.since,
                period.before,
                _devices_of(filters["person"], filters["device"], devices, self._context.policy()),
                filters["person"] or None,
                Verdict(filters["verdict"]) if filters["verdict"] in set(Verdict) else None,
                hosts,
            )
        )

    @get("/log/raw", READ)
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
        """Show each decision as it was recorded."""
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
        devices = await run_in_threadpool(context.reader.recent_devices, context.clock(), RECENT_DEVICES)
        export = urlencode(
            {"format": "csv", **filters} | ({} if wanted.since is None else {"since": round(wanted.since)})
        )
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

    @get("/report", READ)
    async def report(self, request: Request) -> Response:
        """Show the report on the last seven days, in the language of the page."""
        context, reader = self._context, language_of(request)
        week = await run_in_threadpool(weekly_report, context.reader, context.policy(), context.clock(), reader)
        return self._page(request, "week_report.html", **{**week.values, "is_mail": False})

    @post("/grants/new", OPERATE)
    async def allow(
        self,
        request: Request,
        subject: FormText,
        how_long: Annotated[str, Form(alias="for", max_length=10)],
        device: FormText = "",
        person: FormText = "",
        reason: FormText = "",
        only_address: Annotated[bool, Form()] = False,
        only_device: Annotated[bool, Form()] = False,
        target: FormText = "",
        who: FormText = "",
    ) -> Response:
        """Allow a site for an hour or today with a grant, or permanently in the policy file if the device has an owner.

        A site that belongs to a service means the service, for the owner of the device, unless the form says otherwise.
        Ask first before something dangerous. With `target` and `who`, the page explains what was in force then.
        """
        context = self._context
        policy = context.policy()
        opening = access_subject(
            policy,
            subject.strip(),
            person=person or None,
            device=device or None,
            reason=reason,
            only_address=only_address,
            only_device=only_device,
        )
        if (question := await ask_before(context, request, opening)) is not None:
            return question
        then = {"who": who, "target": target}
        if how_long == "policy":
            if MANAGE not in principal_of(request).scopes:
                raise HTTPException(403, NOT_IN_CHARGE)
            if opening.person not in policy.people:
                raise InvalidInput("This device does not belong to anybody yet: assign it to a person first.")
            edits, title = allow_edits(policy, opening), title_of(opening.what, language_of(request))
            change = await self._change(
                request, message("%(what)s open for %(name)s."), *edits, what=title, name=opening.person
            )
            saved = redirect_after_save(f"/why?{urlencode(then)}" if who else referring_page(request), change)
            return await explain_obstacle(context, request, opening, GrantDuration.GOOD) or saved
        if how_long not in set(GrantDuration):
            raise InvalidInput("For an hour, for today or permanently.")
        duration = GrantDuration(how_long)
        ends = duration.end(context.clock(), ZoneInfo(context.control.status().timezone))
        grant = await context.control.give(opening, self._actor(request), ends=ends, sure=True)
        done = opened_path(context, request, f"/why?{urlencode(then)}" if who else referring_page(request), grant)
        return await explain_obstacle(context, request, opening, duration) or redirect_to(done)


def _devices_of(person: str, device: str, seen: tuple[DeviceRow, ...], policy: Policy) -> tuple[str, ...] | None:
    """Return the devices whose decisions are wanted, None for all."""
    if device:
        return (device,)
    if not person:
        return None
    owned = (each.id for each in policy.devices.values() if each.person == person)
    return tuple(dict.fromkeys((*owned, *(row.device for row in seen if row.person == person))))
