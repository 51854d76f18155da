"""The pause before another attempt at what has failed: the same rule for everything that is repeated."""

from __future__ import annotations


def pause_after(failures: int, *, first: float, longest: float) -> float:
    """Return the seconds to wait after so many failures in a row:

    `first`, then twice as many each time, up to `longest`.

    >>> [pause_after(failures, first=5, longest=60) for failures in (1, 2, 3, 4, 5, 5_000)]
    [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    """
    return min(first * 2.0 ** min(failures - 1, 60), float(longest))
