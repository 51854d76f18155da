"""The nouns of time: stretches of a week, schedules, and minutes that may be spent.

Minutes and days are those of clocks on walls; which wall is said by a time zone that goes with them as an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from hedgerow.blocklists.rules import Origin


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of wall-clock time that belongs to a weekday (0 is Monday), in minutes after that day's midnight.

    `end` may exceed 1440: then the span ends on a later day. Always `start < end`.
    """

    weekday: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class DatedSpan:
    """A stretch that belongs to one date, in minutes after its midnight. `start` None: on this date there is no stretch."""

    day: date
    start: int | None = None
    end: int = 0


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something holds, and where that is written. No spans: never.

    `free` are the spans of days that a holiday makes free (None: the same as on any other day), `dated` those of dates that are named,
    which count over both. `nightly`: spans belong to evenings, so it is the next day that makes one free.
    """

    spans: tuple[Span, ...]
    origin: Origin
    text: str = ""
    free: tuple[Span, ...] | None = None
    dated: tuple[DatedSpan, ...] = ()
    nightly: bool = False


type WeekdayValues = tuple[int | None, int | None, int | None, int | None, int | None, int | None, int | None]
"""Something of each weekday, Monday first."""

UNLIMITED: WeekdayValues = (None,) * 7


@dataclass(frozen=True, slots=True)
class Allowance:
    """Minutes that may be spent: `daily` on each weekday, `free` on a day that a holiday makes free, `weekly` from Monday to Sunday.

    None is without limit. `subject` is empty for all use, else `category:NAME` or `service:NAME`.
    """

    subject: str
    daily: WeekdayValues
    free: WeekdayValues
    weekly: int | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Bonus:
    """Minutes given on top: on the day, and in the week, of the instant `at`. `account` as in `SpentBudget`."""

    id: str
    account: str
    subject: str
    minutes: int
    giver: str
    at: float


@dataclass(frozen=True, slots=True)
class SpentBudget:
    """A budget that is used up from the instant `since` until `until`, when there is time again (seconds since the epoch).

    `account` is `person:NAME` or `device:ID`: whose minutes are counted. `minutes` were to be had.
    """

    account: str
    subject: str
    since: float
    until: float
    minutes: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class ActiveMinute:
    """A minute (of the epoch) in which somebody was active, as workers report it. Reported twice it is still one minute."""

    minute: int
    account: str
    subject: str
