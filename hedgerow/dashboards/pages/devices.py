"""Devices with their owners, devices without a name, and the seats of a café."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.household import (
    add_seat_edits,
    assign_device_edits,
    can_be_inspected,
    find_device,
    name_device_edits,
    parse_name,
    remove_device_edits,
    trust_ca_edit,
)
from hedgerow.dashboards.edits.yaml_text import Edit, remove, rename
from hedgerow.dashboards.pages.context import PageGroup, redirect_after_save
from hedgerow.dashboards.routes import MANAGE, OPERATE, READ, get, post
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.journal.reader import DeviceRow
from hedgerow.policies.identity import DeviceLookup
from hedgerow.policies.model import Device, Policy
from hedgerow.policies.text.addresses import parse_mac

type FormText = Annotated[str, Form(max_length=300)]


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """A device with its entry in the policy and its last activity, as far as there is one."""

    id: str
    known: Device | None
    seen: DeviceRow | None


class DevicePages(PageGroup):
    """`/devices` and its forms."""

    @get("/devices", OPERATE, READ)
    async def devices(self, request: Request) -> Response:
        context = self._context
        policy, now = context.policy(), context.clock()
        midnight = labels.midnight_before(now, labels.zone(policy.network.timezone))
        seen = {row.device: row for row in await run_in_threadpool(context.reader.devices, midnight)}
        pauses = await run_in_threadpool(context.reader.pauses, now)
        known = [DeviceEntry(name, device, seen.get(device.id)) for name, device in policy.devices.items()]
        new = [DeviceEntry(row.device, None, row) for row in unnamed_devices(policy, seen.values())]
        return self._page(
            request,
            "devices.html",
            known=known,
            new=new[:100],
            people=list(policy.people),
            paused={pause.device for pause in pauses if pause.device},
            can_be_inspected=can_be_inspected,
            closes_unopened=policy.closes_unopened is not None,
            unknown_profile=language_of(request).gettext(policy.profiles[policy.network.unknown_devices].title),
        )

    @post("/devices/name", MANAGE)
    async def name(self, request: Request, device: FormText, name: FormText, person: FormText = "") -> Response:
        """Name a device that was seen, and assign it to a person if one is chosen."""
        edits = name_device_edits(self._context.policy(), device, name, person)
        text = message("Name a device: %(name)s, of %(person)s") if person else message("Name a device: %(name)s")
        return await self._save(request, text, *edits, name=name, person=person)

    @post("/devices/give", MANAGE)
    async def give(self, request: Request, device: FormText, person: FormText = "") -> Response:
        """Assign a device to a person, or to nobody."""
        policy = self._context.policy()
        find_device(policy, device)
        text = message("Assign %(device)s to %(person)s") if person else message("%(device)s belongs to nobody")
        return await self._save(request, text, *assign_device_edits(policy, device, person), device=device, person=person)

    @post("/devices/look", MANAGE)
    async def look(self, request: Request, device: FormText, on: FormText = "") -> Response:
        """Start or stop inspecting a device's pages."""
        text = message("Inspect the pages of %(device)s") if on else message("Stop inspecting the pages of %(device)s")
        return await self._save(request, text, trust_ca_edit(self._context.policy(), device, bool(on)), device=device)

    @post("/devices/remove", MANAGE)
    async def remove(self, request: Request, device: FormText) -> Response:
        edits = remove_device_edits(self._context.policy(), device)
        return await self._save(request, message("Remove the device %(device)s"), *edits, device=device)

    @post("/devices/seat", MANAGE)
    async def add_seat(self, request: Request, seat: FormText, place: FormText) -> Response:
        """Add a seat by its IP address, network or MAC."""
        edits = add_seat_edits(self._context.policy(), seat, place.strip())
        return await self._save(request, message("Add the seat %(seat)s"), *edits, seat=seat)

    @post("/devices/seat/rename", MANAGE)
    async def rename_seat(self, request: Request, seat: FormText, name: FormText) -> Response:
        policy = self._context.policy()
        self._check_free(policy, seat)
        name = parse_name(name, policy.devices)
        return await self._save(
            request, message("Rename the seat %(seat)s to %(name)s"), rename(("seats", seat), name), seat=seat, name=name
        )

    @post("/devices/seat/remove", MANAGE)
    async def remove_seat(self, request: Request, seat: FormText) -> Response:
        self._check_free(self._context.policy(), seat)
        return await self._save(request, message("Remove the seat %(seat)s"), remove(("seats", seat)), seat=seat)

    def _check_free(self, policy: Policy, seat: str) -> None:
        """Refuse a seat with an open session: the session is stored under the seat's name and would never end."""
        if seat not in policy.devices or not policy.devices[seat].is_seat:
            raise InvalidInput("There is no seat '%(seat)s' in the policy.", seat=seat)
        if self._context.time is not None and any(each.device == seat for each in self._context.time.sessions()):
            raise InvalidInput("Somebody is sitting at %(seat)s: end the session first.", seat=seat)

    async def _save(self, request: Request, summary: str, *edits: Edit, **values: object) -> Response:
        return redirect_after_save("/devices", await self._change(request, summary, *edits, **values))


def unnamed_devices(policy: Policy, rows: Iterable[DeviceRow]) -> list[DeviceRow]:
    """Return the rows of devices without a name. Rows from before a device was named are left out."""
    find = DeviceLookup(policy).find
    unnamed = []
    for row in rows:
        device = find(row.address or row.device, row.mac or parse_mac(row.device))
        if row.device not in policy.devices and (device is None or not device.known):
            unnamed.append(row)
    return unnamed
