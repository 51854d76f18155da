"""People: who they are, how old, their nights, their services and topics. Every change is a change of the policy file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.blocklists.categories import CategoryKind, builtin_categories
from hedgerow.dashboards.api.data_export import ndjson_download
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.household import BudgetLimit, budget_edit, budget_limits, parse_minutes
from hedgerow.dashboards.edits.yaml_text import Edit, exclude, include, put, put_times, remove
from hedgerow.dashboards.guard import peer_address
from hedgerow.dashboards.pages.context import NOT_IN_NETWORK, PageContext, principal_of, redirect_after_save, redirect_to
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import Language, language_of, message
from hedgerow.dashboards.words.rules import bedtime_value, day_times, night_times, rules_text, schedule_text, schedule_value
from hedgerow.policies.expiry import expiring_rules
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Person, SafeSearch, Target, TargetKind, Verdict
from hedgerow.policies.rule_index import UNSAFE_SEARCH
from hedgerow.policies.targets import ILLEGAL
from hedgerow.policies.times.schedule import DAY_NAMES

type PersonPath = Annotated[str, Path(max_length=60)]
type FormText = Annotated[str, Form(max_length=300)]

# What else a person's rules may say of a thing that is to be open (True) or closed; open at all hours is open too.
_RULE_KEYS = {True: ("allow", "block"), False: ("always", "allow", "block")}


@dataclass(frozen=True, slots=True)
class Switch:
    """A service or topic: whether it is open for the person, and whether the person's own rules make it so."""

    id: str
    title: str
    is_open: bool
    is_own: bool


_GROUPS = {"app-stores": message("App stores"), "music": message("Music"), "vpn": message("VPN")}


