"""A table of pieces of names and their weights, mapped into memory: a double array (Aoe 1989).

Pure, apart from opening the file.

`pieces.bin` holds a slot per beginning of a piece: first a number per slot, then a weight per slot, each in 32 bits,
little-endian. The number's last eight bits are the octet that leads to the slot. The other ones are the base from which
the slots of the next octets are counted: that of an octet is `base ^ octet`, if its number ends in that octet. No two
slots share a base, so nothing else leads there. Slot 0 is the beginning of all pieces. `tools/double_array.py` makes
the file.

`_pieces.c` adds up weights as `PieceTable.add_up_in_python` does, several times as fast. It is used where it could be
built.
"""

from __future__ import annotations

import contextlib
from collections.abc import Buffer, Callable, Iterator
from pathlib import Path
from typing import Final

from hedgerow.blocklists.generation import map_file

add_up: Callable[[Buffer, str, int], int] | None = None
with contextlib.suppress(ImportError):  # there was no compiler, and no wheel for this machine
    from hedgerow.blocklists.recognition import _pieces

    add_up = _pieces.add_up

MIN_PIECE: Final = 3
MAX_PIECE: Final = 9


class PieceTable:
    """Pieces of three to nine octets and their weights. Raises OSError, or ValueError for a file that is not whole."""

    def __init__(self, path: Path) -> None:
        self._table = map_file(path)
        if not self._table or len(self._table) % 2048:
            raise ValueError(f"{path}: a table has a multiple of 2,048 octets, this file has {len(self._table)}")
        half = len(self._table) // 2
        self._numbers, self._weights = self._table[:half].cast("I"), self._table[half:].cast("i")

    def __len__(self) -> int:
        """Return the number of slots."""
        return len(self._numbers)

    def add_up(self, text: str, count: int | None = None) -> int:
        """Return the sum of the weights of all pieces in a text, or of those that begin at one of its first `count`
        octets.
        """
        starts = max(len(text) - MIN_PIECE + 1, 0) if count is None else count
        return add_up(self._table, text, starts) if add_up is not None else self.add_up_in_python(text, starts)

    def add_up_in_python(self, text: str, starts: int) -> int:
        """Return the same sum without `_pieces`."""
        numbers, weights, octets = self._numbers, self._weights, text.encode()
        total, root = 0, numbers[0] >> 8
        for start in range(min(starts, len(octets))):
            base = root
            for octet in octets[start : start + MAX_PIECE]:
                slot = base ^ octet
                number = numbers[slot]
                if number & 0xFF != octet:
                    break
                total += weights[slot]
                base = number >> 8
        return total

    def weights_in(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Yield the beginning, the end and the weight of each piece in a text that has a weight."""
        octets = text.encode()
        for start in range(len(octets)):
            base = self._numbers[0] >> 8
            for end, octet in enumerate(octets[start : start + MAX_PIECE], start + 1):
                slot = base ^ octet
                if self._numbers[slot] & 0xFF != octet:
                    break
                if weight := self._weights[slot]:
                    yield start, end, weight
                base = self._numbers[slot] >> 8
