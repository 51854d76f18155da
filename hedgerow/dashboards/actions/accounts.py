"""Accounts that are added with a password or removed, and the end of a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import MaxLen

from hedgerow.dashboards.actions.action import Caller, CommandOf, FormOf, Order, Shown, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.control import at_field
from hedgerow.dashboards.passwords import check_password_strength
from hedgerow.dashboards.scopes import AccessScope, Role
from hedgerow.policies.text.locales import message


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount(Order):
    """An account with a password that somebody else chooses."""

    name: Annotated[str, MaxLen(40)]
    role: Role
    password: Annotated[str, MaxLen(600)]


@action(
    "POST",
    "/accounts",
    access=AccessScope.ADMIN,
    status=201,
    form=FormOf("/settings/accounts", says=message("%(name)s has an account now.")),
)
async def add_account(core: Operations, _caller: Caller, order: NewAccount) -> None:
    """Add an account with a password."""
    with at_field("password"):
        check_password_strength(order.name, order.password)
    await core.accounts.create(order.name, order.role, order.password)


@action(
    "DELETE",
    "/accounts/{name}",
    access=AccessScope.ADMIN,
    form=FormOf("/settings/accounts/remove", says=message("%(name)s can no longer sign in.")),
    command=CommandOf(lambda name: f"{name} can no longer sign in; all sessions have ended.", {"removed": "name"}),
)
async def remove_account(
    core: Operations, _caller: Caller, name: Annotated[str, MaxLen(60), Shown("The account.", "NAME")]
) -> None:
    """Remove an account, which ends its sessions."""
    await core.accounts.remove(name)


@action(
    "DELETE",
    "/tokens/{token}",
    access=AccessScope.ADMIN,
    form=FormOf("/settings/tokens/remove", says=message("The token %(token)s is not valid any more.")),
)
async def remove_token(core: Operations, _caller: Caller, token: Annotated[str, MaxLen(80)]) -> None:
    """Revoke the token of a script."""
    await core.accounts.remove_token(token)


ACCOUNT_ACTIONS = (add_account, remove_account, remove_token)
