"""A watch over the clock: how much time has been seen passing, and whether the clock was put forward or back lately.

Pure: the clock and the uptime are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

HOUR_S = 3600.0
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Passing:
    """The seconds that were seen passing since the last look. A steady clock has not jumped within the last hour."""

    seconds: float = 0.0
    is_steady: bool = True


class ClockWatch:
    """Comparison of a clock with the uptime of the machine, which nobody can set.

    The first look after a start compares the clock with `seen_at`, an instant at which it was seen before, 0 for none.
    At most a day counts as passed while nobody looked: Hedgerow may have been off, or the clock may be wrong.
    """

    def __init__(self, seen_at: float = 0.0) -> None:
        self._seen_at = seen_at
        self._uptime: float | None = None
        self._jumped_at: float | None = None

    def look(self, now: float, uptime: float) -> Passing:
        """Return what has passed since the last look. `now` is the clock, `uptime` goes on while the machine sleeps."""
        moved = now - self._seen_at if self._seen_at else 0.0
        if self._uptime is None:
            longest, has_jumped = DAY_S, not -HOUR_S <= moved <= DAY_S
        else:
            longest = uptime - self._uptime
            has_jumped = abs(moved - longest) > HOUR_S
        if has_jumped:
            self._jumped_at = uptime
        self._seen_at, self._uptime = now, uptime
        is_steady = self._jumped_at is None or uptime - self._jumped_at >= HOUR_S
        return Passing(min(max(moved, 0.0), longest), is_steady)
