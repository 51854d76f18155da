"""The countdown to an announced change: its date, and the seconds that have still to be seen passing. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from hedgerow.features.growing_up.clock_watch import DAY_S
from hedgerow.policies.growing import day_at, first_instant

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

    def after(self, seconds: float, now: float, zone: ZoneInfo) -> Countdown:
        """Return it at `now`, `seconds` later. A date that has gone by before it was certain becomes the next day."""
        unseen = max(self.unseen - seconds, 0.0)
        has_become_certain = unseen <= DAY_S < self.unseen
        return Countdown(max(self.date, day_after(now, 0, zone)) if has_become_certain else self.date, unseen)


def day_after(instant: float, days: int, zone: ZoneInfo) -> float:
    """Return the beginning of the first day that is at least this many days after an instant."""
    day = day_at(instant, zone)
    begins = first_instant(day, zone) >= instant
    return first_instant(day + timedelta(days=days + (not begins)), zone)
