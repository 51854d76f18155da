"""API of the policy: people, profiles, services, devices, lists, network settings, changes and the weekly report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Annotated, Literal

from fastapi import Path, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from hedgerow.dashboards.api.schema import MAX_PAGE, Author, LanguageCode, PageLimit, PageOffset, StrictModel, one_page
from hedgerow.dashboards.control import Control, InvalidInput
from hedgerow.dashboards.coverage import ListHealth
from hedgerow.dashboards.edits.devices import kind_edits, owner_edits, owner_of, owners_edits, rename_device_edits
from hedgerow.dashboards.edits.household import (
    add_list_edit,
    assign_device_edits,
    find_device,
    find_person,
    name_device_edits,
    parse_birth,
    parse_name,
    remove_device_edits,
    remove_list_edit,
    trust_ca_edit,
)
from hedgerow.dashboards.edits.policy_editor import PolicyEditor
from hedgerow.dashboards.edits.rules import (
    NOTE_LENGTH,
    own_targets,
    parse_note,
    parse_until,
    remove_rule_edits,
    rule_edits,
)
from hedgerow.dashboards.edits.yaml_text import diff_of_files, put, remove
from hedgerow.dashboards.policy_index import LatestIndex, PolicyIndex
from hedgerow.dashboards.reports import PersonReport, Report, weekly_report
from hedgerow.dashboards.routes import MANAGE, READ, ScopedRouter
from hedgerow.dashboards.words.labels import zone
from hedgerow.dashboards.words.languages import language, language_of
from hedgerow.journal.policy_history import PolicyChange
from hedgerow.journal.reader import JournalReader
from hedgerow.policies.access_subject import service_or_address
from hedgerow.policies.device_kinds import DeviceKind
from hedgerow.policies.host_facts import Services


class Stance(StrEnum):
    """A person's own rule for a subject; `none` leaves it to the profile."""

    ALLOW = "allow"
    BLOCK = "block"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class OwnRuleView:
    """A person's own rule. `until` is the instant of its end in seconds since the epoch, None for good."""

    subject: str
    stance: Stance
    until: float | None
    note: str


@dataclass(frozen=True, slots=True)
class PersonView:
    """A person in the policy. `allow` and `block` are the person's own rules."""

    name: str
    age: int | None
    profile: str
    devices: tuple[str, ...]
    allow: tuple[str, ...]
    block: tuple[str, ...]
    rules: tuple[OwnRuleView, ...] = ()
    born: str | None = None


