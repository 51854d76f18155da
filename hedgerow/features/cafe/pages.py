"""The pages of a café's counter: seats as tiles, with buttons to open, extend and end sessions; vouchers, staff,
reports and the audit.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import date
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.actions import sessions
from hedgerow.dashboards.actions.action import Caller
from hedgerow.dashboards.actions.orders import COUNTER_PATH, LATEST, ExtendOrder, PaymentWay, SeatOrder
from hedgerow.dashboards.api.actions import caller_of
from hedgerow.dashboards.control import InvalidInput, at_field
from hedgerow.dashboards.extensions import Extensions, NavLink
from hedgerow.dashboards.guard import peer_address
from hedgerow.dashboards.pages.action_forms import form
from hedgerow.dashboards.pages.context import PageContext, PageGroup, principal_of, redirect_to
from hedgerow.dashboards.pages.openings import confirm
from hedgerow.dashboards.routes import ADMIN, OPERATE, READ, get, post
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.dashboards.words.session_kinds import kind_titles
from hedgerow.features.cafe.actions import COUNTER_ACTIONS, count_till, credit, make_vouchers, pay, undo_minutes
from hedgerow.features.cafe.api import add_routes, seat_traffic
from hedgerow.features.cafe.audit import audit, audit_csv, audit_period
from hedgerow.features.cafe.calls import seat_calls_of
from hedgerow.features.cafe.cash import MOST, Till, parse_amount, till
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore, entries_by_session
from hedgerow.features.cafe.done_texts import is_about_minutes, lead_to, undo_of
from hedgerow.features.cafe.member_actions import MEMBER_ACTIONS
from hedgerow.features.cafe.member_pages import MemberPages, add_member_routes
from hedgerow.features.cafe.members import Member, members_of
from hedgerow.features.cafe.metrics import SEATS
from hedgerow.features.cafe.orders import UndoOrder, VoucherOrder
from hedgerow.features.cafe.price_pages import PricePages
from hedgerow.features.cafe.refusals import SeatTaken
from hedgerow.features.cafe.sale_pages import SalePages, open_bills, sell
from hedgerow.features.cafe.screen_actions import SCREEN_ACTIONS
from hedgerow.features.cafe.screen_pages import ScreenPages, add_screen_routes
from hedgerow.features.cafe.screens import screens_of
from hedgerow.features.cafe.seat_pages import SEAT_CARDS, PortalPages, SeatPages, VoucherPages
from hedgerow.features.cafe.seat_tiles import (
    SeatTile,
    count_seat_states,
    natural_order,
    opening_costs,
    tile_of,
    with_entries,
)
from hedgerow.features.cafe.settings import cafe_of
from hedgerow.features.cafe.shifts import (
    Debt,
    ReportDays,
    debts_of,
    debts_within,
    entries_csv,
    session_histories,
    shift_report,
)
from hedgerow.features.cafe.staff import DEFAULT_ROLE, Staff, place_of, staff_of
from hedgerow.features.cafe.till import CountOrder
from hedgerow.features.cafe.voucher_sheets import voucher_sheet
from hedgerow.features.cafe.vouchers import vouchers_of
from hedgerow.policies.seats import Payment, is_adult_kind

type Person = Annotated[str, Query(max_length=100)]
Day = Annotated[date | None, Query()]
Amount = Annotated[str, Form(max_length=20)]

MAX_SESSIONS_SHOWN = 500
OVER_SHOWN_S = 600.0
"""Seconds for which a seat says that its guest's time is over."""
LENGTHS = (30, 60, 90, 120)
"""Minutes that the counter offers for a session."""


