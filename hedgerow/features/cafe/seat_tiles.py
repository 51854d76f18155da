"""Seats of a café: their tiles on the page of the counter, and their number by state."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from hedgerow.dashboards.words import labels
from hedgerow.features.cafe.api import SeatTraffic
from hedgerow.features.cafe.shifts import Debt
from hedgerow.policies.model import Pause, Policy, Session
from hedgerow.policies.seats import SEAT_PREFIX


@dataclass(frozen=True, slots=True)
class SeatTile:
    """A seat. `session` is None if it is free; `left` is in whole minutes, None without an end. `kind` is empty without
    a session.

    `traffic` is None where nothing counts it. `owed` is what the guest owes so far. `is_over`: the time of its last
    guest ended by itself a short while ago.
    """

    seat: str
    session: Session | None
    left: int | None
    pause_ends: float | None = None
    kind: str = ""
    traffic: SeatTraffic | None = None
    owed: Debt | None = None
    is_over: bool = False


def tile_of(
    seat: str, session: Session | None, pause_ends: float | None, traffic: SeatTraffic | None, now: float
) -> SeatTile:
    """Return the tile of a seat."""
    stands_still = max(0.0, pause_ends - now) if pause_ends is not None else 0.0
    left = (
        labels.minutes_left(session.ends - stands_still if session.ends is not None else None, now)
        if session is not None
        else None
    )
    kind = (session.profile or "").removeprefix(SEAT_PREFIX) if session is not None else ""
    return SeatTile(seat, session, left, pause_ends, kind, traffic)


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by value.

    >>> sorted(("seat-10", "seat-2", "bar"), key=natural_order)
    ['bar', 'seat-2', 'seat-10']
    """
    return [(int(part), "") if part.isdigit() else (0, part.casefold()) for part in re.split(r"(\d+)", name)]


def count_seat_states(
    policy: Policy, sessions: Iterable[Session], pauses: Iterable[Pause]
) -> dict[tuple[str, ...], float]:
    """Return the numbers of seats that are free, open for a child or an adult, or paused.

    Nothing for a policy without seats.
    """
    seats = [device.id for device in policy.devices.values() if device.is_seat]
    profiles = {session.device: policy.profiles.get(session.profile or "") for session in sessions}
    open_for = {
        seat: "child" if profile is None or profile.is_for_children else "adult" for seat, profile in profiles.items()
    }
    states = open_for | {pause.device: "paused" for pause in pauses if pause.device in open_for}
    found = Counter(states.get(seat, "free") for seat in seats)
    return {(state,): float(found[state]) for state in ("free", "child", "adult", "paused")} if seats else {}
