"""People: ages, nights, budgets, services, topics and sites. Every form changes the policy file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Form, Path, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import InvalidInput, at_field
from hedgerow.dashboards.data_export import ndjson_download
from hedgerow.dashboards.edits.household import (
    budget_limits,
    find_person,
    parse_age,
    parse_age_or_birth,
    parse_birth,
    parse_name,
)
from hedgerow.dashboards.edits.rules import is_inspected, name_levels, own_targets, subject_titles
from hedgerow.dashboards.edits.times import presets, schedule_items
from hedgerow.dashboards.edits.yaml_text import Edit, put, remove
from hedgerow.dashboards.pages.context import PageContext, PageGroup, redirect_after_save
from hedgerow.dashboards.pages.forms import nearest_page
from hedgerow.dashboards.pages.openings import confirm
from hedgerow.dashboards.protections import protections_by_device
from hedgerow.dashboards.routes import MANAGE, READ, get, post
from hedgerow.dashboards.switches import SwitchWords, needs_pages
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.languages import language_of, message
from hedgerow.dashboards.words.rules import date_ranges, day_times, night_times, rules_text, schedule_text, times_on
from hedgerow.policies.model import Device, Person
from hedgerow.policies.times.schedule import DAY_NAMES

PAGE_SIZE = 48
"""People on a page."""

PARTS = ("time", "nights", "schedules", "services", "topics", "sites", "protection", "code", "about")
"""The parts of a person's page: each has a tile there, and a page with the template `person_PART.html`."""

ERASURE = message(
    "Visits and their sums, requests, notices, and past permissions, pauses and sessions are deleted permanently. "
    "These stay: rules, open permissions, this week's minutes, and the devices with their protections and last use."
)
"""What an erasure deletes and leaves, as people read it."""

type PersonName = Annotated[str, Path(max_length=60)]
type FormText = Annotated[str, Form(max_length=300)]


class PersonPageGroup(PageGroup):
    """Pages that change what the policy says of a person."""

    async def _save(
        self, request: Request, name: str, summary: str, *edits: Edit, anchor: str = "", **values: object
    ) -> Response:
        """Change the policy, and lead to the part of the person's page that has the form, at the id `anchor`."""
        change = await self._change(request, summary, *edits, name=name, **values)
        return redirect_after_save(nearest_page(request, request.url.path), change, anchor)

    def _person(self, name: str) -> Person:
        return find_person(self._context.policy(), name)


