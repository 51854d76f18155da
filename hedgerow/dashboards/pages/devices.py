"""Devices: whose is which, and which has shown itself without being named yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.yaml_text import Edit, exclude, include, put, remove, rename
from hedgerow.dashboards.pages.context import PageContext, principal_of, redirect_after_save
from hedgerow.dashboards.pages.people import parse_name
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.journal.reader import DeviceRow
from hedgerow.policies.identity import DeviceLookup
from hedgerow.policies.model import Device, Policy
from hedgerow.policies.text.addresses import parse_mac, parse_network

type FormText = Annotated[str, Form(max_length=300)]


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """A device of the policy, or one that was seen, or both."""

    id: str
    known: Device | None
    seen: DeviceRow | None


class DevicePages:
    """`/devices` and its forms."""

    def __init__(self, site: PageContext) -> None:
        self._context = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/devices", self.devices, methods=["GET"])
        router.add_api_route("/devices/name", self.name, methods=["POST"])
        router.add_api_route("/devices/give", self.give, methods=["POST"])
        router.add_api_route("/devices/remove", self.remove, methods=["POST"])
        router.add_api_route("/devices/look", self.look, methods=["POST"])

    async def devices(self, request: Request) -> Response:
        site = self._context
        policy, now = site.policy(), site.clock()
        seen = {
            row.device: row
            for row in await run_in_threadpool(site.reader.devices, labels.midnight_before(now, labels.zone(policy.network.timezone)))
        }
        pauses = await run_in_threadpool(site.reader.pauses, now)
        known = [DeviceEntry(name, device, seen.get(device.id)) for name, device in policy.devices.items()]
        new = [DeviceEntry(row.device, None, row) for row in unnamed_devices(policy, seen.values())]
        return site.renderer.page(
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

    async def name(self, request: Request, device: FormText, name: FormText, person: FormText = "") -> Response:
        """A device that was seen gets a name, and a person if one is chosen."""
        edits = name_device_edits(self._context.policy(), device, name, person)
        text = message("Name a device: %(name)s, of %(person)s") if person else message("Name a device: %(name)s")
        said = language_of(request).gettext(text, name=name, person=person)
        change = await self._context.editor.change(principal_of(request).name, said, *edits)
        return redirect_after_save("/devices", change)

    async def give(self, request: Request, device: FormText, person: FormText = "") -> Response:
        """To somebody, or to nobody."""
        policy = self._context.policy()
        if device not in policy.devices:
            raise InvalidInput("There is no device '%(device)s' in the policy.", device=device)
        edits = assign_device_edits(policy, device, person)
        text = message("Assign %(device)s to %(person)s") if person else message("%(device)s belongs to nobody")
        said = language_of(request).gettext(text, device=device, person=person)
        change = await self._context.editor.change(principal_of(request).name, said, *edits)
        return redirect_after_save("/devices", change)

    async def look(self, request: Request, device: FormText, on: FormText = "") -> Response:
        """Whether pages are looked into: on for a device that trusts the certificate."""
        edit = trust_ca_edit(self._context.policy(), device, bool(on))
        text = message("Inspect the pages of %(device)s") if on else message("Stop inspecting the pages of %(device)s")
        said = language_of(request).gettext(text, device=device)
        return redirect_after_save("/devices", await self._context.editor.change(principal_of(request).name, said, edit))

    async def remove(self, request: Request, device: FormText) -> Response:
        policy = self._context.policy()
        if device not in policy.devices:
            raise InvalidInput("There is no device '%(device)s' in the policy.", device=device)
        edits = [*assign_device_edits(policy, device, ""), remove(("devices", device))]
        said = language_of(request).gettext("Remove the device %(device)s", device=device)
        change = await self._context.editor.change(principal_of(request).name, said, *edits)
        return redirect_after_save("/devices", change)


def unnamed_devices(policy: Policy, rows: Iterable[DeviceRow]) -> list[DeviceRow]:
    """The devices that nobody has named; not what a named one was seen as before it had its name."""
    find = DeviceLookup(policy).find
    found = []
    for row in rows:
        device = find(row.address or row.device, row.mac or parse_mac(row.device))
        if row.device not in policy.devices and (device is None or not device.known):
            found.append(row)
    return found


def name_device_edits(policy: Policy, seen_as: str, name: str, person: str) -> list[Edit]:
    """What names a device that is known by its MAC or address. Raises `InvalidInput`."""
    name = parse_name(name, policy.devices)
    mac = parse_mac(seen_as)
    if mac is None and parse_network(seen_as) is None:
        raise InvalidInput("'%(seen_as)s' is neither a MAC address nor an IP address.", seen_as=seen_as)
    edits = [put(("devices", name), {"mac": mac} if mac else {"ip": seen_as})]
    edits += [exclude(("people", other, "devices"), seen_as) for other in policy.people]
    return edits + (assign_device_edits(policy, name, person) if person else [])


def trust_ca_edit(policy: Policy, device: str, on: bool) -> Edit:
    """Says of a named device whether it trusts the certificate. Raises `InvalidInput`."""
    if device not in policy.devices:
        raise InvalidInput("There is no device '%(device)s' in the policy.", device=device)
    if not can_be_inspected(policy.devices[device]):
        raise InvalidInput("Give the device a name first.")
    return put(("devices", device, "trusts_ca"), True if on else None)


def can_be_inspected(device: Device) -> bool:
    """Not a seat, and not one that the file knows by nothing but its address: it has no entry to say it in."""
    return not device.is_seat and parse_mac(device.id) is None and parse_network(device.id) is None


def assign_device_edits(policy: Policy, device: str, person: str) -> list[Edit]:
    """What takes a device from whoever has it, and gives it to `person` if there is one. Raises `InvalidInput`."""
    if person and person not in policy.people:
        raise InvalidInput("The policy has no person called '%(person)s'.", person=person)
    edits = [exclude(("people", other, "devices"), device) for other in policy.people if other != person]
    return [*edits, include(("people", person, "devices"), device)] if person else edits


class SeatPages:
    """The forms about seats on `/devices`. They change the policy, so they are for those who manage it."""

    def __init__(self, site: PageContext) -> None:
        self._context = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/devices/seat", self.add, methods=["POST"])
        router.add_api_route("/devices/seat/rename", self.rename, methods=["POST"])
        router.add_api_route("/devices/seat/remove", self.remove, methods=["POST"])

    async def add(self, request: Request, seat: FormText, place: FormText) -> Response:
        """A seat by its address, a block of addresses, or its MAC."""
        edits = _add_seat_edits(self._context.policy(), seat, place.strip())
        return await self._change(request, message("Add the seat %(seat)s"), {"seat": seat}, *edits)

    async def rename(self, request: Request, seat: FormText, name: FormText) -> Response:
        policy = self._context.policy()
        self._check_free(policy, seat)
        new = parse_name(name, policy.devices)
        return await self._change(
            request, message("Rename the seat %(seat)s to %(name)s"), {"seat": seat, "name": new}, rename(("seats", seat), new)
        )

    async def remove(self, request: Request, seat: FormText) -> Response:
        self._check_free(self._context.policy(), seat)
        return await self._change(request, message("Remove the seat %(seat)s"), {"seat": seat}, remove(("seats", seat)))

    def _check_free(self, policy: Policy, seat: str) -> None:
        """A session is kept under its seat's name: it would never end."""
        if seat not in policy.devices or not policy.devices[seat].is_seat:
            raise InvalidInput("There is no seat '%(seat)s' in the policy.", seat=seat)
        if self._context.time is not None and any(each.device == seat for each in self._context.time.sessions()):
            raise InvalidInput("Somebody is sitting at %(seat)s: end the session first.", seat=seat)

    async def _change(self, request: Request, summary: str, values: dict[str, str], *edits: Edit) -> Response:
        said = language_of(request).gettext(summary, **values)
        return redirect_after_save("/devices", await self._context.editor.change(principal_of(request).name, said, *edits))


def _add_seat_edits(policy: Policy, seat: str, place: str) -> list[Edit]:
    """Raises `InvalidInput`. What was somebody's device by nothing but that address is a seat from now on."""
    name, mac = parse_name(seat, policy.devices), parse_mac(place)
    if mac is None and parse_network(place) is None:
        raise InvalidInput("'%(seen_as)s' is neither a MAC address nor an IP address.", seen_as=place)
    entry = {"mac": mac} if mac else {"cidr" if "/" in place else "ip": place}
    return [put(("seats", name), entry), *(exclude(("people", other, "devices"), place) for other in policy.people)]
