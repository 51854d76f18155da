"""People: ages, nights, budgets, services, topics and sites. Every form changes the policy file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import Form, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.blocklists.categories import CategoryKind, builtin_categories
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.data_export import ndjson_download
from hedgerow.dashboards.edits.household import (
    budget_limits,
    find_person,
    parse_age,
    parse_name,
)
from hedgerow.dashboards.edits.rules import own_targets, subject_titles
from hedgerow.dashboards.edits.times import presets, schedule_items
from hedgerow.dashboards.edits.yaml_text import Edit, exclude, include, put, remove
from hedgerow.dashboards.pages.context import PageContext, PageGroup, redirect_after_save, redirect_to
from hedgerow.dashboards.pages.forms import NOTHING_TYPED, UNPROCESSABLE, TypedForm
from hedgerow.dashboards.routes import MANAGE, READ, get, post
from hedgerow.dashboards.words import labels
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import Language, language_of, message
from hedgerow.dashboards.words.rules import date_ranges, day_times, night_times, rules_text, schedule_text
from hedgerow.policies.expiry import in_force
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Person, SafeSearch, Verdict
from hedgerow.policies.rule_index import UNSAFE_SEARCH
from hedgerow.policies.targets import ILLEGAL
from hedgerow.policies.times.schedule import DAY_NAMES

type PersonName = Annotated[str, Path(max_length=60)]
type FormText = Annotated[str, Form(max_length=300)]

# Keys of a person's rules that are removed for a subject before it is opened (True) or closed. `always` also opens it.
_RULE_KEYS = {True: ("allow", "block"), False: ("always", "allow", "block")}


@dataclass(frozen=True, slots=True)
class Switch:
    """A service or topic. `is_own`: the person's own rules override the profile."""

    id: str
    title: str
    is_open: bool
    is_own: bool


_GROUPS = {"app-stores": message("App stores"), "music": message("Music"), "vpn": message("VPN")}


class PeoplePages(PageGroup):
    """`/people`, `/people/NAME` and its forms."""

    @get("/people", READ)
    async def people(self, request: Request) -> Response:
        policy = self._context.policy()
        devices = {name: [device.id for device in policy.devices.values() if device.person == name] for name in policy.people}
        pauses = await run_in_threadpool(self._context.reader.pauses, self._context.clock())
        paused = {pause.person for pause in pauses if pause.person}
        return self._page(
            request, "people.html", people=policy.people.values(), profiles=policy.profiles, devices=devices, paused=paused
        )  # fmt: skip

    @get("/people/{name}", READ)
    async def person(self, request: Request, name: PersonName) -> Response:
        return await person_page(self._context, request, name)

    @post("/people", MANAGE)
    async def add(self, request: Request, name: FormText, age: FormText = "") -> Response:
        name, years = parse_name(name, self._context.policy().people), parse_age(age)
        edit = put(("people", name), {} if years is None else {"age": years})
        return redirect_after_save("/people", await self._change(request, message("Add %(name)s"), edit, name=name))

    @post("/people/{name}/age", MANAGE)
    async def set_age(self, request: Request, name: PersonName, age: FormText = "", profile: FormText = "") -> Response:
        """Set the age, or a profile instead of it."""
        self._person(name)
        path, text = ("people", name), message("%(name)s is %(age)s years old")
        edits = [remove((*path, "profile")), put((*path, "age"), parse_age(age))]
        if profile:
            edits = [remove((*path, "age")), put((*path, "profile"), profile)]
            text = message("%(name)s follows %(profile)s")
        return await self._save(request, name, "about", text, *edits, age=age, profile=profile)

    @post("/people/{name}/switch", MANAGE)
    async def switch(self, request: Request, name: PersonName, close: FormText = "", open: FormText = "") -> Response:
        """Open or close one service or topic. A rule of the person's own is written only where the profile differs."""
        item, switches = close or open, Switches(self._context, self._person(name), language_of(request))
        switch = switches.all().get(item)
        if switch is None:
            raise InvalidInput("There is no service or topic '%(item)s'.", item=item)
        path, wanted = ("people", name), bool(open)
        edits: list[Edit] = [exclude((*path, key), item) for key in _RULE_KEYS[wanted]]
        if switches.by_default(item) != wanted:
            edits.append(include((*path, "allow" if wanted else "block"), item))
        text = message("Open %(what)s for %(name)s") if wanted else message("Block %(what)s for %(name)s")
        return await self._save(request, name, f"switch-{item}", text, *edits, what=switch.title)

    @post("/people/{name}/remove", MANAGE)
    async def remove(self, request: Request, name: PersonName) -> Response:
        self._person(name)
        change = await self._change(request, message("Remove %(name)s"), remove(("people", name)), name=name)
        return redirect_after_save("/people", change)

    async def _save(self, request: Request, name: str, part: str, summary: str, *edits: Edit, **values: object) -> Response:
        return redirect_after_save(person_path(name), await self._change(request, summary, *edits, name=name, **values), part)

    def _person(self, name: str) -> Person:
        return find_person(self._context.policy(), name)


