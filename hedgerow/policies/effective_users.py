"""The users whose rules apply to a device: its person, all who share it, or the user of its session."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import cast
from zoneinfo import ZoneInfo

from hedgerow.policies.content import ContentRules, ScoreRule, combine_scopes
from hedgerow.policies.model import Device, DeviceId, Person, Policy, Privacy, Rules, SafeSearch, Session, Target
from hedgerow.policies.rule_index import RuleScope
from hedgerow.policies.seats import SEAT_PREFIX
from hedgerow.policies.time_model import Allowance, WeekdayValues

_LEVELS = (SafeSearch.OFF, SafeSearch.MODERATE, SafeSearch.STRICT)
_PRIVACIES = (Privacy.FULL, Privacy.DOMAIN, Privacy.CATEGORY, Privacy.NONE)

ALL_UNNAMED = DeviceId("*")
"""All devices together that nobody has named, in a home with children. No device of a policy has this name."""

type RulesByScope = dict[RuleScope, Rules]


@dataclass(frozen=True, slots=True)
class Meter:
    """A counter of minutes: `account` is `person:NAME` or `device:ID`, `subject` as in `Allowance`."""

    account: str
    subject: str


@dataclass(frozen=True)
class EffectiveUser:
    """A person, or nobody in particular, at a device. `layers` hold the rules of each scope, the nearest first.

    `limited_as` is the device whose minutes and attempts are counted: all unnamed ones together are one.
    """

    device: Device
    person: Person | None
    profile: str
    layers: RulesByScope
    zone: ZoneInfo
    free: frozenset[date]
    limited_as: DeviceId

    @property
    def name(self) -> str | None:
        return self.person.name if self.person is not None else None

    @cached_property
    def budget(self) -> tuple[str, tuple[Allowance, ...]]:
        """The account and the allowances of the nearest scope with a budget.

        A device's own budget is counted for the device.
        """
        for scope, rules in sorted(self.layers.items()):
            if rules.budget is not None:
                account = (
                    f"device:{self.limited_as}"
                    if scope is RuleScope.DEVICE or self.person is None
                    else f"person:{self.person.name}"
                )
                return account, rules.budget
        return "", ()

    @property
    def meters(self) -> Iterator[Meter]:
        account, allowances = self.budget
        return (Meter(account, allowance.subject) for allowance in allowances)


def has_seats(policy: Policy) -> bool:
    """Return True if guests of a café use devices in turn: there is a seat, or a profile of seats is in use."""
    return any(each.is_seat for each in policy.devices.values()) or any(
        each.startswith(SEAT_PREFIX) for each in policy.used_profiles
    )


class EffectiveUsers:
    """The users of each device in one policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._zones = {policy.network.timezone: ZoneInfo(policy.network.timezone)}
        self._holidays = frozenset(policy.network.holidays)
        self._free = {
            name: frozenset(person.holidays) for name, person in policy.people.items() if person.holidays is not None
        }

    @cached_property
    def has_seats(self) -> bool:
        """True if guests of a café use devices in turn: there is a seat, or a profile of seats is in use."""
        return has_seats(self._policy)

    def is_at_seat(self, device: Device) -> bool:
        """Return whether a device counts as a café's seat: it is one, has the profile of one, or is unnamed in a
        network with seats.

        A host name does not name a device.
        """
        return device.is_seat or device.profile.startswith(SEAT_PREFIX) or (not device.known and self.has_seats)

    @cached_property
    def children(self) -> tuple[EffectiveUser, ...]:
        """The children of the house, each at the only device of its own, if there is one."""
        policy, found = self._policy, []
        devices = defaultdict[str | None, list[Device]](list)
        for device in policy.devices.values():
            for name in {device.person, *device.sharers}:
                devices[name].append(device)
        for name, person in policy.people.items():
            if policy.profiles[person.profile].is_for_children:
                owned = devices[name]
                profile = owned[0].profile if len(owned) == 1 and owned[0].has_profile else person.profile
                device = owned[0] if len(owned) == 1 else Device(DeviceId(""), profile)
                found.append(self._effective_user(device, person, profile))
        return tuple(found)

    @cached_property
    def blocked_to_strangers(self) -> frozenset[tuple[str, str]]:
        """Kind and name of what the profile of unknown devices, and the household, block."""
        profile = self._policy.network.unknown_devices
        stranger = Device(DeviceId(""), profile, known=False)
        return blocked_to((self._effective_user(stranger, None, profile),))

    @cached_property
    def _budget_of_strangers(self) -> tuple[Allowance, ...]:
        profile = self._policy.network.unknown_devices
        alone = self._effective_user(Device(DeviceId(""), profile), None, profile)
        return strictest_allowances(user.budget[1] for user in (alone, *self.children))

    def may_be_a_childs(self, device: Device) -> bool:
        """Return whether a device could be a child's with another MAC address: there are children in the house, and
        nobody has named it.

        It could not if `unknown_devices` is a profile for adults or guests.
        """
        return is_held(self._policy, device) and bool(self.children)

    def seat_of(self, person: str) -> Device | None:
        """Return a device that a person uses and that counts as a café's seat, a child's before an adult's; None
        without one.
        """
        policy = self._policy
        found = [
            each for each in policy.devices.values() if person in (each.person, *each.sharers) and self.is_at_seat(each)
        ]
        return min(found, key=lambda each: not policy.profiles[each.profile].is_for_children, default=None)

    def of(self, device: Device, session: Session | None) -> tuple[EffectiveUser, ...]:
        """Return the users of a device during `session`, or without one.

        A device that only claims to be one of the policy's is also an unknown device: the last of its users.
        """
        if device.claims is None:
            return self._of(device, session)
        stranger = Device(device.id, self._policy.network.unknown_devices, known=False)
        return (*self._of(replace(device, id=device.claims), session), *self._of(stranger, None))

    def _of(self, device: Device, session: Session | None) -> tuple[EffectiveUser, ...]:
        people = self._policy.people
        if session is not None and session.person in people:
            return self._effective_users(device, (people[session.person],), people[session.person].profile)
        if session is not None and session.profile in self._policy.profiles:
            return self._effective_users(device, (), session.profile)
        if device.claims is None and self.may_be_a_childs(device):
            return (self._stranger(device),)
        sharers = tuple(people[name] for name in device.sharers)
        owner = (people[device.person],) if device.person is not None else ()
        return self._effective_users(
            device, sharers or owner, device.profile if device.has_profile or not (sharers or owner) else None
        )

    def of_account(self, account: str) -> EffectiveUser | None:
        """Return the user whose minutes an account counts; None if the policy has no such user or counts them
        elsewhere.
        """
        kind, _, name = account.partition(":")
        if kind == "person":
            person = self._policy.people.get(name)
            nowhere = Device(DeviceId(""), person.profile if person is not None else "")
            return None if person is None else self._effective_user(nowhere, person, person.profile)
        device = self._policy.devices.get(name) or Device(
            DeviceId(name), self._policy.network.unknown_devices, known=False
        )
        return next((user for user in self.of(device, None) if user.budget[0] == account), None)

    def _effective_users(
        self, device: Device, people: Sequence[Person], profile: str | None
    ) -> tuple[EffectiveUser, ...]:
        if not people:
            return (self._effective_user(device, None, profile or device.profile),)
        return tuple(self._effective_user(device, person, profile or person.profile) for person in people)

    def _stranger(self, device: Device) -> EffectiveUser:
        """Return the user of a device that nobody has named in a home with children: whatever time a child may have
        is what all such devices have together.
        """
        alone = self._effective_user(device, None, device.profile)
        rules = Rules(budget=self._budget_of_strangers or None)
        return replace(alone, layers=alone.layers | {RuleScope.DEVICE: rules}, limited_as=ALL_UNNAMED)

    def _effective_user(self, device: Device, person: Person | None, profile: str) -> EffectiveUser:
        layers: RulesByScope = {RuleScope.DEVICE: device.rules}
        if person is not None:
            layers[RuleScope.PERSON] = person.all_rules
        layers |= {RuleScope.HOUSEHOLD: self._policy.household, RuleScope.PROFILE: self._policy.profiles[profile].rules}
        free = self._free.get(person.name, self._holidays) if person is not None else self._holidays
        return EffectiveUser(device, person, profile, layers, self.zone(person), free, device.id)

    def zone(self, person: Person | None) -> ZoneInfo:
        """Return a person's time zone, or the network's."""
        name = (person and person.timezone) or self._policy.network.timezone
        zone = self._zones.get(name)
        if zone is None:
            zone = self._zones[name] = ZoneInfo(name)
        return zone


