"""Devices: whose is which, and which has shown itself without being named yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.api.control import Unfit
from hedgerow.dashboards.pages import words
from hedgerow.dashboards.pages.languages import language_of, message
from hedgerow.dashboards.pages.people import checked_name
from hedgerow.dashboards.pages.site import Site, saved_at, visitor_of
from hedgerow.dashboards.policy_text import Edit, exclude, include, put, remove
from hedgerow.journal.read import DeviceRow
from hedgerow.policies.model import Device, Policy
from hedgerow.policies.reading.network_settings import parse_mac, parse_network
from hedgerow.policies.recognise import Recogniser

type FormText = Annotated[str, Form(max_length=300)]


@dataclass(frozen=True, slots=True)
class DeviceLine:
    """A device of the policy, or one that was seen, or both."""

    id: str
    known: Device | None
    seen: DeviceRow | None


class DevicePages:
    """`/devices` and its forms."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/devices", self.devices, methods=["GET"])
        router.add_api_route("/devices/name", self.name, methods=["POST"])
        router.add_api_route("/devices/give", self.give, methods=["POST"])
        router.add_api_route("/devices/remove", self.remove, methods=["POST"])
        router.add_api_route("/devices/look", self.look, methods=["POST"])

    async def devices(self, request: Request) -> Response:
        site = self._site
        policy, now = site.policy(), site.clock()
        seen = {
            row.device: row
            for row in await run_in_threadpool(site.reader.devices, words.midnight_before(now, words.zone(policy.network.timezone)))
        }
        pauses = await run_in_threadpool(site.reader.pauses, now)
        known = [DeviceLine(name, device, seen.get(device.id)) for name, device in policy.devices.items()]
        new = [DeviceLine(row.device, None, row) for row in strangers(policy, seen.values())]
        return site.renderer.page(
            request,
            "devices.html",
            known=known,
            new=new[:100],
            people=list(policy.people),
            paused={pause.device for pause in pauses if pause.device},
            can_be_looked_into=can_be_looked_into,
            closes_unopened=policy.closes_unopened is not None,
            unknown_profile=language_of(request).gettext(policy.profiles[policy.network.unknown_devices].title),
        )

    async def name(self, request: Request, device: FormText, name: FormText, person: FormText = "") -> Response:
        """A device that was seen gets a name, and a person if one is chosen."""
        edits = naming_edits(self._site.policy(), device, name, person)
        text = message("Name a device: %(name)s, of %(person)s") if person else message("Name a device: %(name)s")
        said = language_of(request).gettext(text, name=name, person=person)
        change = await self._site.desk.change(visitor_of(request).name, said, *edits)
        return saved_at("/devices", change)

    async def give(self, request: Request, device: FormText, person: FormText = "") -> Response:
        """To somebody, or to nobody."""
        policy = self._site.policy()
        if device not in policy.devices:
            raise Unfit("There is no device '%(device)s' in the policy.", device=device)
        edits = giving_edits(policy, device, person)
        text = message("Assign %(device)s to %(person)s") if person else message("%(device)s belongs to nobody")
        said = language_of(request).gettext(text, device=device, person=person)
        change = await self._site.desk.change(visitor_of(request).name, said, *edits)
        return saved_at("/devices", change)

    async def look(self, request: Request, device: FormText, on: FormText = "") -> Response:
        """Whether pages are looked into: on for a device that trusts the certificate."""
        edit = trust_edit(self._site.policy(), device, bool(on))
        text = message("Inspect the pages of %(device)s") if on else message("Stop inspecting the pages of %(device)s")
        said = language_of(request).gettext(text, device=device)
        return saved_at("/devices", await self._site.desk.change(visitor_of(request).name, said, edit))

    async def remove(self, request: Request, device: FormText) -> Response:
        policy = self._site.policy()
        if device not in policy.devices:
            raise Unfit("There is no device '%(device)s' in the policy.", device=device)
        edits = [*giving_edits(policy, device, ""), remove(("devices", device))]
        said = language_of(request).gettext("Remove the device %(device)s", device=device)
        change = await self._site.desk.change(visitor_of(request).name, said, *edits)
        return saved_at("/devices", change)


def strangers(policy: Policy, rows: Iterable[DeviceRow]) -> list[DeviceRow]:
    """The devices that nobody has named; not what a named one was seen as before it had its name."""
    find = Recogniser(policy).find
    found = []
    for row in rows:
        device = find(row.address or row.device, row.mac or parse_mac(row.device))
        if row.device not in policy.devices and (device is None or not device.known):
            found.append(row)
    return found


def naming_edits(policy: Policy, seen_as: str, name: str, person: str) -> list[Edit]:
    """What names a device that is known by its MAC or address. Raises `Unfit`."""
    name = checked_name(name, policy.devices)
    mac = parse_mac(seen_as)
    if mac is None and parse_network(seen_as) is None:
        raise Unfit("'%(seen_as)s' is neither a MAC address nor an IP address.", seen_as=seen_as)
    edits = [put(("devices", name), {"mac": mac} if mac else {"ip": seen_as})]
    edits += [exclude(("people", other, "devices"), seen_as) for other in policy.people]
    return edits + (giving_edits(policy, name, person) if person else [])


def trust_edit(policy: Policy, device: str, on: bool) -> Edit:
    """Says of a named device whether it trusts the certificate. Raises `Unfit`."""
    if device not in policy.devices:
        raise Unfit("There is no device '%(device)s' in the policy.", device=device)
    if not can_be_looked_into(policy.devices[device]):
        raise Unfit("Give the device a name first.")
    return put(("devices", device, "trusts_ca"), True if on else None)


def can_be_looked_into(device: Device) -> bool:
    """Not a seat, and not one that the file knows by nothing but its address: it has no entry to say it in."""
    return not device.is_seat and parse_mac(device.id) is None and parse_network(device.id) is None


def giving_edits(policy: Policy, device: str, person: str) -> list[Edit]:
    """What takes a device from whoever has it, and gives it to `person` if there is one. Raises `Unfit`."""
    if person and person not in policy.people:
        raise Unfit("The policy has no person called '%(person)s'.", person=person)
    edits = [exclude(("people", other, "devices"), device) for other in policy.people if other != person]
    return [*edits, include(("people", person, "devices"), device)] if person else edits
