"""Rules of a person as facts, which can be kept and compared, and their differences as sentences. Pure.

Names are ids, so facts are the same in every language.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from hedgerow.codec import decode, encode
from hedgerow.dashboards.words.childrens_names import may_read
from hedgerow.dashboards.words.labels import title_of
from hedgerow.dashboards.words.languages import Language, message
from hedgerow.dashboards.words.rules import (
    PRIVACY_TEXTS,
    SAFE_SEARCH_TEXTS,
    YOUTUBE_TEXTS,
    ScheduleText,
    childs_schedule,
    date_times,
    dated_texts,
    day_times,
    days_text,
    effective_targets,
    group_days,
    night_times,
    privacy_of,
    rule_layers,
    schedule_sentence,
    times_text,
    youtube_of,
)
from hedgerow.policies.model import Policy, Privacy, SafeSearch, TargetKind, TimedRules, Verdict
from hedgerow.policies.time_model import Allowance

_NAMED = frozenset({TargetKind.CATEGORY, TargetKind.SERVICE})


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFacts:
    """A schedule. `days` and `dates` have its times, the latter by ISO dates; the flags are as in `ScheduleText`."""

    name: str
    closes: bool
    is_all: bool
    is_only: bool
    targets: tuple[str, ...]
    days: tuple[tuple[str, str], ...]
    dates: tuple[tuple[str, str], ...] = ()
    unless: str = ""

    def text(self, reader: Language) -> ScheduleText:
        """Return the schedule in words."""
        days = {day: (times.replace("-", "–"), "") for day, times in self.days}
        dates = {date.fromisoformat(day): times for day, times in self.dates}
        when = (*group_days(days, reader, reader.gettext(message("every day"))), *dated_texts(dates, reader))
        targets = tuple(title_of(name, reader) for name in self.targets)
        return ScheduleText(self.name, self.closes, self.is_all, self.is_only, targets, when, self.unless)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetFacts:
    """Minutes for a topic or service, or for everything if `what` is empty. None: no limit. Monday comes first."""

    what: str
    daily: tuple[int | None, ...]
    weekly: int | None = None

    def text(self, reader: Language) -> str:
        """Return the minutes in words."""
        days: dict[int, list[int]] = {}
        for weekday, minutes in enumerate(self.daily):
            if minutes is not None:
                days.setdefault(minutes, []).append(weekday)
        every = reader.gettext(message("every day"))
        minutes_text = message("%(minutes)s min")
        parts = [
            f"{days_text(weekdays, reader, every)} {reader.gettext(minutes_text, minutes=minutes)}"
            for minutes, weekdays in days.items()
        ]
        if self.weekly is not None:
            parts.append(reader.gettext(message("%(minutes)s minutes a week"), minutes=self.weekly))
        what = title_of(self.what, reader) if self.what else reader.gettext(message("Everything together"))
        return f"{what}: {'; '.join(parts)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFacts:
    """The rules of a person.

    `closed` are topics and services, `opened` is what somebody has allowed by name. `nights` has a start and an end for
    each weekday.
    """

    closed: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    nights: tuple[tuple[str, str, str], ...] = ()
    budgets: tuple[BudgetFacts, ...] = ()
    schedules: tuple[ScheduleFacts, ...] = ()
    safe_search: SafeSearch = SafeSearch.OFF
    youtube: SafeSearch = SafeSearch.OFF
    privacy: Privacy = Privacy.CATEGORY

    def to_json(self) -> str:
        """Return the facts as one line."""
        return encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> RuleFacts | None:
        """Return kept facts, None if they are none that this version knows."""
        try:
            return decode(cls, text.encode())
        except ValueError:
            return None

    def nights_text(self, reader: Language) -> str:
        """Return the closed nights in words, empty without one."""
        nights = {day: (start, end) for day, start, end in self.nights}
        return times_text(group_days(nights, reader, reader.gettext(message("every night"))))


def rule_facts(policy: Policy, profile: str, person: str, now: float, *, for_child: bool) -> RuleFacts:
    """Return a person's rules under a profile. `for_child`: without names that a child may not read."""
    layers = rule_layers(policy, profile, person, None)
    allowed, blocked = effective_targets(layers, now)
    schedules = (each for rules in layers for each in rules.schedules)
    shown = (each for each in (map(childs_schedule, schedules) if for_child else schedules) if each)
    safe = next((rules.safe_search for rules in layers if rules.safe_search is not None), SafeSearch.OFF)
    bedtime = next((rules.bedtime for rules in layers if rules.bedtime is not None), None)
    budget = next((rules.budget for rules in layers if rules.budget is not None), ())
    return RuleFacts(
        closed=tuple(
            sorted(
                name for name, target in blocked.items() if target.kind in _NAMED and (not for_child or may_read(name))
            )
        ),
        opened=tuple(sorted(allowed)),
        nights=tuple((day, *times) for day, times in night_times(bedtime).items() if any(times)),
        budgets=tuple(map(_budget_facts, sorted(budget, key=lambda each: each.subject))),
        schedules=tuple(map(_schedule_facts, shown)),
        safe_search=safe,
        youtube=youtube_of(layers, safe),
        privacy=privacy_of(layers),
    )


