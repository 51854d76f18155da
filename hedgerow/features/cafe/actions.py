"""Actions on vouchers, for the API and the pages."""

from __future__ import annotations

from hedgerow.dashboards.actions.action import Caller, FormOf, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.actions.orders import COUNTER_PATH, SessionId
from hedgerow.features.cafe.orders import MadeVouchers, VoucherOrder
from hedgerow.features.cafe.vouchers import vouchers_of


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
    "DELETE", "/vouchers", status=200, is_once=True, form=FormOf(f"{COUNTER_PATH}/vouchers/withdraw", then=COUNTER_PATH)
)
async def withdraw_vouchers(core: Operations, caller: Caller) -> dict[str, int]:
    """Make all unused vouchers invalid."""
    return {"withdrawn": await core.part(vouchers_of).withdraw(caller.actor, caller.key)}


VOUCHER_ACTIONS = (make_vouchers, credit, withdraw_vouchers)
