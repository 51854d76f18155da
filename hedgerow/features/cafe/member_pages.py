"""The members of a café: their actions, and the page with their balances."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Sequence
from typing import Annotated

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.actions.action import Caller, FormOf, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.actions.orders import COUNTER_PATH, JournalId, SessionId
from hedgerow.dashboards.api.actions import caller_of
from hedgerow.dashboards.control import at_field
from hedgerow.dashboards.data_export import csv_cell
from hedgerow.dashboards.pages.action_forms import form
from hedgerow.dashboards.pages.context import PageContext, PageGroup, principal_of
from hedgerow.dashboards.routes import OPERATE, READ, ScopedRouter, get, post
from hedgerow.features.cafe.cash import parse_amount
from hedgerow.features.cafe.counter_store import CounterAction, CounterStore
from hedgerow.features.cafe.done_texts import lead_to
from hedgerow.features.cafe.members import DepositOrder, Member, MemberOrder, members_of
from hedgerow.features.cafe.session_entries import member_note
from hedgerow.features.cafe.settings import cafe_of
from hedgerow.features.cafe.shifts import debts_of
from hedgerow.policies.text.locales import message

MEMBERS_PATH = f"{COUNTER_PATH}/members"


@action("POST", "/members", status=201, form=FormOf(f"{MEMBERS_PATH}/add", says=message("%(name)s is a member now.")))
async def add_member(core: Operations, caller: Caller, order: MemberOrder) -> Member:
    """Add a member, with an empty balance."""
    return await core.part(members_of).add(order.name, actor=caller.actor)


@action(
    "DELETE",
    "/members/{number}",
    form=FormOf(f"{MEMBERS_PATH}/remove", says=message("Member %(number)s is removed.")),
)
async def remove_member(core: Operations, caller: Caller, number: JournalId) -> None:
    """Remove a member whose balance is empty."""
    await core.part(members_of).remove(number, actor=caller.actor)


@action("POST", "/members/{number}/deposit", is_once=True)
async def deposit(core: Operations, caller: Caller, number: JournalId, order: DepositOrder) -> None:
    """Record what a member pays in or, below zero, gets back."""
    await core.part(members_of).deposit(number, order.amount, actor=caller.actor, request=caller.key)


@action(
    "POST",
    "/members/{number}/charge/{session}",
    is_once=True,
    form=FormOf(f"{MEMBERS_PATH}/charge"),
)
async def charge(core: Operations, caller: Caller, number: JournalId, session: SessionId) -> None:
    """Pay what a session and its articles owe from the balance of a member, or give back what was paid too much."""
    await core.part(members_of).charge(number, session, actor=caller.actor, request=caller.key)


MEMBER_ACTIONS = (add_member, remove_member, deposit, charge)


class MemberPages(PageGroup):
    """`/counter/members`."""

    @get(MEMBERS_PATH, OPERATE, READ)
    async def members(self, request: Request) -> Response:
        """Show the members, and the bills that can be paid from their balances."""
        entries = await run_in_threadpool(CounterStore(self._context.reader.store).unpaid)
        return self._page(
            request,
            "cafe/templates/guests.html",
            members=await self._all(),
            debts=debts_of(entries),
            cafe=cafe_of(self._context.policy()),
            once=secrets.token_hex(12),
        )

    @get(f"{MEMBERS_PATH}/list.csv", OPERATE, READ)
    async def listed(self) -> Response:
        """Return the members and their balances."""
        headers = {"Content-Disposition": 'attachment; filename="hedgerow-members.csv"'}
        return Response(_csv(await self._all()), media_type="text/csv; charset=utf-8", headers=headers)

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
    """Add the route of the API that is no action."""

    @api.serve("GET", "/members", OPERATE, READ)
    async def members() -> tuple[Member, ...]:
        """Return the members of the café and their balances, in the smallest unit of their currency."""
        return await run_in_threadpool(context.part(members_of).all)
