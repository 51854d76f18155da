"""The step that connects a home, its live parts, and the cards that say which devices do not use Hedgerow."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import DeviceView
from hedgerow.dashboards.extensions import Card, Extensions, Place
from hedgerow.dashboards.pages.context import PageContext, PageGroup
from hedgerow.dashboards.pages.device_cards import keys_of
from hedgerow.dashboards.pages.graphics import qr_code
from hedgerow.dashboards.routes import OPERATE, READ, get
from hedgerow.features.connecting.api import add_connection_routes
from hedgerow.features.connecting.connections import DeviceConnection, Home, read_home
from hedgerow.features.connecting.handed_out import router_watch_of
from hedgerow.features.connecting.resolver import ResolverAddresses, resolver_of
from hedgerow.features.connecting.routers import Router, load_routers
from hedgerow.network.discovery import VendorLookup
from hedgerow.network.neighbours import answering
from hedgerow.policies.model import Person

STEP = "/start/connect"
_LOOK_S = 1.5
"""Seconds in which devices that are on the network answer."""

_vendors = VendorLookup()


@dataclass(frozen=True, slots=True)
class ConnectStep:
    """Content of the step."""

    home: Home
    resolver: ResolverAddresses
    routers: tuple[Router, ...]
    check: str
    code: object


class ConnectPages(PageGroup):
    """The parts of the step that bring themselves up to date."""

    @get("/connecting/devices", OPERATE, READ)
    async def devices(self, request: Request, shows: Annotated[str, Query(max_length=10)] = "") -> Response:
        """Return the list of the devices, with those that are here and ask nothing, for `live.js`."""
        home = await run_in_threadpool(home_of, self._context)
        watch = self._context.part(router_watch_of)
        present, handed_out = await asyncio.gather(_present(home), run_in_threadpool(watch.others))
        return self._page(
            request,
            "connecting/templates/devices.html",
            home=home,
            silent=home.silent(present),
            handed_out=handed_out,
            can_ask=watch.can_ask,
            shows=shows,
        )

    @get("/connecting/end", OPERATE, READ)
    async def end(self, request: Request) -> Response:
        """Return the heading of the guide's end, for `live.js`."""
        end = await run_in_threadpool(home_of, self._context)
        return self._page(request, "connecting/templates/heading.html", home=end, status=self._context.control.status())

    @get("/connecting/today", OPERATE, READ)
    async def today(self, request: Request) -> Response:
        """Return the card of *Today*, for `live.js`."""
        home = await run_in_threadpool(home_of, self._context)
        return self._page(request, "connecting/templates/waiting.html", home=home)


def home_of(context: PageContext) -> Home:
    """Read which devices use Hedgerow. Waits for the disk."""
    return read_home(context.index(), context.reader, context.activity, _vendors, context.clock())


async def _present(home: Home) -> set[str]:
    """Return the addresses of named devices that answer now."""
    macs = {each.mac for each in home.named if each.mac}
    addresses = {each.address for each in home.named if each.address and not each.mac}
    try:
        return await answering(macs, addresses, _LOOK_S) if macs or addresses else set()
    except OSError:
        return set()


def _step(context: PageContext, here: str) -> ConnectStep:
    check = f"http://{context.control.reached_at(here)}/check"
    return ConnectStep(home_of(context), _check(context, here), load_routers(), check, qr_code(check))


def _home(context: PageContext, _subject: object) -> Home:
    return home_of(context)


def _of_person(context: PageContext, person: Person) -> list[DeviceConnection] | None:
    """Return the devices of a person that somebody should connect."""
    names = {device.id for device in context.index().devices_of.get(person.name, ())}
    return [each for each in home_of(context).named if each.id in names and each.is_missing] or None


def _devices_of(context: PageContext, person: Person) -> dict[str, bool]:
    """Return the devices of a person, each with whether it has used Hedgerow, also under its address."""
    devices = {device.id: keys_of([device]) for device in context.index().devices_of.get(person.name, ())}
    keys = [key for each in devices.values() for key in each]
    used = {row.device for row in context.reader.protections(keys)} if keys else set()
    return {name: not used.isdisjoint(each) for name, each in devices.items()}


def _check(context: PageContext, here: str) -> ResolverAddresses:
    return context.part(resolver_of).addresses(context.policy().network, here)


def _unused(context: PageContext, view: DeviceView) -> str | None:
    """Return a device that has not used Hedgerow."""
    return None if context.reader.protections([view.device]) else view.device


def _state(context: PageContext) -> object:
    """Return what changes when a device appears or begins to use Hedgerow, or could have fallen silent."""
    uses = {(row.device, row.protection) for row in context.reader.protections(None)}
    seen = context.reader.count_devices(0.0)
    adult = context.control.status().adult_coverage
    return uses, seen, context.policy(), adult is not None and adult.is_thin, int(context.clock() // 60)


EXTENSIONS = Extensions(
    cards=(
        Card(place=Place.GUIDE_CONNECT, template="connecting/templates/step.html", read=_step),
        Card(place=Place.GUIDE_END, template="connecting/templates/end.html", read=_home),
        Card(place=Place.PERSON, template="connecting/templates/person.html", read=_of_person),
        Card(place=Place.PERSON_DEVICES, template="connecting/templates/person_devices.html", read=_devices_of),
        Card(place=Place.CHECK, template="connecting/templates/check.html", read=_check),
        Card(place=Place.NOT_IN_CHARGE, template="connecting/templates/not_in_charge.html", read=_unused),
        Card(place=Place.TODAY_START, template="connecting/templates/today.html", read=_home),
    ),
    page_groups=(ConnectPages,),
    api_routes=(add_connection_routes,),
    live={"connecting": _state},
)
