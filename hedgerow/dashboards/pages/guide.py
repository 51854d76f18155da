"""The guide of the first start, and the sheet for the children at its end."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any
from urllib.parse import urlencode
from zoneinfo import available_timezones

from babel.core import get_global
from fastapi import Form, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.accounts import check_account_name
from hedgerow.dashboards.control import InvalidInput, at_field
from hedgerow.dashboards.edits.devices import owner_edits
from hedgerow.dashboards.edits.household import find_person, name_device_edits, parse_age_or_birth, parse_name
from hedgerow.dashboards.edits.yaml_text import Edit, put
from hedgerow.dashboards.guard import LOCAL_PEERS, SECURITY_HEADERS, local_address, peer_address
from hedgerow.dashboards.pages.context import (
    PageGroup,
    client_of,
    countries_by_name,
    principal_of,
    redirect_to,
    with_session,
)
from hedgerow.dashboards.pages.device_cards import unnamed_devices
from hedgerow.dashboards.pages.forms import forms_of, typed_fields
from hedgerow.dashboards.pages.settings import BLOCKED_ANSWER
from hedgerow.dashboards.passwords import check_password_strength
from hedgerow.dashboards.recognised_devices import recognise
from hedgerow.dashboards.routes import MANAGE, OPERATE, READ, SETUP, get, post
from hedgerow.dashboards.words.childrens_names import unnamed
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.dashboards.words.rules import rules_text
from hedgerow.journal.reader import DeviceRow
from hedgerow.network.discovery import VendorLookup
from hedgerow.policies.host_facts import Lifelines, help_choices
from hedgerow.policies.model import DeviceId, Person, Policy
from hedgerow.policies.network import BlockedAnswer
from hedgerow.policies.text.locales import COUNTRIES

STEPS = {
    "password": (message("Password"), message("A password")),
    "place": (message("Place"), message("Where you are")),
    "people": (message("People"), message("Who lives here")),
    "connect": (message("Connect"), message("Connect your home")),
    "devices": (message("Devices"), message("Which device belongs to whom")),
}
"""The steps in their order, each with its label and heading; `guide_NAME.html` is its form.

