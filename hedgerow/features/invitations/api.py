"""API of open invitations."""

from __future__ import annotations

from hedgerow.dashboards.pages.context import PageContext
from hedgerow.dashboards.routes import ADMIN, ScopedRouter
from hedgerow.features.invitations.keeper import invitations_of
from hedgerow.features.invitations.orders import OpenInvitation


def add_invitation_routes(api: ScopedRouter, context: PageContext) -> None:
    """Add the route."""

    @api.serve("GET", "/invitations", ADMIN)
    async def invitations() -> tuple[OpenInvitation, ...]:
        """Return the invitations that nobody has accepted, without their codes."""
        return context.part(invitations_of).open()