@dataclass(frozen=True, slots=True)
class ProfileView:
    """A profile with its title and the reasons for its rules."""

    name: str
    title: str
    why: str
    block: tuple[str, ...]
    safe_search: str | None
    privacy: str | None


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A service. `open`: allowed for the person; None if no person was named."""

    id: str
    title: str
    group: str
    open: bool | None = None


@dataclass(frozen=True, slots=True)
class ChangeView:
    """A change of the policy file, with its lines as in `diff -u`."""

    id: int
    at: float
    actor: str
    summary: str
    undone_at: float | None
    diff: tuple[str, ...]


class NewPerson(StrictModel):
    """A person with an age, the month of birth (such as `2016-05`) or the name of a profile."""

    name: str = Field(min_length=1, max_length=40)
    age: int | None = Field(None, ge=0, le=130)
    profile: str | None = Field(None, max_length=60)
    born: str | None = Field(None, max_length=10)


class OwnRule(StrictModel):
    """A rule for a service, category, site or URL pattern.

    `until`: a date (its end) or a date with a time in the network's time zone.

    A site that belongs to a service means the service, unless `only_address` or the person already has a rule about the
    site. Something dangerous is opened if you are `sure`.
    """

    subject: str = Field(min_length=1, max_length=2048)
    only_address: bool = False
    stance: Stance
    until: str = Field("", max_length=20)
    note: str = Field("", max_length=NOTE_LENGTH)
    sure: bool = False


@dataclass(frozen=True, slots=True)
class NetworkView:
    """Network settings that pages and scripts can change. `country` is an ISO 3166 code or empty."""

    country: str
    timezone: str
    unknown_devices: str


@dataclass(frozen=True, slots=True)
class NamedDevice:
    """A device named in the policy. `trusts_ca`: its pages may be inspected.

    `owner` is `person:NAME`, `shared` for several people, `profile:NAME`, or empty for nobody. `kind` is null where the
    policy has none.
    """

    device: str
    person: str | None
    trusts_ca: bool
    owner: str = ""
    kind: DeviceKind | None = None


class NetworkChange(StrictModel):
    """Settings to change; others stay."""

    country: str | None = Field(None, max_length=2)
    timezone: str | None = Field(None, min_length=1, max_length=60)
    unknown_devices: str | None = Field(None, max_length=60)


class NewDevice(StrictModel):
    """A name for a device known by its MAC or IP address."""

    seen_as: str = Field(min_length=2, max_length=60)
    name: str = Field(min_length=1, max_length=40)
    person: str | None = Field(None, max_length=60)


class DeviceChange(StrictModel):
    """Settings to change; others stay.

    An empty `person` takes the device from its owner, and an empty `kind` leaves it to a guess.

    `owner` says more than `person`: `person:NAME`, `everybody`, `profile:NAME` for a device without a person, or empty
    for nobody. History, grants and pauses follow a device to its new `name`.
    """

    person: str | None = Field(None, max_length=60)
    trusts_ca: bool | None = None
    owner: str | None = Field(None, max_length=80)
    kind: DeviceKind | Literal[""] | None = None
    name: str | None = Field(None, min_length=1, max_length=40)


class DevicesOwner(StrictModel):
    """Devices to give to an owner, as in `DeviceChange`."""

    devices: list[Annotated[str, Field(max_length=253)]] = Field(min_length=1, max_length=500)
    owner: str = Field(max_length=80)


class NewList(StrictModel):
    """A public list by its name, or any list by its URL and category."""

    source: str | None = Field(None, max_length=200)
    url: str | None = Field(None, max_length=2000)
    category: str | None = Field(None, max_length=60)


type PersonName = Annotated[str, Path(max_length=60)]
type DeviceName = Annotated[str, Path(max_length=253)]
type LanguageQuery = Annotated[LanguageCode | None, Query(description="by default from Accept-Language")]

_REPORT_CSP = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def add_policy_routes(
    api: ScopedRouter, reader: JournalReader, control: Control, editor: PolicyEditor, clock: Callable[[], float]
) -> None:
    """Add the routes."""
    _add_reads(api, control, editor)
    _add_reports(api, reader, control, clock)
    _add_people(api, control, editor, clock)
    _add_settings(api, control, editor)
    _add_devices(api, control, editor)
    _add_lists(api, control, editor)


def _add_reads(api: ScopedRouter, control: Control, editor: PolicyEditor) -> None:
    latest = LatestIndex()

    @api.serve("GET", "/people", READ)
    async def people(
        request: Request, response: Response, limit: PageLimit = MAX_PAGE, offset: PageOffset = 0
    ) -> tuple[PersonView, ...]:
        """Return the people of the policy; the header `Link` leads to the next page, if there is one."""
        index = latest.of(control.policy())
        names = list(islice(index.policy.people, offset, offset + limit + 1))
        return tuple(_person_view(index, name) for name in one_page(request, response, names, limit, offset))

    @api.serve("GET", "/profiles", READ)
    async def profiles() -> tuple[ProfileView, ...]:
        return tuple(
            ProfileView(
                profile.name,
                profile.title,
                profile.why,
                tuple(target.name for target in profile.rules.block),
                profile.rules.safe_search,
                profile.rules.privacy,
            )
            for profile in control.policy().profiles.values()
        )

    @api.serve("GET", "/services", READ)
    async def services(person: Annotated[str | None, Query(max_length=60)] = None) -> tuple[ServiceView, ...]:
        access = control.person_access(person).subjects if person else {}
        return tuple(
            ServiceView(id, each.title, each.group, access[id].now.is_open if id in access else None)
            for id, each in Services.load().by_id.items()
        )

    @api.serve("GET", "/lists", READ)
    async def lists() -> tuple[ListHealth, ...]:
        return control.status().lists

    @api.serve("GET", "/changes", READ)
    async def changes() -> tuple[ChangeView, ...]:
        return tuple(map(_change_view, await run_in_threadpool(editor.store.latest)))


def _add_reports(api: ScopedRouter, reader: JournalReader, control: Control, clock: Callable[[], float]) -> None:
    async def weekly(code: str | None, request: Request) -> Report:
        chosen = language_of(request) if code is None else language(code)
        return await run_in_threadpool(weekly_report, reader, control.policy(), clock(), chosen)

    @api.serve("GET", "/report", READ, response_class=HTMLResponse)
    async def report(request: Request, language: LanguageQuery = None) -> HTMLResponse:
        """Return the weekly report as one HTML file with its styles."""
        return HTMLResponse((await weekly(language, request)).html, headers={"Content-Security-Policy": _REPORT_CSP})

    @api.serve("GET", "/report/people", READ)
    async def report_of_people(request: Request, language: LanguageQuery = None) -> tuple[PersonReport, ...]:
        """Return the weekly report as data, without people whose privacy forbids reports."""
        return (await weekly(language, request)).people


def _add_people(api: ScopedRouter, control: Control, editor: PolicyEditor, clock: Callable[[], float]) -> None:
    @api.serve("POST", "/people", MANAGE, status_code=201)
    async def add_person(author: Author, person: NewPerson) -> PersonView:
        if [person.age, person.profile, person.born].count(None) != 2:
            raise InvalidInput("A person has an age, a month of birth or a profile.")
        name = parse_name(person.name, control.policy().people)
        value: dict[str, object] = {"age": person.age} if person.age is not None else {"profile": person.profile}
        if person.born is not None:
            value = {"born": parse_birth(person.born, control.policy(), clock())}
        await editor.change(author, f"Add {name}", put(("people", name), value))
        return _person_view(PolicyIndex(control.policy()), name)

    @api.serve("DELETE", "/people/{name}", MANAGE, status_code=204)
    async def remove_person(author: Author, name: PersonName) -> None:
        find_person(control.policy(), name)
        await editor.change(author, f"Remove {name}", remove(("people", name)))

    @api.serve("PUT", "/people/{name}/rules", MANAGE)
    async def set_rule(author: Author, name: PersonName, rule: OwnRule) -> PersonView:
        """Allow or block something for a person, or remove the rule."""
        policy = control.policy()
        own = {target.name for _, target in own_targets(find_person(policy, name))}
        is_meant = rule.only_address or rule.subject in own
        subject = rule.subject if is_meant else service_or_address(rule.subject)
        until, note = parse_until(rule.until, clock(), zone(policy.network.timezone)), parse_note(rule.note)
        if rule.stance is Stance.NONE:
            edits = remove_rule_edits(policy, name, subject)
        else:
            allows = rule.stance is Stance.ALLOW
            edits = rule_edits(policy, name, subject, allows=allows, until=until, note=note, address=rule.subject)
        await editor.change(author, f"{rule.stance.value} {subject} for {name}", *edits, sure=rule.sure)
        return _person_view(PolicyIndex(control.policy()), name)

    @api.serve("POST", "/changes/{change_id}/undo", MANAGE)
    async def undo(author: Author, change_id: Annotated[int, Path(ge=1, le=2**62)]) -> ChangeView:
        """Undo a change of the policy, unless the file was changed again after it."""
        return _change_view(await editor.undo(change_id, author))


def _add_settings(api: ScopedRouter, control: Control, editor: PolicyEditor) -> None:
    @api.serve("GET", "/settings", READ)
    async def settings() -> NetworkView:
        network = control.policy().network
        return NetworkView(network.country or "", network.timezone, network.unknown_devices)

    @api.serve("PUT", "/settings", MANAGE)
    async def set_settings(author: Author, change: NetworkChange) -> NetworkView:
        edits = [put(("network", name), value or None) for name, value in change.model_dump(exclude_none=True).items()]
        await editor.change(author, "Network settings", *edits)
        return await settings()


def _add_devices(api: ScopedRouter, control: Control, editor: PolicyEditor) -> None:
    def view(name: str) -> NamedDevice:
        device = find_device(control.policy(), name)
        return NamedDevice(name, device.person, device.trusts_ca, owner_of(device), device.kind)

    @api.serve("POST", "/devices", MANAGE, status_code=201)
    async def name_device(author: Author, new: NewDevice) -> NamedDevice:
        """Give a name to a device that was seen on the network."""
        edits = name_device_edits(control.policy(), new.seen_as, new.name, new.person or "")
        await editor.change(author, f"Name a device: {new.name}", *edits)
        return view(" ".join(new.name.split()))

    @api.serve("PUT", "/devices/{device}", MANAGE)
    async def change_device(author: Author, device: DeviceName, change: DeviceChange) -> NamedDevice:
        policy = control.policy()
        find_device(policy, device)
        edits = assign_device_edits(policy, device, change.person) if change.person is not None else []
        edits += owner_edits(policy, device, change.owner) if change.owner is not None else []
        edits += kind_edits(policy, device, change.kind) if change.kind is not None else []
        if change.trusts_ca is not None:
            edits.append(trust_ca_edit(policy, device, change.trusts_ca))
        name = " ".join(change.name.split()) if change.name is not None else device
        await editor.change(author, f"Change {device}", *edits, *rename_device_edits(policy, device, name))
        return view(name)

    @api.serve("POST", "/devices/owner", MANAGE)
    async def give_devices(author: Author, change: DevicesOwner) -> tuple[NamedDevice, ...]:
        """Assign several devices to one owner."""
        await editor.change(
            author, f"Assign {', '.join(change.devices)}", *owners_edits(control.policy(), change.devices, change.owner)
        )
        return tuple(view(device) for device in change.devices)

    @api.serve("DELETE", "/devices/{device}", MANAGE, status_code=204)
    async def forget_device(author: Author, device: DeviceName) -> None:
        await editor.change(author, f"Forget the device {device}", *remove_device_edits(control.policy(), device))


def _add_lists(api: ScopedRouter, control: Control, editor: PolicyEditor) -> None:
    @api.serve("POST", "/lists", MANAGE, status_code=204)
    async def add_list(author: Author, new: NewList) -> None:
        if (new.source is None) == (new.url is None) or (new.url is not None) != (new.category is not None):
            raise InvalidInput("A list is a `source`, or a `url` with its `category`.")
        edit = add_list_edit(new.source or "", new.url or "", new.category or "")
        await editor.change(author, f"Add the list {new.source or new.url or ''}", edit)

    @api.serve("POST", "/lists/accept", MANAGE, status_code=204)
    async def accept_list(name: Annotated[str, Query(max_length=2000)]) -> None:
        """Put the newer copy of a list into use that was held back."""
        await control.accept_list(name)

    @api.serve("DELETE", "/lists", MANAGE, status_code=204)
    async def remove_list(author: Author, name: Annotated[str, Query(max_length=2000)]) -> None:
        """Remove a list by its name in `GET /lists`."""
        await editor.change(author, f"Remove the list {name}", remove_list_edit(control.policy(), name))


def _person_view(index: PolicyIndex, name: str) -> PersonView:
    person = index.policy.people[name]
    return PersonView(
        name=name,
        age=person.age,
        profile=person.profile,
        devices=tuple(device.id for device in index.devices_of.get(name, ())),
        allow=tuple(target.name for target in person.rules.allow),
        block=tuple(target.name for target in person.rules.block),
        rules=tuple(
            OwnRuleView(target.name, Stance.ALLOW if allows else Stance.BLOCK, target.until, target.note)
            for allows, target in own_targets(person)
        ),
        born=str(person.born) if person.born is not None else None,
    )


def _change_view(change: PolicyChange) -> ChangeView:
    return ChangeView(
        change.id, change.at, change.actor, change.summary, change.undone_at, diff_of_files(change.before, change.after)
    )
