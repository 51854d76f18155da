"""Wall-clock schedules in a time zone: does a moment lie inside, and when exactly does that change?

A schedule speaks of clocks on walls, so it is compared with the local time, never with "hours since midnight". On the two days a year when
clocks change: a beginning that the clocks show twice counts from the first time and an end until the second, so that a bedtime has no gap
in it and never comes back; a beginning or an end that the clocks leap over falls on the leap.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from hedgerow.policies.times.timing import Schedule

DAY = 24 * 60
# How far around a moment spans are laid out: days for spans that began before it or lie across a date line. What lies near mostly
# decides, and is laid out first.
_DAYS_BACK, _DAYS_NEAR, _DAYS_AHEAD = 4, 2, 9
_FAR_AHEAD = 400  # a schedule of dates only may begin next year


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
        alone = re.fullmatch(r"\s*\d{1,2}[:.h]?\d{0,2}\s*([ap]\.?m\.?)?\s*", text, re.IGNORECASE)
        what = "a time without its end" if alone else "not a stretch of time"
        raise ValueError(f"'{text}' is {what}, such as 20:30-07:00")
    start, end = parse_clock(start_text), parse_clock(end_text)
    if start == DAY:
        raise ValueError(f"'{text}' begins at 24:00: write 00:00")
    if start == end:
        raise ValueError(f"'{text}' begins and ends at the same time; all day is 00:00-24:00")
    return start, end if end > start else end + DAY


def night_stretch(start: int, end: int) -> tuple[int, int]:
    """The stretch of a bedtime in minutes after the midnight before that evening. One that starts before noon starts after the next one."""
    return (start + DAY, end + DAY) if start < DAY // 2 and end <= DAY else (start, end)


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


def _spans_on(schedule: Schedule, day: date, free: Collection[date]) -> Iterator[tuple[int, int]]:
    dated = [span for span in schedule.dated if span.day == day]
    if dated:
        yield from ((span.start, span.end) for span in dated if span.start is not None)
        return
    is_free = schedule.free is not None and (day + timedelta(days=1) if schedule.nightly else day) in free
    for span in (schedule.free or ()) if is_free else schedule.spans:
        if span.weekday == day.weekday():
            yield span.start, span.end


def _stretches(schedule: Schedule, zone: ZoneInfo, free: Collection[date], days: Iterable[date]) -> list[tuple[float, float]]:
    """The schedule's stretches that belong to `days` as instants, in order, those that touch joined."""
    found = sorted(
        (_instant(day, start, zone, False), _instant(day, end, zone, True)) for day in days for start, end in _spans_on(schedule, day, free)
    )
    joined: list[tuple[float, float]] = []
    for start, end in found:
        if start == end:
            continue  # clocks leap over all of it
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def state_at(schedule: Schedule, zone: ZoneInfo, now: float, free: Collection[date] = ()) -> State:
    """Whether `schedule` holds at `now` (seconds since the epoch) and until when. Pure; exact to the second.

    A stretch holds from its start, that instant included, to its end, that instant excluded. `free` are the dates that are holidays.
    """
    if not (schedule.spans or schedule.free or schedule.dated):
        return State(False, None)
    today = datetime.fromtimestamp(now, UTC).date()
    near = _state_within(schedule, zone, now, free, today, _DAYS_NEAR)
    if near is not None:
        return near
    ahead = _FAR_AHEAD if schedule.dated or (schedule.free is not None and schedule.free != schedule.spans) else _DAYS_AHEAD
    return _state_within(schedule, zone, now, free, today, ahead) or State(*_unchanging(schedule, zone, now, free, today))


def _state_within(schedule: Schedule, zone: ZoneInfo, now: float, free: Collection[date], today: date, ahead: int) -> State | None:
    """The state as far as the days up to `ahead` tell it: None where the next change lies too far off to be sure of it."""
    days = [today + timedelta(days=offset) for offset in range(-_DAYS_BACK, ahead + 1)]
    # What begins after the last of these days may touch what ends on it; nothing begins more than a day before its own day.
    sure = now + (ahead - 1) * DAY * 60
    for start, end in _stretches(schedule, zone, free, days):
        if now < start:
            return State(False, start) if start < sure else None
        if now < end:
            return State(True, end) if end < sure else None
    return None


def _unchanging(schedule: Schedule, zone: ZoneInfo, now: float, free: Collection[date], today: date) -> tuple[bool, None]:
    days = [today + timedelta(days=offset) for offset in range(-_DAYS_BACK, _DAYS_NEAR)]
    return any(start <= now < end for start, end in _stretches(schedule, zone, free, days)), None
