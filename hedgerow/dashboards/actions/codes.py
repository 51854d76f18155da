"""Access codes, which are read out over the phone."""

from __future__ import annotations

from hedgerow.dashboards.actions.action import Caller, FormOf, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.actions.orders import CodeOrder
from hedgerow.dashboards.control import MadeCode


@action("POST", "/codes", status=201, form=FormOf("/people/{person}/code"))
async def make_code(core: Operations, caller: Caller, order: CodeOrder) -> MadeCode:
    """Make a code that opens something, adds minutes or approves a request on a device without a sign-in."""
    return await core.codes.make(order, caller.actor)


@action("DELETE", "/codes/{code_id}")
async def withdraw_code(core: Operations, _caller: Caller, code_id: str) -> None:
    """Make a code invalid."""
    await core.codes.withdraw(code_id)


CODE_ACTIONS = (make_code, withdraw_code)
