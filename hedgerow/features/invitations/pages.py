"""Invitations on the pages: who is invited, the QR code, and the page on which somebody accepts one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Form, Query, Request
from starlette.responses import Response

from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.actions.action import Caller
from hedgerow.dashboards.control import InvalidInput, at_field
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.guard import LOCAL_PEERS, is_forwarded, local_address, peer_address
from hedgerow.dashboards.pages.action_forms import form
from hedgerow.dashboards.pages.context import PageContext, client_of, principal_of
from hedgerow.dashboards.pages.feedback import Feedback
from hedgerow.dashboards.pages.graphics import qr_code
from hedgerow.dashboards.pages.guide import device_word
from hedgerow.dashboards.passwords import SignInRefused
from hedgerow.dashboards.routes import DEVICES, MANAGE, get, post
from hedgerow.dashboards.scopes import Role
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.features.invitations.actions import INVITATION_ACTIONS, make_invitation
from hedgerow.features.invitations.api import add_invitation_routes
from hedgerow.features.invitations.edits import own_device_edits
from hedgerow.features.invitations.keeper import invitations_of
from hedgerow.features.invitations.orders import InvitationOrder, OpenInvitation
from hedgerow.features.invitations.own_device import OwnNamingPages, SignedIn, may_begin
from hedgerow.features.invitations.roles import RoleOrder, set_role
from hedgerow.journal.accounts import AccountRow, WebSessionRow
from hedgerow.policies.model import Person

ACCEPT_PATH = "/invitation"

_ROLE_GIVEN = {
    Role.ADMIN: message("%(name)s is an admin now."),
    Role.PARENT: message("%(name)s is a parent now."),
    Role.OPERATOR: message("%(name)s is an operator now."),
}

type FormText = Annotated[str, Form(max_length=600)]


@dataclass(frozen=True, slots=True)
class AccountUse:
    """An account's oldest session that is open, if there is one, and the name of the device at its address."""

    session: WebSessionRow | None
    device: str


@dataclass(frozen=True, slots=True)
class InvitationsCard:
    """Open invitations, and the adults without an account."""

    open: tuple[OpenInvitation, ...]
    adults: tuple[str, ...]


