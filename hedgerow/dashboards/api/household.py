"""JSON about the household: people, profiles, services, lists, and the changes of the policy file; under /api/v1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse

from hedgerow.dashboards.api.control import Control, ListHealth, Unfit
from hedgerow.dashboards.pages.languages import language, language_of
from hedgerow.dashboards.pages.people import checked_name
from hedgerow.dashboards.pages.site import visitor_of
from hedgerow.dashboards.policy_desk import PolicyDesk
from hedgerow.dashboards.policy_text import diff_of_files, exclude, include, put, remove
from hedgerow.dashboards.reports import PersonReport, Report, weekly_report
from hedgerow.journal.changes import PolicyChange
from hedgerow.journal.read import Reader
from hedgerow.policies.languages import LanguageCode
from hedgerow.policies.model import Policy, Verdict
from hedgerow.policies.services import Services


class Stance(StrEnum):
    """What a person's own rule says; `none` leaves it to the profile."""

    ALLOW = "allow"
    BLOCK = "block"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class PersonView:
    """A person as the policy has it; `allow` and `block` are the person's own."""

    name: str
    age: int | None
    profile: str
    devices: tuple[str, ...]
    allow: tuple[str, ...]
    block: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProfileView:
    """A profile: for whom it is and why it says what it says."""

    name: str
    title: str
    why: str
    block: tuple[str, ...]
    safe_search: str | None
    privacy: str | None


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service; `open` says whether the person may have it, None where nobody was named."""

    id: str
    title: str
    group: str
    open: bool | None = None


@dataclass(frozen=True, slots=True)
class ChangeView:
    """A change of the policy file; `diff` are its lines as `diff -u` writes them."""

    id: int
    at: float
    giver: str
    summary: str
    undone_at: float | None
    diff: tuple[str, ...]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewPerson(_Body):
    """A name, and an age or the name of a profile."""

    name: str = Field(min_length=1, max_length=40)
    age: int | None = Field(None, ge=0, le=130)
    profile: str | None = Field(None, max_length=60)


class OwnRule(_Body):
    """A service, category, site or URL pattern, and what holds for it."""

    subject: str = Field(min_length=1, max_length=2048)
    stance: Stance


type PersonName = Annotated[str, Path(max_length=60)]
type Code = Annotated[LanguageCode | None, Query(description="else as Accept-Language asks")]

_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def add_household(api: APIRouter, reader: Reader, control: Control, desk: PolicyDesk, clock: Callable[[], float]) -> None:
    """Adds the routes."""
    _add_readings(api, reader, control, desk, clock)
    _add_changes(api, control, desk)


def _add_readings(api: APIRouter, reader: Reader, control: Control, desk: PolicyDesk, clock: Callable[[], float]) -> None:
    @api.get("/people")
    async def people() -> tuple[PersonView, ...]:
        return tuple(_person(control.policy(), name) for name in control.policy().people)

    @api.get("/profiles")
    async def profiles() -> tuple[ProfileView, ...]:
        return tuple(
            ProfileView(
                profile.name, profile.title, profile.why, tuple(target.name for target in profile.rules.block),
                profile.rules.safe_search, profile.rules.privacy,
            )
            for profile in control.policy().profiles.values()
        )  # fmt: skip

    @api.get("/services")
    async def services(person: Annotated[str | None, Query(max_length=60)] = None) -> tuple[ServiceView, ...]:
        reach = control.reach(person) if person else {}
        return tuple(
            ServiceView(id, each.title, each.group, reach[id].now.verdict is not Verdict.BLOCK if id in reach else None)
            for id, each in Services.load().by_id.items()
        )

    @api.get("/lists")
    async def lists() -> tuple[ListHealth, ...]:
        return control.status().lists

    async def weekly(code: str | None, request: Request) -> Report:
        said = language_of(request) if code is None else language(code)
        return await run_in_threadpool(weekly_report, reader, control.policy(), clock(), said)

    @api.get("/report", response_class=HTMLResponse)
    async def report(request: Request, language: Code = None) -> HTMLResponse:
        """The weekly report as one HTML file. It brings its style with it."""
        return HTMLResponse((await weekly(language, request)).html, headers={"Content-Security-Policy": _REPORT_POLICY})

    @api.get("/report/people")
    async def report_of_people(request: Request, language: Code = None) -> tuple[PersonReport, ...]:
        """The weekly report as data: of those about whom something may be told."""
        return (await weekly(language, request)).people

    @api.get("/changes")
    async def changes() -> tuple[ChangeView, ...]:
        return tuple(map(_change, await run_in_threadpool(desk.store.latest)))


def _add_changes(api: APIRouter, control: Control, desk: PolicyDesk) -> None:
    @api.post("/people", status_code=201)
    async def add_person(request: Request, person: NewPerson) -> PersonView:
        if (person.age is None) == (person.profile is None):
            raise Unfit("A person has an age or a profile.")
        name = checked_name(person.name, control.policy().people)
        value = {"age": person.age} if person.age is not None else {"profile": person.profile}
        await desk.change(visitor_of(request).name, f"Add {name}", put(("people", name), value))
        return _person(control.policy(), name)

    @api.delete("/people/{name}", status_code=204)
    async def remove_person(request: Request, name: PersonName) -> None:
        _known(control.policy(), name)
        await desk.change(visitor_of(request).name, f"Remove {name}", remove(("people", name)))

    @api.put("/people/{name}/rules")
    async def set_rule(request: Request, name: PersonName, rule: OwnRule) -> PersonView:
        _known(control.policy(), name)
        path = ("people", name)
        edits = [exclude((*path, "allow"), rule.subject), exclude((*path, "block"), rule.subject)]
        if rule.stance is not Stance.NONE:
            edits.append(include((*path, rule.stance.value), rule.subject))
        await desk.change(visitor_of(request).name, f"{rule.stance.value} {rule.subject} for {name}", *edits)
        return _person(control.policy(), name)

    @api.post("/changes/{change_id}/undo")
    async def undo(request: Request, change_id: Annotated[int, Path(ge=1, le=2**62)]) -> ChangeView:
        return _change(await desk.undo(change_id, visitor_of(request).name))


def _known(policy: Policy, name: str) -> None:
    if name not in policy.people:
        raise Unfit("The policy has no person called '%(name)s'.", name=name)


def _person(policy: Policy, name: str) -> PersonView:
    person = policy.people[name]
    return PersonView(
        name=name,
        age=person.age,
        profile=person.profile,
        devices=tuple(device.id for device in policy.devices.values() if device.person == name),
        allow=tuple(target.name for target in person.rules.allow),
        block=tuple(target.name for target in person.rules.block),
    )


def _change(change: PolicyChange) -> ChangeView:
    return ChangeView(change.id, change.at, change.giver, change.summary, change.undone_at, diff_of_files(change.before, change.after))