class _CounterGroup(PageGroup):
    """Pages whose forms are each carried out once: the field `once` is new with each page."""

    @property
    def _store(self) -> CounterStore:
        return CounterStore(self._context.reader.store)

    @property
    def _staff(self) -> Staff:
        return self._context.part(staff_of)

    async def _debts(self) -> tuple[Debt, ...]:
        return debts_of(await run_in_threadpool(self._store.unpaid), await self._members())

    async def _members(self) -> tuple[Member, ...]:
        return await run_in_threadpool(self._context.part(members_of).all)

    def _counter_page(self, request: Request, template: str, **values: Any) -> Response:
        return self._page(request, template, once=secrets.token_hex(12), **values)


class CounterPages(_CounterGroup):
    """`/counter` and its forms."""

    @get(COUNTER_PATH, OPERATE, READ)
    async def counter(
        self,
        request: Request,
        minutes: Annotated[int, Query(ge=1, le=1440)] = 60,
        band: Annotated[str, Query(max_length=100)] = "child",
        pays: Payment | None = None,
        ended: Annotated[str, Query(max_length=40)] = "",
        seat: Annotated[str, Query(max_length=253)] = "",
        ends: Annotated[float | None, Query(ge=0, le=LATEST)] = None,
    ) -> Response:
        """Show the seats.

        `minutes`, `band` and `pays` are chosen for the next guest; `ended`, `seat` and `ends` are of an ended session.
        """
        context, cafe, now = self._context, cafe_of(self._context.policy()), self._context.clock()
        kinds = kind_titles(context.policy(), language_of(request))
        vouchers = await context.part(vouchers_of).open()
        undo = None
        if ended:
            (history,) = session_histories(await run_in_threadpool(self._store.of_session, ended)) or (None,)
            undo = {"session": ended, "seat": seat, "ends": ends, "history": history}
        return self._counter_page(
            request,
            "cafe/templates/counter.html",
            tiles=await self._tiles(),
            unpaid=[each for each in await self._debts() if each.session not in self._open_sessions()],
            tills=await run_in_threadpool(self._tills, now),
            members=await self._members(),
            costs=opening_costs(cafe, kinds, LENGTHS, language_of(request)),
            kinds=kinds,
            unpriced=[kinds[kind][0] for kind in cafe.free_kinds(context.policy().profiles)],
            vouchers=vouchers,
            calls=context.part(seat_calls_of).open(),
            bills=open_bills(context),
            choice={"minutes": minutes, "band": band, "pays": pays or cafe.pays},
            undo=undo,
            lengths=LENGTHS,
            cafe=cafe,
            staff=[row.name for row in await self._staff.members()],
            on_duty=self._staff.on_duty(principal_of(request)),
        )

    def _tills(self, now: float) -> list[Till]:
        """Return the till in the policy's currency, if it has one, and in others in which there is money."""
        policy = self._context.policy()
        own = till(self._store, policy, now)
        others = [till(self._store, policy, now, each) for each in own.others]
        return [own, *others] if own.currency else others

    def _open_sessions(self) -> set[str]:
        return {each.id for each in self._context.time.sessions()}

    @get(f"{COUNTER_PATH}/seats", OPERATE, READ)
    async def seats(self, request: Request) -> Response:
        """Return only the tiles, for `live.js`."""
        kinds = kind_titles(self._context.policy(), language_of(request))
        return self._counter_page(request, "cafe/templates/seats.html", tiles=await self._tiles(), kinds=kinds)

    @get(f"{COUNTER_PATH}/calls", OPERATE, READ)
    async def calls(self, request: Request) -> Response:
        """Return only the calls of seats, for `live.js`."""
        return self._page(request, "cafe/templates/calls.html", calls=self._context.part(seat_calls_of).open())

    @form(sessions.start_session)
    async def open(self, request: Request, caller: Caller, device: str, order: SeatOrder) -> Response:
        """Open a session for a guest. If the seat is taken, ask whether the session there ends."""
        if order.minutes is None:
            raise InvalidInput("Fill in this field.").at("minutes")
        try:
            await sessions.start_session.run(self._context, caller, device, replace(order, person=None, name=""))
        except SeatTaken as taken:
            question = await self._ask_to_replace(request, device, str(taken.more["session"]))
            if question is None:
                raise
            return question
        pays = order.pays if order.pays is not PaymentWay.BALANCE else None  # the next guest is somebody else
        chosen = {"minutes": round(order.minutes), "band": order.band, "pays": pays}
        path = f"{COUNTER_PATH}?{urlencode({name: value for name, value in chosen.items() if value is not None})}"
        return await lead_to(
            self._context,
            request,
            caller,
            path,
            is_about_minutes(CounterAction.OPEN, device),
            undo_of,
        )

    @form(sessions.extend_session)
    async def extend(self, request: Request, caller: Caller, device: str, order: ExtendOrder) -> Response:
        """Add minutes to a session."""
        await sessions.extend_session.run(self._context, caller, device, order)
        return await lead_to(
            self._context,
            request,
            caller,
            COUNTER_PATH,
            is_about_minutes(CounterAction.EXTEND, device),
            undo_of,
        )

    @form(undo_minutes)
    async def undo(self, request: Request, caller: Caller, session: str, order: UndoOrder) -> Response:
        """Take back an opening or minutes, and say where the money is."""
        await undo_minutes.run(self._context, caller, session, order)
        return await lead_to(
            self._context,
            request,
            caller,
            COUNTER_PATH,
            lambda each: each.session == session and each.action in (CounterAction.UNDO, CounterAction.PAY),
        )

    async def _ask_to_replace(self, request: Request, seat: str, session: str) -> Response | None:
        return await confirm(
            self._context,
            request,
            message("%(seat)s is taken."),
            message("Shall the session there end, and this one take its place?"),
            {session: message("End it and open the seat")},
            field="replaces",
            seat=seat,
        )

    @form(sessions.end_session)
    async def end(self, _request: Request, caller: Caller, device: str) -> Response:
        """End a session, and offer to undo that."""
        ended = await sessions.end_session.run(self._context, caller, device)
        if ended is None:
            return redirect_to(COUNTER_PATH)
        undo = {"ended": ended.id, "seat": device} | ({"ends": f"{ended.ends:.0f}"} if ended.ends is not None else {})
        return redirect_to(f"{COUNTER_PATH}?{urlencode(undo)}")

    @form(make_vouchers)
    async def print_vouchers(self, request: Request, caller: Caller, order: VoucherOrder) -> Response:
        """Show a sheet of new codes, once."""
        return voucher_sheet(self._context, request, await make_vouchers.run(self._context, caller, order))

    @get(f"{COUNTER_PATH}/audit.csv", OPERATE, READ)
    async def audit(self) -> Response:
        """Return the last month's audit for an inspection."""
        rows = await run_in_threadpool(
            audit, self._context.reader, self._context.policy(), *audit_period(self._context.clock())
        )
        headers = {"Content-Disposition": 'attachment; filename="hedgerow-audit.csv"'}
        return Response(audit_csv(rows), media_type="text/csv; charset=utf-8", headers=headers)

    async def _tiles(self) -> list[SeatTile]:
        """Return the seats in natural order: seat-2 before seat-10."""
        now = self._context.clock()
        # A later session replaces an earlier one.
        sessions = {each.device: each for each in self._context.time.sessions()}
        pauses = {each.device: each.ends for each in await run_in_threadpool(self._context.reader.pauses, now)}
        policy = self._context.policy()
        traffic = {each.seat: each for each in seat_traffic(self._context.metrics, policy, sessions.values())}
        over = await run_in_threadpool(self._store.ended_by_themselves, now - OVER_SHOWN_S, now)
        entries = await run_in_threadpool(
            entries_by_session, self._context.reader.store, [each.id for each in sessions.values()]
        )
        members = await self._members()
        seats = (device.id for device in policy.devices.values() if device.is_seat)
        tiles = []
        for seat in sorted(seats, key=natural_order):
            tile = tile_of(seat, sessions.get(seat), pauses.get(seat), traffic.get(seat), now)
            if tile.session is not None:
                tile = with_entries(tile, entries[tile.session.id], cafe_of(policy), members, now)
            tiles.append(replace(tile, over=over.get(seat)))
        return tiles


