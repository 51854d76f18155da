"""Wall-clock schedules in a time zone: does a moment lie inside, and when exactly does that change?

A schedule speaks of clocks on walls, so it is compared with the local time, never with "hours since midnight". On the two days a year when
clocks change: a beginning that the clocks show twice counts from the first time and an end until the second, so that a bedtime has no gap
in it and never comes back; a beginning or an end that the clocks leap over falls on the leap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from hedgerow.policies.model import Schedule, Span

DAY = 24 * 60
DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONG_DAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# How far around a moment spans are laid out: a week, and a day for spans that began yesterday or lie across a date line.
_DAYS_BACK, _DAYS_AHEAD = 9, 9

NIGHT_GROUPS: dict[str, frozenset[int]] = {
    "every-day": frozenset(range(7)),
    "school-nights": frozenset({6, 0, 1, 2, 3}),  # a school day follows
    "weekdays": frozenset(range(5)),
    "weekend": frozenset({4, 5}),  # of nights: Friday's and Saturday's
}


@dataclass(frozen=True, slots=True)
class State:
    """Whether a schedule holds, and the instant at which that changes (None: it never does)."""

    active: bool
    until: float | None


def parse_clock(text: str) -> int:
    """Minutes after midnight of `HH:MM`, up to 24:00. Raises ValueError with a plain sentence.

    >>> parse_clock("20:30")
    1230
    """
    match = re.fullmatch(r"(\d{1,2}):(\d{2})", text.strip())
    if match is None:
        raise ValueError(f"'{text.strip()}' is not a time of day, such as 20:30")
    hour, minute = int(match[1]), int(match[2])
    if minute > 59 or hour * 60 + minute > DAY:
        raise ValueError(f"there is no such time as {text.strip()}")
    return hour * 60 + minute


def parse_interval(text: str) -> tuple[int, int]:
    """Start and end in minutes after the first midnight of `20:30-07:00`; an end before the start lies on the next day.

    >>> parse_interval("20:30-07:00")
    (1230, 1860)
    """
    start_text, dash, end_text = text.replace("–", "-").partition("-")
    if not dash:
        raise ValueError(f"'{text}' is not a stretch of time, such as 20:30-07:00")
    start, end = parse_clock(start_text), parse_clock(end_text)
    if start == DAY:
        raise ValueError(f"'{text}' begins at 24:00: write 00:00")
    if start == end:
        raise ValueError(f"'{text}' begins and ends at the same time; all day is 00:00-24:00")
    return start, end if end > start else end + DAY


def parse_days(text: str, groups: dict[str, frozenset[int]]) -> tuple[frozenset[int], int]:
    """The weekdays that a key names, and how specific it is: 0 every day, 1 a group, 2 days by name.

    >>> sorted(parse_days("fri-sun", NIGHT_GROUPS)[0])
    [4, 5, 6]
    """
    key = text.strip().lower()
    if key in groups:
        return groups[key], 0 if len(groups[key]) == 7 else 1
    days: set[int] = set()
    for part in key.split(","):
        first, dash, last = part.partition("-")
        begin = _weekday(first, text)
        end = _weekday(last, text) if dash else begin
        days.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(days), 2


def _weekday(name: str, whole: str) -> int:
    name = name.strip()
    for names in (DAY_NAMES, _LONG_DAY_NAMES):
        if name in names:
            return names.index(name)
    raise ValueError(f"'{whole}' names no days; days are {', '.join(NIGHT_GROUPS)}, mon, tue … sun, or ranges such as mon-thu")


def night_span(evening: int, start: int, end: int) -> Span:
    """The span of a bedtime on the evening of a weekday. One that starts before noon starts after that evening's midnight."""
    if start < DAY // 2 and end <= DAY:
        return Span((evening + 1) % 7, start, end)
    return Span(evening, start, end)


@lru_cache(maxsize=4096)
def _instant(day: date, minutes: int, zone: ZoneInfo, last: bool) -> float:
    """The instant at which clocks show `minutes` after the midnight of `day`; the first or the last one if they do so twice."""
    wall = datetime.combine(day, datetime.min.time()) + timedelta(minutes=minutes)
    early, late = (wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if early <= late:
        return late if last else early
    return _leap_between(int(late), int(early), zone)  # clocks leap over this time: fold 1 lies before the leap, fold 0 after it


def _leap_between(before: int, after: int, zone: ZoneInfo) -> float:
    offset = datetime.fromtimestamp(before, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return float(after)


def _stretches(schedule: Schedule, zone: ZoneInfo, now: float) -> Iterator[tuple[float, float]]:
    """The schedule's stretches around `now` as instants, in order, those that touch joined."""
    today = datetime.fromtimestamp(now, UTC).date()
    found = []
    for offset in range(-_DAYS_BACK, _DAYS_AHEAD + 1):
        day = today + timedelta(days=offset)
        found += [
            (_instant(day, span.start, zone, False), _instant(day, span.end, zone, True))
            for span in schedule.spans
            if span.weekday == day.weekday()
        ]
    found.sort()
    joined: tuple[float, float] | None = None
    for start, end in found:
        if joined is not None and start <= joined[1]:
            joined = (joined[0], max(joined[1], end))
        else:
            if joined is not None:
                yield joined
            joined = (start, end)
    if joined is not None:
        yield joined


def state_at(schedule: Schedule, zone: ZoneInfo, now: float) -> State:
    """Whether `schedule` holds at `now` (seconds since the epoch) and until when. Pure; exact to the second.

    A stretch holds from its start, that instant included, to its end, that instant excluded.
    """
    horizon = now + (_DAYS_AHEAD - 1) * DAY * 60
    for start, end in _stretches(schedule, zone, now):
        if start == end:
            continue
        if now < start:
            return State(False, start)
        if now < end:
            return State(True, end if end < horizon else None)
    return State(False, None)
