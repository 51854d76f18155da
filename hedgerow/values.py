"""Frozen dataclasses for values that are created for every request."""

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


__all__ = ["value_dataclass"]
