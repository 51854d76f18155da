"""Chores on the pages: a card for the child and one for whoever manages the rules, their forms, and a preset."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.dashboards.control import DeviceView, InvalidInput, at_field
from hedgerow.dashboards.edits.household import parse_minutes, parse_name
from hedgerow.dashboards.edits.times import DISTRACTIONS, Preset, ScheduleEffect, ScheduleItems, schedule_edits
from hedgerow.dashboards.edits.yaml_text import Edit, put, remove
from hedgerow.dashboards.extensions import Card, ConditionWords, Extensions, Place
from hedgerow.dashboards.pages.context import PageContext, redirect_to
from hedgerow.dashboards.pages.own_device import until_recorded
from hedgerow.dashboards.pages.people import FormText, PersonName, PersonPageGroup
from hedgerow.dashboards.routes import DEVICES, MANAGE, post
from hedgerow.dashboards.words.languages import Language, message
from hedgerow.features.chores.own_words import LIFTED, MINE
from hedgerow.features.chores.service import chores_today
from hedgerow.features.chores.settings import NAME, Chore, chores_of
from hedgerow.policies.model import AccessRequest, Person, Policy


class ChorePages(PersonPageGroup):
    """The forms of both cards."""

    @post("/device/chore", DEVICES)
    async def report(self, request: Request, chore: Annotated[str, Form(max_length=40)] = "") -> Response:
        """Say that a chore of today is done. Somebody in charge confirms it."""
        view, context = self._device(request), self._context
        mine = dict(await run_in_threadpool(_today, context, view))
        named = next((each for each in mine if each.name == chore), None)
        if named is None:
            raise InvalidInput("This chore is not one of yours.")
        if mine[named] not in ("open", "approved"):
            context.request_access(AccessRequest(context.clock(), view.device, view.person, "", chore=chore))
            await until_recorded(lambda: dict(_today(context, view)).get(named) == "open")
        return redirect_to("/device#chores")

    @post("/people/{name}/chore", MANAGE, page="/people/{name}/time")
    async def change(
        self, request: Request, name: PersonName, chore: FormText = "", minutes: FormText = "", what: FormText = ""
    ) -> Response:
        """Add a chore, or change what it earns."""
        self._person(name)
        with at_field("chore"):
            chore = parse_name(chore)
        with at_field("minutes"):
            earned = parse_minutes(minutes) or 0
        edit = chore_edit(name, chore, minutes=earned, subject=what)
        return await self._save(
            request, name, message("The chore “%(chore)s” for %(name)s"), edit, anchor=NAME, chore=chore
        )

    @post("/people/{name}/chore/remove", MANAGE, page="/people/{name}/time")
    async def remove(self, request: Request, name: PersonName, chore: FormText) -> Response:
        self._person(name)
        edit = remove_chore_edit(self._context.policy(), name, chore)
        summary = message("Without the chore “%(chore)s” for %(name)s")
        return await self._save(request, name, summary, edit, anchor=NAME, chore=chore)


def chore_edit(person: str, name: str, *, minutes: int, subject: str) -> Edit:
    """Add a chore, or change what it earns: minutes for a category or service, for all use if `subject` is empty."""
    amount = f"{minutes}m" if minutes else "none"
    return put(("people", person, NAME, name), {subject: amount} if subject and minutes else amount)


def remove_chore_edit(policy: Policy, person: str, name: str) -> Edit:
    """Remove a chore. Raises `InvalidInput`."""
    names = {each.name for each in chores_of(policy, person)}
    if name not in names:
        raise InvalidInput("This chore does not exist.")
    return remove(("people", person, NAME) if len(names) == 1 else ("people", person, NAME, name))


def chores_first(_policy: Policy, person: Person, reader: Language) -> Preset:
    """Return the preset of a schedule that closes games, social networks and videos until the day's chores are done."""
    name = reader.gettext(message("chores first"))
    items = ScheduleItems(ScheduleEffect.BLOCK, DISTRACTIONS)
    return Preset(
        "chores-first",
        reader.gettext(message("Chores first")),
        reader.gettext(message("no games, social networks and videos until the day's chores are done")),
        name,
        edits=(
            *schedule_edits(person, name, items, {"every-day": "all-day"}),
            put(("people", person.name, "schedules", name, "unless"), NAME),
        ),
        is_possible=NAME in person.conditions,
    )


def _today(context: PageContext, view: DeviceView) -> tuple[tuple[Chore, str], ...]:
    return chores_today(context.policy(), context.reader.store, view.person, context.clock())


def _of_device(context: PageContext, view: DeviceView) -> tuple[tuple[Chore, str], ...] | None:
    return _today(context, view) or None


def _of_person(context: PageContext, person: Person) -> tuple[Chore, ...]:
    return chores_of(context.policy(), person.name)


EXTENSIONS = Extensions(
    cards=(
        Card(place=Place.OWN_PAGE, template="chores/templates/own_page.html", read=_of_device),
        Card(place=Place.PERSON_TIME, template="chores/templates/person.html", read=_of_person),
    ),
    page_groups=(ChorePages,),
    presets=(chores_first,),
    conditions={NAME: ConditionWords(lifted=LIFTED, mine=MINE, theirs=message("until the chores are done"))},
)