The step `done` follows them.
"""

NO_PLACE = frozenset({"UTC", "Etc/UTC"})
"""Time zones of machines that nobody has told where they are."""
PEOPLE_ROWS = 8
DEVICE_ROWS = 40
FULL_ROWS = 12
"""Devices of a page with their fields. The others are a line each, which opens them."""
_OWN_ROW = 0
_FIELDS = ("device", "called", "person")

type FormText = Annotated[str, Form(max_length=600)]


@dataclass(frozen=True, slots=True)
class GuideDevice:
    """A device without a name.

    `row` is None for one that was not seen yet. `person` and `called` are guesses for the form; `is_this` marks the
    device that shows the guide.
    """

    device: DeviceId
    row: DeviceRow | None
    person: str
    called: str
    is_this: bool


class GuidePages(PageGroup):
    """`/start`, its forms, and `/start/children`."""

    _vendors = VendorLookup()

    @get("/start", SETUP, OPERATE, READ)
    async def start(self, request: Request) -> Response:
        return await self.step(request, "password")

    async def _place(self, request: Request) -> dict[str, Any]:
        network, countries = self._context.policy().network, get_global("zone_territories")
        inhabited = {zone for zone in available_timezones() & countries.keys() if not zone.startswith("Etc/")}
        zones = sorted((zone, countries.get(zone, "")) for zone in {*inhabited, "UTC", network.timezone})
        return {
            "network": network,
            "countries": countries_by_name(language_of(request)),
            "zones": zones,
            "no_place": NO_PLACE,
        }

    async def _people(self, request: Request) -> dict[str, Any]:
        network = self._context.policy().network
        return {
            "country": language_of(request).country(network.country) if network.country else "",
            "zone": network.timezone.replace("_", " "),
            "rows": range(PEOPLE_ROWS),
            "own_row": _OWN_ROW,
            "me": "" if self._me(request) else principal_of(request).name,
            "block_page": self._possible_block_page(),
        }

    async def _devices(self, request: Request) -> dict[str, Any]:
        seen = await run_in_threadpool(self._context.reader.devices, self._context.clock())
        devices = self._unnamed(request, seen)[:DEVICE_ROWS]
        rows = [each.row for each in devices if each.row is not None]
        found = await run_in_threadpool(recognise, rows, self._vendors, self._context.activity)
        devices = sorted(devices, key=lambda each: -1 if each.is_this or each.row is None else found[each.device].place)
        apart = [each for each in devices if each.row and not each.is_this and found[each.device].role.is_apart]
        # A row stays that of the device for which something was typed, also if that has gone.
        sent = forms_of(request).sent
        numbers = {device: row for row in range(DEVICE_ROWS) for device in sent.get(f"device-{row}", ())}
        opened = {*numbers, request.query_params.get("open", "")}
        in_turn = sorted(devices, key=lambda each: (each in apart, each.device not in opened))
        full = [each for place, each in enumerate(in_turn) if place < FULL_ROWS or each.device in opened]
        free = (row for row in range(DEVICE_ROWS) if not sent.get(f"device-{row}"))
        numbers |= zip((each.device for each in full if each.device not in numbers), free, strict=False)
        near, others = ([each for each in in_turn if (each in apart) is is_apart] for is_apart in (False, True))
        return {
            "near": near,
            "apart": others,
            "numbers": numbers,
            "rows": [f"{name}-{row}" for row in range(DEVICE_ROWS) for name in _FIELDS],
            "most": DEVICE_ROWS,
            "opened": request.query_params.get("open", ""),
            "found": found,
        }

    async def _last_step(self, request: Request) -> dict[str, Any]:
        place = self._context.control.reached_at(local_address(request.scope))
        network, status = self._context.policy().network, self._context.control.status()
        explains = network.resolver.blocked_answer is BlockedAnswer.PAGE and bool(status.block_page)
        return {"check": f"http://{place}/check", "status": status, "explains": explains}

    @post("/start/password", SETUP, MANAGE)
    async def set_password(
        self, request: Request, name: FormText, password: FormText, code: FormText = "", zone: FormText = ""
    ) -> Response:
        """Create the first account. The browser's time zone answers the next step, if it tells the country."""
        if _may_be_a_stranger(request):
            self._device(request)
        name = " ".join(name.split())
        with at_field("name"):
            check_account_name(name)
        with at_field("password"):
            check_password_strength(name, password)
        with at_field("code"):
            cookie = await self._context.accounts.create_first(name, password, code, *client_of(request))
        step = "place"
        edits, author = _place_edits(self._context.policy(), zone), self._context.accounts.principal_of_session(cookie)
        if edits and author is not None:
            text = language_of(request).gettext(message("Where this network is"))
            with suppress(InvalidInput):  # then that step says what is wrong
                await self._context.editor.change(author, text, *edits)
                step = "people"
        return with_session(request, redirect_to(f"/start/{step}"), cookie)

    @post("/start/place", MANAGE)
    async def set_place(self, request: Request, country: FormText, zone: FormText) -> Response:
        edits = [put(("network", "country"), country or None), put(("network", "timezone"), zone)]
        with at_field("zone"):
            return await self._save(request, "place", message("Where this network is"), *edits)

    @post("/start/people", MANAGE)
    async def set_people(self, request: Request) -> Response:
        """Add people from the rows `name-0`, `age-0` and so on. Empty rows are skipped.

        `reaches`: the browser reached the ports of the block page, so blocked names may lead there.
        """
        form, known = await _typed(request), dict.fromkeys(self._context.policy().people)
        edits: list[Edit] = []
        for row in range(PEOPLE_ROWS):
            name, years = form.get(f"name-{row}", "").strip(), form.get(f"age-{row}", "").strip()
            if not name and not years:
                continue
            with at_field(f"name-{row}"):
                name = parse_name(name, known)
            with at_field(f"age-{row}"):
                age = parse_age_or_birth(years, self._context.policy(), self._context.clock())
                if not age and not form.get(f"adult-{row}"):
                    raise InvalidInput("How old is %(name)s? The age decides what is open.", name=name)
            known[name] = None
            edits.append(put(("people", name), age or {"profile": "adult"}))
        if form.get("reaches") and self._possible_block_page():
            edits.append(put(BLOCKED_ANSWER, BlockedAnswer.PAGE.value))
        return await self._save(request, "people", message("Who lives here"), *edits)

    @post("/start/devices", MANAGE)
    async def set_devices(self, request: Request) -> Response:
        """Assign devices from the rows `device-0`, `called-0`, `person-0`. A device keeps its row after a refusal.

        Devices without a person stay filtered as a child's. `open` is a device whose fields are to be shown next.
        """
        form, policy = await _typed(request), self._context.policy()
        own = self._context.control.device_at(peer_address(request.scope))
        edits: list[Edit] = []
        names: set[str] = set()
        for row in range(DEVICE_ROWS):
            device, name, person = (
                form.get(f"{name}-{row}", "").strip()[:300] for name in ("device", "called", "person")
            )
            if not device or not person:
                continue
            with at_field(f"called-{row}"):
                name = name or _free_name(f"{find_person(policy, person).name} device", {*policy.devices, *names})
                if name in names:
                    raise InvalidInput("Two devices cannot both be called '%(called)s'.", called=name)
                if device in policy.devices:  # it has a name, and nobody's
                    edits, name = [*edits, *owner_edits(policy, device, f"person:{person}")], device
                else:
                    edits += name_device_edits(policy, device, name, person)
            if own is not None and device == own.device:  # its name may be in any language
                edits.append(put(("devices", name, "kind"), device_word(request.headers.get("user-agent", ""))))
            names.add(name)
        following = await self._save(request, "devices", message("Which device belongs to whom"), *edits)
        opened = form.get("open", "")[:300]
        return redirect_to(f"/start/devices?{urlencode({'open': opened})}#open") if opened else following

    @get("/start/children", READ)
    async def children(self, request: Request, of: Annotated[str, Query(max_length=64)] = "") -> Response:
        """Show a sheet to print: what to tell one of the children. Nothing on it is about the others."""
        context, reader = self._context, language_of(request)
        policy, now = context.policy(), context.clock()
        young = [
            person
            for person in policy.people.values()
            if person.profile in policy.profiles and person.profile != "adult"
        ]
        child = next((each for each in young if each.name == of), young[0] if young else None)
        rules = rules_text(policy, child.profile, child.name, DeviceId(""), reader, now) if child is not None else None
        harsh = {title_of(name, reader) for name in unnamed()}
        place = context.control.reached_at(local_address(request.scope))
        near = help_choices(Lifelines.load().for_country(policy.network.country)).talk
        names, own = [each.name for each in young], f"http://{place}/device"
        return self._page(
            request, "children.html", child=child, names=names, rule=rules, harsh=harsh, near=near, own=own
        )

    @get("/start/{step}", SETUP, OPERATE, READ)
    async def step(
        self,
        request: Request,
        step: Annotated[str, Path(max_length=20)],
        make: Annotated[str, Query(max_length=40)] = "",
        shows: Annotated[str, Query(max_length=10)] = "",
    ) -> Response:
        """Show a step of the guide with its current values. The password comes first.

        `make` and `shows` are for the feature that connects a home: a make of router or a device, and all devices.
        """
        if _may_be_a_stranger(request):
            self._device(request)
        if not self._context.accounts.has_any or step not in (*STEPS, "done"):
            step = "password"
        parts = {"place": self._place, "people": self._people, "devices": self._devices, "done": self._last_step}
        values: dict[str, Any] = await parts[step](request) if step in parts else {}
        values |= {"here": local_address(request.scope), "make": make, "shows": shows}
        if step != "done" and not self._context.policy().devices:
            values["nav"] = ()  # nothing leads away from the guide until a device has a name
        has_password, people = self._context.accounts.has_any, list(self._context.policy().people.values())
        response = self._page(
            request,
            "start.html",
            step=step,
            steps=_steps(self._context.index().has_seats),
            has_password=has_password,
            people=people,
            **values,
        )
        if place := values.get("block_page"):
            allowed = f"connect-src 'self' http://{place} https://{place}"
            response.headers["Content-Security-Policy"] = SECURITY_HEADERS["Content-Security-Policy"].replace(
                "connect-src 'self'", allowed
            )
        return response

    async def _save(self, request: Request, step: str, summary: str, *edits: Edit) -> Response:
        """Edit the policy and go on to the next step."""
        await self._change(request, summary, *edits)
        following = [*STEPS, "done"]
        return redirect_to(f"/start/{following[following.index(step) + 1]}")

    def _possible_block_page(self) -> str:
        """Return the address at which the block page could be shown, or an empty text: none, or the policy states an
        answer already.
        """
        network = self._context.policy().network
        is_stated = network.resolver.blocked_answer is not BlockedAnswer.ZERO or not network.resolver.reserves_page
        return "" if is_stated else self._context.control.status().block_page

    def _me(self, request: Request) -> Person | None:
        """Return the person with the name of the signed-in account."""
        name = principal_of(request).name.casefold()
        return next(
            (person for person in self._context.policy().people.values() if person.name.casefold() == name), None
        )

    def _unnamed(self, request: Request, seen: tuple[DeviceRow, ...]) -> list[GuideDevice]:
        """Return the devices without a name, the one that shows the guide first, also if it does not use
        our DNS yet.
        """
        policy, peer = self._context.policy(), peer_address(request.scope)
        own = None if peer in LOCAL_PEERS else self._context.control.device_at(peer)
        rows = unnamed_devices(self._context.index(), seen)
        found = [_guess(row, policy, row.name) for row in rows if own is None or row.device != own.device]
        if own is None or (own.device in policy.devices and not own.may_resume):
            return found
        me, row = self._me(request), next((row for row in rows if row.device == own.device), None)
        return [_own_device(request, own.device, row, me.name if me is not None else "", set(policy.devices)), *found]


