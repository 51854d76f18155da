"""One timer for many deadlines: a question to an upstream must not cost a timer of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_TICK_SECONDS: Final = 0.05

type Handle = tuple[float, int]


class Deadlines:
    """Calls back when time is up, late by one tick at most. Few different durations, each with a queue in which the first is due first."""

    def __init__(self) -> None:
        self._queues: dict[float, dict[int, tuple[float, Callable[[], None]]]] = {}
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None

    def after(self, seconds: float, call: Callable[[], None]) -> Handle:
        """`call` is called once, unless it is cancelled by the handle."""
        loop = asyncio.get_running_loop()
        self._number += 1
        self._queues.setdefault(seconds, {})[self._number] = (loop.time() + seconds, call)
        if self._timer is None:
            self._timer = loop.call_later(_TICK_SECONDS, self._turn)
        return seconds, self._number

    def cancel(self, handle: Handle) -> None:
        self._queues[handle[0]].pop(handle[1], None)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._queues.clear()

    def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        now = loop.time()
        for queue in tuple(self._queues.values()):
            due = []
            for number, (when, _) in queue.items():
                if when > now:
                    break
                due.append(number)
            for number in due:
                waiting = queue.pop(number, None)  # None: an earlier one of this turn has cancelled it
                if waiting is not None:
                    waiting[1]()
        if self._timer is None and any(self._queues.values()):
            self._timer = loop.call_later(_TICK_SECONDS, self._turn)