class InvitationPages(SignedIn):
    """`/settings/invitations`, and `/invitation` for the one who is invited."""

    @form(make_invitation)
    async def make(self, request: Request, caller: Caller, order: InvitationOrder) -> Response:
        """Show a new invitation, once."""
        with at_field("name"):
            made = await make_invitation.run(self._context, caller, order)
        control, name = self._context.control, urlencode({"name": made.name})
        place, secure = control.reached_at(local_address(request.scope)), control.names().secure
        page = f"https://{secure}:{place.rpartition(':')[2]}" if secure else f"http://{place}"
        # The code follows "#": browsers send that part to no server, and the page takes it out of the address.
        link = f"{page}{ACCEPT_PATH}?{name}#{made.code}"
        return self._page(
            request,
            "invitations/templates/invitation.html",
            made=made,
            page=page + ACCEPT_PATH,
            qr=qr_code(link, scale=6),
            link=link,
        )

    @form(set_role)
    async def set_role(self, request: Request, caller: Caller, name: str, order: RoleOrder) -> Response:
        rows = self._context.accounts.accounts()
        before = next((row.role for row in rows if row.name.casefold() == name.casefold()), "")
        await set_role.run(self._context, caller, name, order)
        undo = "/settings/accounts/role" if before not in ("", order.role) else ""
        return self._done(request, _ROLE_GIVEN[order.role], undo, {"name": name, "role": before}, name=name)

    @get(ACCEPT_PATH, DEVICES)
    async def invitation(self, request: Request, name: Annotated[str, Query(max_length=40)] = "") -> Response:
        """Show the form for a code and a new password. `name` is for the browser's store of passwords only."""
        is_refused = self._is_refused(request)
        template, status = "invitations/templates/accept.html", 403 if is_refused else 200
        can_be_named = not is_refused and self._can_be_named(request)
        return self._page(request, template, status, name=name, is_refused=is_refused, can_be_named=can_be_named)

    @post(ACCEPT_PATH, DEVICES)
    async def accept(self, request: Request, code: FormText, password: FormText, own: FormText = "") -> Response:
        """Make the account and sign it in. With `own`, name this device as its owner's if nobody has named it."""
        before = principal_of(request).session
        if self._is_refused(request):
            raise SignInRefused("Nobody accepts an invitation on the device of a child, or on a café's seat.")
        try:
            accepted = await self._context.part(invitations_of).accept(code, password, client_of(request)[0])
        except SignInRefused as refused:
            raise refused.at("code") from None
        except InvalidInput as weak:
            raise weak.at("password") from None
        if before:
            await self._context.accounts.end_session(before)
        is_named, problem = self._is_of_adult(request), None
        try:
            if own and MANAGE in accepted.scopes and self._can_be_named(request):
                await self._name_device(request, accepted)
                is_named = True
        except InvalidInput as refused:
            problem = refused
        cookie = await self._context.accounts.begin_session(accepted.name, *client_of(request), is_once=not is_named)
        welcome = language_of(request).gettext(message("You are signed in as %(name)s."), name=accepted.name)
        return self._signed_in(request, cookie, problem, self._context.feedback.path("/", Feedback(welcome)))

    def _is_local(self, request: Request) -> bool:
        return peer_address(request.scope) in LOCAL_PEERS and not is_forwarded(request.headers)

    def _is_of_adult(self, request: Request) -> bool:
        return self._is_local(request) or self._device(request).may_sign_in

    def _is_refused(self, request: Request) -> bool:
        """Return whether nobody accepts an invitation on the requesting device. Raises HTTPException for a stranger."""
        return not self._is_local(request) and not may_begin(request, self._context.policy(), self._device(request))

    def _can_be_named(self, request: Request) -> bool:
        if self._is_of_adult(request):
            return False
        device = self._device(request).device
        return "/" not in device and device not in self._context.policy().devices

    async def _name_device(self, request: Request, accepted: Principal) -> None:
        """Name the device. Raises `InvalidInput`."""
        context, reader, name = self._context, language_of(request), accepted.name
        kind = reader.gettext(device_word(request.headers.get("user-agent", "")))
        edits = own_device_edits(context.policy(), self._device(request), name, kind)
        summary = reader.gettext(message("%(name)s accepts an invitation on this device"), name=name)
        await context.editor.change(accepted, summary, *edits)


def _invitations(context: PageContext, _subject: object) -> InvitationsCard:
    adults = tuple(name for name, person in context.policy().people.items() if _can_be_invited(context, person))
    return InvitationsCard(context.part(invitations_of).open(), adults)


def _use_of(context: PageContext, account: AccountRow) -> AccountUse:
    session = min(context.accounts.sessions(account.name), key=lambda row: row.created_at, default=None)
    view = context.control.device_at(session.address) if session is not None else None
    return AccountUse(session, view.device if view is not None else "")


def _of_person(context: PageContext, person: Person) -> Person | None:
    return person if _can_be_invited(context, person) else None


def _can_be_invited(context: PageContext, person: Person) -> bool:
    """Return whether a person is an adult without an account."""
    names = {row.name.casefold() for row in context.accounts.accounts()}
    return not context.policy().profiles[person.profile].is_for_children and person.name.casefold() not in names


EXTENSIONS = Extensions(
    actions=(*INVITATION_ACTIONS, set_role),
    cards=(
        Card(place=Place.SETTINGS, template="invitations/templates/settings.html", read=_invitations),
        Card(place=Place.ACCOUNT, template="invitations/templates/account.html", read=_use_of),
        Card(place=Place.PERSON, template="invitations/templates/person.html", read=_of_person),
    ),
    page_groups=(InvitationPages, OwnNamingPages),
    api_routes=(add_invitation_routes,),
)
