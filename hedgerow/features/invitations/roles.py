"""Roles of accounts that exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import MaxLen

from hedgerow.dashboards.actions.action import Caller, CommandOf, FormOf, Order, Shown, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.scopes import AccessScope, Role
from hedgerow.features.invitations.keeper import invitations_of

AccountName = Annotated[str, MaxLen(60), Shown("The account.", "NAME")]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleOrder(Order):
    """The role that an account is to have."""

    role: Annotated[Role, Shown("The role: admin, parent or operator.", "ROLE")]


@action(
    "PUT",
    "/accounts/{name}/role",
    access=AccessScope.ADMIN,
    form=FormOf("/settings/accounts/role"),
    command=CommandOf(lambda name, role: f"{name} has the role {role} now, in open sessions too.", {"account": "name"}),
)
async def set_role(core: Operations, _caller: Caller, name: AccountName, order: RoleOrder) -> None:
    """Give an account another role. Its sessions have it at once. The last admin with a password stays one."""
    await core.part(invitations_of).set_role(name, order.role)
