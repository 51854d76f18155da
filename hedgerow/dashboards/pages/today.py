"""Today: a card for each child and the open requests; the whole day with pauses, devices and blocks; access codes."""

from __future__ import annotations

from collections.abc import Iterable, Sized
from dataclasses import replace
from typing import Any, Literal

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.actions import access, codes
from hedgerow.dashboards.actions.action import Caller, FormOf
from hedgerow.dashboards.actions.orders import (
    Approval,
    CodeOrder,
)
from hedgerow.dashboards.control import BudgetRow
from hedgerow.dashboards.extensions import Place
from hedgerow.dashboards.pages.action_forms import form
from hedgerow.dashboards.pages.activity_groups import merge_similar
from hedgerow.dashboards.pages.children import (
    MAX_CARDS,
    DaySoFar,
    child_cards,
    children_of,
    devices_of,
    last_used,
    shown_children,
    shows_sites,
)
from hedgerow.dashboards.pages.context import PageContext, PageGroup, redirect_to, referring_page
from hedgerow.dashboards.pages.device_cards import (
    RECENT_DEVICES,
    fold_brief,
    new_device_cards,
    unnamed_devices,
)
from hedgerow.dashboards.pages.graphics import person_days
from hedgerow.dashboards.pages.openings import ask_before, explain_obstacle, opened_path
from hedgerow.dashboards.policy_index import PolicyIndex
from hedgerow.dashboards.routes import OPERATE, READ, get
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import message
from hedgerow.journal.activity import VisitReader
from hedgerow.journal.reader import DecisionFilter, DeviceRow, RequestRow
from hedgerow.network.discovery import VendorLookup
from hedgerow.policies.access_subject import access_subject
from hedgerow.policies.effective_users import ALL_UNNAMED, has_seats
from hedgerow.policies.expiry import expiring_rules
from hedgerow.policies.host_facts import subject_of
from hedgerow.policies.model import Grant, Policy, Verdict

ONLINE_S = 900.0
_ROWS, _ROWS_READ, _BUDGETS = 8, 200, 50
_CODE = {"hour": message("Create a code")}
_EARNED = {
    True: message("%(minutes)s more minutes for %(name)s today."),
    False: message("%(name)s can read that it is done: %(what)s."),
}
"""Sentences about a chore that was confirmed, by whether it earns minutes."""
_NEW_DEVICES, _NEW_FOR_S = 2, 86_400.0
"""Cards of new devices, and the seconds since it was last seen for which a device has one."""

type Part = Literal[
    "troubles", "new", "everybody", "children", "requests", "links", "pauses", "grants", "day", "devices", "blocked"
]


