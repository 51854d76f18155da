"""Time limits that Hedgerow promises, measured so that a busy machine breaks none.

A thread that is ready to run and stands in line for a CPU waits for others, and Linux counts for how long
(`/proc/PID/task/TID/schedstat`, the second number, in nanoseconds). That much is taken off what a clock on the wall
says; on a quiet machine it is next to nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from small_internet.running import Hedgerow

PATIENCE_S = 60.0


class Stopwatch:
    """Runs from its making on, over all processes of a running Hedgerow."""

    def __init__(self, running: Hedgerow) -> None:
        self._running = running
        self._before = _stood_in_line(running)
        self._waited = dict(self._before)  # with threads that have ended since
        self._begun = time.monotonic()

    def seconds(self) -> float:
        """For how long Hedgerow could have got on so far."""
        passed = time.monotonic() - self._begun
        self._waited |= _stood_in_line(self._running)
        return passed - sum(self._waited.values()) + sum(self._before.values())

    def holds_within(self, seconds: float, condition: Callable[[], object], what: str) -> None:
        """Asks until `condition` holds.

        AssertionError if it did not for a question that was begun later than `seconds` from the start.
        """
        give_up = time.monotonic() + PATIENCE_S
        while True:
            begun = self.seconds()
            if condition():
                return
            assert begun < seconds, f"not within {seconds} s: {what}"
            assert time.monotonic() < give_up, f"not within {PATIENCE_S} s on a busy machine: {what}"
            time.sleep(0.02)


def _stood_in_line(running: Hedgerow) -> dict[Path, float]:
    """Seconds, by thread."""
    found = {}
    for pid in running.all_pids():
        for thread in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError, IndexError):
                found[thread] = int(thread.read_text().split()[1]) / 1e9
    return found
