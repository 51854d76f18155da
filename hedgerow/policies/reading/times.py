"""Reading of times: bedtimes, the `when` of schedules, and budgets."""

from __future__ import annotations

from collections.abc import Callable

from hedgerow.blocklists.rules import Origin
from hedgerow.policies.text import yaml_tree
from hedgerow.policies.text.suggestions import (
    did_you_mean,
    guess_amount,
    guess_days,
    guess_interval,
    suggest,
    with_hint,
)
from hedgerow.policies.text.yaml_tree import YamlTree
from hedgerow.policies.time_model import UNLIMITED, Allowance, DatedSpan, Schedule, Span, WeekdayValues
from hedgerow.policies.times.budget import parse_minutes
from hedgerow.policies.times.schedule import (
    DAY_GROUPS,
    MINUTES_PER_DAY,
    NIGHT_GROUPS,
    DaySelection,
    DayTable,
    night_interval,
    parse_days,
    parse_interval,
)

NEVER = "none"
WEEK = "week"
ALL_DAY = "all-day"
SCHOOL_NIGHTS = "school-nights"
# the name for bedtimes, and for everything else
_OTHER_HALF = {SCHOOL_NIGHTS: "school-days", "school-days": SCHOOL_NIGHTS}


_SCHEDULE_GROUPS = DAY_GROUPS | {SCHOOL_NIGHTS: NIGHT_GROUPS[SCHOOL_NIGHTS]}

type Intervals = list[tuple[int, int]]


