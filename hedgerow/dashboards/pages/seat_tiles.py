"""Tiles of a café's seats on the page of the counter."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hedgerow.dashboards.api.counter import SeatTraffic
from hedgerow.dashboards.words import labels
from hedgerow.policies.cafe import SEAT_PREFIX
from hedgerow.policies.model import Session


@dataclass(frozen=True, slots=True)
class SeatTile:
    """A seat. `session` is None if it is free; `left` is in whole minutes, None without an end. `kind` is empty without a session.

    `traffic` is None where nothing counts it.
    """

    seat: str
    session: Session | None
    left: int | None
    pause_ends: float | None = None
    kind: str = ""
    traffic: SeatTraffic | None = None


def tile_of(seat: str, session: Session | None, pause_ends: float | None, traffic: SeatTraffic | None, now: float) -> SeatTile:
    """Return the tile of a seat."""
    stands_still = max(0.0, pause_ends - now) if pause_ends is not None else 0.0
    left = labels.minutes_left(session.ends - stands_still if session.ends is not None else None, now) if session is not None else None
    kind = (session.profile or "").removeprefix(SEAT_PREFIX) if session is not None else ""
    return SeatTile(seat, session, left, pause_ends, kind, traffic)


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by value.

    >>> sorted(("seat-10", "seat-2", "bar"), key=natural_order)
    ['bar', 'seat-2', 'seat-10']
    """
    return [(int(part), "") if part.isdigit() else (0, part.casefold()) for part in re.split(r"(\d+)", name)]
