"""Actions on the members of a café and their balances."""

from __future__ import annotations

from typing import Annotated

from hedgerow.dashboards.actions.action import Caller, CommandOf, FormOf, Shown, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.actions.orders import COUNTER_PATH, JournalId, SessionId
from hedgerow.features.cafe.members import DepositOrder, Member, MemberOrder, members_of
from hedgerow.policies.text.locales import message

MEMBERS_PATH = f"{COUNTER_PATH}/members"

MemberNumber = Annotated[JournalId, Shown("The number of the member.", "NUMBER")]
BilledSession = Annotated[SessionId, Shown("The session, as `hedgerow seat report --json` names it.", "SESSION")]


@action(
    "POST",
    "/members",
    status=201,
    form=FormOf(f"{MEMBERS_PATH}/add"),
    command=CommandOf(lambda answer: f"{answer['name']} is member {answer['number']}."),
)
async def add_member(core: Operations, caller: Caller, order: MemberOrder) -> Member:
    """Add a member, with an empty balance."""
    return await core.part(members_of).add(order.name, actor=caller.actor)


@action(
    "DELETE",
    "/members/{number}",
    form=FormOf(f"{MEMBERS_PATH}/remove", says=message("Member %(number)s is removed.")),
    command=CommandOf(lambda number: f"Member {number} is removed.", {"removed": "number"}),
)
async def remove_member(core: Operations, caller: Caller, number: MemberNumber) -> None:
    """Remove a member whose balance is empty."""
    await core.part(members_of).remove(number, actor=caller.actor)


def _deposited(number: int, amount: int) -> str:
    return f"Member {number} has {'paid in' if amount > 0 else 'got back'} {abs(amount)}."


@action(
    "POST",
    "/members/{number}/deposit",
    is_once=True,
    command=CommandOf(_deposited, {"member": "number", "amount": "amount"}),
)
async def deposit(core: Operations, caller: Caller, number: MemberNumber, order: DepositOrder) -> None:
    """Record what a member pays in or, below zero, gets back."""
    await core.part(members_of).deposit(number, order.amount, actor=caller.actor, request=caller.key)


@action(
    "POST",
    "/members/{number}/charge/{session}",
    is_once=True,
    form=FormOf(f"{MEMBERS_PATH}/charge"),
    command=CommandOf(
        lambda number, session: f"The balance of member {number} has settled {session}.",
        {"member": "number", "session": "session"},
    ),
)
async def charge(core: Operations, caller: Caller, number: MemberNumber, session: BilledSession) -> None:
    """Pay what a session and its articles owe from the balance of a member, or give back what was paid too much."""
    await core.part(members_of).charge(number, session, actor=caller.actor, request=caller.key)


MEMBER_ACTIONS = (add_member, remove_member, deposit, charge)
