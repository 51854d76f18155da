"""Access codes, which are read out over the phone, and vouchers, which open a café's seat."""

from __future__ import annotations

from hedgerow.dashboards.actions.action import Caller, FormOf, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.actions.orders import COUNTER_PATH, CodeOrder, SessionId, VoucherOrder
from hedgerow.dashboards.control import MadeCode, MadeVouchers


@action("POST", "/codes", status=201, form=FormOf("/people/{person}/code"))
async def make_code(core: Operations, caller: Caller, order: CodeOrder) -> MadeCode:
    """Make a code that opens something, adds minutes or approves a request on a device without a sign-in."""
    return await core.codes.make(order, caller.actor)


@action("DELETE", "/codes/{code_id}")
async def withdraw_code(core: Operations, _caller: Caller, code_id: str) -> None:
    """Make a code invalid."""
    await core.codes.withdraw(code_id)


@action("POST", "/vouchers", status=201, is_once=True, form=FormOf(f"{COUNTER_PATH}/vouchers"))
async def make_vouchers(core: Operations, caller: Caller, order: VoucherOrder) -> MadeVouchers:
    """Make vouchers for sessions at a seat.

    The codes can be had again with the same `Idempotency-Key` for ten minutes, from the same machine.
    """
    return await core.vouchers.make(order, caller.actor, caller.key)


@action("POST", "/vouchers/credit/{session}", status=201, is_once=True, form=FormOf(f"{COUNTER_PATH}/credit"))
async def credit(core: Operations, caller: Caller, session: SessionId) -> MadeVouchers:
    """Make a voucher for the minutes of an ended session that were paid and not used."""
    return await core.vouchers.credit(session, caller.actor, caller.key)


@action(
    "DELETE", "/vouchers", status=200, is_once=True, form=FormOf(f"{COUNTER_PATH}/vouchers/withdraw", then=COUNTER_PATH)
)
async def withdraw_vouchers(core: Operations, caller: Caller) -> dict[str, int]:
    """Make all unused vouchers invalid."""
    return {"withdrawn": await core.vouchers.withdraw(caller.actor, caller.key)}


CODE_ACTIONS = (make_code, withdraw_code, make_vouchers, credit, withdraw_vouchers)
