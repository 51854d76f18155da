"""Answers to "Whose device is this?": one tap names a device that was seen, or keeps it closed."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.devices import (
    free_device_name,
    profile_device_edits,
    same_device_edits,
)
from hedgerow.dashboards.edits.household import find_person, name_device_edits
from hedgerow.dashboards.edits.yaml_text import Edit
from hedgerow.dashboards.pages.context import (
    PageGroup,
    redirect_after_save,
    referring_page,
)
from hedgerow.dashboards.pages.device_cards import RECENT_DEVICES, unnamed_devices
from hedgerow.dashboards.routes import MANAGE, OPERATE, post
from hedgerow.dashboards.words.languages import Language, language_of, message
from hedgerow.journal.reader import DeviceRow
from hedgerow.network.discovery import VendorLookup
from hedgerow.policies.device_kinds import DeviceKind, guess_kind
from hedgerow.policies.model import Policy

GUEST_PROFILE = "guest"
_KINDS = {
    DeviceKind.PHONE: message("Phone"),
    DeviceKind.TABLET: message("Tablet"),
    DeviceKind.COMPUTER: message("Computer"),
    DeviceKind.TELEVISION: message("Television"),
    DeviceKind.CONSOLE: message("Games console"),
    DeviceKind.PRINTER: message("Printer"),
    DeviceKind.SPEAKER: message("Speaker"),
    DeviceKind.CAMERA: message("Camera"),
    DeviceKind.STORAGE: message("Network storage"),
    DeviceKind.APPLIANCE: message("Appliance"),
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
        text = message("The device stays closed until somebody says whose it is, or resumes it.")
        return self._done(request, text, "/resume", {"device": row.device})

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
