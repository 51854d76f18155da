"""Schedules: parsing of days and times of day, and the state of a schedule at an instant. Pure.

A holiday makes its day and the night before it free: no school day, but a day of a weekend.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from hedgerow.policies.time_model import Schedule

DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONG_DAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MAX_RANGE_DAYS = 400

_ALL_DAYS = frozenset(range(7))
_WORKING_DAYS = frozenset(range(5))


@dataclass(frozen=True, slots=True)
class DaySelection:
    """The days that a key names: weekdays of an ordinary week, weekdays that a holiday makes free, or dates.

    Of several keys for a day, the most specific wins: the one with the highest `rank`, or `free_rank` on a free day.
    """

    ordinary: frozenset[int] = frozenset()
    free: frozenset[int] = frozenset()
    rank: int = 1
    free_rank: int = 1
    dates: tuple[date, ...] = ()


NIGHT_GROUPS: dict[str, DaySelection] = {
    "every-day": DaySelection(_ALL_DAYS, _ALL_DAYS, 0, 0),
    "school-nights": DaySelection(frozenset({6, 0, 1, 2, 3})),  # a school day follows
    "weekdays": DaySelection(_WORKING_DAYS, _WORKING_DAYS, 1, 2),
    "weekend": DaySelection(frozenset({4, 5}), _ALL_DAYS),  # of nights: Friday's and Saturday's
    "holidays": DaySelection(frozenset(), _ALL_DAYS, 1, 3),
}
DAY_GROUPS: dict[str, DaySelection] = {
    "every-day": DaySelection(_ALL_DAYS, _ALL_DAYS, 0, 0),
    "school-days": DaySelection(_WORKING_DAYS),
    "weekdays": DaySelection(_WORKING_DAYS, _WORKING_DAYS, 1, 2),
    "weekend": DaySelection(frozenset({5, 6}), _ALL_DAYS),
    "holidays": DaySelection(frozenset(), _ALL_DAYS, 1, 3),
}


def parse_days(text: str, groups: dict[str, DaySelection]) -> DaySelection:
    """Return the days that a key names. Raises ValueError with a sentence.

    >>> sorted(parse_days("fri-sun", NIGHT_GROUPS).ordinary)
    [4, 5, 6]
    """
    key = text.strip().lower()
    if key in groups:
        return groups[key]
    if key[:4].isdigit():
        return DaySelection(dates=parse_dates(key))
    days: set[int] = set()
    for part in key.split(","):
        first, dash, last = part.partition("-")
        begin = _weekday(first, text, groups)
        end = _weekday(last, text, groups) if dash else begin
        days.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return DaySelection(frozenset(days), frozenset(days), 4, 4)


def _weekday(name: str, whole: str, groups: dict[str, DaySelection]) -> int:
    name = name.strip()
    for names in (DAY_NAMES, _LONG_DAY_NAMES):
        if name in names:
            return names.index(name)
    raise ValueError(
        f"'{whole}' does not name days; use {', '.join(groups)}, mon, tue … sun, a range such as mon-thu, or dates"
    )


def parse_dates(text: str) -> tuple[date, ...]:
    """Return the dates of `2026-12-24`, or of `2026-12-24..2027-01-02` with both ends.

    Raises ValueError with a sentence.

    >>> len(parse_dates("2026-12-24..2027-01-02"))
    10
    """
    first_text, dots, last_text = text.replace(" ", "").partition("..")
    first = _date(first_text)
    last = _date(last_text) if dots else first
    if last < first:
        raise ValueError(f"'{text}' ends before it begins")
    if (last - first).days > MAX_RANGE_DAYS:
        raise ValueError(f"'{text}' is longer than a year")
    return tuple(first + timedelta(days=step) for step in range((last - first).days + 1))


def _date(text: str) -> date:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise ValueError(f"'{text}' is not a date, such as 2026-12-24, or 2026-12-24..2027-01-02 for several")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"the date {text} does not exist") from None


@dataclass(slots=True)
class DayTable[Value]:
    """The entry for each day: of several, the one that names it most specifically."""

    ordinary: dict[int, tuple[int, str, Value]] = field(default_factory=dict)
    free: dict[int, tuple[int, str, Value]] = field(default_factory=dict)
    dated: dict[date, tuple[int, str, Value]] = field(default_factory=dict)

    def add(self, key: str, days: DaySelection, value: Value) -> str | None:
        """Enter `value` for the days of a key.

        Return another key that names one of them just as specifically, if there is one.
        """
        rivals = (
            _enter(self.ordinary, sorted(days.ordinary), days.rank, key, value),
            _enter(self.free, sorted(days.free), days.free_rank, key, value),
            _enter(self.dated, days.dates, 1, key, value),
        )
        return next((rival for rival in rivals if rival is not None), None)


def _enter[Day, Value](
    table: dict[Day, tuple[int, str, Value]], days: Iterable[Day], rank: int, key: str, value: Value
) -> str | None:
    for day in days:
        other = table.get(day)
        if other is not None and other[0] == rank:
            return other[1]
        if other is None or other[0] < rank:
            table[day] = (rank, key, value)
    return None


MINUTES_PER_DAY = 24 * 60
# Range of days around an instant that is searched: back for spans that began earlier or lie across the date line, and
# ahead, first near.
_DAYS_BACK, _DAYS_NEAR, _DAYS_AHEAD = 4, 2, 9
_FAR_AHEAD = 400  # a schedule of dates only may begin next year


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """The state of a schedule, and the instant at which it changes (None: never)."""

    active: bool
    until: float | None


def parse_clock(text: str) -> int:
    """Return the minutes after midnight of `HH:MM`, up to 24:00. Raises ValueError with a sentence.

    >>> parse_clock("20:30")
    1230
    """
    match = re.fullmatch(r"(\d{1,2}):(\d{2})", text.strip())
    if match is None:
        raise ValueError(f"'{text.strip()}' is not a time of day, such as 20:30")
    hour, minute = int(match[1]), int(match[2])
    if minute > 59 or hour * 60 + minute > MINUTES_PER_DAY:
        raise ValueError(f"the time {text.strip()} does not exist")
    return hour * 60 + minute


def parse_interval(text: str) -> tuple[int, int]:
    """Return start and end of `20:30-07:00` in minutes after the first midnight; an end before the start is on the next
    day.

    >>> parse_interval("20:30-07:00")
    (1230, 1860)
    """
    start_text, dash, end_text = text.replace("–", "-").partition("-")
    if not dash:
        alone = re.fullmatch(r"\d{1,2}[:.h]?\d{0,2}\s*([ap]\.?m\.?)?", text.strip(), re.IGNORECASE)
        what = "a time without an end" if alone else "not a time span"
        raise ValueError(f"'{text}' is {what}, such as 20:30-07:00")
    start, end = parse_clock(start_text), parse_clock(end_text)
    if start == MINUTES_PER_DAY:
        raise ValueError(f"'{text}' begins at 24:00: write 00:00")
    if start == end:
        raise ValueError(f"'{text}' begins and ends at the same time; all day is 00:00-24:00")
    return start, end if end > start else end + MINUTES_PER_DAY


def night_interval(start: int, end: int) -> tuple[int, int]:
    """Return a bedtime's span in minutes after the midnight before that evening; one from before noon begins on the
    next day.
    """
    return (
        (start + MINUTES_PER_DAY, end + MINUTES_PER_DAY)
        if start < MINUTES_PER_DAY // 2 and end <= MINUTES_PER_DAY
        else (start, end)
    )


@lru_cache(maxsize=4096)
def _instant(day: date, minutes: int, zone: ZoneInfo, last: bool) -> float:
    """Return the instant at which clocks show `minutes` after the midnight of `day`; the first or the last of two."""
    wall = datetime.combine(day, datetime.min.time()) + timedelta(minutes=minutes)
    early, late = (wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if early <= late:
        return late if last else early
    # clocks skip this time: fold 1 lies before the change, fold 0 after it
    return _clock_change_between(int(late), int(early), zone)


def _clock_change_between(before: int, after: int, zone: ZoneInfo) -> float:
    offset = datetime.fromtimestamp(before, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return float(after)


def spans_on(schedule: Schedule, day: date, free: Collection[date]) -> Iterator[tuple[int, int]]:
    """Yield start and end of the spans that begin on a day, in minutes after its midnight. `free` are holidays."""
    dated = [span for span in schedule.dated if span.day == day]
    if dated:
        yield from ((span.start, span.end) for span in dated if span.start is not None)
        return
    is_free = schedule.free is not None and (day + timedelta(days=1) if schedule.nightly else day) in free
    for span in (schedule.free or ()) if is_free else schedule.spans:
        if span.weekday == day.weekday():
            yield span.start, span.end


def _intervals(
    schedule: Schedule, zone: ZoneInfo, free: Collection[date], days: Iterable[date]
) -> list[tuple[float, float]]:
    """Return the spans of `days` as instants, in order, with adjacent ones joined."""
    found = sorted(
        (_instant(day, start, zone, False), _instant(day, end, zone, True))
        for day in days
        for start, end in spans_on(schedule, day, free)
    )
    joined: list[tuple[float, float]] = []
    for start, end in found:
        if start == end:
            continue  # clocks skip all of it
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def state_at(schedule: Schedule, zone: ZoneInfo, now: float, free: Collection[date] = ()) -> ScheduleState:
    """Return the state of `schedule` at `now` (seconds since the epoch), exact to the second.

    Spans include their start and exclude their end. `free` are the dates that are holidays.
    """
    if not (schedule.spans or schedule.free or schedule.dated):
        return ScheduleState(False, None)
    today = datetime.fromtimestamp(now, UTC).date()
    near = _state_within(schedule, zone, now, free, today, _DAYS_NEAR)
    if near is not None:
        return near
    ahead = (
        _FAR_AHEAD if schedule.dated or (schedule.free is not None and schedule.free != schedule.spans) else _DAYS_AHEAD
    )
    return _state_within(schedule, zone, now, free, today, ahead) or ScheduleState(
        *_constant_state(schedule, zone, now, free, today)
    )


def _state_within(
    schedule: Schedule, zone: ZoneInfo, now: float, free: Collection[date], today: date, ahead: int
) -> ScheduleState | None:
    """Return the state from the days up to `ahead`, or None if the next change may lie beyond them."""
    days = [today + timedelta(days=offset) for offset in range(-_DAYS_BACK, ahead + 1)]
    # A span that begins after the last of these days may extend one that ends on it.
    certain = now + (ahead - 1) * MINUTES_PER_DAY * 60
    for start, end in _intervals(schedule, zone, free, days):
        if now < start:
            return ScheduleState(False, start) if start < certain else None
        if now < end:
            return ScheduleState(True, end) if end < certain else None
    return None


def _constant_state(
    schedule: Schedule, zone: ZoneInfo, now: float, free: Collection[date], today: date
) -> tuple[bool, None]:
    days = [today + timedelta(days=offset) for offset in range(-_DAYS_BACK, _DAYS_NEAR)]
    return any(start <= now < end for start, end in _intervals(schedule, zone, free, days)), None
