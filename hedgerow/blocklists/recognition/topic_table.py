"""A table of pieces of names and their weights for eight topics, mapped into memory.

Pure, apart from opening the file.

`topics.bin` is a double array like `pieces.bin` (`piece_table.py`), but its weights are two numbers of 64 bits per
slot. Each holds the weights of four topics, shifted by sixteen bits each, so that one sum adds up all four.
`tools/train_topics.py` makes the file.

`_pieces.c` adds up weights as `TopicTable.add_up_in_python` does, several times as fast. It is used where it could be
built.
"""

from __future__ import annotations

import contextlib
from collections.abc import Buffer, Callable, Iterator
from pathlib import Path
from typing import Final

from hedgerow.blocklists.generation import map_file
from hedgerow.blocklists.recognition.piece_table import MAX_PIECE

add_up_topics: Callable[[Buffer, str], tuple[int, ...]] | None = None
with contextlib.suppress(ImportError):  # there was no compiler, and no wheel for this machine
    from hedgerow.blocklists.recognition._pieces import add_up_topics as add_up_topics_in_c

    add_up_topics = add_up_topics_in_c

TOPICS: Final = 8
"""Topics of which a table has weights."""
TOPIC_BITS: Final = 16
MAX_TOPIC_WEIGHT: Final = 100
"""So that the sum of all pieces of a text leaves no topic's place in a packed number: 50 characters begin fewer than
327 pieces.
"""
_IN_A_NUMBER: Final = 4
_HALF: Final = 1 << (TOPIC_BITS - 1)
_SLOT: Final = 20
_BLOCK: Final = 256 * _SLOT


class TopicTable:
    """Pieces of three to nine octets and their weights. Raises OSError, or ValueError for a file that is not whole."""

    def __init__(self, path: Path) -> None:
        self._table = map_file(path)
        if not self._table or len(self._table) % _BLOCK:
            raise ValueError(f"{path}: a table has a multiple of {_BLOCK:,} octets, this file has {len(self._table)}")
        numbers = 4 * (len(self._table) // _SLOT)
        self._numbers, self._weights = self._table[:numbers].cast("I"), self._table[numbers:].cast("q")

    def __len__(self) -> int:
        """Return the number of slots."""
        return len(self._numbers)

    def add_up(self, text: str) -> tuple[int, ...]:
        """Return the sum of the weights of all pieces in a text, for each topic."""
        return add_up_topics(self._table, text) if add_up_topics is not None else self.add_up_in_python(text)

    def add_up_in_python(self, text: str) -> tuple[int, ...]:
        """Return the same sums without `_pieces`."""
        numbers, weights, octets = self._numbers, self._weights, text.encode()
        first = second = 0
        root = numbers[0] >> 8
        for start in range(len(octets)):
            base = root
            for octet in octets[start : start + MAX_PIECE]:
                slot = base ^ octet
                number = numbers[slot]
                if number & 0xFF != octet:
                    break
                first += weights[2 * slot]
                second += weights[2 * slot + 1]
                base = number >> 8
        return unpack_topics(first, second)

    def weights_in(self, text: str, topic: int) -> Iterator[tuple[int, int, int]]:
        """Yield the beginning, the end and the weight of each piece in a text that has a weight for a topic."""
        octets = text.encode()
        for start in range(len(octets)):
            base = self._numbers[0] >> 8
            for end, octet in enumerate(octets[start : start + MAX_PIECE], start + 1):
                slot = base ^ octet
                if self._numbers[slot] & 0xFF != octet:
                    break
                if weight := unpack_topics(self._weights[2 * slot], self._weights[2 * slot + 1])[topic]:
                    yield start, end, weight
                base = self._numbers[slot] >> 8


def unpack_topics(first: int, second: int) -> tuple[int, ...]:
    """Return the eight numbers in two packed ones.

    >>> unpack_topics((-3 << TOPIC_BITS) + 7, 5 << 3 * TOPIC_BITS)
    (7, -3, 0, 0, 0, 0, 0, 5)
    """
    found = []
    for packed in (first, second):
        for _ in range(_IN_A_NUMBER):
            number = ((packed + _HALF) & 0xFFFF) - _HALF
            found.append(number)
            packed = (packed - number) >> TOPIC_BITS
    return tuple(found)


def pack_topics(weights: tuple[int, ...]) -> tuple[int, int]:
    """Return the two packed numbers of eight weights.

    >>> unpack_topics(*pack_topics((1, -2, 3, -4, 5, -6, 7, -8)))
    (1, -2, 3, -4, 5, -6, 7, -8)
    """
    first, second = (
        sum(weight << place * TOPIC_BITS for place, weight in enumerate(weights[start : start + _IN_A_NUMBER]))
        for start in (0, _IN_A_NUMBER)
    )
    return first, second