class PeoplePages:
    """`/people` and `/people/NAME`."""

    def __init__(self, site: PageContext) -> None:
        self._context = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/people", self.people, methods=["GET"])
        router.add_api_route("/people/{name}", self.person, methods=["GET"])
        router.add_api_route("/people", self.add, methods=["POST"])
        for part, change in (
            ("age", self.set_age),
            ("switch", self.switch),
            ("site", self.add_site),
            ("site/remove", self.remove_site),
            ("nights", self.set_nights),
            ("budget", self.set_budget),
            ("schedule", self.set_schedule),
            ("schedule/remove", self.remove_schedule),
            ("remove", self.remove),
        ):
            router.add_api_route(f"/people/{{name}}/{part}", change, methods=["POST"])

    async def people(self, request: Request) -> Response:
        policy = self._context.policy()
        devices = {name: [device.id for device in policy.devices.values() if device.person == name] for name in policy.people}
        pauses = await run_in_threadpool(self._context.reader.pauses, self._context.clock())
        paused = {pause.person for pause in pauses if pause.person}
        return self._context.renderer.page(
            request, "people.html", people=policy.people.values(), profiles=policy.profiles, devices=devices, paused=paused
        )

    async def person(self, request: Request, name: PersonPath) -> Response:
        person = self._person(name)
        policy, reader = self._context.policy(), language_of(request)
        pauses = await run_in_threadpool(self._context.reader.pauses, self._context.clock())
        topics, services = self._topics(person, reader), self._services(name, reader)
        return self._context.renderer.page(
            request,
            "person.html",
            person=person,
            profiles=policy.profiles,
            rules=rules_text(policy, person.profile, name, None, reader, self._context.clock()),
            devices=[device for device in policy.devices.values() if device.person == name],
            services=services,
            topics=topics,
            # Nobody has to count the time of what is closed anyhow.
            subjects=[(each.id, each.title) for each in (*topics, *(switch for _, group in services for switch in group)) if each.is_open],
            own=[target for target in (*person.rules.allow, *person.rules.block) if target.kind in (TargetKind.HOST, TargetKind.URL)],
            allowed={target.name for target in person.rules.allow},
            days=DAY_NAMES,
            times=night_times(person.rules.bedtime),
            schedules=[(schedule_text(each, reader), day_times(each.when), each.note) for each in person.rules.schedules],
            budgets=[row for row in self._context.budgets() if row.whose == name],
            limits=budget_limits(person.rules.budget),
            is_anothers=person.rules.budget is None and any(row.whose == name for row in self._context.budgets()),
            dues=[due for due in expiring_rules(policy) if due.whose == name],
            is_paused=any(pause.person == name for pause in pauses),
        )

    async def add(self, request: Request, name: FormText, age: FormText = "") -> Response:
        name = parse_name(name, self._context.policy().people)
        years = parse_age(age)
        value = {} if years is None else {"age": years}
        change = await self._context.editor.change(
            principal_of(request).name, language_of(request).gettext("Add %(name)s", name=name), put(("people", name), value)
        )
        return redirect_after_save("/people", change)

    async def set_age(self, request: Request, name: PersonPath, age: FormText = "", profile: FormText = "") -> Response:
        self._person(name)
        path, reader = ("people", name), language_of(request)
        if profile:
            edits = [remove((*path, "age")), put((*path, "profile"), profile)]
            said = reader.gettext("%(name)s follows %(profile)s", name=name, profile=profile)
        else:
            edits = [remove((*path, "profile")), put((*path, "age"), parse_age(age))]
            said = reader.gettext("%(name)s is %(age)s years old", name=name, age=age)
        return await self._change(request, name, "about", said, *edits)

    async def switch(self, request: Request, name: PersonPath, close: FormText = "", open: FormText = "") -> Response:
        """One service or topic closed or opened; a rule of the person's own only where the profile says otherwise."""
        person, item, reader = self._person(name), close or open, language_of(request)
        services = (switch for _, group in self._services(name, reader) for switch in group)
        switches = {each.id: each for each in (*services, *self._topics(person, reader))}
        if item not in switches:
            raise InvalidInput("There is no service or topic '%(item)s'.", item=item)
        path, wanted = ("people", name), bool(open)
        edits: list[Edit] = [exclude((*path, key), item) for key in _RULE_KEYS[wanted]]
        if self._by_default(person, item) != wanted:
            edits.append(include((*path, "allow" if wanted else "block"), item))
        said = message("Open %(what)s for %(name)s") if wanted else message("Block %(what)s for %(name)s")
        return await self._change(request, name, f"switch-{item}", reader.gettext(said, what=switches[item].title, name=name), *edits)

    async def add_site(self, request: Request, name: PersonPath, site: FormText, stance: FormText) -> Response:
        self._person(name)
        if stance not in ("allow", "block"):
            raise InvalidInput("Choose whether to allow or block the site.")
        path, site = ("people", name), site.strip()
        text = message("Allow %(what)s for %(name)s") if stance == "allow" else message("Block %(what)s for %(name)s")
        said = language_of(request).gettext(text, what=site, name=name)
        edits = [exclude((*path, key), site) for key in _RULE_KEYS[stance == "allow"] if key != stance]
        return await self._change(request, name, "sites", said, *edits, include((*path, stance), site))

    async def remove_site(self, request: Request, name: PersonPath, site: FormText) -> Response:
        """By the name that the policy has, whatever its spelling in the file."""
        person = self._person(name)
        edits: list[Edit] = []
        for key, targets in (("always", person.rules.allow), ("allow", person.rules.allow), ("block", person.rules.block)):
            edits += [exclude(("people", name, key), target.origin.text or target.name) for target in targets if target.name == site]
            edits.append(exclude(("people", name, key), site))
        said = language_of(request).gettext("No rule for %(what)s for %(name)s", what=site, name=name)
        return await self._change(request, name, "sites", said, *edits)

    async def set_nights(self, request: Request, name: PersonPath) -> Response:
        """The evenings of ordinary weeks; where none was changed, the file keeps its own way of saying them."""
        person = self._person(name)
        form = {key: str(value) for key, value in (await request.form()).items()}
        value = bedtime_value(form)
        said = language_of(request).gettext("%(name)s's nights", name=name)
        now = night_times(person.rules.bedtime)
        is_same = all((form.get(f"{day}-from", ""), form.get(f"{day}-to", "")) == times for day, times in now.items())
        return await self._change(request, name, "nights", said, *([] if is_same else [put_times(("people", name, "bedtime"), value)]))

    async def set_budget(
        self, request: Request, name: PersonPath, what: FormText = "", school: FormText = "", weekend: FormText = ""
    ) -> Response:
        """Minutes a day, of all use or of one thing; where none was changed, the file keeps its own way of saying them."""
        person, reader = self._person(name), language_of(request)
        known = next((limit for limit in budget_limits(person.rules.budget) if limit.what == what), None)
        limit = BudgetLimit(what, parse_minutes(school), parse_minutes(weekend))
        is_same = known is not None and (known.school, known.weekend) == (limit.school, limit.weekend)
        said = reader.gettext("%(name)s's time", name=name)
        if what:
            said = reader.gettext("%(name)s's time for %(what)s", name=name, what=title_of(what, reader))
        return await self._change(request, name, "time", said, *([] if is_same else [budget_edit(name, limit)]))

    async def set_schedule(self, request: Request, name: PersonPath, schedule: FormText, what: FormText = "") -> Response:
        """When an existing schedule holds, or a new one that closes `what` then."""
        person = self._person(name)
        form = {key: str(value) for key, value in (await request.form()).items()}
        value = schedule_value(form)
        schedule = parse_name(schedule)
        known = next((each for each in person.rules.schedules if each.name == schedule), None)
        path = ("people", name, "schedules", schedule)
        if known is None:
            edits = [put(path, {"block": what or "internet", "when": value})]
        else:
            is_same = all(form.get(day, "").strip() == times for day, times in day_times(known.when).items())
            edits = [] if is_same else [put_times((*path, "when"), value)]
        said = language_of(request).gettext("Times of %(schedule)s for %(name)s", schedule=schedule, name=name)
        return await self._change(request, name, "schedules", said, *edits)

    async def remove_schedule(self, request: Request, name: PersonPath, schedule: FormText) -> Response:
        person = self._person(name)
        if schedule not in {each.name for each in person.rules.schedules}:
            raise InvalidInput("This schedule does not exist.")
        edits = [remove(("people", name, "schedules", schedule))]
        if len(person.rules.schedules) == 1:
            edits = [remove(("people", name, "schedules"))]
        said = language_of(request).gettext("Without %(schedule)s for %(name)s", schedule=schedule, name=name)
        return await self._change(request, name, "schedules", said, *edits)

    async def remove(self, request: Request, name: PersonPath) -> Response:
        self._person(name)
        change = await self._context.editor.change(
            principal_of(request).name, language_of(request).gettext("Remove %(name)s", name=name), remove(("people", name))
        )
        return redirect_after_save("/people", change)

    async def _change(self, request: Request, name: str, place: str, summary: str, *edits: Edit) -> Response:
        change = await self._context.editor.change(principal_of(request).name, summary, *edits)
        return redirect_after_save(f"/people/{quote(name, safe='')}", change, place)

    def _person(self, name: str) -> Person:
        try:
            return self._context.policy().people[name]
        except KeyError:
            raise InvalidInput("The policy has no person called '%(name)s'.", name=name) from None

    def _services(self, name: str, reader: Language) -> list[tuple[str, list[Switch]]]:
        """The switches of all services, by the title of their group."""
        groups: dict[str, list[Switch]] = {}
        service_access = self._context.control.service_access(name)
        for id, service in Services.load().by_id.items():
            is_open = service_access[id].now.verdict is not Verdict.BLOCK
            by_default = service_access[id].by_default.verdict is not Verdict.BLOCK
            groups.setdefault(_group_title(service.group, reader), []).append(Switch(id, service.title, is_open, is_open != by_default))
        return sorted(groups.items())

    def _topics(self, person: Person, reader: Language) -> list[Switch]:
        own = {target.name: True for target in self._in_force(person.rules.allow)}
        own |= {target.name: False for target in self._in_force(person.rules.block)}
        return [
            Switch(
                topic.name,
                reader.category(topic.name, topic.title),
                own.get(topic.name, self._topic_by_default(person, topic.name)),
                topic.name in own,
            )
            for topic in builtin_categories()
            if topic.kind is CategoryKind.BLOCK and topic.name != ILLEGAL
        ]

    def _topic_by_default(self, person: Person, topic: str) -> bool:
        policy = self._context.policy()
        layers = (policy.household, policy.profiles[person.profile].rules)
        for rules in layers:
            # As for `decide`, of two rules of one scope the block counts.
            if any(target.name == topic for target in self._in_force(rules.block)):
                return False
            if any(target.name == topic for target in self._in_force(rules.allow)):
                return True
        # Safe search closes what it cannot be had from, without a rule that says so.
        searches = (rules.safe_search for rules in (person.rules, *layers) if rules.safe_search is not None)
        return topic != UNSAFE_SEARCH or next(searches, SafeSearch.OFF) is SafeSearch.OFF

    def _in_force(self, targets: Iterable[Target]) -> list[Target]:
        now = self._context.clock()
        return [target for target in targets if target.until is None or target.until > now]

    def _by_default(self, person: Person, item: str) -> bool:
        service_access = self._context.control.service_access(person.name)
        if item in service_access:
            return service_access[item].by_default.verdict is not Verdict.BLOCK
        return self._topic_by_default(person, item)


