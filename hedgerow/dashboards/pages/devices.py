"""Devices with their owners, and devices without a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from fastapi import Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import at_field
from hedgerow.dashboards.edits.devices import (
    NOBODY,
    kind_edits,
    lets_sign_in,
    owner_edits,
    owners_edits,
    rename_device_edits,
)
from hedgerow.dashboards.edits.household import (
    can_be_inspected,
    name_device_edits,
    remove_device_edits,
    trust_ca_edit,
)
from hedgerow.dashboards.edits.yaml_text import Edit
from hedgerow.dashboards.guard import peer_address
from hedgerow.dashboards.pages.context import PageGroup, redirect_after_save, referring_page
from hedgerow.dashboards.pages.device_cards import DeviceCards, DeviceFilter
from hedgerow.dashboards.pages.forms import forms_of
from hedgerow.dashboards.pages.openings import confirm
from hedgerow.dashboards.routes import MANAGE, OPERATE, READ, get, post
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.network.discovery import VendorLookup
from hedgerow.policies.device_kinds import DeviceKind

type FormText = Annotated[str, Form(max_length=300)]
type FormTexts = Annotated[list[str] | None, Form(max_length=300)]


class DevicePages(PageGroup):
    """`/devices` and its forms."""

    _vendors = VendorLookup()

    @get("/devices", OPERATE, READ)
    async def devices(
        self,
        request: Request,
        q: Annotated[str, Query(max_length=60)] = "",
        page: int = 1,
        change: Annotated[str, Query(max_length=300)] = "",
        new: str = "",
        seats: bool = False,
    ) -> Response:
        """Show the devices that match. The forms of the one called `change` are open, and all new ones are shown if
        `new` is `all`. A refused form opens its own.

        `seats` is for features that have a form for the first one.
        """
        refused = forms_of(request).sent
        wanted = DeviceFilter(q.strip(), page, change or next(iter(refused.get("device", ())), ""))
        context, reader = self._context, language_of(request)
        policy, now = context.policy(), context.clock()
        asking = context.control.device_at(peer_address(request.scope))
        index = context.index()
        cards = await run_in_threadpool(
            DeviceCards.load,
            index,
            context.reader,
            context.activity,
            self._vendors,
            wanted,
            since=labels.midnight_before(now, labels.zone(policy.network.timezone)),
            has_gateway=context.control.status().has_gateway,
        )
        pauses = await run_in_threadpool(context.reader.pauses, now)
        return self._page(
            request,
            "devices.html",
            found=cards.found,
            filter=wanted,
            total=len(policy.devices),
            new=cards.new,
            brief=cards.brief,
            changed=wanted.opened,
            shows_all_new=new == "all" or "device" in refused,
            wants_seats=seats,
            own_device=asking.device if asking is not None else "",
            people=list(policy.people),
            residents=list(policy.people),
            kept_closed={pause.device for pause in pauses if pause.device},
            owners=[name for name in policy.profiles if not name.startswith("seat-")],
            kinds=list(DeviceKind),
            paused={pause.device for pause in pauses if pause.device},
            can_be_inspected=can_be_inspected,
            unknown_profile=reader.gettext(policy.profiles[policy.network.unknown_devices].title),
        )

    @post("/devices/name", MANAGE)
    async def name(self, request: Request, device: FormText, name: FormText = "", person: FormText = "") -> Response:
        """Name a device that was seen, and assign it to a person if one is chosen."""
        edits = name_device_edits(self._context.policy(), device, name, person)
        text = message("%(name)s belongs to %(person)s.") if person else message("The device is called %(name)s.")
        return await self._save(request, text, *edits, name=name, person=person)

    @post("/devices/change", MANAGE)
    async def change(
        self, request: Request, device: FormText, name: FormText = "", kind: FormText = "", owner: FormText = "shared"
    ) -> Response:
        """Change a device's name, kind and owner. Control moves what is recorded to a new name."""
        policy = self._context.policy()
        with at_field("owner"):
            edits = owner_edits(policy, device, owner) if owner != "shared" else []
        with at_field("kind"):
            edits += kind_edits(policy, device, kind)
        renames = rename_device_edits(policy, device, name)
        if owner != "shared" and (question := await self._ask_about_own(request, [device], owner)) is not None:
            return question
        text = message("%(device)s is now called %(name)s.") if renames else message("%(device)s changed.")
        return await self._save(request, text, *edits, *renames, device=device, name=name)

    @post("/devices/give", MANAGE)
    async def give(
        self, request: Request, device: FormTexts = None, owner: FormText = "", person: FormText = ""
    ) -> Response:
        """Give devices to a person, to everybody or to nobody, or let them follow a profile."""
        chosen = device or []
        owner = owner or (f"person:{person}" if person else "")
        edits = owners_edits(self._context.policy(), chosen, owner)
        if (question := await self._ask_about_own(request, chosen, owner)) is not None:
            return question
        kind, _, name = owner.partition(":")
        text = (
            message("%(device)s belongs to %(person)s.")
            if kind in ("person", "everybody")
            else message("%(device)s belongs to nobody.")
        )
        reader = language_of(request)
        whom = name if kind == "person" else reader.gettext(message("everybody"))
        return await self._save(request, text, *edits, device=reader.listed(chosen), person=whom)

    @post("/devices/look", MANAGE)
    async def look(self, request: Request, device: FormText, on: FormText = "") -> Response:
        """Start or stop inspecting a device's pages."""
        text = message("Inspection is on for %(device)s.") if on else message("Inspection is off for %(device)s.")
        return await self._save(request, text, trust_ca_edit(self._context.policy(), device, bool(on)), device=device)

    @post("/devices/remove", MANAGE)
    async def remove(self, request: Request, device: FormText) -> Response:
        edits = remove_device_edits(self._context.policy(), device)
        if (question := await self._ask_about_own(request, [device], NOBODY)) is not None:
            return question
        return await self._save(request, message("%(device)s removed."), *edits, device=device)

    async def _ask_about_own(self, request: Request, devices: Iterable[str], owner: str) -> Response | None:
        """Return a page that asks before nobody can sign in any more on the device that shows it; None if that is not
        so.
        """
        own = self._context.control.device_at(peer_address(request.scope))
        if (
            own is None
            or not own.may_sign_in
            or own.device not in devices
            or lets_sign_in(self._context.policy(), owner)
        ):
            return None
        text = message(
            "%(device)s is the device that you are using. Under these rules nobody can sign in on it. You can "
            "still change that here "
            "until you are signed out, and later on the device of an adult or on the machine that runs Hedgerow."
        )
        return await confirm(
            self._context,
            request,
            message("No more sign-in on this device?"),
            text,
            {"yes": message("Change it")},
            device=own.device,
        )

    async def _save(self, request: Request, summary: str, *edits: Edit, **values: object) -> Response:
        return redirect_after_save(referring_page(request), await self._change(request, summary, *edits, **values))
