"""Geometry of the SVG charts, with the numbers for a table next to each, and QR codes. Pure."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import sqrt

import segno
from markupsafe import Markup

from hedgerow.dashboards.words.labels import zone
from hedgerow.dashboards.words.rules import rule_layers
from hedgerow.journal.reader import HourlyCount
from hedgerow.policies.model import Person, Policy
from hedgerow.policies.times.schedule import state_at

TIMELINE_WIDTH, TIMELINE_UP, TIMELINE_DOWN = 480, 30, 14
"""Size of the picture. Allowed requests extend up from the line, blocked ones down."""
_DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class TimelineHour:
    """An hour with requests. `x`, `width`, `up` and `down` are coordinates in the picture."""

    starts: float
    allowed: int
    blocked: int
    x: float
    width: float
    up: float
    down: float


@dataclass(frozen=True, slots=True)
class PersonDay:
    """A person's day. `closed` holds bedtimes as x and width, `now` is the x of the current time."""

    name: str
    hours: tuple[TimelineHour, ...]
    closed: tuple[tuple[float, float], ...]
    now: float
    allowed: int
    blocked: int


def person_days(policy: Policy, counts: Iterable[HourlyCount], midnight: float, now: float) -> tuple[PersonDay, ...]:
    """Return the day of each person with requests since `midnight`. All days have the same scale."""
    sums: dict[str, dict[int, tuple[int, int]]] = {}
    for count in counts:
        device = policy.devices.get(count.device)
        if device is None or device.person is None or count.hour * 3600 < midnight - 1800:
            continue
        hours = sums.setdefault(device.person, {})
        allowed, blocked = hours.get(count.hour, (0, 0))
        hours[count.hour] = (allowed + count.allowed, blocked + count.blocked)
    most = max((sum(both) for hours in sums.values() for both in hours.values()), default=1)
    return tuple(
        _day(policy.people[name], policy, sums[name], midnight, now, most) for name in policy.people if name in sums
    )


def _day(
    person: Person, policy: Policy, hours: dict[int, tuple[int, int]], midnight: float, now: float, most: int
) -> PersonDay:
    shown = tuple(
        TimelineHour(
            hour * 3600.0,
            allowed,
            blocked,
            _x(hour * 3600, midnight) + 1,
            TIMELINE_WIDTH / 24 - 2,
            _height(allowed, most, TIMELINE_UP),
            _height(blocked, most, TIMELINE_DOWN),
        )
        for hour, (allowed, blocked) in sorted(hours.items())
    )
    sums = (sum(each.allowed for each in shown), sum(each.blocked for each in shown))
    return PersonDay(person.name, shown, tuple(_closed(person, policy, midnight)), _x(now, midnight), *sums)


def _closed(person: Person, policy: Policy, midnight: float) -> Iterator[tuple[float, float]]:
    bedtime = next(
        (rules.bedtime for rules in rule_layers(policy, person.profile, person.name, None) if rules.bedtime), None
    )
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
    return round(min(1.0, max(0.0, (at - midnight) / _DAY_S)) * TIMELINE_WIDTH, 1)


def _height(count: int, most: int, highest: int) -> float:
    """Return a height proportional to the square root, so that small counts stay visible."""
    return round(max(2.0, highest * sqrt(count / most)), 1) if count else 0.0


def qr_code(text: str, *, is_long: bool = False, scale: int = 4) -> Markup:
    """Return a QR code in black on white, which cameras need in both themes, with the quiet zone of ISO/IEC 18004.

    A long text is drawn smaller, so that it fits the screen of a phone. `scale` is the size of a module in CSS pixels
    otherwise.
    """
    out, (error, scale) = io.BytesIO(), ("l", 3) if is_long else ("m", scale)
    segno.make(text, error=error, micro=False).save(
        out,
        kind="svg",
        xmldecl=False,
        svgns=False,
        scale=scale,
        border=4,
        dark="#000",
        light="#fff",
        svgclass=None,
        lineclass=None,
    )
    return Markup(out.getvalue().decode())  # noqa: S704  the library made all of it
