"""Actions at the counter: moves, payments, vouchers, and answers to calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hedgerow.dashboards.actions.action import Caller, CommandOf, FormOf, UndoForm, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.actions.orders import COUNTER_PATH, SessionId
from hedgerow.dashboards.actions.sessions import SEAT, Device
from hedgerow.features.cafe.calls import seat_calls_of
from hedgerow.features.cafe.cash import CashCount
from hedgerow.features.cafe.member_actions import BilledSession
from hedgerow.features.cafe.members import members_of
from hedgerow.features.cafe.orders import MadeVouchers, MoveOrder, UndoOrder, VoucherOrder
from hedgerow.features.cafe.sessions import seat_sessions_of
from hedgerow.features.cafe.till import CountOrder, till_of
from hedgerow.features.cafe.undoing import seat_undo_of
from hedgerow.features.cafe.vouchers import vouchers_of
from hedgerow.policies.text.locales import message


@action(
    "POST",
    "/sessions/{device}/move",
    is_once=True,
    form=FormOf(
        f"{COUNTER_PATH}/move",
        SEAT,
        says=message("The guest of %(device)s sits at %(to)s now."),
        undo=UndoForm(f"{COUNTER_PATH}/move", {"seat": "to", "to": "device"}),
    ),
    command=CommandOf(
        lambda device, to: f"The guest of {device} sits at {to} now.", {"seat": "to", "before": "device"}
    ),
)
async def move_session(core: Operations, caller: Caller, device: Device, order: MoveOrder) -> None:
    """Move a guest to another seat, with the rest of the session."""
    await core.part(seat_sessions_of).move_session(device, order.to, actor=caller.actor, request=caller.key)


@action(
    "POST",
    "/counter/payments/{session}",
    is_once=True,
    form=FormOf(f"{COUNTER_PATH}/pay"),
    command=CommandOf(lambda session: f"{session} is settled.", {"session": "session"}),
)
async def pay(core: Operations, caller: Caller, session: BilledSession) -> None:
    """Record the payment for a session, or what is given back: to the balance that has paid it, else in cash."""
    await core.part(members_of).pay(session, actor=caller.actor, request=caller.key)


def _counted(answer: Mapping[str, Any]) -> str:
    amounts = "expected {expected}, counted {counted}, difference {difference:+}, left {left}".format_map(answer)
    return f"The till is counted: {amounts} {answer['currency']}.".replace(" .", ".")


@action("POST", "/sessions/{session}/undo", is_once=True, form=FormOf(f"{COUNTER_PATH}/undo"))
async def undo_minutes(core: Operations, caller: Caller, session: SessionId, order: UndoOrder) -> None:
    """Take back the opening of a seat, or minutes, given in the last ten minutes.

    What was paid with it goes back in cash, or to the balance that has paid it. It is refused if the session has
    changed since.
    """
    await core.part(seat_undo_of).undo(session, order.entry, actor=caller.actor, request=caller.key)


@action(
    "POST",
    "/counter/counts",
    status=201,
    is_once=True,
    command=CommandOf(
        _counted,
        help="Record what was counted in the till. It is refused if something was paid or counted since `seat till`.",
    ),
)
async def count_till(core: Operations, caller: Caller, order: CountOrder) -> CashCount:
    """Record what was counted in the till at the end of a shift.

    It is refused with 409 if something was paid or counted after `/counter/till` was read.
    """
    return await core.part(till_of).count(order, caller)


@action("POST", "/vouchers", status=201, is_once=True, form=FormOf(f"{COUNTER_PATH}/vouchers"))
async def make_vouchers(core: Operations, caller: Caller, order: VoucherOrder) -> MadeVouchers:
    """Make vouchers for sessions at a seat.

    The codes can be had again with the same `Idempotency-Key` for ten minutes, from the same machine.
    """
    return await core.part(vouchers_of).make(order, caller.actor, caller.key)


@action("POST", "/vouchers/credit/{session}", status=201, is_once=True, form=FormOf(f"{COUNTER_PATH}/credit"))
async def credit(core: Operations, caller: Caller, session: SessionId) -> MadeVouchers:
    """Make a voucher for the minutes of an ended session that were paid and not used."""
    return await core.part(vouchers_of).credit(session, caller.actor, caller.key)


@action(
    "DELETE",
    "/vouchers",
    status=200,
    is_once=True,
    form=FormOf(
        f"{COUNTER_PATH}/vouchers/withdraw",
        says=message("No unused voucher is valid any more. Withdrawn: %(withdrawn)s."),
    ),
)
async def withdraw_vouchers(core: Operations, caller: Caller) -> dict[str, int]:
    """Make all unused vouchers invalid."""
    return {"withdrawn": await core.part(vouchers_of).withdraw(caller.actor, caller.key)}


@action(
    "DELETE",
    "/counter/calls/{device}",
    form=FormOf(f"{COUNTER_PATH}/answered", SEAT, says=message("The call of %(device)s is answered.")),
)
async def answer_call(core: Operations, _caller: Caller, device: Device) -> None:
    """Answer the call of a seat, so that it is no longer shown."""
    core.part(seat_calls_of).answer(device)


COUNTER_ACTIONS = (move_session, undo_minutes, pay, count_till, make_vouchers, credit, withdraw_vouchers, answer_call)
