"""A parser under test as a function of bytes, and families of inputs that grow."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

PIECES = (1, 7, 64, 1 << 20)
"""Sizes of the pieces in which a stream arrives."""

STREAM = b"\2"
"""First octet of a stream: the pieces' size."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A family of inputs:

    `start`, then `unit` over and over, then `end`. With `is_numbered` each unit has its number in it.
    """

    start: bytes
    unit: bytes
    end: bytes
    is_numbered: bool = False

    def __call__(self, size: int) -> bytes:
        """Return the input of about this many octets."""
        room = size - len(self.start) - len(self.end)
        if not self.is_numbered:
            return self.start + self.unit * max(1, room // len(self.unit)) + self.end
        letters = re.search(rb"[A-Za-z0-9]+", self.unit)
        at = letters.end() if letters is not None else len(self.unit)
        before, after = self.unit[:at], self.unit[at:]
        count = max(1, room // (len(self.unit) + 5))
        return self.start + b"".join(b"%b%d%b" % (before, number, after) for number in range(count)) + self.end


type Family = Callable[[int], bytes]
"""An input for each size in octets."""


@dataclass(frozen=True, slots=True)
class FuzzTarget:
    """A parser under test. `refuses` are the errors that it declares, `seeds` are inputs to start from.

    `tokens` are pieces of inputs that the seeds lack. `grown` are families of inputs: those whose lengths have to fit,
    and those that once took too long.
    """

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    refuses: tuple[type[BaseException], ...] = ()
    tokens: tuple[bytes, ...] = ()
    grown: tuple[Family, ...] = ()

    def __call__(self, data: bytes) -> None:
        with contextlib.suppress(*self.refuses):
            self.run(data)


def pieces(data: bytes) -> Iterator[bytes]:
    """Cut a stream into pieces. The first octet chooses their size, so that a fuzzer tries all sizes."""
    size = PIECES[data[0] % len(PIECES)] if data else 1
    for start in range(1, len(data), size):
        yield data[start : start + size]