def _steps(in_cafe: bool) -> dict[str, tuple[str, str]]:
    """Return the label and heading of each step. Nobody lives in a café, so the labels have to do there."""
    homes = ("people", "connect") if in_cafe else ()
    return {step: (label, label if step in homes else heading) for step, (label, heading) in STEPS.items()}


def _may_be_a_stranger(request: Request) -> bool:
    """Return whether a request may be a stranger's.

    The machine itself belongs to the network, whatever `network.lan` says.
    """
    return not principal_of(request).scopes and peer_address(request.scope) not in LOCAL_PEERS


def _place_edits(policy: Policy, browser_zone: str) -> tuple[Edit, ...]:
    """Return the edits that state the place of a browser's time zone, or none if that tells no country.

    What the policy states already is kept.
    """
    network = policy.network
    zone = browser_zone if network.timezone in NO_PLACE else network.timezone
    zone = get_global("zone_aliases").get(zone, zone)
    country = network.country or get_global("zone_territories").get(zone, "")
    if not browser_zone or zone in NO_PLACE or country not in COUNTRIES:
        return ()
    return put(("network", "country"), country), put(("network", "timezone"), zone)


async def _typed(request: Request) -> dict[str, str]:
    """Return the fields of a form, each of a limited length."""
    return {key: value[:600] for key, value in await typed_fields(request)}


