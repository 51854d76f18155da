"""Goals that a teenager sets itself: so many minutes a day, or a quiet time. Everything here waits for the disk.

Only the person's own page shows them. Nothing is enforced and nobody is told: no other module reads the table, except
for the person's own export and for erasure. A goal counts what is counted anyway, and nothing for its own sake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func, select

from hedgerow.dashboards.words.labels import midnight_before
from hedgerow.features.agreement import own_words
from hedgerow.features.contract import Core
from hedgerow.journal.store import Store
from hedgerow.journal.tables import goals, usage
from hedgerow.policies.activity import REPORT_TOPICS
from hedgerow.policies.model import Policy
from hedgerow.policies.times.schedule import parse_clock

MOST_GOALS = 5
MOST_MINUTES = 600
_DAY_MINUTES = 24 * 60
_G = goals.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A goal as its person reads it today.

    `subject` is empty for all use, else `category:NAME` or `service:NAME`, of which `used` minutes were counted today.
    Without `minutes` it is a quiet time, from `starts` to `ends` in minutes after midnight. `is_reached`: the minutes
    are used, or it is the quiet time now.
    """

    id: int
    subject: str
    minutes: int
    starts: int
    ends: int
    used: int = 0
    is_reached: bool = False

    @property
    def what(self) -> str:
        """The name of the topic or service, empty for all use."""
        return self.subject.partition(":")[2]

    @property
    def times(self) -> str:
        """The quiet time, such as `20:30–22:00`."""
        return "–".join(f"{at // 60:02d}:{at % 60:02d}" for at in (self.starts, self.ends))


class Goals:
    """The goals of all people."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock

    def of_person(self, person: str, zone: ZoneInfo) -> tuple[Goal, ...]:
        """Return a person's goals with the minutes of today, in the order in which they were set."""
        rows = self._store.rows(self._store.select(goals).where(_G.person == person).order_by(_G.id))
        now = datetime.fromtimestamp(self._clock(), zone)
        minute = now.hour * 60 + now.minute
        found = []
        for row in rows:
            used = self._used(person, row.subject, zone) if row.minutes else 0
            is_reached = used >= row.minutes if row.minutes else is_within(minute, row.starts, row.ends)
            times = {"minutes": row.minutes, "starts": row.starts, "ends": row.ends}
            found.append(Goal(id=row.id, subject=row.subject, **times, used=used, is_reached=is_reached))
        return tuple(found)

    def set_minutes(self, person: str, subject: str, minutes: str, offered: tuple[str, ...]) -> None:
        """Set a goal of minutes for one of the subjects that are offered. Raises `InvalidInput`."""
        if subject not in offered:
            raise own_words.not_counted().at("subject")
        text = minutes.strip()
        if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST_MINUTES):
            raise own_words.no_minutes(MOST_MINUTES)
        self._add(person, subject=subject, minutes=int(text), starts=0, ends=0)

    def set_quiet_time(self, person: str, starts: str, ends: str) -> None:
        """Set a quiet time. It may go over midnight. Raises `InvalidInput`."""
        try:
            first, last = (parse_clock(text) % _DAY_MINUTES for text in (starts, ends))
        except ValueError:
            raise own_words.no_time().at("starts") from None
        if first == last:
            raise own_words.no_time().at("starts")
        self._add(person, subject="", minutes=0, starts=first, ends=last)

    def remove(self, person: str, goal: str) -> None:
        """Remove one of a person's goals. One that is gone already, or somebody else's, changes nothing."""
        if goal.isascii() and goal.isdigit() and len(goal) < 19:
            mine = (_G.person == person) & (_G.id == int(goal))
            self._store.execute(self._store.delete(goals).where(mine))

    def prune(self, policy: Policy) -> None:
        """Delete the goals of people who are no longer in the policy."""
        people = [row.person for row in self._store.rows(self._store.select(goals))]
        for person in set(people) - policy.people.keys():
            self._store.execute(self._store.delete(goals).where(_G.person == person))

    def _add(self, person: str, **values: object) -> None:
        mine = self._store.own(goals) & (_G.person == person)
        with self._store.begin() as connection:
            if (connection.scalar(select(func.count()).select_from(goals).where(mine)) or 0) >= MOST_GOALS:
                raise own_words.too_many_goals(MOST_GOALS)
            row = {"person": person, "at": self._clock(), **values}
            connection.execute(self._store.insert(goals).values(row))

    def _used(self, person: str, subject: str, zone: ZoneInfo) -> int:
        """Count the minutes of today."""
        midnight = midnight_before(self._clock(), zone)
        theirs = (usage.c.account == f"person:{person}") & (usage.c.subject == subject)
        today = usage.c.hour >= int(midnight // 3600)
        marks = self._store.rows(self._store.select(usage).where(theirs & today))
        return sum(
            1
            for row in marks
            for minute in range(60)
            if row.minutes >> minute & 1 and row.hour * 3600 + minute * 60 >= midnight
        )


def is_within(minute: int, starts: int, ends: int) -> bool:
    """Return whether a minute of the day is within a time, which may go over midnight.

    >>> is_within(600, 590, 610), is_within(5, 1380, 60), is_within(60, 1380, 60)
    (True, True, False)
    """
    return starts <= minute < ends if starts < ends else minute >= starts or minute < ends


def subjects_of(limits: tuple[str, ...], *, are_counted: bool) -> tuple[str, ...]:
    """Return what a goal of minutes may be about: all use, the topics of the weekly report, and what has a limit."""
    counted = ("", *(f"category:{topic}" for topic in REPORT_TOPICS)) if are_counted else ()
    return tuple(dict.fromkeys((*counted, *limits)))


def goals_of(core: Core) -> Goals:
    """Make the part of control for goals."""
    return Goals(core.store, core.clock)
