"""The page of the children's Wi-Fi, its link among the settings, and a card on Today while it is closed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Request
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import InvalidInput, at_field
from hedgerow.dashboards.edits.yaml_text import put, remove
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.context import PageContext, PageGroup, redirect_after_save
from hedgerow.dashboards.pages.graphics import qr_code
from hedgerow.dashboards.routes import ADMIN, get, post
from hedgerow.dashboards.words.languages import message
from hedgerow.features.wifi.metrics import DEVICES, OPEN
from hedgerow.features.wifi.report import WifiReport, WifiState, join_code, wifi_of
from hedgerow.features.wifi.settings import WifiSettings, name_mistake

type FormText = Annotated[str, Form(max_length=600)]

PATH = "/settings/wifi"
_KEY = ("network", "wifi")

WORDS: dict[WifiState | None, str] = {
    None: message("Nothing keeps the Wi-Fi open on this machine: its service does not run."),
    WifiState.OFF: message("Opening. This takes half a minute."),
    WifiState.STARTING: message("Opening. This takes half a minute."),
    WifiState.OPEN: message("Open."),
    WifiState.OFFLINE: message(
        "Open, but nothing leads to the internet. Is the cable to the router plugged in, and does the router work?"
    ),
    WifiState.NO_COUNTRY: message("Closed: choose the country in the settings, which decides on the channels."),
    WifiState.NO_RADIO: message("Closed: this machine has no Wi-Fi radio. If it had one, plug it in again."),
    WifiState.NO_ACCESS_POINT: message("Closed: this radio can't open a Wi-Fi. Use another Wi-Fi adapter."),
    WifiState.NO_NETWORK: message("Closed: other networks at home use all the addresses that the Wi-Fi could have."),
    WifiState.UNFILTERED: message("Closed, since nothing in it would be filtered. Restart this machine."),
    WifiState.FAILED: message("Closed: the radio does not start. Plug it in again, or restart this machine."),
}
"""The state in words; under None, that of a machine on which the Wi-Fi's process does not run."""


@dataclass(frozen=True, slots=True)
class WifiStatus:
    """The Wi-Fi of the policy, None without one, and its process's last report."""

    settings: WifiSettings | None
    report: WifiReport | None

    @property
    def words(self) -> str:
        return WORDS[self.report.state if self.report is not None else None]

    @property
    def is_open(self) -> bool:
        return self.report is not None and self.report.state.is_open


class WifiPages(PageGroup):
    """`/settings/wifi` and its forms."""

    @get(PATH, ADMIN)
    async def page(self, request: Request) -> Response:
        status = _status(self._context)
        password, code = "", Markup()
        if status.settings is not None:
            password = await run_in_threadpool(self._context.part(wifi_of).password)
            code = qr_code(join_code(status.settings.name, password), scale=6)
        return self._page(request, "wifi/templates/page.html", status=status, password=password, code=code)

    @post(PATH, ADMIN)
    async def save(
        self,
        request: Request,
        name: FormText,
        isolate: Annotated[bool, Form()] = False,
        strict: Annotated[bool, Form()] = False,
    ) -> Response:
        """Open a Wi-Fi for the children, or change it."""
        name = name.strip()
        with at_field("name"):
            if name_mistake(name):
                raise InvalidInput(message("A Wi-Fi's name has 1 to 32 letters; accents and signs count more."))
        edits = [put((*_KEY, "name"), name)]
        for key, wanted in (("isolate", isolate), ("strict", strict)):
            edits.append(put((*_KEY, key), True) if wanted else remove((*_KEY, key)))
        change = await self._change(request, message("The Wi-Fi %(name)s for the children"), *edits, name=name)
        return redirect_after_save(PATH, change)

    @post(f"{PATH}/password", ADMIN)
    async def renew_password(self, request: Request) -> Response:
        """Make another password, for a Wi-Fi whose password too many know."""
        await asyncio.to_thread(self._context.part(wifi_of).renew_password)
        return self._done(request, message("The Wi-Fi has another password: every device joins it again."))

    @post(f"{PATH}/close", ADMIN)
    async def close(self, request: Request) -> Response:
        """Close the Wi-Fi for good."""
        change = await self._change(request, message("No Wi-Fi for the children"), remove(_KEY))
        return redirect_after_save(PATH, change)


def _status(context: PageContext) -> WifiStatus:
    return WifiStatus(context.policy().settings(WifiSettings), context.part(wifi_of).report(context.clock()))


def _link(context: PageContext, _subject: object) -> bool | None:
    """Return True where the policy has a Wi-Fi, or a radio could open one."""
    status = _status(context)
    return status.settings is not None or (status.report is not None and bool(status.report.radios)) or None


def _trouble(context: PageContext, _subject: object) -> WifiStatus | None:
    """Return the state of a Wi-Fi that children can't use now."""
    status = _status(context)
    working = {WifiState.OPEN, WifiState.STARTING, WifiState.OFF}
    works = status.report is not None and status.report.state in working
    return None if status.settings is None or works else status


def _open(context: PageContext) -> dict[tuple[str, ...], float]:
    status = _status(context)
    return {(): float(status.is_open)} if status.settings is not None else {}


def _devices(context: PageContext) -> dict[tuple[str, ...], float]:
    report = _status(context).report
    return {(): float(report.devices)} if report is not None else {}


EXTENSIONS = Extensions(
    cards=(
        Card(place=Place.SETTINGS_LINKS, template="wifi/templates/link.html", read=_link),
        Card(place=Place.TODAY_START, template="wifi/templates/today.html", read=_trouble),
    ),
    page_groups=(WifiPages,),
    gauges={OPEN: _open, DEVICES: _devices},
)