def _group_title(group: str, reader: Language) -> str:
    """Most groups of services are categories as well."""
    return reader.gettext(_GROUPS[group]) if group in _GROUPS else title_of(group, reader)


def parse_name(text: str, taken: object = ()) -> str:
    """A name for a person or device, as it may stand in the file. Raises `InvalidInput`."""
    name = " ".join(text.split())
    if not re.fullmatch(r"[^\W_][\w .'’-]{0,39}", name):
        raise InvalidInput("A name has at most 40 letters, digits, spaces, dots and dashes, and begins with a letter or digit.")
    if name in taken:  # type: ignore[operator]
        raise InvalidInput("'%(name)s' is already taken.", name=name)
    return name


def parse_age(text: str) -> int | None:
    """Years, None where nothing was said. Raises `InvalidInput`."""
    if not text.strip():
        return None
    if not text.strip().isdecimal() or int(text) > 130:
        raise InvalidInput("Enter the age in years.")
    return int(text)


type Name = Annotated[str, Path(max_length=60)]


class DataExportPages:
    """`/people/NAME/kept` and `/device/kept`, which are the same for a person's own device, and `/people/NAME/erase`."""

    def __init__(self, site: PageContext) -> None:
        self._context = site

    def add_to(self, router: APIRouter) -> None:
        router.add_api_route("/people/{name}/kept", self.of_person, methods=["GET"], response_model=None)
        router.add_api_route("/people/{name}/erase", self.erase, methods=["POST"])
        router.add_api_route("/device/kept", self.own, methods=["GET"], response_model=None)

    async def of_person(self, name: Name) -> Response:
        data_export = self._context.data_export
        return ndjson_download(await run_in_threadpool(data_export.lines, data_export.data_subject(self._known(name))))

    async def own(self, request: Request) -> Response:
        site = self._context
        view = site.control.device_at(peer_address(request.scope))
        if view is None:
            return site.renderer.error(request, 403, NOT_IN_NETWORK)
        # What was before somebody sat down at a seat is the guest's before.
        since = await run_in_threadpool(site.time.session_start, view.device) if site.time is not None else 0.0
        return ndjson_download(await run_in_threadpool(site.data_export.lines, site.data_export.data_subject_at(view, since)))

    async def erase(self, name: Name) -> Response:
        erased = await run_in_threadpool(self._context.data_export.erase, self._known(name))
        if erased.problem:
            raise InvalidInput("It has been erased, but traces may remain in the journal file. %(problem)s", problem=erased.problem)
        return redirect_to(f"/people/{quote(name, safe='')}?saved=erased")

    def _known(self, name: str) -> str:
        if name not in self._context.policy().people:
            raise InvalidInput("The policy has no person called '%(name)s'.", name=name)
        return name
