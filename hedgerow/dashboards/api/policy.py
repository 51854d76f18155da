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

from hedgerow.dashboards.control import Control, InvalidInput, ListHealth
from hedgerow.dashboards.edits.policy_editor import PolicyEditor
from hedgerow.dashboards.edits.yaml_text import diff_of_files, exclude, include, put, remove
from hedgerow.dashboards.pages.context import principal_of
from hedgerow.dashboards.pages.devices import assign_device_edits, name_device_edits, trust_ca_edit
from hedgerow.dashboards.pages.lists import add_list_edit, remove_list_edit
from hedgerow.dashboards.pages.people import parse_name
from hedgerow.dashboards.reports import PersonReport, Report, weekly_report
from hedgerow.dashboards.words.languages import language, language_of
from hedgerow.journal.policy_history import PolicyChange
from hedgerow.journal.reader import JournalReader
from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Policy, Verdict
from hedgerow.policies.text.locales import LanguageCode


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


class _HouseholdBody(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewPerson(_HouseholdBody):
    """A name, and an age or the name of a profile."""

    name: str = Field(min_length=1, max_length=40)
    age: int | None = Field(None, ge=0, le=130)
    profile: str | None = Field(None, max_length=60)


class OwnRule(_HouseholdBody):
    """A service, category, site or URL pattern, and what holds for it."""

    subject: str = Field(min_length=1, max_length=2048)
    stance: Stance


type PersonName = Annotated[str, Path(max_length=60)]
type LanguageQuery = Annotated[LanguageCode | None, Query(description="else as Accept-Language asks")]

_REPORT_CSP = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def add_household_routes(api: APIRouter, reader: JournalReader, control: Control, editor: PolicyEditor, clock: Callable[[], float]) -> None:
    """Adds the routes."""
    _add_household_reads(api, reader, control, editor, clock)
    _add_household_changes(api, control, editor)


def _add_household_reads(api: APIRouter, reader: JournalReader, control: Control, editor: PolicyEditor, clock: Callable[[], float]) -> None:
    @api.get("/people")
    async def people() -> tuple[PersonView, ...]:
        return tuple(_person_view(control.policy(), name) for name in control.policy().people)

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
        service_access = control.service_access(person) if person else {}
        return tuple(
            ServiceView(id, each.title, each.group, service_access[id].now.verdict is not Verdict.BLOCK if id in service_access else None)
            for id, each in Services.load().by_id.items()
        )

    @api.get("/lists")
    async def lists() -> tuple[ListHealth, ...]:
        return control.status().lists

    async def weekly(code: str | None, request: Request) -> Report:
        said = language_of(request) if code is None else language(code)
        return await run_in_threadpool(weekly_report, reader, control.policy(), clock(), said)

    @api.get("/report", response_class=HTMLResponse)
    async def report(request: Request, language: LanguageQuery = None) -> HTMLResponse:
        """The weekly report as one HTML file. It brings its style with it."""
        return HTMLResponse((await weekly(language, request)).html, headers={"Content-Security-Policy": _REPORT_CSP})

    @api.get("/report/people")
    async def report_of_people(request: Request, language: LanguageQuery = None) -> tuple[PersonReport, ...]:
        """The weekly report as data: of those about whom something may be told."""
        return (await weekly(language, request)).people

    @api.get("/changes")
    async def changes() -> tuple[ChangeView, ...]:
        return tuple(map(_change_view, await run_in_threadpool(editor.store.latest)))


def _add_household_changes(api: APIRouter, control: Control, editor: PolicyEditor) -> None:
    @api.post("/people", status_code=201)
    async def add_person(request: Request, person: NewPerson) -> PersonView:
        if (person.age is None) == (person.profile is None):
            raise InvalidInput("A person has an age or a profile.")
        name = parse_name(person.name, control.policy().people)
        value = {"age": person.age} if person.age is not None else {"profile": person.profile}
        await editor.change(principal_of(request).name, f"Add {name}", put(("people", name), value))
        return _person_view(control.policy(), name)

    @api.delete("/people/{name}", status_code=204)
    async def remove_person(request: Request, name: PersonName) -> None:
        _check_person(control.policy(), name)
        await editor.change(principal_of(request).name, f"Remove {name}", remove(("people", name)))

    @api.put("/people/{name}/rules")
    async def set_rule(request: Request, name: PersonName, rule: OwnRule) -> PersonView:
        _check_person(control.policy(), name)
        path = ("people", name)
        edits = [exclude((*path, "allow"), rule.subject), exclude((*path, "block"), rule.subject)]
        if rule.stance is not Stance.NONE:
            edits.append(include((*path, rule.stance.value), rule.subject))
        await editor.change(principal_of(request).name, f"{rule.stance.value} {rule.subject} for {name}", *edits)
        return _person_view(control.policy(), name)

    @api.post("/changes/{change_id}/undo")
    async def undo(request: Request, change_id: Annotated[int, Path(ge=1, le=2**62)]) -> ChangeView:
        return _change_view(await editor.undo(change_id, principal_of(request).name))


def _check_person(policy: Policy, name: str) -> None:
    if name not in policy.people:
        raise InvalidInput("The policy has no person called '%(name)s'.", name=name)


def _person_view(policy: Policy, name: str) -> PersonView:
    person = policy.people[name]
    return PersonView(
        name=name,
        age=person.age,
        profile=person.profile,
        devices=tuple(device.id for device in policy.devices.values() if device.person == name),
        allow=tuple(target.name for target in person.rules.allow),
        block=tuple(target.name for target in person.rules.block),
    )


def _change_view(change: PolicyChange) -> ChangeView:
    return ChangeView(change.id, change.at, change.giver, change.summary, change.undone_at, diff_of_files(change.before, change.after))


@dataclass(frozen=True, slots=True)
class NetworkView:
    """The network's settings, as far as pages and scripts change them; `country` is an ISO 3166 code, empty where it is not said."""

    country: str
    timezone: str
    unknown_devices: str


@dataclass(frozen=True, slots=True)
class NamedDevice:
    """A device that the policy names; `trusts_ca`: its pages may be looked into."""

    device: str
    person: str | None
    trusts_ca: bool


class _NetworkBody(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NetworkChange(_NetworkBody):
    """What is left out stays."""

    country: str | None = Field(None, max_length=2)
    timezone: str | None = Field(None, min_length=1, max_length=60)
    unknown_devices: str | None = Field(None, max_length=60)


class NewDevice(_NetworkBody):
    """A device that was seen as a MAC or an address, and what it is called from now on."""

    seen_as: str = Field(min_length=2, max_length=60)
    name: str = Field(min_length=1, max_length=40)
    person: str | None = Field(None, max_length=60)


class DeviceChange(_NetworkBody):
    """What is left out stays; an empty `person` is nobody."""

    person: str | None = Field(None, max_length=60)
    trusts_ca: bool | None = None


class NewList(_NetworkBody):
    """One of the public lists by its name, or one's own by its address and category."""

    source: str | None = Field(None, max_length=200)
    url: str | None = Field(None, max_length=2000)
    category: str | None = Field(None, max_length=60)


type DeviceName = Annotated[str, Path(max_length=253)]


def add_network_routes(api: APIRouter, control: Control, editor: PolicyEditor) -> None:
    """Adds the routes."""
    _add_settings(api, control, editor)
    _add_devices(api, control, editor)
    _add_lists(api, editor, control)


def _add_settings(api: APIRouter, control: Control, editor: PolicyEditor) -> None:
    def view() -> NetworkView:
        network = control.policy().network
        return NetworkView(network.country or "", network.timezone, network.unknown_devices)

    @api.get("/settings")
    async def settings() -> NetworkView:
        return view()

    @api.put("/settings")
    async def set_settings(request: Request, change: NetworkChange) -> NetworkView:
        said = change.model_dump(exclude_none=True)
        edits = [put(("network", name), value or None) for name, value in said.items()]
        await editor.change(principal_of(request).name, "Network settings", *edits)
        return view()


def _add_devices(api: APIRouter, control: Control, editor: PolicyEditor) -> None:
    @api.post("/devices", status_code=201)
    async def name_device(request: Request, new: NewDevice) -> NamedDevice:
        edits = name_device_edits(control.policy(), new.seen_as, new.name, new.person or "")
        await editor.change(principal_of(request).name, f"Name a device: {new.name}", *edits)
        return _named_device(control.policy(), " ".join(new.name.split()))

    @api.put("/devices/{device}")
    async def change_device(request: Request, device: DeviceName, change: DeviceChange) -> NamedDevice:
        policy = control.policy()
        _named_device(policy, device)
        edits = assign_device_edits(policy, device, change.person) if change.person is not None else []
        if change.trusts_ca is not None:
            edits.append(trust_ca_edit(policy, device, change.trusts_ca))
        await editor.change(principal_of(request).name, f"Change {device}", *edits)
        return _named_device(control.policy(), device)

    @api.delete("/devices/{device}", status_code=204)
    async def forget_device(request: Request, device: DeviceName) -> None:
        policy = control.policy()
        _named_device(policy, device)
        edits = [*assign_device_edits(policy, device, ""), remove(("devices", device))]
        await editor.change(principal_of(request).name, f"Forget the device {device}", *edits)


def _add_lists(api: APIRouter, editor: PolicyEditor, control: Control) -> None:
    @api.post("/lists", status_code=204)
    async def add_list(request: Request, new: NewList) -> None:
        if (new.source is None) == (new.url is None) or (new.url is not None) != (new.category is not None):
            raise InvalidInput("A list is a `source`, or a `url` with its `category`.")
        name = new.source or new.url or ""
        edit = add_list_edit(new.source or "", new.url or "", new.category or "")
        await editor.change(principal_of(request).name, f"Add the list {name}", edit)

    @api.post("/lists/accept", status_code=204)
    async def accept_list(name: Annotated[str, Query(max_length=2000)]) -> None:
        """Takes the newer copy of a list that is held back into use."""
        await control.accept_list(name)

    @api.delete("/lists", status_code=204)
    async def remove_list(request: Request, name: Annotated[str, Query(max_length=2000)]) -> None:
        """By the name that it has in `GET /lists`."""
        edit = remove_list_edit(control.policy(), name)
        await editor.change(principal_of(request).name, f"Remove the list {name}", edit)


def _named_device(policy: Policy, device: str) -> NamedDevice:
    if device not in policy.devices:
        raise InvalidInput("There is no device '%(device)s' in the policy.", device=device)
    found = policy.devices[device]
    return NamedDevice(device, found.person, found.trusts_ca)
