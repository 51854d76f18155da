"""Answers to "Whose device is this?": one tap names a device that was seen, or keeps it closed.

Somebody in charge can also answer on the device itself, with a password: a parent's new phone, which is closed while a
child is in bed.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.control import DeviceView, InvalidInput
from hedgerow.dashboards.edits.devices import (
    free_device_name,
    owner_edits,
    profile_device_edits,
    same_device_edits,
    takes_password,
)
from hedgerow.dashboards.edits.household import find_person, name_device_edits
from hedgerow.dashboards.edits.yaml_text import Edit
from hedgerow.dashboards.guard import ONLY_PARENTS
from hedgerow.dashboards.pages.context import (
    PageContext,
    PageGroup,
    client_of,
    redirect_after_save,
    redirect_to,
    referring_page,
    with_session,
)
from hedgerow.dashboards.pages.device_cards import RECENT_DEVICES, unnamed_devices
from hedgerow.dashboards.passwords import SignInRefused
from hedgerow.dashboards.routes import DEVICES, MANAGE, OPERATE, get, post
from hedgerow.dashboards.words.languages import Language, language_of, message
from hedgerow.journal.reader import DeviceRow
from hedgerow.network.discovery import VendorLookup
from hedgerow.policies.device_kinds import DeviceKind, guess_kind
from hedgerow.policies.model import DeviceId, Policy
from hedgerow.proxy.limits import AttemptLimiter

GUEST_PROFILE = "guest"
ME = "me"
"""The owner of a device who signs in on it."""
TRIES_PER_HOUR = 10
_ALL_DEVICES = DeviceId("")
_KINDS = {
    DeviceKind.PHONE: message("Phone"),
    DeviceKind.TABLET: message("Tablet"),
    DeviceKind.COMPUTER: message("Computer"),
    DeviceKind.TELEVISION: message("Television"),
    DeviceKind.CONSOLE: message("Games console"),
    DeviceKind.PRINTER: message("Printer"),
    DeviceKind.SPEAKER: message("Speaker"),
}
_DEVICE = message("Device")

type FormText = Annotated[str, Form(max_length=300)]


def personal_device_edits(
    policy: Policy, seen_as: str, person: str, host_name: str, reader: Language, maker: str = ""
) -> tuple[str, list[Edit]]:
    """Name a device that was seen, and give it to a person. Returns the name too, the device's own one if possible."""
    find_person(policy, person)
    kind = guess_kind(host_name, vendor=maker)
    title = reader.gettext(_KINDS[kind] if kind is not None else _DEVICE)
    name = free_device_name(policy, host_name, f"{person} {title}", "Device")
    return name, name_device_edits(policy, seen_as, name, person)


def guest_device_edits(policy: Policy, seen_as: str, host_name: str, reader: Language) -> tuple[str, list[Edit]]:
    """Name a device that was seen, and let it follow the rules for guests. Returns the name too."""
    name = free_device_name(policy, host_name, reader.gettext(message("Guest")), "Guest")
    return name, profile_device_edits(policy, seen_as, name, GUEST_PROFILE)


class NewDevicePages(PageGroup):
    """The buttons of the cards of new devices, on *Today* and on *Devices*."""

    _vendors = VendorLookup()

    @post("/devices/new/same", MANAGE)
    async def same(self, request: Request, device: FormText, known: FormText) -> Response:
        """Give the new device's address to a named one."""
        row = await self._row(device)
        edits = same_device_edits(self._context.policy(), row.mac or row.device, known)
        return await self._answer(request, row, message("%(device)s has a new address."), *edits, device=known)

    @post("/devices/new/person", MANAGE)
    async def person(self, request: Request, device: FormText, person: FormText) -> Response:
        """Name the device, and give it to a person."""
        row, policy = await self._row(device), self._context.policy()
        maker = await run_in_threadpool(self._vendors.vendor, row.mac) if row.mac else ""
        name, edits = personal_device_edits(
            policy, row.mac or row.device, person, row.name, language_of(request), maker
        )
        return await self._answer(
            request, row, message("%(name)s belongs to %(person)s."), *edits, name=name, person=person
        )

    @post("/devices/new/guest", MANAGE)
    async def guest(self, request: Request, device: FormText) -> Response:
        """Name the device, and let it follow the rules for guests."""
        row, policy = await self._row(device), self._context.policy()
        name, edits = guest_device_edits(policy, row.mac or row.device, row.name, language_of(request))
        return await self._answer(request, row, message("%(name)s is a guest's device."), *edits, name=name)

    @post("/devices/new/close", OPERATE)
    async def close(self, request: Request, device: FormText) -> Response:
        """Keep the device closed, until somebody resumes or names it."""
        row = await self._row(device)
        await self._context.control.pause(self._actor(request), device=row.device, ends=None)
        return redirect_to(referring_page(request))

    async def _row(self, device: str) -> DeviceRow:
        """Return the row of a device that was seen and has no name."""
        context = self._context
        rows = await run_in_threadpool(context.reader.recent_devices, context.clock(), RECENT_DEVICES)
        row = next((row for row in unnamed_devices(context.index(), rows) if row.device == device), None)
        if row is None:
            raise InvalidInput("'%(device)s' has a name already, or was not seen.", device=device)
        return row

    async def _answer(self, request: Request, row: DeviceRow, summary: str, *edits: Edit, **values: object) -> Response:
        change = await self._change(request, summary, *edits, **values)
        control, name = self._context.control, self._actor(request)
        pauses = await run_in_threadpool(self._context.reader.pauses, self._context.clock())
        if any(pause.device == row.device for pause in pauses):
            await control.resume(name, device=row.device)  # it was kept closed under its address
        return redirect_after_save(referring_page(request), change)


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
            "device_naming.html",
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
