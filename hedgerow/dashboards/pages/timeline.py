"""A day by person: when the internet was used, when something was blocked, when it is closed. Pure; drawn as SVG, told as a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import sqrt

from hedgerow.dashboards.pages.rules_words import layers_of
from hedgerow.dashboards.pages.words import zone
from hedgerow.journal.read import HourCount
from hedgerow.policies.model import Person, Policy
from hedgerow.policies.times.schedule import state_at

WIDTH, UP, DOWN = 480, 30, 14
"""Of the picture: allowed grows up from the line by at most `UP`, blocked down by at most `DOWN`."""
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour that had something in it. `x`, `up` and `down` are places and heights in the picture."""

    starts: float
    allowed: int
    blocked: int
    x: float
    width: float
    up: float
    down: float


@dataclass(frozen=True, slots=True)
class PersonDay:
    """One person's day. `closed` are stretches of bedtime as x and width, `now` is where the day has got to."""

    name: str
    hours: tuple[Hour, ...]
    closed: tuple[tuple[float, float], ...]
    now: float
    allowed: int
    blocked: int


def days_of(policy: Policy, counts: Iterable[HourCount], midnight: float, now: float) -> tuple[PersonDay, ...]:
    """Everybody's day that began at `midnight`, those of whom something is known. Heights can be compared between people."""
    sums: dict[str, dict[int, tuple[int, int]]] = {}
    for count in counts:
        device = policy.devices.get(count.device)
        if device is None or device.person is None or count.hour * 3600 < midnight - 1800:
            continue
        hours = sums.setdefault(device.person, {})
        allowed, blocked = hours.get(count.hour, (0, 0))
        hours[count.hour] = (allowed + count.allowed, blocked + count.blocked)
    most = max((sum(both) for hours in sums.values() for both in hours.values()), default=1)
    return tuple(_day(policy.people[name], policy, sums[name], midnight, now, most) for name in policy.people if name in sums)


def _day(person: Person, policy: Policy, hours: dict[int, tuple[int, int]], midnight: float, now: float, most: int) -> PersonDay:
    shown = tuple(
        Hour(hour * 3600.0, allowed, blocked, _x(hour * 3600, midnight) + 1, WIDTH / 24 - 2, _height(allowed, most, UP),
             _height(blocked, most, DOWN))
        for hour, (allowed, blocked) in sorted(hours.items())
    )  # fmt: skip
    sums = (sum(each.allowed for each in shown), sum(each.blocked for each in shown))
    return PersonDay(person.name, shown, tuple(_closed(person, policy, midnight)), _x(now, midnight), *sums)


def _closed(person: Person, policy: Policy, midnight: float) -> Iterator[tuple[float, float]]:
    bedtime = next((rules.bedtime for rules in layers_of(policy, person.profile, person.name, None) if rules.bedtime), None)
    if bedtime is None:
        return
    where = zone(person.timezone or policy.network.timezone)
    free = frozenset(policy.network.holidays if person.holidays is None else person.holidays)
    at = midnight
    while at < midnight + _DAY_S:
        state = state_at(bedtime, where, at, free)
        end = min(state.until or midnight + _DAY_S, midnight + _DAY_S)
        if state.active:
            yield _x(at, midnight), round(_x(end, midnight) - _x(at, midnight), 1)
        at = end


def _x(at: float, midnight: float) -> float:
    return round(min(1.0, max(0.0, (at - midnight) / _DAY_S)) * WIDTH, 1)


def _height(count: int, most: int, highest: int) -> float:
    """Few are seen beside many: heights go with the square root."""
    return round(max(2.0, highest * sqrt(count / most)), 1) if count else 0.0
