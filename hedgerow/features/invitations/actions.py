"""Actions on invitations, for the API, the pages and the command line."""

from __future__ import annotations

from typing import Annotated

from annotated_types import MaxLen

from hedgerow.dashboards.actions.action import Caller, FormOf, action
from hedgerow.dashboards.actions.operations import Operations
from hedgerow.dashboards.scopes import AccessScope
from hedgerow.features.invitations.keeper import invitations_of
from hedgerow.features.invitations.orders import InvitationOrder, MadeInvitation
from hedgerow.policies.text.locales import message

INVITATIONS_PATH = "/settings/invitations"

AccountName = Annotated[str, MaxLen(60)]


@action("POST", "/invitations", access=AccessScope.ADMIN, status=201, form=FormOf(INVITATIONS_PATH))
async def make_invitation(core: Operations, caller: Caller, order: InvitationOrder) -> MadeInvitation:
    """Invite somebody, who chooses a password of their own with the code. It works once, for two days."""
    return await core.part(invitations_of).make(order, caller.actor)


@action(
    "DELETE",
    "/invitations/{name}",
    access=AccessScope.ADMIN,
    form=FormOf(f"{INVITATIONS_PATH}/withdraw", says=message("The invitation of %(name)s is not valid any more.")),
)
async def withdraw_invitation(core: Operations, _caller: Caller, name: AccountName) -> None:
    """Make an invitation invalid that nobody has accepted."""
    await core.part(invitations_of).withdraw(name)


INVITATION_ACTIONS = (make_invitation, withdraw_invitation)