def is_held(policy: Policy, device: Device) -> bool:
    """Return whether a device gets names and pages only, because nobody has named it: it could be a child's with
    another MAC address.

    It is not held if `unknown_devices` is a profile for adults or guests. A host name does not name a device.
    """
    return not device.known and not device.is_seat and policy.profiles[policy.network.unknown_devices].is_for_children


def blocked_to(users: Iterable[EffectiveUser]) -> frozenset[tuple[str, str]]:
    """Return kind and name of what any of the users is denied."""
    return frozenset(_key(target) for user in users for rules in user.layers.values() for target in rules.block)


def strictest_allowances(several: Iterable[Sequence[Allowance]]) -> tuple[Allowance, ...]:
    """Combine the budgets of several users: of each subject, the fewest minutes that any of them has on a day."""
    found: dict[str, Allowance] = {}
    for allowance in (each for allowances in several for each in allowances):
        other = found.get(allowance.subject, allowance)
        found[allowance.subject] = replace(
            other,
            daily=_fewest_each(other.daily, allowance.daily),
            free=_fewest_each(other.free, allowance.free),
            weekly=_fewest(other.weekly, allowance.weekly),
        )
    return tuple(found.values())


def _fewest_each(one: WeekdayValues, other: WeekdayValues) -> WeekdayValues:
    return cast(WeekdayValues, tuple(map(_fewest, one, other)))


