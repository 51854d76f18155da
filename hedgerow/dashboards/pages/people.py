"""People: who they are, how old, their nights, their services and topics. Every change is a change of the policy file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from hedgerow.blocklists.categories import CategoryKind, builtin_categories
from hedgerow.dashboards.api.control import Unfit
from hedgerow.dashboards.pages.rules_words import rules_in_words
from hedgerow.dashboards.pages.site import Site, back_to, visitor_of
from hedgerow.dashboards.pages.week import DAY_TITLES, NIGHTS, bedtime_value, night_times
from hedgerow.dashboards.policy_text import Edit, exclude, include, put, put_times, remove
from hedgerow.policies.model import Person, TargetKind, Verdict
from hedgerow.policies.services import Services

type Name = Annotated[str, Path(max_length=60)]
type FormText = Annotated[str, Form(max_length=300)]


@dataclass(frozen=True, slots=True)
class Switch:
    """A service or topic: whether it is open for the person, and whether the person's own rules make it so."""

    id: str
    title: str
    is_open: bool
    is_own: bool
    help: str = ""


class PeoplePages:
    """`/people` and `/people/NAME`."""

    def __init__(self, site: Site) -> None:
        self._site = site

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
            ("remove", self.remove),
        ):
            router.add_api_route(f"/people/{{name}}/{part}", change, methods=["POST"])

    async def people(self, request: Request) -> Response:
        policy = self._site.policy()
        devices = {name: [device.id for device in policy.devices.values() if device.person == name] for name in policy.people}
        pauses = await run_in_threadpool(self._site.reader.pauses, self._site.clock())
        paused = {pause.person for pause in pauses if pause.person}
        return self._site.renderer.page(
            request, "people.html", people=policy.people.values(), profiles=policy.profiles, devices=devices, paused=paused
        )

    async def person(self, request: Request, name: Name) -> Response:
        person = self._person(name)
        policy = self._site.policy()
        pauses = await run_in_threadpool(self._site.reader.pauses, self._site.clock())
        return self._site.renderer.page(
            request,
            "person.html",
            person=person,
            profiles=policy.profiles,
            rules=rules_in_words(policy, person.profile, name, None),
            devices=[device for device in policy.devices.values() if device.person == name],
            services=self._services(name),
            topics=self._topics(person),
            own=[target for target in (*person.rules.allow, *person.rules.block) if target.kind in (TargetKind.HOST, TargetKind.URL)],
            allowed={target.name for target in person.rules.allow},
            nights=NIGHTS,
            times=night_times(person.rules.bedtime),
            day_titles=DAY_TITLES,
            is_paused=any(pause.person == name for pause in pauses),
        )

    async def add(self, request: Request, name: FormText, age: FormText = "") -> Response:
        name = checked_name(name, self._site.policy().people)
        years = checked_age(age)
        value = {} if years is None else {"age": years}
        change = await self._site.desk.change(visitor_of(request).name, f"Add {name}", put(("people", name), value))
        return back_to("/people", change)

    async def set_age(self, request: Request, name: Name, age: FormText = "", profile: FormText = "") -> Response:
        self._person(name)
        path = ("people", name)
        if profile:
            edits, said = [remove((*path, "age")), put((*path, "profile"), profile)], f"{name} follows {profile}"
        else:
            edits, said = [remove((*path, "profile")), put((*path, "age"), checked_age(age))], f"{name} is {age} years old"
        return await self._change(request, name, said, *edits)

    async def switch(self, request: Request, name: Name, close: FormText = "", open: FormText = "") -> Response:
        """One service or topic closed or opened; a rule of the person's own only where the profile says otherwise."""
        person, item = self._person(name), close or open
        switches = {each.id: each for each in (*(switch for _, group in self._services(name) for switch in group), *self._topics(person))}
        if item not in switches:
            raise Unfit(f"There is no service or topic '{item}'.")
        path, wanted = ("people", name), bool(open)
        edits: list[Edit] = [exclude((*path, "allow"), item), exclude((*path, "block"), item)]
        if self._by_default(person, item) != wanted:
            edits.append(include((*path, "allow" if wanted else "block"), item))
        said = f"{'Open' if wanted else 'Close'} {switches[item].title} for {name}"
        return await self._change(request, name, said, *edits)

    async def add_site(self, request: Request, name: Name, site: FormText, stance: FormText) -> Response:
        self._person(name)
        if stance not in ("allow", "block"):
            raise Unfit("A site is allowed or blocked.")
        other = "block" if stance == "allow" else "allow"
        path, site = ("people", name), site.strip()
        return await self._change(
            request, name, f"{stance.capitalize()} {site} for {name}", exclude((*path, other), site), include((*path, stance), site)
        )

    async def remove_site(self, request: Request, name: Name, site: FormText) -> Response:
        """By the name that the policy has, whatever its spelling in the file."""
        person = self._person(name)
        edits: list[Edit] = []
        for key, targets in (("allow", person.rules.allow), ("block", person.rules.block)):
            edits += [exclude(("people", name, key), target.origin.text or target.name) for target in targets if target.name == site]
            edits.append(exclude(("people", name, key), site))
        return await self._change(request, name, f"No rule for {site} for {name}", *edits)

    async def set_nights(self, request: Request, name: Name) -> Response:
        self._person(name)
        form = {key: str(value) for key, value in (await request.form()).items()}
        return await self._change(request, name, f"The nights of {name}", put_times(("people", name, "bedtime"), bedtime_value(form)))

    async def remove(self, request: Request, name: Name) -> Response:
        self._person(name)
        change = await self._site.desk.change(visitor_of(request).name, f"Remove {name}", remove(("people", name)))
        return back_to("/people", change)

    async def _change(self, request: Request, name: str, summary: str, *edits: Edit) -> Response:
        change = await self._site.desk.change(visitor_of(request).name, summary, *edits)
        return back_to(f"/people/{name}", change)

    def _person(self, name: str) -> Person:
        try:
            return self._site.policy().people[name]
        except KeyError:
            raise Unfit(f"The policy knows nobody called '{name}'.") from None

    def _services(self, name: str) -> list[tuple[str, list[Switch]]]:
        """The switches of all services, by group."""
        groups: dict[str, list[Switch]] = {}
        reach = self._site.control.reach(name)
        for id, service in Services.load().by_id.items():
            is_open = reach[id].now.verdict is not Verdict.BLOCK
            by_default = reach[id].by_default.verdict is not Verdict.BLOCK
            groups.setdefault(service.group, []).append(Switch(id, service.title, is_open, is_open != by_default))
        return sorted(groups.items())

    def _topics(self, person: Person) -> list[Switch]:
        own = {target.name: True for target in person.rules.allow} | {target.name: False for target in person.rules.block}
        return [
            Switch(
                topic.name,
                topic.title,
                own.get(topic.name, self._topic_by_default(person, topic.name)),
                topic.name in own,
                topic.description,
            )
            for topic in builtin_categories()
            if topic.kind is CategoryKind.BLOCK
        ]

    def _topic_by_default(self, person: Person, topic: str) -> bool:
        policy = self._site.policy()
        for rules in (policy.household, policy.profiles[person.profile].rules):
            if any(target.name == topic for target in rules.allow):
                return True
            if any(target.name == topic for target in rules.block):
                return False
        return True

    def _by_default(self, person: Person, item: str) -> bool:
        reach = self._site.control.reach(person.name)
        if item in reach:
            return reach[item].by_default.verdict is not Verdict.BLOCK
        return self._topic_by_default(person, item)


def checked_name(text: str, taken: object = ()) -> str:
    """A name for a person or device, as it may stand in the file. Raises `Unfit`."""
    name = " ".join(text.split())
    if not re.fullmatch(r"[^\W_][\w .'’-]{0,39}", name):
        raise Unfit("A name is up to 40 letters, digits, spaces, dots and dashes, and begins with a letter or digit.")
    if name in taken:  # type: ignore[operator]
        raise Unfit(f"'{name}' is taken already.")
    return name


def checked_age(text: str) -> int | None:
    """Years, None where nothing was said. Raises `Unfit`."""
    if not text.strip():
        return None
    if not text.strip().isdecimal() or int(text) > 130:
        raise Unfit("An age is a number of years.")
    return int(text)
