"""Calls for the staff, by a button on a seat's own page.

A call is kept in memory until somebody at the counter answers it, for an hour at most. Deliberately absent: a record of
calls, and texts of guests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.contract import Core
from hedgerow.journal.access_store import NoSuchEntry
from hedgerow.policies.model import DeviceId
from hedgerow.proxy.limits import AttemptLimiter

MAX_CALLS, CALLS_WINDOW_S = 5, 600.0
"""Calls of one seat, and the seconds within which they count."""

CALL_KEPT_S = 3600.0


@dataclass(frozen=True, slots=True)
class SeatCall:
    """A call from a seat that nobody has answered yet."""

    seat: DeviceId
    at: float


class SeatCalls:
    """The calls that nobody has answered yet, at most one per seat. All on one event loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._limit = AttemptLimiter(MAX_CALLS, CALLS_WINDOW_S)
        self._calls: dict[DeviceId, SeatCall] = {}

    def call(self, seat: DeviceId) -> None:
        """Call the staff to a seat, which must be one of the policy. A second call before the answer is the first.

        Raises `InvalidInput` for too many calls.
        """
        if self.is_open(seat):
            return
        now = self._clock()
        if not self._limit.allows(seat, now):
            raise InvalidInput("You have called several times in a few minutes. Please go to the counter.")
        self._calls[seat] = SeatCall(seat, now)

    def answer(self, seat: str) -> None:
        """Forget the call of a seat. Raises `NoSuchEntry` if there is none."""
        if self._calls.pop(DeviceId(seat), None) is None:
            raise NoSuchEntry(f"there is no call from {seat}")

    def open(self) -> tuple[SeatCall, ...]:
        """Return the calls, the oldest first."""
        since = self._clock() - CALL_KEPT_S
        return tuple(each for each in list(self._calls.values()) if each.at > since)

    def is_open(self, seat: str) -> bool:
        """Return True if a call of a seat waits for an answer."""
        return any(each.seat == seat for each in self.open())


def seat_calls_of(core: Core) -> SeatCalls:
    """Make the part of control for calls."""
    return SeatCalls(core.clock)
