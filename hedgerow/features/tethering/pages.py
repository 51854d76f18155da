"""The question on Today about a device that forwards, and the line among the settings of a device that may."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import Response

from hedgerow.dashboards.edits.household import find_device
from hedgerow.dashboards.edits.yaml_text import put, remove
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.context import PageContext, PageGroup, redirect_after_save, referring_page
from hedgerow.dashboards.routes import MANAGE, post
from hedgerow.dashboards.words.languages import message
from hedgerow.features.tethering.settings import NAME, allowed_devices
from hedgerow.features.tethering.watch import watch_of
from hedgerow.policies.model import Device


class TetheringPages(PageGroup):
    """The buttons of the cards."""

    @post("/devices/{device}/tethers", MANAGE)
    async def allow(self, request: Request, device: str, tethers: Annotated[bool, Form()]) -> Response:
        """Say that a device forwards for containers and virtual machines of its own, or take that back."""
        find_device(self._context.policy(), device)
        place = ("devices", device, NAME)
        said = message("%(device)s forwards for containers and virtual machines of its own")
        taken_back = message("What %(device)s forwards has the rules of devices without a name")
        edit, text = (put(place, True), said) if tethers else (remove(place), taken_back)
        return redirect_after_save(referring_page(request), await self._change(request, text, edit, device=device))


def _asked(context: PageContext, _subject: object) -> list[Device] | None:
    return context.part(watch_of).devices() or None


def _asked_of(context: PageContext, device: Device) -> Device | None:
    return device if device in context.part(watch_of).devices() else None


def _allowed(context: PageContext, device: Device) -> Device | None:
    return device if device.id in allowed_devices(context.policy()) else None


EXTENSIONS = Extensions(
    cards=(
        Card(place=Place.TODAY_START, template="tethering/templates/today.html", read=_asked),
        Card(place=Place.DEVICE, template="tethering/templates/one.html", read=_asked_of),
        Card(place=Place.DEVICE_CHANGE, template="tethering/templates/device.html", read=_allowed),
    ),
    page_groups=(TetheringPages,),
)
