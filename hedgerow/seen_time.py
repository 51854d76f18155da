"""Time that was seen passing. What is announced waits for it, so that no clock that is put forward brings it early.

The clock and the uptime of the machine are arguments, except in `uptime_s`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

HOUR_S = 3600.0
DAY_S = 86_400.0
_SAVED_EACH_S = HOUR_S  # how much of a time that passes is lost with the power, at most


def uptime_s() -> float:
    """Return the seconds for which this machine has been on, also asleep ones."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Passing:
    """The seconds that were seen passing since the last look. A steady clock has not jumped within the last hour."""

    seconds: float = 0.0
    is_steady: bool = True


class ClockWatch:
    """Comparison of a clock with the uptime of the machine, which nobody can set.

    The first look after a start compares the clock with `seen_at`, an instant at which it was seen before, 0 for none.
    At most `longest_off` seconds count as passed while nobody looked: Hedgerow may have been off, or the clock may be
    wrong.
    """

    def __init__(self, seen_at: float = 0.0, longest_off: float = DAY_S) -> None:
        self._seen_at, self._longest_off = seen_at, longest_off
        self._uptime: float | None = None
        self._jumped_at: float | None = None

    def look(self, now: float, uptime: float) -> Passing:
        """Return what has passed since the last look. `now` is the clock, `uptime` goes on while the machine sleeps."""
        moved = now - self._seen_at if self._seen_at else 0.0
        if self._uptime is None:
            longest, has_jumped = self._longest_off, not -HOUR_S <= moved <= DAY_S
        else:
            longest = uptime - self._uptime
            has_jumped = abs(moved - longest) > HOUR_S
        if has_jumped:
            self._jumped_at = uptime
        self._seen_at, self._uptime = now, uptime
        is_steady = self._jumped_at is None or uptime - self._jumped_at >= HOUR_S
        return Passing(min(max(moved, 0.0), longest), is_steady)


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """A change that comes once enough time was seen passing.

    `unseen` are the seconds that have still to be seen passing, and `seen_at` is the instant of the last look.
    """

    unseen: float = 0.0
    seen_at: float = 0.0

    def unseen_after(self, passing: Passing, now: float) -> float:
        """Return the seconds that are left at `now`. What passed before it was announced does not count."""
        return max(self.unseen - min(passing.seconds, max(now - self.seen_at, 0.0)), 0.0)


def merged[Kind: Awaited](mine: Kind | None, saved: Kind) -> Kind:
    """Return what the store has, with what has passed here since it was saved."""
    if mine is None or _at_the_time_of(saved, mine) != saved:
        return saved
    return replace(saved, unseen=min(mine.unseen, saved.unseen), seen_at=mine.seen_at)


def is_worth_saving[Kind: Awaited](saved: Kind | None, mine: Kind) -> bool:
    """Return True for what is new, and once an hour for the time that passes."""
    if saved is None or _at_the_time_of(saved, mine) != saved:
        return True
    return abs(mine.seen_at - saved.seen_at) >= _SAVED_EACH_S


def _at_the_time_of[Kind: Awaited](saved: Kind, mine: Kind) -> Kind:
    return replace(mine, unseen=saved.unseen, seen_at=saved.seen_at)
