"""The days that people name: weekdays, school days and nights, the weekend, holidays and dates.

A holiday makes a day free, and the night before it: it is no school day, and counts as a weekend.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

DAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONG_DAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MAX_STRETCH_DAYS = 400

_ALL = frozenset(range(7))
_WORKING = frozenset(range(5))


@dataclass(frozen=True, slots=True)
class Days:
    """What a key names: weekdays of an ordinary week, weekdays where a holiday makes the day free, or dates.

    The rank says how closely it names them, in an ordinary week and where days are free; the higher one counts.
    """

    ordinary: frozenset[int] = frozenset()
    free: frozenset[int] = frozenset()
    rank: int = 1
    free_rank: int = 1
    dates: tuple[date, ...] = ()


NIGHT_GROUPS: dict[str, Days] = {
    "every-day": Days(_ALL, _ALL, 0, 0),
    "school-nights": Days(frozenset({6, 0, 1, 2, 3})),  # a school day follows
    "weekdays": Days(_WORKING, _WORKING, 1, 2),
    "weekend": Days(frozenset({4, 5}), _ALL),  # of nights: Friday's and Saturday's
    "holidays": Days(frozenset(), _ALL, 1, 3),
}
DAY_GROUPS: dict[str, Days] = {
    "every-day": Days(_ALL, _ALL, 0, 0),
    "school-days": Days(_WORKING),
    "weekdays": Days(_WORKING, _WORKING, 1, 2),
    "weekend": Days(frozenset({5, 6}), _ALL),
    "holidays": Days(frozenset(), _ALL, 1, 3),
}


def parse_days(text: str, groups: dict[str, Days]) -> Days:
    """The days that a key names. Raises ValueError with a plain sentence.

    >>> sorted(parse_days("fri-sun", NIGHT_GROUPS).ordinary)
    [4, 5, 6]
    """
    key = text.strip().lower()
    if key in groups:
        return groups[key]
    if key[:4].isdigit():
        return Days(dates=parse_dates(key))
    days: set[int] = set()
    for part in key.split(","):
        first, dash, last = part.partition("-")
        begin = _weekday(first, text, groups)
        end = _weekday(last, text, groups) if dash else begin
        days.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return Days(frozenset(days), frozenset(days), 4, 4)


def _weekday(name: str, whole: str, groups: dict[str, Days]) -> int:
    name = name.strip()
    for names in (DAY_NAMES, _LONG_DAY_NAMES):
        if name in names:
            return names.index(name)
    raise ValueError(f"'{whole}' names no days; days are {', '.join(groups)}, mon, tue … sun, ranges such as mon-thu, or dates")


def parse_dates(text: str) -> tuple[date, ...]:
    """The dates of `2026-12-24`, or of `2026-12-24..2027-01-02` with both ends. Raises ValueError with a plain sentence.

    >>> len(parse_dates("2026-12-24..2027-01-02"))
    10
    """
    first_text, dots, last_text = text.replace(" ", "").partition("..")
    first = _date(first_text)
    last = _date(last_text) if dots else first
    if last < first:
        raise ValueError(f"'{text}' ends before it begins")
    if (last - first).days > MAX_STRETCH_DAYS:
        raise ValueError(f"'{text}' is longer than a year")
    return tuple(first + timedelta(days=step) for step in range((last - first).days + 1))


def _date(text: str) -> date:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise ValueError(f"'{text}' is not a date, such as 2026-12-24, or 2026-12-24..2027-01-02 for several")
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"there is no such date as {text}") from None


@dataclass(slots=True)
class DayTable[Value]:
    """Which of several entries holds on which day: the one that names it most closely."""

    ordinary: dict[int, tuple[int, str, Value]] = field(default_factory=dict)
    free: dict[int, tuple[int, str, Value]] = field(default_factory=dict)
    dated: dict[date, tuple[int, str, Value]] = field(default_factory=dict)

    def add(self, key: str, days: Days, value: Value) -> str | None:
        """Enters `value` for the days of a key; the key that speaks of one of them just as closely, if there is one."""
        rivals = (
            _enter(self.ordinary, sorted(days.ordinary), days.rank, key, value),
            _enter(self.free, sorted(days.free), days.free_rank, key, value),
            _enter(self.dated, days.dates, 1, key, value),
        )
        return next((rival for rival in rivals if rival is not None), None)


def _enter[Day, Value](table: dict[Day, tuple[int, str, Value]], days: Iterable[Day], rank: int, key: str, value: Value) -> str | None:
    for day in days:
        other = table.get(day)
        if other is not None and other[0] == rank:
            return other[1]
        if other is None or other[0] < rank:
            table[day] = (rank, key, value)
    return None
