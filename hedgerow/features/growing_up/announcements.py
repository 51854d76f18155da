"""Announcements thirty days before a day, and the countdown to it. Pure: time is an argument."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Self
from zoneinfo import ZoneInfo

from hedgerow.policies.growing import day_at, first_instant
from hedgerow.seen_time import DAY_S, Awaited, Passing

NOTICE_DAYS = 30
NOTICE_S = NOTICE_DAYS * DAY_S
LOOKS_AHEAD_DAYS = NOTICE_DAYS + 1


@dataclass(frozen=True, slots=True)
class Countdown:
    """`date` is an instant, the beginning of a day. `unseen` are the seconds that have still to be seen passing."""

    date: float
    unseen: float

    @property
    def is_certain(self) -> bool:
        """True in the last day: from then on, the date counts alone."""
        return self.unseen <= DAY_S

    def comes_at(self, now: float, zone: ZoneInfo) -> float:
        """Return when the change comes if the clock goes on from now as it should."""
        seen = now + self.unseen - DAY_S
        return self.date if self.is_certain or seen <= self.date else day_after(seen, 0, zone)

    def with_unseen(self, unseen: float, now: float, zone: ZoneInfo) -> Countdown:
        """Return it with fewer seconds left. A date that has gone by before it was certain becomes the next day."""
        has_become_certain = unseen <= DAY_S < self.unseen
        return Countdown(max(self.date, day_after(now, 0, zone)) if has_become_certain else self.date, unseen)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncedChange(Awaited):
    """The shape of a stage of a person: what is `announced`, empty for nothing, and when.

    `announced_at` and `takes_effect` are instants; the latter is the beginning of a day.
    """

    announced: str = ""
    announced_at: float = 0.0
    takes_effect: float = 0.0

    @property
    def countdown(self) -> Countdown:
        """The countdown to what is announced."""
        return Countdown(self.takes_effect, self.unseen)

    def is_due(self, now: float) -> bool:
        """Return True if what is announced takes effect now."""
        return bool(self.announced) and self.countdown.is_certain and self.takes_effect <= now

    def is_from_ahead(self, now: float) -> bool:
        """Return True if a clock that was ahead has announced it: nobody has read it yet."""
        return bool(self.announced) and self.announced_at > now + DAY_S

    def counted(self, now: float, zone: ZoneInfo, passing: Passing) -> Self:
        """Return the stage at `now`, after what was seen passing since the last look."""
        if not self.announced:
            return self
        left = self.countdown.with_unseen(self.unseen_after(passing, now), now, zone)
        return replace(self, takes_effect=left.date, unseen=left.unseen, seen_at=now)

    def announcing(self, what: str, earliest: float, now: float, zone: ZoneInfo) -> Self:
        """Return the stage with an announcement for the first day that leaves thirty days' notice."""
        takes_effect = max(earliest, day_after(now, NOTICE_DAYS, zone))
        return replace(
            self, announced=what, announced_at=now, takes_effect=takes_effect, unseen=takes_effect - now, seen_at=now
        )

    def withdrawn(self) -> Self:
        """Return the stage without an announcement."""
        return replace(self, announced="", unseen=0.0, seen_at=0.0)


def day_after(instant: float, days: int, zone: ZoneInfo) -> float:
    """Return the beginning of the first day that is at least this many days after an instant."""
    day = day_at(instant, zone)
    begins = first_instant(day, zone) >= instant
    return first_instant(day + timedelta(days=days + (not begins)), zone)
