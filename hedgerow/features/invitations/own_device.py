"""Sign-in on a device that nobody has named, or that is a guest's, with the choice whose it is."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import Response

from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.edits.devices import owner_edits, takes_password
from hedgerow.dashboards.guard import ONLY_PARENTS
from hedgerow.dashboards.pages.context import PageContext, PageGroup, client_of, redirect_to, with_session
from hedgerow.dashboards.pages.new_devices import GUEST_PROFILE, guest_device_edits, personal_device_edits
from hedgerow.dashboards.passwords import SignInRefused
from hedgerow.dashboards.routes import DEVICES, MANAGE, get, post
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.policies.model import DeviceId, Policy
from hedgerow.proxy.limits import AttemptLimiter

ME = "me"
"""The owner of a device who signs in on it."""
TRIES_PER_HOUR = 10
_ALL_DEVICES = DeviceId("")

type FormText = Annotated[str, Form(max_length=300)]


class OwnNamingPages(PageGroup):
    """`/device/name`: sign-in on a device that nobody has named, or that is a guest's, and whose it is."""

    def __init__(self, context: PageContext) -> None:
        super().__init__(context)
        # For all devices together, since each can have any number of addresses.
        self._tries = AttemptLimiter(TRIES_PER_HOUR, 3600.0)

    @get("/device/name", DEVICES)
    async def form(self, request: Request) -> Response:
        if self._device(request).may_resume:
            return redirect_to("/sign-in")
        return self._show(request) if self._takes_password(request) else redirect_to("/device")

    @post("/device/name", DEVICES)
    async def name(
        self,
        request: Request,
        account: FormText = "",
        password: Annotated[str, Form(max_length=600)] = "",
        code: FormText = "",
        owner: FormText = ME,
    ) -> Response:
        """Name the requesting device, for somebody with a password.

        `owner` is a person, empty for a guest, or "me" for whoever signs in, whose session begins. A device that has
        an owner is not named.
        """
        context, view, client = self._context, self._device(request), client_of(request)
        if not self._takes_password(request):
            return redirect_to("/device")
        try:
            if not self._tries.allows(_ALL_DEVICES, context.clock()):
                raise SignInRefused(
                    "Too many tries on devices without a name. Use a device where you are signed in.", 429
                )
            principal = await context.accounts.authenticate(account.strip(), password, code.strip(), client[0])
            if MANAGE not in principal.scopes and owner != ME:
                raise SignInRefused(ONLY_PARENTS)
        except SignInRefused as refused:
            return self._show(request, refused, account, owner)
        person = _adult_called(context.policy(), principal) if owner == ME else owner
        if self._can_be_named(view) and (person or not owner):
            await self._name(request, principal, view, person)
        if owner != ME:
            return redirect_to("/device")
        return with_session(request, redirect_to("/"), await context.accounts.begin_session(principal.name, *client))

    async def _name(self, request: Request, author: Principal, view: DeviceView, person: str) -> None:
        """Name a device and give it to a person, or to a guest if that is empty."""
        policy, reader = self._context.policy(), language_of(request)
        if view.device in policy.devices:
            owner = f"person:{person}" if person else f"profile:{GUEST_PROFILE}"
            name, edits = str(view.device), owner_edits(policy, view.device, owner)
        elif person:
            name, edits = personal_device_edits(policy, view.device, person, "", reader)
        else:
            name, edits = guest_device_edits(policy, view.device, "", reader)
        text = reader.gettext(message("The device is called %(name)s."), name=name)
        await self._context.editor.change(author, text, *edits)

    def _takes_password(self, request: Request) -> bool:
        return self._context.accounts.has_any and takes_password(self._context.policy(), self._device(request))

    def _can_be_named(self, view: DeviceView) -> bool:
        known = self._context.policy().devices.get(view.device)
        return "/" not in view.device and (known is None or not (known.person or known.sharers))

    def _show(
        self, request: Request, refused: SignInRefused | None = None, account: str = "", owner: str = ME
    ) -> Response:
        view = self._device(request)
        return self._page(
            request,
            "invitations/templates/device_naming.html",
            refused.status if refused else 200,
            refused=language_of(request).gettext(refused.text, **refused.values) if refused else "",
            needs_code=refused is not None and refused.needs_code,
            account=account,
            owner=owner,
            residents=list(self._context.policy().people),
            is_named=view.device in self._context.policy().devices,
            can_be_named=self._can_be_named(view),
        )


def _adult_called(policy: Policy, principal: Principal) -> str:
    """Return the adult with the name of an account that may name devices, or an empty text."""
    named = (person for person in policy.people.values() if person.name.casefold() == principal.name.casefold())
    adults = (person.name for person in named if not policy.profiles[person.profile].is_for_children)
    return next(adults, "") if MANAGE in principal.scopes else ""