def _own_device(request: Request, device: DeviceId, row: DeviceRow | None, owner: str, taken: set[str]) -> GuideDevice:
    """Return the device that shows the guide, as its owner's."""
    kind = language_of(request).gettext(device_word(request.headers.get("user-agent", "")))
    name = f"{owner} {kind}".strip()
    called = name if name not in taken else _free_name(name, taken)
    return GuideDevice(device, row, owner, called, is_this=True)


def _guess(row: DeviceRow, policy: Policy, label: str) -> GuideDevice:
    """Guess a device's owner from the name that it gives itself, such as `Mias-iPad`."""
    said = label.casefold()
    owners = [name for name in policy.people if len(name) > 1 and name.casefold() in said]
    owner = max(owners, key=len, default="")
    return GuideDevice(row.device, row, owner, label, is_this=False)


def device_word(user_agent: str) -> str:
    """Return a word for a kind of device.

    >>> device_word("Mozilla/5.0 (Linux; Android 15) Mobile"), device_word("Mozilla/5.0 (X11; Linux x86_64)")
    ('phone', 'computer')
    """
    if "iPad" in user_agent or ("Android" in user_agent and "Mobi" not in user_agent):
        return message("tablet")
    return message("phone") if "Mobi" in user_agent else message("computer")


def _free_name(name: str, taken: set[str]) -> str:
    return next(free for number in count(1) if (free := f"{name} {number}") not in taken)