class TodayPages(PageGroup):
    """`/` and `/day`, their buttons, and the forms for access codes."""

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        self._visits = VisitReader(context.reader.store, subject_of)
        self._vendors = VendorLookup()

    @get("/", OPERATE, READ)
    async def today(self, request: Request) -> Response:
        return self._page(request, "today.html", status=self._context.control.status(), **await self._values())

    @get("/day", OPERATE, READ)
    async def day(self, request: Request) -> Response:
        """Show what does not need an answer: what was used and blocked, and all pauses and permissions."""
        return self._page(request, "day.html", status=self._context.control.status(), **await self._values())

    @get("/today/{part}", OPERATE, READ)
    async def part(self, request: Request, part: Part) -> Response:
        """Return a part of these pages, for `live.js`."""
        return self._page(request, f"today_{part}.html", status=self._context.control.status(), **await self._values())

    async def _values(self) -> dict[str, Any]:
        """Return the values of the page and its parts."""
        context = self._context
        index, status = context.index(), context.control.status()
        policy, now = index.policy, context.clock()
        midnight = labels.midnight_before(now, labels.zone(status.timezone))
        today = await run_in_threadpool(self._read, index, midnight, now)
        asked = await run_in_threadpool(context.cards, Place.REQUESTS)
        budgets = context.budgets()
        times = context.control.person_times([child.name for child in today["children"]])
        cards = child_cards(index, today["children"], today["so_far"], times, budgets, midnight, now)
        on_cards = {card.name for card in cards}
        paused_all = next((pause for pause in today["pauses"] if pause.person is None and pause.device is None), None)
        unnamed, brief = fold_brief(unnamed_devices(index, today["devices"]))
        recognised = today["recognised"]
        apart = {device for device, found in recognised.items() if found.role.is_apart}
        known = [device for device in today["devices"] if device.device in policy.devices]
        devices = sorted((*known, *unnamed), key=lambda device: -device.last_seen)
        online = [device for device in devices if now - last_used(device) < ONLINE_S]
        return {
            "today": today,
            "asked": asked,
            "waiting": len(today["requests"]) + sum(len(card.value) for card in asked if isinstance(card.value, Sized)),
            "people": sorted({*policy.people, *(device.person for device in today["devices"] if device.person)}),
            "online": online,
            "online_count": len(online),
            "more_children": len(children_of(policy)) - len(cards),
            "devices": devices,
            "unnamed": [row for row in unnamed if row.device not in apart],
            "recognised": recognised,
            "brief": len(brief),
            "new": today["new"][:_NEW_DEVICES],
            "new_count": len(today["new"]),
            "closed_devices": {
                card.id
                for card in today["new"][:_NEW_DEVICES]
                if (view := context.control.device_at(card.seen.address)) is not None
                and view.device == card.id
                and view.held
            },
            "residents": list(policy.people),
            "kept_closed": set(),
            "holds_new": status.has_gateway and policy.profiles[policy.network.unknown_devices].is_for_children,
            "cards": cards,
            "paused_all": paused_all,
            "limits": _limits(budgets),
            "exceptions": len(today["grants"])
            + sum(1 for pause in today["pauses"] if pause.device or pause.person not in {None, *on_cards}),
            "budgets": [row for row in budgets if row.whose not in {*on_cards, ALL_UNNAMED}][:_BUDGETS],
            "dues": [due for due in expiring_rules(policy) if due.is_notable(now)],
        }

    @form(access.approve)
    async def approve(self, request: Request, caller: Caller, request_id: int, order: Approval) -> Response:
        """Approve a request. Ask first before something dangerous, and tell if it stays closed all the same."""
        context = self._context
        only = {"only_address": order.only_address, "only_device": order.only_device}
        row = await self._row(request_id)
        opening = row.access_subject(context.policy(), **only) if row is not None and not row.chore else None
        if opening is not None and (question := await ask_before(context, request, opening)) is not None:
            return question
        given = await access.approve.run(context, caller, request_id, order)
        if not isinstance(given, Grant):
            name, what = given.account.partition(":")[2], row.chore if row is not None else ""
            undo = "" if has_seats(context.policy()) else f"/requests/{request_id}/reopen"
            text = _EARNED[bool(given.minutes)]
            return self._done(request, text, undo, name=name, what=what, minutes=f"{given.minutes:g}")
        obstacle = await explain_obstacle(context, request, opening, order.how_long) if opening is not None else None
        return obstacle or redirect_to(opened_path(context, request, referring_page(request), given))

    @form(codes.make_code, FormOf("/requests/{request_id}/code", {"request": "request_id"}))
    async def answer_code(self, request: Request, caller: Caller, order: CodeOrder) -> Response:
        asked = await self._row(order.request)
        opening = asked.access_subject(self._context.policy()) if asked is not None and not asked.chore else None
        if (
            opening is not None
            and (question := await ask_before(self._context, request, opening, _CODE, field="how_long")) is not None
        ):
            return question
        return await self._show_code(request, caller, CodeOrder(request=order.request, sure=order.sure))

    async def _row(self, request_id: int | None) -> RequestRow | None:
        """Return an open request."""
        rows = await run_in_threadpool(self._context.reader.requests)
        return next((each for each in rows if each.id == request_id), None)

    @form(codes.make_code)
    async def make_code(self, request: Request, caller: Caller, order: CodeOrder) -> Response:
        subject = order.subject.strip()
        opening = access_subject(self._context.policy(), subject, person=order.person, only_address=order.only_address)
        is_opening = order.subject and order.minutes is None
        if is_opening and (question := await ask_before(self._context, request, opening, field="how_long")) is not None:
            return question
        return await self._show_code(request, caller, replace(order, subject=subject, request=None, device=None))

    async def _show_code(self, request: Request, caller: Caller, order: CodeOrder) -> Response:
        made = await codes.make_code.run(self._context, caller, order)
        return self._page(request, "code.html", digits=f"{made.digits[:3]} {made.digits[3:]}", code=made.code)

    def _read(self, index: PolicyIndex, midnight: float, now: float) -> dict[str, Any]:
        """Return what the journal says of today."""
        reader, policy = self._context.reader, index.policy
        requests, pauses = reader.requests(), reader.pauses(now)
        closed = {pause.device for pause in pauses}
        children = shown_children(policy, requests, pauses)
        shown = [
            *(child.name for child in children),
            *(name for name in policy.people if policy.people[name] not in children),
        ][:MAX_CARDS]
        own = [device for name in shown for device in devices_of(index, name)]
        found = {
            row.device: row
            for row in (*reader.recent_devices(midnight, RECENT_DEVICES), *reader.devices(midnight, own))
        }
        devices = tuple(
            sorted((_owned_now(policy, row) for row in found.values()), key=lambda row: (-row.last_seen, row.device))
        )
        hours = reader.hours(midnight, own)
        newcomers = new_device_cards(index, devices, self._vendors, self._context.activity)
        named = [
            device for person in children if shows_sites(policy, person) for device in devices_of(index, person.name)
        ]
        return {
            "devices": devices,
            "blocked": merge_similar(
                reader.decisions(DecisionFilter(verdict=Verdict.BLOCK, since=midnight), limit=_ROWS_READ).rows
            )[:_ROWS],
            "reasons": tuple(item for item in reader.reasons(midnight) if item.verdict is not Verdict.ALLOW)[:12],
            "requests": requests,
            "grants": reader.grants(now),
            "pauses": pauses,
            "blocked_count": sum(hour.blocked for hour in hours),
            "days": person_days(policy, hours, midnight, now),
            "so_far": DaySoFar(
                devices, pauses, reader.use(midnight), self._visits.minutes(named, midnight), self._visits.blocked()
            ),
            "new": tuple(
                card
                for card in newcomers
                if not card.found.role.is_apart and card.id not in closed and now - card.seen.last_seen < _NEW_FOR_S
            ),
            "recognised": {card.id: card.found for card in newcomers},
            "children": tuple(children),
        }


class AnswerPages(PageGroup):
    """The form that ends a permission."""

    @form(access.revoke)
    async def revoke(self, request: Request, caller: Caller, grant_id: str) -> Response:
        await access.revoke.run(self._context, caller, grant_id)
        return self._done(request, message("The permission is over."))


def _limits(budgets: Iterable[BudgetRow]) -> dict[str, dict[str, int | None]]:
    """Return the minutes of each limit by person and subject."""
    limits: dict[str, dict[str, int | None]] = {}
    for row in budgets:
        limits.setdefault(row.whose, {})[row.subject] = row.limit
    return limits


def _owned_now(policy: Policy, row: DeviceRow) -> DeviceRow:
    """Return the row with the owner and profile that the policy gives the device now, which the journal learns with its
    next request.
    """
    device = policy.devices.get(row.device)
    if device is None or device.is_seat or device.sharers:
        return row
    return replace(row, person=device.person, profile=device.profile)
