"""Which connections are in use: a film keeps one busy for an hour without asking for anything anew."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Protocol

MIN_BYTES = 64 * 1024
"""Moved within a minute, in both directions together; less is keeping alive."""


class Moving(Hashable, Protocol):
    """A connection that can say how many bytes it has moved, in both directions together."""

    @property
    def moved(self) -> int: ...


class Use[T: Moving]:
    """Remembers of each connection what it had moved when the minute began."""

    def __init__(self) -> None:
        self._minute = 0
        self._begun: dict[T, int] = {}

    def busy(self, connections: Iterable[T], now: float) -> Iterator[T]:
        """Those that have moved enough in this minute of the clock; `now` is in seconds since the epoch."""
        minute, before = int(now // 60), self._begun
        if minute != self._minute:
            self._minute, self._begun = minute, {}
        for each in connections:
            moved = each.moved
            begun = self._begun.setdefault(each, moved if each in before else 0)
            if moved - begun >= MIN_BYTES:
                yield each
