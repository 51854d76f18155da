"""The page with the members of a café and their balances."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Sequence
from typing import Annotated

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.actions.action import Caller
from hedgerow.dashboards.api.actions import caller_of
from hedgerow.dashboards.control import at_field
from hedgerow.dashboards.data_export import csv_cell
from hedgerow.dashboards.pages.action_forms import form
from hedgerow.dashboards.pages.context import PageContext, PageGroup, principal_of
from hedgerow.dashboards.routes import OPERATE, READ, ScopedRouter, get, post
from hedgerow.dashboards.words.languages import message
from hedgerow.features.cafe.cash import parse_amount
from hedgerow.features.cafe.counter_store import CounterAction, CounterStore
from hedgerow.features.cafe.done_texts import lead_to
from hedgerow.features.cafe.member_actions import MEMBERS_PATH, add_member, charge, deposit
from hedgerow.features.cafe.members import DepositOrder, Member, MemberOrder, members_of
from hedgerow.features.cafe.session_entries import member_note
from hedgerow.features.cafe.settings import cafe_of
from hedgerow.features.cafe.shifts import debts_of


class MemberPages(PageGroup):
    """`/counter/members`."""

    @get(MEMBERS_PATH, OPERATE, READ)
    async def members(self, request: Request) -> Response:
        """Show the members, and the bills that can be paid from their balances."""
        entries = await run_in_threadpool(CounterStore(self._context.reader.store).unpaid)
        return self._page(
            request,
            "cafe/templates/guests.html",
            members=(members := await self._all()),
            debts=debts_of(entries, members),
            cafe=cafe_of(self._context.policy()),
            once=secrets.token_hex(12),
        )

    @get(f"{MEMBERS_PATH}/list.csv", OPERATE, READ)
    async def listed(self) -> Response:
        """Return the members and their balances."""
        headers = {"Content-Disposition": 'attachment; filename="hedgerow-members.csv"'}
        return Response(_csv(await self._all()), media_type="text/csv; charset=utf-8", headers=headers)

    @form(add_member)
    async def add(self, request: Request, caller: Caller, order: MemberOrder) -> Response:
        """Add a member, and say the number."""
        made = await add_member.run(self._context, caller, order)
        return self._done(
            request, message("%(name)s is member %(number)s now."), name=made.name, number=f"{made.number}"
        )

    @post(f"{MEMBERS_PATH}/deposit", OPERATE)
    async def deposit(
        self,
        request: Request,
        number: Annotated[int, Form(ge=1, le=2**62)],
        amount: Annotated[str, Form(max_length=20)],
        way: Annotated[str, Form(pattern="^(in|out)$")],
        once: Annotated[str, Form(max_length=40)] = "",
    ) -> Response:
        """Record what a member pays in or gets back, as it was typed."""
        with at_field("amount"):
            member = next((each for each in await self._all() if each.number == number and each.balance), None)
            typed = parse_amount(
                amount, member.currency if member is not None else cafe_of(self._context.policy()).currency
            )
            caller = caller_of(request, f"{principal_of(request).name}\n{once}" if once else "")
            order = DepositOrder(amount=typed if way == "in" else -typed)
            await deposit.run(self._context, caller, number, order)
        return await lead_to(
            self._context,
            request,
            caller,
            MEMBERS_PATH,
            lambda each: each.action is CounterAction.DEPOSIT and each.note == member_note(number),
        )

    @form(charge)
    async def charge(self, request: Request, caller: Caller, number: int, session: str) -> Response:
        """Pay a bill from a balance."""
        await charge.run(self._context, caller, number, session)
        return await lead_to(
            self._context,
            request,
            caller,
            MEMBERS_PATH,
            lambda each: each.action is CounterAction.PAY and each.session == session,
        )

    async def _all(self) -> tuple[Member, ...]:
        return await run_in_threadpool(self._context.part(members_of).all)


def _csv(members: Sequence[Member]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["number", "name", "balance", "currency"])
    writer.writerows((each.number, csv_cell(each.name), each.balance, each.currency) for each in members)
    return text.getvalue()


def add_member_routes(api: ScopedRouter, context: PageContext) -> None:
    """Add the route of the API that is not an action."""

    @api.serve("GET", "/members", OPERATE, READ)
    async def members() -> tuple[Member, ...]:
        """Return the members of the café and their balances, in the smallest unit of their currency."""
        return await run_in_threadpool(context.part(members_of).all)