async def person_page(context: PageContext, request: Request, name: str, typed: TypedForm = NOTHING_TYPED) -> Response:
    """Return a person's page, with a form as it was typed if that could not be saved."""
    policy, person, reader, now = context.policy(), find_person(context.policy(), name), language_of(request), context.clock()
    pauses = await run_in_threadpool(context.reader.pauses, now)
    switches = Switches(context, person, reader)
    budgets = [row for row in context.budgets() if row.whose == name]
    today = datetime.fromtimestamp(now, labels.zone(policy.network.timezone)).date()
    return context.renderer.page(
        request,
        "person.html",
        UNPROCESSABLE if typed.problem else 200,
        typed=typed,
        person=person,
        profiles=policy.profiles,
        rules=rules_text(policy, person.profile, name, None, reader, now),
        devices=[device for device in policy.devices.values() if device.person == name],
        services=switches.services(),
        topics=switches.topics(),
        subjects=[(each.id, each.title) for each in switches.all().values() if each.is_open],  # what is closed needs no budget
        named=subject_titles(reader),
        own=own_targets(person),
        today=today.isoformat(),
        days=DAY_NAMES,
        times=night_times(person.rules.bedtime),
        schedules=[(schedule_text(each, reader), day_times(each.when), each.note, schedule_items(each)) for each in person.rules.schedules],
        presets=presets(person, reader),
        free_days=date_ranges(policy.network.holidays if person.holidays is None else person.holidays, today, reader)[:6],
        has_own_holidays=person.holidays is not None,
        budgets=budgets,
        limits=budget_limits(person.rules.budget),
        is_anothers=person.rules.budget is None and bool(budgets),
        is_paused=any(pause.person == name for pause in pauses),
    )


class PersonDataPages(PageGroup):
    """Export and erasure of the data kept about a person."""

    @get("/people/{name}/kept", READ)
    async def kept(self, name: PersonName) -> Response:
        """Return the data kept about a person."""
        find_person(self._context.policy(), name)
        export = self._context.data_export
        return ndjson_download(await run_in_threadpool(export.lines, export.data_subject(name)))

    @post("/people/{name}/erase", MANAGE)
    async def erase(self, name: PersonName) -> Response:
        """Erase the data kept about a person."""
        find_person(self._context.policy(), name)
        erased = await run_in_threadpool(self._context.data_export.erase, name)
        if erased.problem:
            raise InvalidInput("It has been erased, but traces may remain in the journal file. %(problem)s", problem=erased.problem)
        return redirect_to(f"{person_path(name)}?saved=erased")


class Switches:
    """Switches of one person's services and topics, in a language."""

    def __init__(self, context: PageContext, person: Person, reader: Language) -> None:
        self._person, self._reader, self._policy, self._now = person, reader, context.policy(), context.clock()
        self._access = context.control.service_access(person.name)

    def services(self) -> list[tuple[str, list[Switch]]]:
        """Return the switches of all services by the title of their group."""
        groups: dict[str, list[Switch]] = {}
        for id, service in Services.load().by_id.items():
            is_open = self._access[id].now.verdict is not Verdict.BLOCK
            switch = Switch(id, service.title, is_open, is_open != self.by_default(id))
            groups.setdefault(_group_title(service.group, self._reader), []).append(switch)
        return sorted(groups.items())

    def topics(self) -> list[Switch]:
        """Return the switches of all topics that can be opened."""
        own = {target.name: True for target in in_force(self._person.rules.allow, self._now)}
        own |= {target.name: False for target in in_force(self._person.rules.block, self._now)}
        return [
            Switch(
                topic.name,
                self._reader.category(topic.name, topic.title),
                own.get(topic.name, self.by_default(topic.name)),
                topic.name in own,
            )
            for topic in builtin_categories()
            if topic.kind is CategoryKind.BLOCK and topic.name != ILLEGAL
        ]

    def all(self) -> dict[str, Switch]:
        """Return all switches by id."""
        return {each.id: each for each in (*self.topics(), *(switch for _, group in self.services() for switch in group))}

    def by_default(self, item: str) -> bool:
        """Tell whether a service or topic is open without the person's own rules."""
        if item in self._access:
            return self._access[item].by_default.verdict is not Verdict.BLOCK
        layers = (self._policy.household, self._policy.profiles[self._person.profile].rules)
        for rules in layers:
            # Within one scope a block takes precedence, as in `decide`.
            if any(target.name == item for target in in_force(rules.block, self._now)):
                return False
            if any(target.name == item for target in in_force(rules.allow, self._now)):
                return True
        # Safe search closes search engines that do not support it, without a rule in the policy.
        searches = (rules.safe_search for rules in (self._person.rules, *layers) if rules.safe_search is not None)
        return item != UNSAFE_SEARCH or next(searches, SafeSearch.OFF) is SafeSearch.OFF


async def form_fields(request: Request) -> dict[str, str]:
    """Return the fields of a form; of a field with several values, the last one."""
    return {key: str(value) for key, value in (await request.form()).items()}


def person_path(name: str) -> str:
    """Return the path of a person's page."""
    return f"/people/{quote(name, safe='')}"


def _group_title(group: str, reader: Language) -> str:
    """Return the title of a group of services. Most groups are also categories."""
    return reader.gettext(_GROUPS[group]) if group in _GROUPS else title_of(group, reader)
