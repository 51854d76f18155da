"""The check that work grows no faster than its input, where counting it is not possible."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

MOST_GROWTH: Final = 8
"""Four times the input may cost up to this many times the CPU time: linear work, and as much again for caches and a
busy machine.
"""

FLOOR_SECONDS: Final = 0.004
"""CPU seconds below which a time counts as this long, so that noise is no growth."""

_TRIES = 3


def assert_linear[T](work: Callable[[T], object], make: Callable[[int], T], size: int) -> None:
    """Assert that `work` on an input made for four times `size` costs at most eight times as much.

    The best of three runs counts.
    """
    short, long = (min(_cpu_seconds(work, make(each)) for _ in range(_TRIES)) for each in (size, 4 * size))
    assert long <= MOST_GROWTH * max(short, FLOOR_SECONDS), f"{short:.4f} s became {long:.4f} s with four times {size}"


def _cpu_seconds[T](work: Callable[[T], object], made: T) -> float:
    began = time.process_time()
    work(made)
    return time.process_time() - began
