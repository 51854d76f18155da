"""Sign-in on a device that is not an adult's, for some hours, with the choice whose it is."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import Response

from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.control import DeviceView, InvalidInput
from hedgerow.dashboards.edits.devices import owner_edits, takes_password
from hedgerow.dashboards.guard import ONLY_PARENTS, is_forwarded
from hedgerow.dashboards.pages.context import PageGroup, client_of, redirect_to, with_session
from hedgerow.dashboards.pages.new_devices import GUEST_PROFILE, guest_device_edits, personal_device_edits
from hedgerow.dashboards.passwords import SignInRefused
from hedgerow.dashboards.routes import DEVICES, MANAGE, get, post
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.policies.model import Policy

AS_IT_IS, ME, GUEST = "", "me", f"profile:{GUEST_PROFILE}"
"""Owners that are not a person's name: the one that the device has, if any; whoever signs in; and a guest."""

type FormText = Annotated[str, Form(max_length=300)]


def may_begin(request: Request, policy: Policy, view: DeviceView) -> bool:
    """Return whether somebody may sign in or accept an invitation on the requesting device.

    A request that a proxy forwards may be anybody's: it is refused, as the sign-in page refuses it, unless the device
    at the proxy's address is an adult's.
    """
    return view.may_sign_in or (not is_forwarded(request.headers) and takes_password(policy, view))


class SignedIn(PageGroup):
    """Answer for somebody who has just signed in on this device."""

    def _signed_in(self, request: Request, cookie: str, problem: InvalidInput | None, then: str = "/") -> Response:
        """Go on with a page, or say first why the device was not named."""
        if problem is None:
            return with_session(request, redirect_to(then), cookie)
        why = language_of(request).gettext(problem.text, **problem.values)
        return with_session(request, self._page(request, "invitations/templates/not_named.html", why=why), cookie)


class OwnNamingPages(SignedIn):
    """`/device/name`: sign-in on a device that nobody has named, or that is a guest's, and whose it is."""

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
        owner: FormText = AS_IT_IS,
    ) -> Response:
        """Sign in on the requesting device, and name it if `owner` says so.

        `owner` is empty to leave the device as it is, "me" for whoever signs in, "profile:guest" or a person, whose
        device gets no session. A device that has an owner is not named. The session lasts some hours, unless the device
        is an adult's.
        """
        context, view, client = self._context, self._device(request), client_of(request)
        if not self._takes_password(request):
            return redirect_to("/device")
        try:
            principal = await context.accounts.authenticate(account.strip(), password, code.strip(), client[0])
            if MANAGE not in principal.scopes and owner not in {AS_IT_IS, ME}:
                raise SignInRefused(ONLY_PARENTS)
        except SignInRefused as refused:
            return self._show(request, refused, account, owner)
        person = _adult_called(context.policy(), principal) if owner == ME else owner
        problem = None
        try:
            if person and self._can_be_named(view):
                await self._name(request, principal, view, person)
        except InvalidInput as refused:
            problem = refused
        if owner not in {AS_IT_IS, ME} and problem is None:
            return redirect_to("/device")
        is_once = not view.may_sign_in and (problem is not None or not (owner == ME and person))
        cookie = await context.accounts.begin_session(principal.name, *client, is_once=is_once)
        return self._signed_in(request, cookie, problem)

    async def _name(self, request: Request, author: Principal, view: DeviceView, person: str) -> None:
        """Name a device and give it to a person, or to a guest."""
        policy, reader = self._context.policy(), language_of(request)
        if view.device in policy.devices:
            owner = person if person == GUEST else f"person:{person}"
            name, edits = str(view.device), owner_edits(policy, view.device, owner)
        elif person != GUEST:
            name, edits = personal_device_edits(policy, view.device, person, "", reader)
        else:
            name, edits = guest_device_edits(policy, view.device, "", reader)
        text = reader.gettext(message("The device is called %(name)s."), name=name)
        await self._context.editor.change(author, text, *edits)

    def _takes_password(self, request: Request) -> bool:
        policy, view = self._context.policy(), self._device(request)
        return self._context.accounts.has_any and may_begin(request, policy, view)

    def _can_be_named(self, view: DeviceView) -> bool:
        known = self._context.policy().devices.get(view.device)
        return "/" not in view.device and (known is None or not (known.person or known.sharers))

    def _show(
        self, request: Request, refused: SignInRefused | None = None, account: str = "", owner: str = AS_IT_IS
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
            guest=GUEST,
        )


def _adult_called(policy: Policy, principal: Principal) -> str:
    """Return the adult with the name of an account that may name devices, or an empty text."""
    named = (person for person in policy.people.values() if person.name.casefold() == principal.name.casefold())
    adults = (person.name for person in named if not policy.profiles[person.profile].is_for_children)
    return next(adults, "") if MANAGE in principal.scopes else ""
