"""Who waits for an answer that takes work: each client in a line of its own, and one of each line in turn.

A query that the cache cannot answer costs a hundred times what one costs that it can. Taken as they come, those of somebody who asks for
names without end would stand before everybody else's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

MAX_PER_CLIENT: Final = 512
MAX_QUEUED: Final = 4096  # waiting in all lines
_ITEMS_PER_TURN: Final = 16  # between two looks at the sockets


class FairQueue[T]:
    """`work` does one. `turned_away` is told of each for whom there is no place."""

    def __init__(self, work: Callable[[T], None], on_rejected: Callable[[], None]) -> None:
        self._work, self._on_rejected = work, on_rejected
        self._queues: dict[Hashable, deque[T]] = {}
        self._count = 0
        self._next: asyncio.Handle | None = None

    def add(self, owner: Hashable, item: T) -> None:
        """Put into the owner's line; what is not done by `turn` is done by and by."""
        queue = self._queues.get(owner)
        if queue is None:
            queue = self._queues[owner] = deque()
        elif len(queue) >= (MAX_PER_CLIENT if self._count < MAX_QUEUED else 1):
            self._on_rejected()
            return
        queue.append(item)
        self._count += 1

    def turn(self) -> None:
        """Do some of it, and the rest after the sockets have been looked at."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        for _ in range(min(_ITEMS_PER_TURN, self._count)):
            owner, queue = next(iter(self._queues.items()))
            del self._queues[owner]
            item = queue.popleft()
            self._count -= 1
            if queue:
                self._queues[owner] = queue  # behind the others
            self._work(item)
        if self._count:
            self._next = asyncio.get_running_loop().call_soon(self.turn)

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self._queues.clear()
        self._count = 0
