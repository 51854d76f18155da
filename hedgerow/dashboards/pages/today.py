"""Today: who is online, what was blocked and why, who waits for an answer. And the buttons that answer, pause and resume."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.accounts import Scope
from hedgerow.dashboards.api.control import HowLong, Unfit
from hedgerow.dashboards.pages import words
from hedgerow.dashboards.pages.charts import Bars, blocked_by_hour
from hedgerow.dashboards.pages.devices import strangers
from hedgerow.dashboards.pages.site import Site, back_to, page_before, visitor_of
from hedgerow.dashboards.pages.timeline import PersonDay, days_of
from hedgerow.journal.read import DecisionRow, DeviceRow, ReasonCount, RequestRow
from hedgerow.journal.search import DecisionFilter
from hedgerow.policies.dues import dues
from hedgerow.policies.model import Grant, Pause, Verdict

ONLINE_S = 900.0
_ROWS, _LOOKED_AT = 8, 200

type RequestId = Annotated[int, Path(ge=1, le=2**62)]
type Name = Annotated[str, Form(max_length=253)]


@dataclass(frozen=True, slots=True)
class _Today:
    devices: tuple[DeviceRow, ...]
    blocked: tuple[DecisionRow, ...]
    reasons: tuple[ReasonCount, ...]
    requests: tuple[RequestRow, ...]
    grants: tuple[Grant, ...]
    pauses: tuple[Pause, ...]
    bars: Bars
    days: tuple[PersonDay, ...]


class TodayPages:
    """`/` and its buttons."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/", self.today, methods=["GET"])
        for path, change in (
            ("/requests/{request_id}/approve", self.approve),
            ("/requests/{request_id}/deny", self.deny),
            ("/grants/{grant_id}/revoke", self.revoke),
            ("/pause", self.pause),
            ("/resume", self.resume),
            ("/bonus", self.bonus),
        ):
            router.add_api_route(path, change, methods=["POST"])

    async def today(self, request: Request) -> Response:
        site = self._site
        policy, status = site.policy(), site.control.status()
        if not site.accounts.has_any and not policy.people and Scope.ADMIN in visitor_of(request).scopes:
            return back_to("/start")
        now = site.clock()
        midnight = words.midnight_before(now, words.zone(status.timezone))
        today = await run_in_threadpool(self._read, midnight, now)
        people = sorted({*policy.people, *(device.person for device in today.devices if device.person)})
        unnamed = strangers(policy, today.devices)
        known = [device for device in today.devices if device.device in policy.devices]
        devices = sorted((*known, *unnamed), key=lambda device: -device.last_seen)
        online = [device for device in devices if now - device.last_seen < ONLINE_S]
        return site.renderer.page(
            request,
            "today.html",
            status=status,
            today=today,
            people=people,
            online=online,
            devices=devices,
            unnamed=unnamed,
            has_password=site.accounts.has_any,
            budgets=site.budgets(),
            dues=[due for due in dues(policy) if due.is_due(now)],
        )

    async def approve(self, request: Request, request_id: RequestId, how_long: Annotated[HowLong, Form(alias="for")]) -> Response:
        await self._site.control.approve(request_id, how_long, visitor_of(request).name)
        return back_to("/")

    async def deny(self, request: Request, request_id: RequestId) -> Response:
        await self._site.control.deny(request_id, visitor_of(request).name)
        return back_to("/")

    async def revoke(self, request: Request, grant_id: str) -> Response:
        await self._site.control.revoke(grant_id, visitor_of(request).name)
        return back_to("/")

    async def pause(
        self, request: Request, minutes: Annotated[int | None, Form(gt=0, le=525600)] = None, device: Name = "", person: Name = ""
    ) -> Response:
        ends = None if minutes is None else self._site.clock() + minutes * 60
        await self._site.control.pause(visitor_of(request).name, device=device or None, person=person or None, ends=ends)
        return back_to(page_before(request))

    async def resume(self, request: Request, device: Name = "", person: Name = "") -> Response:
        await self._site.control.resume(visitor_of(request).name, device=device or None, person=person or None)
        return back_to(page_before(request))

    async def bonus(self, request: Request, name: Name, minutes: Annotated[int, Form(ge=1, le=1440)], subject: Name = "") -> Response:
        """Minutes on top of today's budget."""
        if self._site.time is None:
            raise Unfit("Time is not counted here.")
        await self._site.time.give_time(name, subject, minutes, visitor_of(request).name)
        return back_to(page_before(request))

    def _read(self, midnight: float, now: float) -> _Today:
        reader = self._site.reader
        hours = reader.hours(midnight)
        return _Today(
            devices=reader.devices(midnight),
            blocked=together(reader.decisions(DecisionFilter(verdict=Verdict.BLOCK, since=midnight), limit=_LOOKED_AT).rows)[:_ROWS],
            reasons=tuple(item for item in reader.reasons(midnight) if item.verdict is not Verdict.ALLOW)[:12],
            requests=reader.requests(),
            grants=reader.grants(now),
            pauses=reader.pauses(now),
            bars=blocked_by_hour(hours, midnight, now),
            days=days_of(self._site.policy(), hours, midnight, now),
        )


def together(rows: Iterable[DecisionRow]) -> tuple[DecisionRow, ...]:
    """The rows in their order, those of a minute that look alike as one: where sites are not kept, most of them do."""
    found: dict[tuple[object, ...], DecisionRow] = {}
    for row in rows:
        looks = (row.at // 60, row.device, row.person, row.reason, row.what, row.host, row.url, row.rule)
        first = found.get(looks)
        found[looks] = row if first is None else replace(first, count=first.count + row.count)
    return tuple(found.values())