def _fewest(one: int | None, other: int | None) -> int | None:
    return min((each for each in (one, other) if each is not None), default=None)


def strictest_layers(users: Sequence[EffectiveUser]) -> RulesByScope:
    """Combine the rules of a shared device: blocked is what any user is denied, allowed only what all users are."""
    if len(users) == 1:
        return users[0].layers
    scopes = sorted({scope for user in users for scope in user.layers})
    return {scope: _strictest([user.layers.get(scope, Rules()) for user in users]) for scope in scopes}


def _strictest(several: Sequence[Rules]) -> Rules:
    block = {_key(target): target for rules in several for target in rules.block}
    allowed_by_all = set.intersection(*({_key(target) for target in rules.allow} for rules in several))
    allow = {
        _key(target): target
        for rules in several
        for target in rules.allow
        if _key(target) in allowed_by_all - block.keys()
    }
    at_times = {_key(target) for rules in several for target in rules.allow if not target.always}
    allow |= {key: replace(target, always=False) for key, target in allow.items() if target.always and key in at_times}
    return Rules(tuple(allow.values()), tuple(block.values()))


def _key(target: Target) -> tuple[str, str]:
    return target.kind.value, target.name


def retention_days(policy: Policy) -> tuple[dict[str, int], dict[str, int]]:
    """Return the configured days of retention: by person, and by profile for devices without a person."""
    household = policy.household.retention
    profiles = {name: profile.rules.retention for name, profile in policy.profiles.items()}
    nobody = {name: household if household is not None else days for name, days in profiles.items()}
    people = {
        name: nobody[person.profile] if person.rules.retention is None else person.rules.retention
        for name, person in policy.people.items()
    }
    return _without_none(people), _without_none(nobody)


def _without_none(days: dict[str, int | None]) -> dict[str, int]:
    return {name: each for name, each in days.items() if each is not None}


def strictest_settings(users: Iterable[EffectiveUser]) -> tuple[SafeSearch, SafeSearch, Privacy]:
    """Return safe search, YouTube's level and privacy; for several users the strictest levels and the most private
    setting.
    """
    found = [_settings(user.layers) for user in users]
    return (
        max((each[0] for each in found), key=_LEVELS.index),
        max((each[1] for each in found), key=_LEVELS.index),
        max((each[2] for each in found), key=_PRIVACIES.index),
    )


def strictest_content(users: Sequence[EffectiveUser]) -> ContentRules:
    """Return the rules about content; for several users all restrictions of any of them."""
    found = [combine_scopes([rules.content for _, rules in sorted(user.layers.items())]) for user in users]
    if len(found) == 1:
        return found[0]
    limits = [each.page_limit for each in found if each.page_limit]
    return ContentRules(
        all(each.passes_through for each in found),
        min(limits, default=0),
        any(each.opens_pages for each in found),
        tuple(dict.fromkeys(term for each in found for term in each.searches)),
        tuple(dict.fromkeys(kind for each in found for kind in each.files or ())),
        next((each.tenants for each in found if each.tenants is not None), None),
        _chosen_by_all([each.youtube_only for each in found if each.youtube_only]),
        _lowest_scores(found),
        min((each.name_block for each in found if each.name_block), default=0),
        min((each.name_mark for each in found if each.name_mark), default=0),
    )


def _lowest_scores(several: Sequence[ContentRules]) -> tuple[ScoreRule, ...]:
    limits: dict[str, int] = {}
    for content in several:
        for key, limit in content.score_limits.items():
            limits[key] = min(limit, limits.get(key, limit))
    return tuple(ScoreRule(key, True, limit) for key, limit in limits.items())


def are_scored(policy: Policy, key: str) -> bool:
    """Return True if the policy asks for the scores of a feature's scanner, by its key, for anybody."""
    people = [person.rules for person in policy.people.values()]
    devices = [device.rules for device in policy.devices.values()]
    profiles = [profile.rules for profile in policy.profiles.values()]
    scopes = (policy.household, *people, *devices, *profiles)
    return any(rule.key == key and rule.enabled for rules in scopes for rule in rules.content.scores)


def _chosen_by_all(several: Sequence[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return the items that every restriction leaves open; if there is none, an item that no video matches."""
    if not several:
        return None
    return tuple(each for each in several[0] if all(each in other for other in several)) or ("nothing",)


def _settings(layers: RulesByScope) -> tuple[SafeSearch, SafeSearch, Privacy]:
    ordered = [rules for _, rules in sorted(layers.items())]
    safe_search = next((rules.safe_search for rules in ordered if rules.safe_search is not None), SafeSearch.OFF)
    youtube = next((rules.youtube for rules in ordered if rules.youtube is not None), safe_search)
    privacy = next((rules.privacy for rules in ordered if rules.privacy is not None), Privacy.CATEGORY)
    return safe_search, youtube, privacy
