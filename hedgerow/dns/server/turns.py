"""Sharing of the event loop: connections get a slice of each of its turns, so that datagrams of plain DNS never wait
for long.

A query over a connection costs ten to a hundred times as much as one over UDP, and frames without a query cost as much.
Whatever arrives over connections is therefore served in portions, one of each client, until the slice is used up. The
rest waits for a later turn. Clients that the policy names have every second portion, however many others wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from hedgerow.client_classes import ClassedClient, FairQueues

SLICE_SECONDS: Final = 0.002
"""Time for connections in a turn of the loop. A portion that has begun is finished."""

type Work = Callable[[], None]


class TurnScheduler:
    """Scheduler of portions of work for clients. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._left = SLICE_SECONDS
        self._queues = FairQueues[Work]()
        self._next: asyncio.Handle | None = None

    def waiting(self, client: ClassedClient) -> int:
        """Return how many portions of a client wait."""
        return self._queues.waiting(client.key, client.rank)

    @property
    def all_waiting(self) -> int:
        """The number of portions of all clients that wait. Callers bound it."""
        return len(self._queues)

    def run(self, client: ClassedClient, work: Work) -> None:
        """Do a portion now if this turn has time left and nothing waits, else in a later turn."""
        if self._queues or self._left <= 0:
            self.queue(client, work)
            return
        self._begin_later()
        self._do(work)

    def queue(self, client: ClassedClient, work: Work) -> None:
        """Do a portion in a later turn."""
        self._queues.put(client.key, client.rank, work)
        self._begin_later()

    def close(self) -> None:
        """Forget what waits."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._queues.clear()

    def _turn(self) -> None:
        """Begin a new turn: do a portion of each client that waits, until the slice is used up."""
        self._next = None
        self._left = SLICE_SECONDS
        try:
            for _ in range(self._queues.clients):
                if self._left <= 0 or not self._queues:
                    break
                self._do(self._queues.pop())
        finally:
            if self._queues:
                self._begin_later()

    def _begin_later(self) -> None:
        if self._next is None:
            self._next = asyncio.get_running_loop().call_soon(self._turn)

    def _do(self, work: Work) -> None:
        began = self._clock()
        try:
            work()
        finally:
            self._left -= self._clock() - began