class ShiftPages(_CounterGroup):
    """Reports, receipts, payments and staff of the counter."""

    @get(f"{COUNTER_PATH}/report", OPERATE, READ)
    async def report(self, request: Request, first: Day = None, last: Day = None, person: Person = "") -> Response:
        """Show some days in numbers, and their sessions."""
        policy = self._context.policy()
        period, entries = await self._entries(first, last, person)
        debts = debts_within(entries, await self._debts())
        return self._counter_page(
            request,
            "cafe/templates/report.html",
            period=period,
            person=person,
            people=sorted(
                {row.name for row in await self._staff.members()} | {each.actor for each in entries} | {person} - {""}
            ),
            report=shift_report(entries, lambda kind: is_adult_kind(kind, policy.profiles), debts),
            owed={each.session: each for each in debts},
            histories=session_histories(entries)[:MAX_SESSIONS_SHOWN],
            refusals=[each for each in entries if each.action is CounterAction.WRONG_PIN],
            openings=[each for each in entries if each.action in (CounterAction.ALLOW, CounterAction.ALLOW_ADULT)],
            kinds=kind_titles(policy, language_of(request)),
            cafe=cafe_of(policy),
        )

    @get(f"{COUNTER_PATH}/report.csv", OPERATE, READ)
    async def report_csv(self, first: Day = None, last: Day = None, person: Person = "") -> Response:
        """Return every entry of some days."""
        period, entries = await self._entries(first, last, person)
        text = entries_csv(entries, labels.zone(self._context.policy().network.timezone), await self._debts())
        headers = {"Content-Disposition": f'attachment; filename="hedgerow-counter-{period.first}.csv"'}
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)

    @get(f"{COUNTER_PATH}/receipt", OPERATE, READ)
    async def receipt(self, request: Request, session: Annotated[str, Query(max_length=40)] = "") -> Response:
        """Show what a session cost, to print."""
        entries = await run_in_threadpool(self._store.of_session, session)
        if not entries:
            return redirect_to(f"{COUNTER_PATH}/report")
        policy = self._context.policy()
        kinds = kind_titles(policy, language_of(request))
        return self._counter_page(
            request,
            "cafe/templates/receipt.html",
            history=session_histories(entries)[0],
            members=await self._members(),
            kinds=kinds,
            cafe=cafe_of(policy),
        )

    @form(pay)
    async def pay(self, request: Request, caller: Caller, session: str) -> Response:
        """Record that a guest pays what is owed."""
        await pay.run(self._context, caller, session)
        path = f"{COUNTER_PATH}/receipt?{urlencode({'session': session})}"
        return await lead_to(
            self._context,
            request,
            caller,
            path,
            lambda each: each.action is CounterAction.PAY and each.session == session,
        )

    @form(credit)
    async def credit(self, request: Request, caller: Caller, session: str) -> Response:
        """Show a voucher for the minutes that were paid and not used, once."""
        return voucher_sheet(self._context, request, await credit.run(self._context, caller, session))

    @post(f"{COUNTER_PATH}/duty", OPERATE)
    async def begin_duty(
        self, request: Request, name: Annotated[str, Form(max_length=100)], pin: Annotated[str, Form(max_length=40)]
    ) -> Response:
        """Put somebody on duty in this browser."""
        control, address = self._context.control, peer_address(request.scope)
        if control.device_at(address) is None:
            raise InvalidInput("A PIN works on this network only.")
        with at_field("pin"):
            await self._staff.begin(principal_of(request), name, pin, place_of(control, address))
        return self._done(request, message("%(name)s is on duty."), name=name)

    @post(f"{COUNTER_PATH}/leave", OPERATE)
    async def end_duty(self, request: Request) -> Response:
        """End the duty in this browser."""
        self._staff.leave(principal_of(request))
        return self._done(request, message("Nobody is on duty in this browser."))

    @post(f"{COUNTER_PATH}/count", OPERATE)
    async def count(
        self,
        request: Request,
        counted: Amount,
        expected: Annotated[int, Form(ge=-MOST, le=MOST)],
        last: Annotated[int, Form(ge=0)],
        left: Amount = "0",
        pin: Annotated[str, Form(max_length=40)] = "",
        currency: Annotated[str, Form(max_length=3)] = "",
        once: Annotated[str, Form(max_length=40)] = "",
    ) -> Response:
        """Record what was counted in the till."""
        amounts = {}
        for name, text in (("counted", counted), ("left", left)):
            with at_field(name):
                amounts[name] = parse_amount(text, currency)
        caller = caller_of(request, f"{principal_of(request).name}\n{once}" if once else "")
        order = CountOrder(**amounts, expected=expected, last=last, pin=pin, currency=currency)
        await count_till.run(self._context, caller, order)
        path = f"{COUNTER_PATH}/report"
        return self._done(request, message("The count of the till is recorded."), path=path)

    @get(f"{COUNTER_PATH}/staff", ADMIN)
    async def staff(self, request: Request) -> Response:
        roles = [*cafe_of(self._context.policy()).roles] or [DEFAULT_ROLE]
        return self._page(request, "cafe/templates/members.html", members=await self._staff.members(), roles=roles)

    @post(f"{COUNTER_PATH}/staff", ADMIN)
    async def put_staff(
        self,
        request: Request,
        name: Annotated[str, Form(max_length=100)],
        pin: Annotated[str, Form(max_length=40)],
        role: Annotated[str, Form(max_length=40)] = DEFAULT_ROLE,
    ) -> Response:
        """Add somebody, or change their role and PIN."""
        with at_field("pin"):
            await self._staff.put(name, role, pin)
        return self._done(request, message("%(name)s can be on duty with this PIN."), name=name)

    @post(f"{COUNTER_PATH}/staff/remove", ADMIN)
    async def remove_staff(self, request: Request, name: Annotated[str, Form(max_length=100)]) -> Response:
        await self._staff.remove(name)
        return self._done(request, message("%(name)s is no longer on the staff."), name=name)

    async def _entries(
        self, first: date | None, last: date | None, person: str
    ) -> tuple[ReportDays, tuple[CounterEntry, ...]]:
        context = self._context
        period = ReportDays.of(first, last, context.policy().network.timezone, context.clock())
        return period, await run_in_threadpool(self._store.entries, period.since, period.before, person or None)