class TimesReader:
    """Reader of the times of one tree.

    `origin_of` returns the place of a value, `subject_of` the subject of a budget's key.
    """

    def __init__(
        self,
        tree: YamlTree,
        origin_of: Callable[[yaml_tree.KeyPath, bool], Origin],
        subject_of: Callable[[str, yaml_tree.KeyPath], str | None],
    ) -> None:
        self.tree = tree
        self._origin_of, self._subject_of = origin_of, subject_of

    def bedtime(self, raw: object, path: yaml_tree.KeyPath) -> Schedule:
        """Read spans of nights: a day or group names the evening, and a span from before noon begins after midnight."""
        return self._schedule(raw, path, NIGHT_GROUPS, nightly=True)

    def schedule(self, raw: object, path: yaml_tree.KeyPath) -> Schedule:
        """Read spans of days."""
        return self._schedule(_whole_days(raw), path, DAY_GROUPS, nightly=False)

    def _schedule(
        self, raw: object, path: yaml_tree.KeyPath, groups: dict[str, DaySelection], *, nightly: bool
    ) -> Schedule:
        table: DayTable[Intervals] = DayTable()
        entries = self._entries(raw, path)
        names_nights = not nightly and any(key == SCHOOL_NIGHTS for key, _, _ in entries)
        if names_nights:
            groups = _SCHEDULE_GROUPS
        for key, place, value in entries:
            days = self._days(key, place, groups) if key else groups["every-day"]
            if names_nights and self._conflicts_with_nights(key, value, place):
                continue
            if days is not None:
                of_nights = nightly or key == SCHOOL_NIGHTS
                whole = [(0, MINUTES_PER_DAY)] if value == ALL_DAY and not of_nights else []
                intervals = whole if whole or value == NEVER else self._intervals(value, place)
                self._enter(
                    table, key, days, [night_interval(*each) for each in intervals] if of_nights else intervals, place
                )
        origin = self._origin_of(path, True)
        ordinary, free = (
            tuple(Span(day, start, end) for day, (_, _, found) in sorted(half.items()) for start, end in sorted(found))
            for half in (table.ordinary, table.free)
        )
        dated = [
            span
            for day, (_, _, found) in sorted(table.dated.items())
            for span in ([DatedSpan(day, *each) for each in sorted(found)] or [DatedSpan(day)])
        ]
        return Schedule(
            ordinary, origin, origin.text, None if free == ordinary else free, tuple(dated), nightly or names_nights
        )

    def _conflicts_with_nights(self, key: str, value: object, path: yaml_tree.KeyPath) -> bool:
        """Refuse to mix school nights, which depend on the next day, with groups that depend on the day itself."""
        if key in {"school-days", "weekend", "holidays"}:
            self.tree.add_problem(
                path, f"'{key}' and '{SCHOOL_NIGHTS}' cannot be combined: use a schedule for each", key=True
            )
            return True
        if key == SCHOOL_NIGHTS and value == ALL_DAY:
            self.tree.add_problem(path, f'a night needs hours, such as {{{SCHOOL_NIGHTS}: "17:00-22:00"}}')
            return True
        return False

    def _entries(self, raw: object, path: yaml_tree.KeyPath) -> list[tuple[str, yaml_tree.KeyPath, object]]:
        if isinstance(raw, dict):
            return [(key, (*path, key), value) for key, value in raw.items()]
        return [("", path, raw)]

    def _days(self, key: str, path: yaml_tree.KeyPath, groups: dict[str, DaySelection]) -> DaySelection | None:
        try:
            return parse_days(key, groups)
        except ValueError as error:
            hint = did_you_mean(_OTHER_HALF.get(key) or guess_days(key)) or suggest(key, groups)
            self.tree.add_problem(path, f"'{key}' does not name days.{hint}" if hint else str(error), key=True)
            return None

    def _enter[Value](
        self, table: DayTable[Value], key: str, days: DaySelection, value: Value, path: yaml_tree.KeyPath
    ) -> None:
        rival = table.add(key, days, value)
        if rival is not None:
            self.tree.add_problem(path, f"'{key}' and '{rival}' name the same day", key=True)

    def _intervals(self, raw: object, path: yaml_tree.KeyPath) -> Intervals:
        found = []
        for index, item in enumerate(raw if isinstance(raw, list) else [raw]):
            place = (*path, index) if isinstance(raw, list) else path
            if not isinstance(item, str):
                self.tree.add_problem(place, 'a time span is text, such as "20:30-07:00"')
                continue
            try:
                found.append(parse_interval(item))
            except ValueError as error:
                self.tree.add_problem(
                    place, with_hint(error, did_you_mean(guess_interval(item)) or suggest(item, [NEVER]))
                )
        return found

    def budget(self, raw: object, path: yaml_tree.KeyPath) -> tuple[Allowance, ...]:
        """Read minutes per day and week, for all use and for categories or services; `none` means no limit."""
        if raw == NEVER:
            return ()
        if not isinstance(raw, dict):
            return (self._allowance("", {"": raw}, path),)
        of_all = {key: value for key, value in raw.items() if key == WEEK or _names_days(key, DAY_GROUPS, dates=False)}
        found = [self._allowance("", of_all, path)] if of_all else []
        for key, value in raw.items():
            if key in of_all or (subject := self._subject_of_budget(key, (*path, key))) is None:
                continue
            if any(subject == other.subject for other in found):
                self.tree.add_problem((*path, key), f"the budget names '{key}' twice", key=True)
            place = (*path, key)
            found.append(self._allowance(subject, value if isinstance(value, dict) else {"": value}, place))
        return tuple(found)

    def earned(self, raw: object, path: yaml_tree.KeyPath) -> tuple[str, int] | None:
        """Read minutes that are added to a budget, with its subject: of all use, or as `{games: 20m}`; `none` is 0."""
        subject: str | None = ""
        if isinstance(raw, dict):
            ((key, raw),) = raw.items()
            path = (*path, key)
            subject = self._subject_of_budget(key, path)
        minutes = self._minutes(raw, path) or 0
        if minutes > MINUTES_PER_DAY:
            self.tree.add_problem(path, f"'{raw}' is longer than a day")
            return None
        return None if subject is None else (subject, minutes)

    def _subject_of_budget(self, key: str, path: yaml_tree.KeyPath) -> str | None:
        if "." in key or "/" in key or key[:1].isdigit():
            self.tree.add_problem(
                path, f"'{key}' is not a day, category or service: budgets are only for those", key=True
            )
            return None
        if suggest(key, ["internet"]) or key.lower() in {"total", "day", "per-day"}:
            self.tree.add_problem(path, f"'{key}': name days for minutes of all use. Did you mean every-day?", key=True)
            return None
        if days := guess_days(key):
            self.tree.add_problem(path, f"'{key}' does not name days.{did_you_mean(days)}", key=True)
            return None
        return self._subject_of(key, path)

    def _allowance(self, subject: str, raw: dict[str, object], path: yaml_tree.KeyPath) -> Allowance:
        table: DayTable[int | None] = DayTable()
        weekly = None
        for key, value in raw.items():
            place = (*path, key) if key else path
            minutes = self._minutes(value, place)
            if key == WEEK:
                weekly = minutes
                continue
            days = self._days(key, place, DAY_GROUPS) if key else DAY_GROUPS["every-day"]
            if days is not None and days.dates:
                self.tree.add_problem(
                    place, f"'{key}': a budget is for weekdays, holidays or a week, not for a date", key=True
                )
            elif days is not None:
                self._enter(table, key, days, minutes, place)
        return Allowance(
            subject, _weekday_values(table.ordinary), _weekday_values(table.free), weekly, self._origin_of(path, True)
        )

    def _minutes(self, raw: object, path: yaml_tree.KeyPath) -> int | None:
        if raw == NEVER:
            return None
        if not isinstance(raw, str | int) or isinstance(raw, bool):
            self.tree.add_problem(path, "an amount of time is text, such as 1h30m or 45m, or a number of minutes")
            return None
        try:
            return parse_minutes(str(raw))
        except ValueError as error:
            self.tree.add_problem(
                path, with_hint(error, did_you_mean(guess_amount(str(raw))) or suggest(str(raw), [NEVER]))
            )
            return None


def _whole_days(raw: object) -> object:
    """Read days without times as whole days; return anything else unchanged.

    >>> _whole_days(["fri", "2026-12-24"]), _whole_days("20:30-07:00")
    ({'fri': 'all-day', '2026-12-24': 'all-day'}, '20:30-07:00')
    """
    named = [raw] if isinstance(raw, str) else raw
    if (
        isinstance(named, list)
        and named
        and all(isinstance(each, str) and _names_days(each, _SCHEDULE_GROUPS) for each in named)
    ):
        return dict.fromkeys(named, ALL_DAY)
    return raw


def _names_days(text: str, groups: dict[str, DaySelection], *, dates: bool = True) -> bool:
    try:
        return not parse_days(text, groups).dates or dates
    except ValueError:
        return False


def _weekday_values(table: dict[int, tuple[int, str, int | None]]) -> WeekdayValues:
    if not table:
        return UNLIMITED
    monday, tuesday, wednesday, thursday, friday, saturday, sunday = (
        table[day][2] if day in table else None for day in range(7)
    )
    return monday, tuesday, wednesday, thursday, friday, saturday, sunday
