"""Questions in flight: their deadlines, random ids, and look-up by id."""

from __future__ import annotations

import asyncio
import os
from array import array
from collections.abc import Callable, Iterator
from typing import Final, Protocol

_TICK_SECONDS: Final = 0.05

type DeadlineHandle = tuple[float, int]


class Deadlines:
    """Many deadlines on one timer, late by one tick at most: a timer of the loop per question would cost too much.

    There are few different durations, each with a queue in which the first is due first.
    """

    def __init__(self) -> None:
        self._queues: dict[float, dict[int, tuple[float, Callable[[], None]]]] = {}
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None

    def after(self, seconds: float, call: Callable[[], None]) -> DeadlineHandle:
        """Call `call` once after `seconds`, unless the handle is cancelled."""
        loop = asyncio.get_running_loop()
        number = self._number = self._number + 1
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = {}
        queue[number] = loop.time() + seconds, call
        if self._timer is None:
            self._timer = loop.call_later(_TICK_SECONDS, self._turn)
        return seconds, number

    def cancel(self, handle: DeadlineHandle) -> None:
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
        try:
            for queue in tuple(self._queues.values()):
                self._call_due(queue, now)
        finally:  # the others are called in the next turn
            self._start_timer(loop)

    @staticmethod
    def _call_due(queue: dict[int, tuple[float, Callable[[], None]]], now: float) -> None:
        due = []
        for number, (when, _) in queue.items():
            if when > now:
                break
            due.append(number)
        for number in due:
            waiting = queue.pop(number, None)  # None: an earlier one of this turn has cancelled it
            if waiting is not None:
                waiting[1]()

    def _start_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None and any(self._queues.values()):
            self._timer = loop.call_later(_TICK_SECONDS, self._turn)


def random_ids() -> Iterator[int]:
    """Yield random 16-bit numbers. The system's random source is read for many at a time, to save system calls."""
    while True:
        yield from array("H", os.urandom(128))


class RandomOctets:
    """Random octets: call it with a number of at most 4096. Each octet is returned once."""

    def __init__(self) -> None:
        self._octets, self._at = b"", 0

    def __call__(self, size: int) -> bytes:
        at = self._at
        if at + size > len(self._octets):
            self._octets, at = os.urandom(4096), 0
        self._at = at + size
        return self._octets[at : self._at]


class PendingQuestion(Protocol):
    """A question in flight, as it was written."""

    question: bytes

    def deliver(self, message: bytes) -> None: ...

    def fail(self, fault: Exception) -> None: ...


class PendingIds[Q: PendingQuestion]:
    """The questions in flight on one socket or connection, by id."""

    def __init__(self) -> None:
        self.questions: dict[int, Q] = {}
        self._ids = random_ids()

    def add(self, question: Q) -> int:
        number = next(self._ids)
        while number in self.questions:
            number = next(self._ids)
        self.questions[number] = question
        return number

    def fail(self, fault: Exception) -> None:
        for question in tuple(self.questions.values()):
            question.fail(fault)
