"""The nouns of time: spans of a week, schedules, and budgets of minutes.

Minutes and days are wall-clock time, in a time zone that is passed as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from hedgerow.blocklists.rules import Origin


@dataclass(frozen=True, slots=True)
class Span:
    """A span of wall-clock time that belongs to a weekday (0 is Monday), in minutes after that day's midnight.

    `end` may exceed 1440: then the span ends on a later day. Always `start < end`.
    """

    weekday: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class DatedSpan:
    """A span that belongs to one date, in minutes after its midnight. If `start` is None, the date has no span."""

    day: date
    start: int | None = None
    end: int = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times at which something applies, and their place in a file. Without spans: never.

    `free` are the spans of days that a holiday makes free (None: the same as on any other day). `dated` are those of
    single dates, which outrank both. `nightly`: spans belong to evenings, which are free if the next day is.
    """

    spans: tuple[Span, ...]
    origin: Origin
    text: str = ""
    free: tuple[Span, ...] | None = None
    dated: tuple[DatedSpan, ...] = ()
    nightly: bool = False


type WeekdayValues = tuple[int | None, int | None, int | None, int | None, int | None, int | None, int | None]
"""One value per weekday, Monday first."""

UNLIMITED: WeekdayValues = (None,) * 7


@dataclass(frozen=True, slots=True)
class Allowance:
    """A budget of minutes:

    `daily` by weekday, `free` on a day that a holiday makes free, `weekly` from Monday to Sunday.

    None: no limit. `subject` is empty for all use, else `category:NAME` or `service:NAME`.
    """

    subject: str
    daily: WeekdayValues
    free: WeekdayValues
    weekly: int | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Bonus:
    """Extra minutes for the day and the week of the instant `at`. `account` as in `SpentBudget`."""

    id: str
    account: str
    subject: str
    minutes: int
    actor: str
    at: float


@dataclass(frozen=True, slots=True)
class SpentBudget:
    """A budget of `minutes` that is spent from the instant `since` until `until`, when it is reset (seconds since the
    epoch).

    `account` is `person:NAME` or `device:ID`: the owner of the minutes.
    """

    account: str
    subject: str
    since: float
    until: float
    minutes: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class ActiveMinute:
    """A minute of the epoch in which an account was active, as workers report it. Repeated reports count once."""

    minute: int
    account: str
    subject: str


class PauseKind(StrEnum):
    """The part of the internet that a pause stops: all of it, or for homework what distracts
    (`closing.DISTRACTIONS`).
    """

    ALL = "all"
    HOMEWORK = "homework"


LATER_BEDTIME = "bedtime"
"""Subject of a grant that lifts a person's bedtime until it ends."""
