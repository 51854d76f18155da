"""Days in seconds: Hedgerow's processes see a clock on the wall that a test sets, while their timers go on as ever.

It is libfaketime (Debian's package `libfaketime`) from outside, put before them by the dynamic loader: CLOCK_REALTIME
only. The program itself has no way to be told a false time, so an installation has none either.
"""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path

import pytest

_PLACES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class WallClock:
    """A clock that runs at its own pace from wherever it is set to.

    Give `environment` to the processes that shall see it.
    """

    def __init__(self, directory: Path, starts: float) -> None:
        """Skips the test where libfaketime is not installed. `starts` in seconds since the epoch."""
        if not _PLACES:
            pytest.skip("not installed: libfaketime")
        # A directory of modules, since confined workers read nothing else of this test.
        self._file = directory / "clock" / "wall-clock"
        self._file.parent.mkdir()
        self._ahead = 0.0
        self.set(starts)

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "LD_PRELOAD": str(_PLACES[0]),
            "PYTHONPATH": str(self._file.parent),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",  # a new offset holds at once
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Else waits on a condition variable end at once, and Python's threads spin for the interpreter's lock.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
            "NO_FAKE_STAT": "1",  # files keep their own times
        }
        return {**os.environ, **own}

    def now(self) -> float:
        """The time that it shows, in seconds since the epoch."""
        return time.time() + self._ahead

    def set(self, instant: float) -> None:
        """From now on it shows `instant` and runs on from there."""
        self._ahead = instant - time.time()
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{self._ahead:+.6f}\n")
        fresh.replace(self._file)

    def set_local(self, moment: datetime) -> None:
        """As `set`, by a moment with a time zone."""
        self.set(moment.timestamp())

    def forward(self, seconds: float) -> None:
        self.set(self.now() + seconds)