def _on_duty(context: PageContext, principal: Principal) -> str:
    return context.part(staff_of).on_duty(principal)


def _seat_states(context: PageContext) -> dict[tuple[str, ...], float]:
    pauses = context.reader.pauses(context.clock())
    return count_seat_states(context.policy(), context.time.sessions(), pauses)


EXTENSIONS = Extensions(
    actions=(*COUNTER_ACTIONS, sell, *MEMBER_ACTIONS, *SCREEN_ACTIONS),
    cards=SEAT_CARDS,
    page_groups=(
        CounterPages,
        ShiftPages,
        PricePages,
        VoucherPages,
        SeatPages,
        PortalPages,
        SalePages,
        MemberPages,
        ScreenPages,
    ),
    actors=(_on_duty,),
    api_routes=(add_routes, add_screen_routes, add_member_routes),
    gauges={SEATS: _seat_states},
    live={
        "bills": open_bills,
        "calls": lambda context: context.part(seat_calls_of).open(),
        "screens": lambda context: context.part(screens_of).screens(),
    },
    nav=(
        NavLink(
            path=COUNTER_PATH,
            label=message("Counter"),
            icon="counter",
            scopes=frozenset({OPERATE}),
            is_shown=lambda index: index.has_seats,
        ),
    ),
)
