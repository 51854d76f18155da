"""Birthdays: the age of a person on a day, and the profile that it brings. Pure: time is an argument."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

from hedgerow.policies.growth_steps import Born, ProfileStep, Step
from hedgerow.policies.host_facts import AGE_BANDS
from hedgerow.policies.model import Device, Person, Policy

OLDEST = 120
"""Years since a birth that a policy may have, at most."""
ADULT_AT = 18


def profile_for_age(age: int) -> str:
    """Return the built-in profile for an age in years.

    >>> [profile_for_age(age) for age in (7, 8, 13, 17, 18)]
    ['child-under-8', 'child-8-12', 'teen-13-15', 'teen-16-17', 'adult']
    """
    return AGE_BANDS[max(first for first in AGE_BANDS if first <= max(age, 0))]


def parse_born(text: str, today: date) -> Born:
    """Read `2016-05` or `2016-05-23`. Raises ValueError with a sentence.

    >>> parse_born("2016-05", date(2026, 12, 3)), parse_born("2016-02-29", date(2026, 12, 3))
    (Born(year=2016, month=5, day=None), Born(year=2016, month=2, day=29))
    """
    found = re.fullmatch(r"(\d{4})-(\d{1,2})(?:-(\d{1,2}))?", text.strip())
    if found is None:
        raise ValueError(f"'{text}' is not a month of birth: write the year and the month, such as 2016-05")
    year, month, day = int(found[1]), int(found[2]), int(found[3]) if found[3] else None
    try:
        first = date(year, month, day or 1)
    except ValueError:
        raise ValueError(f"'{text}' is not in the calendar: write the year and the month, such as 2016-05") from None
    if first > today:
        raise ValueError(f"'{text}' is in the future")
    if first < birthday(Born(today.year, today.month, today.day), -OLDEST):
        raise ValueError(f"'{text}' is more than {OLDEST} years ago")
    return Born(year, month, day)


def birthday(born: Born, age: int) -> date:
    """Return the day on which a person is `age`. Who was born on 29 February is older on 1 March of other years.

    >>> birthday(Born(2016, 5), 8), birthday(Born(2016, 2, 29), 13)
    (datetime.date(2024, 5, 1), datetime.date(2029, 3, 1))
    """
    year = min(max(born.year + age, date.min.year), date.max.year)
    try:
        return date(year, born.month, born.day or 1)
    except ValueError:
        return date(year, 3, 1)


def age_on(born: Born, day: date) -> int:
    """Return the age on a day, 0 before the birth.

    >>> age_on(Born(2016, 5), date(2024, 4, 30)), age_on(Born(2016, 5), date(2024, 5, 1))
    (7, 8)
    """
    age = day.year - born.year
    return max(age if birthday(born, age) <= day else age - 1, 0)


def first_instant(day: date, zone: ZoneInfo) -> float:
    """Return the instant at which a day begins in a zone.

    Where the clock is put forward at midnight, that is the hour to which it is put; where midnight comes twice, the
    first.
    """
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def day_at(instant: float, zone: ZoneInfo) -> date:
    """Return the day of an instant in a zone."""
    return datetime.fromtimestamp(instant, zone).date()


def zone_of(person: Person, policy: Policy) -> ZoneInfo:
    """Return the time zone of a person, or the network's."""
    return ZoneInfo(person.timezone or policy.network.timezone)


@dataclass(frozen=True, slots=True)
class NextBand:
    """The next profile that a birthday brings: the age, the day, and its first instant."""

    age: int
    profile: str
    day: date
    at: float


def next_band(born: Born, instant: float, zone: ZoneInfo) -> NextBand | None:
    """Return what comes after an instant, None for an adult."""
    age = age_on(born, day_at(instant, zone))
    first = min((each for each in AGE_BANDS if each > age), default=None)
    if first is None:
        return None
    day = birthday(born, first)
    return NextBand(first, AGE_BANDS[first], day, first_instant(day, zone))


