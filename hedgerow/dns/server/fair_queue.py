"""A queue of cache misses with one FIFO per client, served in turn.

A miss costs a hundred times as much as a hit. In a single queue the misses of one client could delay everybody else's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

MAX_PER_CLIENT: Final = 512
MAX_QUEUED: Final = 4096  # of all clients
_ITEMS_PER_TURN: Final = 16  # before the loop looks at the sockets


class FairQueue[T]:
    """`work` handles one item. `on_rejected` is called for each item that finds no place."""

    def __init__(self, work: Callable[[T], None], on_rejected: Callable[[], None]) -> None:
        self._work, self._on_rejected = work, on_rejected
        self._queues: dict[Hashable, deque[T]] = {}
        self._count = 0
        self._next: asyncio.Handle | None = None

    def add(self, owner: Hashable, item: T) -> None:
        """Queue an item for its owner; `turn` handles it."""
        queue = self._queues.get(owner)
        if queue is None:
            queue = self._queues[owner] = deque()
        elif len(queue) >= (MAX_PER_CLIENT if self._count < MAX_QUEUED else 1):
            self._on_rejected()
            return
        queue.append(item)
        self._count += 1

    def turn(self) -> None:
        """Handle some items, and the rest after the loop has looked at the sockets."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        for _ in range(min(_ITEMS_PER_TURN, self._count)):
            owner, queue = next(iter(self._queues.items()))
            del self._queues[owner]
            item = queue.popleft()
            self._count -= 1
            if queue:
                self._queues[owner] = queue  # at the end
            self._work(item)
        if self._count:
            self._next = asyncio.get_running_loop().call_soon(self.turn)

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self._queues.clear()
        self._count = 0