def _budget_facts(allowance: Allowance) -> BudgetFacts:
    what = allowance.subject.partition(":")[2]
    return BudgetFacts(what=what, daily=allowance.daily, weekly=allowance.weekly)


def _schedule_facts(schedule: TimedRules) -> ScheduleFacts:
    return ScheduleFacts(
        name=schedule.name,
        closes=bool(schedule.block) or schedule.internet is Verdict.BLOCK,
        is_all=schedule.internet is not None or schedule.closed_otherwise,
        is_only=schedule.closed_otherwise or bool(schedule.otherwise),
        targets=tuple(target.name for target in (*schedule.block, *schedule.allow)),
        days=tuple((day, times) for day, times in day_times(schedule.when).items() if times),
        dates=tuple((str(day), times) for day, times in date_times(schedule.when).items()),
        unless=schedule.unless,
    )


@dataclass(frozen=True, slots=True)
class Difference:
    """Differences between two sets of rules: names that open or close, and sentences about all other changes.

    `more` is the number of names that open and are not in the list.
    """

    opened: tuple[str, ...]
    closed: tuple[str, ...]
    settings: tuple[str, ...]
    more: int = 0

    def __bool__(self) -> bool:
        return bool(self.opened or self.closed or self.settings)


def difference(before: RuleFacts, after: RuleFacts, reader: Language, most: int = 12) -> Difference:
    """Compare two sets of rules. At most so many names are in a list."""
    opened = [name for name in before.closed if name not in after.closed]
    opened += [name for name in after.opened if name not in before.opened and name not in opened]
    closed = [name for name in after.closed if name not in before.closed]
    titles = [sorted((title_of(name, reader) for name in names), key=str.lower) for names in (opened, closed)]
    ended = [name for name in before.opened if name not in after.opened and name not in after.closed]
    settings = [*_levels(before, after, reader), *_times(before, after, reader)]
    if ended:
        what = reader.comma.join(title_of(name, reader) for name in ended[:most])
        settings.append(reader.gettext(message("No longer always open: %(what)s"), what=what))
    return Difference(tuple(titles[0][:most]), tuple(titles[1]), tuple(settings), max(0, len(opened) - most))


def _levels(before: RuleFacts, after: RuleFacts, reader: Language) -> list[str]:
    texts = []
    if after.safe_search is not before.safe_search:
        texts.append(SAFE_SEARCH_TEXTS[after.safe_search])
    if after.youtube is not before.youtube:
        texts.append(YOUTUBE_TEXTS[after.youtube])
    said = [reader.gettext(text) for text in texts]
    if after.privacy is not before.privacy:
        what = reader.gettext(PRIVACY_TEXTS[after.privacy])
        said.append(reader.gettext(message("What is stored: %(what)s"), what=what))
    return said


def _times(before: RuleFacts, after: RuleFacts, reader: Language) -> list[str]:
    said = []
    if after.nights != before.nights:
        nights = after.nights_text(reader)
        off = reader.gettext(message("The internet is off at night:"))
        said.append(f"{off} {nights}" if nights else reader.gettext(message("There is no bedtime.")))
    said += [each.text(reader) for each in after.budgets if each not in before.budgets]
    limited = {each.what for each in after.budgets}
    no_limit = message("%(what)s: no limit")
    for what in (each.what for each in before.budgets if each.what not in limited):
        title = title_of(what, reader) if what else reader.gettext(message("Everything together"))
        said.append(reader.gettext(no_limit, what=title))
    for schedule in after.schedules:
        if schedule not in before.schedules:
            said.append(f"{title_of(schedule.name, reader)}: {schedule_sentence(schedule.text(reader), reader)}")
    kept = {each.name for each in after.schedules}
    gone = message("%(what)s: no longer")
    said += [
        reader.gettext(gone, what=title_of(each.name, reader)) for each in before.schedules if each.name not in kept
    ]
    return said
