"""Who waits for an answer that takes work: each client in a line of its own, and one of each line in turn.

A query that the cache cannot answer costs a hundred times what one costs that it can. Taken as they come, those of somebody who asks for
names without end would stand before everybody else's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

MAX_LINE: Final = 512
MAX_LINES: Final = 4096  # waiting in all lines
_AT_A_TURN: Final = 16  # between two looks at the sockets


class Lines[T]:
    """`work` does one. `turned_away` is told of each for whom there is no place."""

    def __init__(self, work: Callable[[T], None], turned_away: Callable[[], None]) -> None:
        self._work, self._turned_away = work, turned_away
        self._lines: dict[Hashable, deque[T]] = {}
        self._count = 0
        self._next: asyncio.Handle | None = None

    def add(self, owner: Hashable, item: T) -> None:
        """Put into the owner's line; what is not done by `turn` is done by and by."""
        line = self._lines.get(owner)
        if line is None:
            line = self._lines[owner] = deque()
        elif len(line) >= (MAX_LINE if self._count < MAX_LINES else 1):
            self._turned_away()
            return
        line.append(item)
        self._count += 1

    def turn(self) -> None:
        """Do some of it, and the rest after the sockets have been looked at."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        for _ in range(min(_AT_A_TURN, self._count)):
            owner, line = next(iter(self._lines.items()))
            del self._lines[owner]
            item = line.popleft()
            self._count -= 1
            if line:
                self._lines[owner] = line  # behind the others
            self._work(item)
        if self._count:
            self._next = asyncio.get_running_loop().call_soon(self.turn)

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self._lines.clear()
        self._count = 0
