"""The clock at the start: a machine without a battery may boot in 1970, or at its last shutdown."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import hedgerow
from hedgerow.app.snapshot import CLOCK_TOLERANCE_S

_TIMEX_OCTETS, _TIME_ERROR = 208, 5  # struct timex and the state of an unsynchronised clock (adjtimex(2))


class StartClock:
    """Tells whether the clock is behind a time that has certainly passed. `latest` are such times, in seconds since the epoch.

    A clock that the kernel knows to be synchronised is right. Once the clock was right, it stays so: a later change is somebody's wish.
    """

    def __init__(
        self, latest: Iterable[float] = (), *, now: Callable[[], float] = time.time, is_synchronised: Callable[[], bool] | None = None
    ) -> None:
        self._floor = max((Path(hedgerow.__file__).stat().st_mtime, *latest))
        self._now, self._is_synchronised = now, is_synchronised or kernel_is_synchronised
        self._is_right = False

    @property
    def is_behind(self) -> bool:
        """True while the clock shows less than what has passed already."""
        if not self._is_right:
            self._is_right = self._now() > self._floor - CLOCK_TOLERANCE_S or self._is_synchronised()
        return not self._is_right

    def at_least(self, now: float) -> float:
        """Return `now`, or the last known time while the clock is behind."""
        return max(now, self._floor) if self.is_behind else now


def kernel_is_synchronised() -> bool:
    """Return True if the kernel knows that the clock is synchronised, as by NTP."""
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_OCTETS))
    except (OSError, AttributeError):
        return False
    return 0 <= state < _TIME_ERROR