def person_at(person: Person, instant: float, zone: ZoneInfo) -> Person:
    """Return a person with the age, the profile, and what the law closes, of an instant.

    With `steps`, the profile is the last of the certain ones that have come. Otherwise the age has it.
    """
    age, profile = person.age, person.profile
    if person.born is not None:
        age = age_on(person.born, day_at(instant, zone))
        profile = profile_for_age(age)
        if person.steps is not None:
            profile = next((step.profile for step in _come(person.steps, instant)), person.profile)
    closings = next((step.closings for step in _come(person.legal_steps, instant)), ())
    if (age, profile, closings) == (person.age, person.profile, person.legal_closings):
        return person
    return replace(person, age=age, profile=profile, legal_closings=closings)


def _come[Each: Step](steps: Sequence[Each], instant: float) -> Iterator[Each]:
    """Yield the certain steps that have come, the last first."""
    return (step for step in reversed(steps) if step.is_certain and step.at <= instant)


def grows(person: Person) -> bool:
    """Return whether a person's age, profile or rules change by themselves."""
    return person.born is not None or bool(person.legal_steps)


def knows_births(policy: Policy) -> bool:
    """Return whether a policy says when somebody was born."""
    return any(person.born is not None for person in policy.people.values())


def policy_at(policy: Policy, instant: float) -> Policy:
    """Return the policy with the ages, and the profiles, of an instant: the same object if they are the same."""
    grown = {
        name: person_at(person, instant, zone_of(person, policy))
        for name, person in policy.people.items()
        if grows(person)
    }
    if all(policy.people[name] is person for name, person in grown.items()):
        return policy
    people = policy.people | grown
    devices = {name: _inherited(device, people) for name, device in policy.devices.items()}
    return replace(policy, people=people, devices=devices)


def _inherited(device: Device, people: Mapping[str, Person]) -> Device:
    """Return a device with the profile of its youngest user, if it has none of its own."""
    owners = device.sharers or ((device.person,) if device.person is not None else ())
    profiles = [people[name].profile for name in owners]
    if device.has_profile or not profiles:
        return device
    profile = next((each for each in AGE_BANDS.values() if each in profiles), profiles[0])
    return device if profile == device.profile else replace(device, profile=profile)


def next_step_at(person: Person, instant: float, zone: ZoneInfo) -> float | None:
    """Return the next instant at which a person's profile, or what the law closes, changes; None if neither does."""
    steps: list[Step] = [*(person.steps or ()), *person.legal_steps]
    coming = [step.at for step in steps if step.is_certain and step.at > instant]
    if person.born is not None and person.steps is None and (band := next_band(person.born, instant, zone)) is not None:
        coming.append(band.at)
    return min(coming, default=None)


def next_change(policy: Policy, instant: float) -> float:
    """Return the next instant at which somebody's age or profile changes, infinity if there is none."""
    found = [float("inf")]
    for person in policy.people.values():
        if grows(person):
            zone = zone_of(person, policy)
            found.append(next_step_at(person, instant, zone) or found[0])
            if person.born is not None:
                age = age_on(person.born, day_at(instant, zone))
                found.append(first_instant(birthday(person.born, age + 1), zone))
    return min(found)


def foreseen(policy: Policy, now: float) -> Policy:
    """Return the policy for questions about other days than today: each has the profile of its age.

    What was put off comes when it was put off to.
    """
    people = {
        name: replace(
            person,
            steps=person.steps or None,
            legal_steps=tuple(replace(step, is_certain=True) for step in person.legal_steps),
        )
        for name, person in policy.people.items()
        if grows(person)
    }
    for name, person in people.items():
        if person.born is not None and person.steps:
            later = _bands_after(person, max(person.steps[-1].at, now), zone_of(person, policy))
            announced = (replace(step, is_certain=True) for step in person.steps)
            people[name] = replace(person, steps=(*announced, *later))
    return replace(policy, people=policy.people | people)


def _bands_after(person: Person, instant: float, zone: ZoneInfo) -> tuple[ProfileStep, ...]:
    found = []
    while person.born is not None and (band := next_band(person.born, instant, zone)) is not None:
        found.append(ProfileStep(band.at, band.profile))
        instant = band.at
    return tuple(found)