class PeoplePages(PersonPageGroup):
    """`/people`, `/people/NAME` with its parts, and its forms."""

    @get("/people", READ)
    async def people(self, request: Request, q: Annotated[str, Query(max_length=60)] = "", page: int = 1) -> Response:
        """Show the people whose name or device matches."""
        index, words = self._context.index(), q.casefold().split()
        devices = {name: [device.id for device in index.devices_of.get(name, ())] for name in index.policy.people}
        found = [
            person
            for name, person in index.policy.people.items()
            if all(word in " ".join((name, *devices[name])).casefold() for word in words)
        ]
        pages = max(1, -(-len(found) // PAGE_SIZE))
        number = min(max(1, page), pages)
        pauses = await run_in_threadpool(self._context.reader.pauses, self._context.clock())
        return self._page(
            request,
            "people.html",
            people=found[(number - 1) * PAGE_SIZE : number * PAGE_SIZE],
            total=len(index.policy.people),
            query=q.strip(),
            number_of_page=number,
            pages=pages,
            devices=devices,
            paused={pause.person for pause in pauses if pause.person},
        )

    @get("/people/{name}", READ)
    async def person(self, request: Request, name: PersonName) -> Response:
        return await person_page(self._context, request, name)

    @get("/people/{name}/{part}", READ)
    async def part(
        self,
        request: Request,
        name: PersonName,
        part: Annotated[str, Path(max_length=60)],
        find: Annotated[str, Query(max_length=60)] = "",
    ) -> Response:
        """Show a part of a person's page; for the address of a form the part that has it, for any other the tiles."""
        if part not in PARTS:
            part = nearest_page(request, request.url.path).rpartition("/")[2]
        return await person_page(self._context, request, name, part if part in PARTS else "", find=find.strip())

    @post("/people", MANAGE)
    async def add(self, request: Request, name: FormText, age: FormText = "") -> Response:
        name = parse_name(name, self._context.policy().people)
        with at_field("age"):
            known = parse_age_or_birth(age, self._context.policy(), self._context.clock())
        edit = put(("people", name), known)
        return redirect_after_save("/people", await self._change(request, message("%(name)s added."), edit, name=name))

    @post("/people/{name}/age", MANAGE, page="/people/{name}/about")
    async def set_age(
        self, request: Request, name: PersonName, age: FormText = "", born: FormText = "", profile: FormText = ""
    ) -> Response:
        """Set the age, the month of birth, or a profile instead of them."""
        self._person(name)
        values: dict[str, object] = {"age": parse_age(age), "born": None, "profile": None}
        text = message("%(name)s is %(age)s years old.")
        if profile:
            values = {"age": None, "born": None, "profile": profile}
            text = message("%(name)s follows %(profile)s.")
        elif born.strip():
            with at_field("born"):
                if age.strip():
                    raise InvalidInput("Enter an age or a month of birth, and leave the other empty.")
                month = parse_birth(born, self._context.policy(), self._context.clock())
            values, text = {"age": None, "born": month, "profile": None}, message("%(name)s was born in %(born)s.")
        edits = [put(("people", name, key), value) for key, value in values.items()]
        return await self._save(request, name, text, *edits, age=age, born=born.strip(), profile=profile)

    @post("/people/{name}/remove", MANAGE, page="/people/{name}/about")
    async def remove(self, request: Request, name: PersonName) -> Response:
        """Ask once, and remove the person from the policy."""
        self._person(name)
        if question := await confirm(
            self._context,
            request,
            message("Remove %(name)s?"),
            message("The devices stay and follow the rules for unknown devices."),
            {"yes": message("Remove")},
            name=name,
        ):
            return question
        return redirect_after_save(
            "/people", await self._change(request, message("%(name)s removed."), remove(("people", name)), name=name)
        )


async def person_page(context: PageContext, request: Request, name: str, part: str = "", *, find: str = "") -> Response:
    """Return a person's page with its tiles, or one of its parts, with the services whose names have `find` in them."""
    policy, person, reader, now = (
        context.policy(),
        find_person(context.policy(), name),
        language_of(request),
        context.clock(),
    )
    pauses = await run_in_threadpool(context.reader.pauses, now)
    devices = list(context.index().devices_of.get(name, ()))
    budgets = [row for row in context.budgets() if row.whose == name]
    zones = labels.zone(policy.network.timezone), labels.zone(person.timezone or policy.network.timezone)
    today, own_today = (datetime.fromtimestamp(now, zone).date() for zone in zones)
    holidays = policy.network.holidays if person.holidays is None else person.holidays
    return context.renderer.page(
        request,
        "person_part.html" if part else "person.html",
        part=part,
        person=person,
        erasure=language_of(request).gettext(ERASURE),
        profiles=policy.profiles,
        rules=rules_text(policy, person.profile, name, None, reader, now),
        devices=devices,
        **await _switch_values(context, request, person, devices),
        find=find,
        named=subject_titles(reader),
        own=own_targets(person),
        channels=person.rules.content.youtube_only or (),
        is_inspected=is_inspected(policy, name),
        has_gateway=context.control.status().has_gateway,
        name_levels=name_levels(policy, person),
        today=today.isoformat(),
        days=DAY_NAMES,
        times_now=context.control.person_times([name])[name],
        times=night_times(person.rules.bedtime),
        schedules=[
            (schedule_text(each, reader), day_times(each.when), each.note, schedule_items(each))
            for each in person.rules.schedules
        ],
        times_today=[times for each in person.rules.schedules if (times := times_on(each.when, own_today, holidays))],
        presets=presets(person, reader, context.presets(person, reader)),
        free_days=date_ranges(holidays, today, reader)[:6],
        has_own_holidays=person.holidays is not None,
        budgets=budgets,
        ends_first=min(budgets, key=lambda row: row.left or 0, default=None),
        earnable=[row.subject for row in budgets],
        limits=budget_limits(person.rules.budget),
        is_anothers=person.rules.budget is None and bool(budgets),
        is_paused=any(pause.person == name for pause in pauses),
    )


async def _switch_words(context: PageContext, request: Request, devices: Sequence[Device]) -> SwitchWords:
    reader, now, where = language_of(request), context.clock(), labels.zone(context.policy().network.timezone)
    rows = await run_in_threadpool(context.reader.protections, [device.id for device in devices])
    protections = protections_by_device(devices, rows, has_gateway=context.control.status().has_gateway)
    return SwitchWords(reader, lambda at: reader.clock(at, now, where), protections)


async def has_effect(context: PageContext, request: Request, name: str, item: str, *, closes: bool) -> bool:
    """Return whether a rule for a service, topic, site or page has an effect on a person's devices now.

    A topic may have no list, and parts of a site need the proxy and the certificate.
    """
    words = await _switch_words(context, request, list(context.index().devices_of.get(name, ())))
    subject = context.control.person_access(name).subjects.get(item)
    if subject is None:
        return "/" not in item or words.uninspected() is None
    return not closes or not any(words.gaps(subject))


async def _switch_values(
    context: PageContext, request: Request, person: Person, devices: Sequence[Device]
) -> dict[str, Any]:
    """Return the values of the template's part about switches.

    The query names the switch that has just been changed, or the group of services that is open.
    """
    policy = context.policy()
    words = await _switch_words(context, request, devices)
    access = context.control.person_access(person.name)
    topics, services = words.topics(access), words.services(access)
    every = [*topics, *(switch for group in services for switch in group.switches)]
    return {
        "topics": topics,
        "services": services,
        "closures": words.closures(access),
        "page_rules": {target.name for _, target in own_targets(person) if needs_pages(target)},
        "page_gap": words.uninspected(),
        "sharing": [device.id for device in policy.devices.values() if person.name in device.sharers],
        "switched": request.query_params.get("switch", ""),
        "switched_to": request.query_params.get("to", ""),
        "saved": request.query_params.get("saved", ""),
        "every_switch": every,
        "chosen_group": request.query_params.get("group", ""),
        "subjects": [
            (each.id, each.title) for each in every if each.is_open_otherwise
        ],  # what is closed needs no budget
    }


class PersonDataPages(PageGroup):
    """Export and erasure of the data kept about a person."""

    @get("/people/{name}/kept", READ)
    async def kept(self, name: PersonName) -> Response:
        """Return the data kept about a person."""
        find_person(self._context.policy(), name)
        export = self._context.data_export
        return ndjson_download(await run_in_threadpool(export.pieces, export.data_subject(name)))

    @post("/people/{name}/erase", MANAGE, page="/people/{name}/about")
    async def erase(self, request: Request, name: PersonName) -> Response:
        """Ask once, and erase the data kept about a person."""
        find_person(self._context.policy(), name)
        if question := await confirm(
            self._context,
            request,
            message("Erase what is stored about %(name)s?"),
            ERASURE,
            {"yes": message("Erase")},
            name=name,
        ):
            return question
        erased = await run_in_threadpool(self._context.data_export.erase, name)
        if erased.problem:
            raise InvalidInput(
                "It has been erased, but traces may remain in the journal file. %(problem)s", problem=erased.problem
            )
        text = message("What was stored about %(name)s is erased.")
        return self._done(request, text, path=person_path(name), name=name)


def person_path(name: str) -> str:
    """Return the path of a person's page."""
    return f"/people/{quote(name, safe='')}"
