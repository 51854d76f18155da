"""Frozen dataclasses for values that are created for every request, and a dict of bounded size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value_dataclass
else:

    def value_dataclass[T](*, frozen: bool, slots: bool) -> Callable[[type[T]], type[T]]:
        """Make a dataclass that is frozen for the type checker, and hashable.

        Python would have each field of a frozen one set by a call, so that a value of eleven fields takes four times as
        long to create.
        """
        return dataclass(slots=slots, unsafe_hash=frozen)


class BoundedDict[K, V](dict[K, V]):
    """A dict of at most `limit` entries. Those that were set longest ago make room for new ones.

    >>> recent = BoundedDict[str, int](2)
    >>> recent["a"], recent["b"], recent["a"], recent["c"] = 1, 2, 3, 4
    >>> recent
    {'a': 3, 'c': 4}
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        self.pop(key, None)
        if len(self) >= self._limit:
            del self[next(iter(self))]
        super().__setitem__(key, value)


__all__ = ["BoundedDict", "value_dataclass"]
