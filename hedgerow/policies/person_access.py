"""Access of a person to every service and topic: the standing rules, and what `decide` says at one moment. Pure.

Dangerous services, topics and hosts are opened only after a confirmation.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.categories import CategoryKind, builtin_categories
from hedgerow.blocklists.names import parse_host
from hedgerow.policies.access_subject import AccessSubject, opens_too
from hedgerow.policies.decide import decide
from hedgerow.policies.expiry import device_of_person, in_force
from hedgerow.policies.host_facts import Service, Services
from hedgerow.policies.model import (
    Decision,
    Device,
    DeviceId,
    Grant,
    Person,
    Policy,
    Reason,
    Request,
    RequestKind,
    Rules,
    TargetKind,
    Verdict,
)
from hedgerow.policies.rule_index import Rule, RuleScope
from hedgerow.policies.ruleset import Ruleset, Rulesets
from hedgerow.policies.sites_seen import DAY_S, NEW_DOMAINS
from hedgerow.policies.targets import ILLEGAL
from hedgerow.policies.times.closing import Closure

_NOWHERE = DeviceId("")
_TOPIC_HOST = "topic.invalid"  # RFC 2606: no list, rule or service has it
_SUBJECTS = (TargetKind.SERVICE, TargetKind.CATEGORY)
_RULE_REASONS = frozenset((Reason.GRANT, Reason.EXCEPTION, Reason.RULE, Reason.BYPASS, Reason.SERVICE, Reason.CATEGORY))


@dataclass(frozen=True, slots=True)
class Access:
    """The decision on a service or topic, and its basis.

    `until` is the instant (seconds since the epoch) at which the deciding rule, permission or lack of minutes ends;
    None: no end is set. `schedule` names the schedule of that rule, `actor` the account that gave the permission; both
    are empty otherwise.
    """

    decision: Decision
    until: float | None = None
    schedule: str = ""
    actor: str = ""

    @property
    def is_open(self) -> bool:
        return self.decision.verdict is not Verdict.BLOCK


@dataclass(frozen=True, slots=True)
class SubjectAccess:
    """Access to one service or topic.

    `standing` follows the rules of person, household and profile without schedules, permissions and budgets. `is_own`:
    a rule of the person's own names it. `now` is the decision at this moment apart from a closure of the whole
    internet, which `is_always_open` outlasts. `elsewhere` lists devices of the person where it is otherwise,
    `always_on` closed devices on which it is open all the same. `needs_pages`: the rule is about parts of a site, so
    only inspection enforces it. `has_list`: something tells which sites it is, and does so from the instant `begins` on
    if that is not None.
    """

    standing: Access
    is_own: bool
    now: Access
    is_always_open: bool
    elsewhere: tuple[tuple[DeviceId, Access], ...] = ()
    always_on: tuple[DeviceId, ...] = ()
    needs_pages: bool = False
    has_list: bool = True
    begins: float | None = None


@dataclass(frozen=True, slots=True)
class PersonAccess:
    """Access of a person to services and topics by id. `closed` closes the whole internet.

    `devices_closed` lists devices of the person where the internet is closed although it is not `closed`, or with None
    the reverse.
    """

    subjects: Mapping[str, SubjectAccess]
    closed: Closure | None = None
    devices_closed: tuple[tuple[DeviceId, Closure | None], ...] = ()

    def is_open(self, subject: str) -> bool:
        """Return what `decide` says now on a device of the person that has no rules of its own."""
        access = self.subjects[subject]
        return access.now.is_open if self.closed is None else access.is_always_open


def person_access(
    rulesets: Rulesets, catalogue: Catalogue, person: Person, devices: Sequence[Device], now: float
) -> PersonAccess:
    """Return the access of a person at `now` (seconds since the epoch). `devices` are those that nobody else uses."""
    ruleset = rulesets.ruleset(device_of_person(person), now)
    rulesets_of_devices = [(device.id, rulesets.ruleset(device, now)) for device in devices]
    own_devices = [
        _Place(device, rulesets.policy, there) for device, there in rulesets_of_devices if there is not ruleset
    ]
    anywhere = _Place(_NOWHERE, rulesets.policy, ruleset)
    standing = _standing(rulesets.policy, catalogue, person, now)
    own = {
        target.name
        for half in (person.rules.allow, person.rules.block)
        for target in in_force(half, now)
        if target.kind in _SUBJECTS
    }
    learning_end = rulesets.sites.begins * DAY_S if rulesets.sites is not None and rulesets.sites.is_learning else None
    found = {}
    for subject in _subjects(catalogue):
        access, is_always_open = anywhere.access(subject), anywhere.is_always_open(subject)
        found[subject.id] = SubjectAccess(
            standing.access(subject),
            subject.id in own,
            access,
            is_always_open,
            tuple(
                (place.device, there)
                for place in own_devices
                if (there := place.difference(subject, access, is_always_open))
            ),
            tuple(place.device for place in own_devices if place.is_always_open(subject) and not is_always_open),
            subject.needs_pages,
            subject.has_list or (subject.id == NEW_DOMAINS and rulesets.sites is not None),
            learning_end if subject.id == NEW_DOMAINS else None,
        )
    closed = tuple(
        (place.device, place.ruleset.closed) for place in own_devices if place.is_closed is not anywhere.is_closed
    )
    return PersonAccess(found, ruleset.closed, closed)


def is_open_by_default(policy: Policy, catalogue: Catalogue, person: Person, subject: str, now: float) -> bool:
    """Return whether a service or topic would be open to a person without a rule of their own that names it."""
    allow, block = (
        tuple(target for target in half if target.name != subject) for half in (person.rules.allow, person.rules.block)
    )
    without = replace(person, rules=replace(person.rules, allow=allow, block=block))
    place = _standing(policy, catalogue, without, now)
    return next(place.access(each).is_open for each in _subjects(catalogue) if each.id == subject)


@dataclass(frozen=True, slots=True)
class _Subject:
    """A service or topic as a request: for a topic, that for a host of which nothing but the topic is known."""

    id: str
    catalogue: Catalogue
    request: Request
    needs_pages: bool = False
    has_list: bool = True


def _subjects(catalogue: Catalogue) -> Iterator[_Subject]:
    for service in Services.load().by_id.values():
        yield _Subject(service.id, catalogue, _request_for(service), not service.domains)
    for topic in builtin_categories():
        if topic.kind is CategoryKind.BLOCK and topic.name != ILLEGAL:
            request = Request(_NOWHERE, RequestKind.DNS, _TOPIC_HOST, dns_type="A")
            yield _Subject(
                topic.name, _with_only(topic.name, catalogue), request, has_list=topic.name in catalogue.listed
            )


def _request_for(service: Service) -> Request:
    if service.domains:
        return Request(_NOWHERE, RequestKind.DNS, service.domains[0], dns_type="A")
    url = service.urls[0].removesuffix("*")
    return Request(_NOWHERE, RequestKind.HTTP, url.partition("/")[0], url=f"https://{url}")


def _with_only(category: str, catalogue: Catalogue) -> Catalogue:
    """Return a catalogue in which every host has this category and no other."""
    mask, same = catalogue.mask_of((category,)), copy.copy(catalogue)
    same.host_mask = lambda host: mask  # noqa: ARG005 (called by position and by name)
    same.has_dns_rules = False
    return same


@dataclass(frozen=True)
class _Place:
    """A device, or any device of a person, with its ruleset."""

    device: DeviceId
    policy: Policy
    ruleset: Ruleset

    @cached_property
    def _opened(self) -> Ruleset:
        return replace(self.ruleset, closed=None) if self.is_closed else self.ruleset

    @property
    def is_closed(self) -> bool:
        return self.ruleset.closed is not None

    def is_always_open(self, subject: _Subject) -> bool:
        """Return whether a subject is open here although the internet is closed."""
        return self.is_closed and decide(self.ruleset, subject.catalogue, subject.request).verdict is not Verdict.BLOCK

    def difference(self, subject: _Subject, elsewhere: Access, is_always_open: bool) -> Access | None:
        """Return the access here if it is not as `elsewhere`."""
        here = self.access(subject)
        if here.is_open is not elsewhere.is_open:
            return here
        if is_always_open and self.is_closed and not self.is_always_open(subject):
            return Access(decide(self.ruleset, subject.catalogue, subject.request))
        return None

    def access(self, subject: _Subject) -> Access:
        """Return the access apart from a closure of the whole internet."""
        decision = decide(self._opened, subject.catalogue, subject.request)
        if decision.reason is Reason.BUDGET:
            return Access(decision, decision.until)
        rule = self.ruleset.rules.named(decision) if decision.reason in _RULE_REASONS else None
        if rule is None:
            return Access(decision)
        actor = rule.target.origin.source.removeprefix("grant by ") if rule.scope is RuleScope.GRANT else ""
        return Access(decision, rule.until, self._schedule_of(rule), actor)

    def _schedule_of(self, rule: Rule) -> str:
        policy, scopes = self.policy, list[Rules]()
        match rule.scope:
            case RuleScope.DEVICE:
                scopes += [device.rules for device in (policy.devices.get(self.device),) if device is not None]
            case RuleScope.PERSON:  # several people may share a device
                person = policy.people.get(self.ruleset.person or "")
                scopes += [each.rules for each in (policy.people.values() if person is None else (person,))]
            case RuleScope.HOUSEHOLD:
                scopes.append(policy.household)
            case RuleScope.PROFILE:
                scopes += [each.rules for each in policy.profiles.values()]
            case RuleScope.GRANT:
                pass
        for rules in scopes:
            for timed in rules.schedules:
                if any(target is rule.target for target in (*timed.allow, *timed.block, *timed.otherwise)):
                    return timed.name
        return ""


def _standing(policy: Policy, catalogue: Catalogue, person: Person, now: float) -> _Place:
    """Return the rules of person, household and profile, without schedules, permissions and budgets."""
    profile = policy.profiles[person.profile]
    people = {person.name: replace(person, rules=_without_times(person.rules))}
    profiles = policy.profiles | {profile.name: replace(profile, rules=_without_times(profile.rules))}
    timeless = replace(policy, people=people, profiles=profiles, devices={}, household=_without_times(policy.household))
    rulesets = Rulesets(timeless, (), (), catalogue)
    return _Place(_NOWHERE, timeless, rulesets.ruleset(device_of_person(person), now))


def _without_times(rules: Rules) -> Rules:
    return replace(rules, schedules=(), bedtime=None, budget=None)


def dangers_of(subject: str, catalogue: Catalogue, *, for_child: bool) -> tuple[str, ...]:
    """Return the dangerous categories that a service, topic, host or URL opens; none for any other text.

    `illegal` is not among them: nothing opens it.
    """
    service = Services.load().by_id.get(subject)
    topics = {category.name: category for category in builtin_categories() if category.name != ILLEGAL}
    if service is not None:
        names: tuple[str, ...] = (service.topic,)
    elif subject in topics:
        names = (subject,)
    else:
        host = parse_host((subject.partition("://")[2] or subject).partition("/")[0].strip())
        names = catalogue.names_of(catalogue.host_mask(host)) if host is not None else ()
    return tuple(name for name in names if name in topics and topics[name].is_dangerous(for_child=for_child))


def dangers_opened(
    before: Policy, after: Policy, catalogue: Catalogue
) -> Iterator[tuple[AccessSubject, tuple[str, ...]]]:
    """Yield what a change of the policy opens that is dangerous, with its dangerous categories.

    These are new items of `allow`, `always` and schedules, those that are open for longer by another of these, and
    dangerous categories that a profile or the household no longer closes. What was open under a name that is gone is
    not new under one that comes.
    """
    known, names, earlier = _allowed(before), *({name for _, name, _ in _scopes(each)} for each in (after, before))
    moved = {(kind, target) for kind, name, target in known if name not in names}
    opened = [
        each
        for each, extent in _allowed(after).items()
        if extent > known.get(each, -1) and (each[1] in earlier or (each[0], each[2]) not in moved)
    ]
    closed = {(kind, name): rules.block for kind, name, rules in _scopes(after)}
    for kind, name, rules in _scopes(before):
        if kind in (RuleScope.PROFILE, RuleScope.HOUSEHOLD) and (kind, name) in closed:
            still = {target.name for target in closed[kind, name]}
            opened += [(kind, name, target.name) for target in rules.block if target.name not in still]
    for kind, name, target in dict.fromkeys(opened):
        if dangers := dangers_of(target, catalogue, for_child=_is_for_children(after, kind, name)):
            person, device = (name if kind is each else None for each in (RuleScope.PERSON, RuleScope.DEVICE))
            yield AccessSubject(target, person, None if device is None else DeviceId(device)), dangers


def _scopes(policy: Policy) -> Iterator[tuple[RuleScope, str, Rules]]:
    """Yield the rules of a policy, each with its scope and the name of its owner."""
    yield RuleScope.HOUSEHOLD, "", policy.household
    yield from ((RuleScope.PROFILE, name, profile.rules) for name, profile in policy.profiles.items())
    yield from ((RuleScope.PERSON, name, person.rules) for name, person in policy.people.items())
    yield from ((RuleScope.DEVICE, name, device.rules) for name, device in policy.devices.items())


def _allowed(policy: Policy) -> dict[tuple[RuleScope, str, str], int]:
    """Return scope, owner and name of everything that a policy allows: 0 by a schedule, 1 by `allow`, 2 by `always`."""
    extents: dict[tuple[RuleScope, str, str], int] = {}
    for kind, name, rules in _scopes(policy):
        timed = ((0, target) for schedule in rules.schedules for target in schedule.allow)
        for extent, target in (*timed, *((1 + target.always, target) for target in rules.allow)):
            extents[kind, name, target.name] = max(extent, extents.get((kind, name, target.name), 0))
    return extents


def _is_for_children(policy: Policy, kind: RuleScope, name: str) -> bool:
    match kind:
        case RuleScope.PERSON:
            profile = policy.people[name].profile
        case RuleScope.DEVICE:
            profile = policy.devices[DeviceId(name)].profile
        case RuleScope.PROFILE:
            profile = name
        case _:
            return True
    return policy.profiles[profile].is_for_children


def opened_too(
    rulesets: Rulesets, catalogue: Catalogue, grant: Grant, device: Device | None, now: float
) -> tuple[str, ...]:
    """Return the hosts besides those of a grant's service that are open because of it: the service needs them, as
    others do.

    `device` is that of a grant for one device.
    """
    hosts = opens_too(grant.subject)
    person = rulesets.policy.people.get(grant.person or "")
    device = device_of_person(person) if person is not None else device
    if not hosts or device is None:
        return hosts
    others = [each for each in rulesets.grants if each.id != grant.id]
    without = Rulesets(rulesets.policy, others, (), catalogue, sessions=rulesets.sessions, before=rulesets)
    ruleset = replace(without.ruleset(device, now), closed=None)
    requests = (Request(device.id, RequestKind.DNS, host, dns_type="A") for host in hosts)
    return tuple(each.host for each in requests if decide(ruleset, catalogue, each).verdict is Verdict.BLOCK)
