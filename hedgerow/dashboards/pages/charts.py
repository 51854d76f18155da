"""Charts as plain SVG made on the server, each with the numbers for a table beside it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hedgerow.journal.read import HourCount

WIDTH, HEIGHT = 480, 90


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: where it stands in the picture, and what it says."""

    x: float
    y: float
    width: float
    height: float
    label: str
    count: int


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart of `width` by `height`; `total` is the sum of the counts."""

    bars: tuple[Bar, ...]
    total: int
    width: int = WIDTH
    height: int = HEIGHT


def blocked_by_hour(hours: Iterable[HourCount], midnight: float, now: float) -> Bars:
    """How much was blocked in each hour of the day that began at `midnight`."""
    counts: dict[int, int] = {}
    for hour in hours:
        place = int((hour.hour * 3600 - midnight) // 3600)
        counts[place] = counts.get(place, 0) + hour.blocked
    shown = [(f"{place:02d}:00", counts.get(place, 0)) for place in range(max(1, min(25, int((now - midnight) // 3600) + 1)))]
    return bars_of(shown, places=24)


def bars_of(counts: list[tuple[str, int]], places: int | None = None) -> Bars:
    """Bars for labelled counts, the highest as high as the picture; `places` leaves room for more to come.

    >>> [bar.height for bar in bars_of([("a", 1), ("b", 2)]).bars]
    [45.0, 90.0]
    """
    step = WIDTH / max(places or 0, len(counts), 1)
    highest = max((count for _, count in counts), default=0) or 1
    bars = tuple(
        Bar(round(index * step + step * 0.1, 1), round(HEIGHT - HEIGHT * count / highest, 1), round(step * 0.8, 1),
            round(HEIGHT * count / highest, 1), label, count)
        for index, (label, count) in enumerate(counts)
    )  # fmt: skip
    return Bars(bars, sum(count for _, count in counts))
