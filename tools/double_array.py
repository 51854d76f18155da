"""The tables that `piece_table.py` and `topic_table.py` of `hedgerow/blocklists/recognition` read, made from pieces and
their weights.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

_BLOCK = 256
_EMPTY = 0xFF
"""An octet that UTF-8 has not, so that no text leads to an empty slot."""
_MOST_TRIES = 64
"""So many free slots before the last one are tried, then slots far before them are given up."""
_GIVEN_UP = 4096


class _DoubleArray:
    """Slots, and which of them are taken.

    No base is in the first block, which belongs to slots without a next octet.
    """

    def __init__(self) -> None:
        self.numbers = array("I")
        self._taken, self._bases = bytearray(), {0}
        self._first = _BLOCK
        self._grow()
        self._taken[:] = b"\1" * _BLOCK

    def _grow(self) -> None:
        self.numbers.extend([_EMPTY] * _BLOCK)
        self._taken.extend(bytes(_BLOCK))

    def add(self, slot: int, octets: Sequence[int]) -> int:
        """Make a slot for each of the octets that may follow in a slot. Returns the base."""
        place, tries = self._next_free(self._first), 0
        while (
            (base := place ^ octets[0]) < _BLOCK
            or base in self._bases
            or any(self._taken[base ^ octet] for octet in octets)
        ):
            tries += 1
            if tries == _MOST_TRIES:
                self._first = max(self._first, place - _GIVEN_UP)
            place = self._next_free(place + 1)
        self._bases.add(base)
        self.numbers[slot] |= base << 8
        for octet in octets:
            self._taken[base ^ octet] = 1
            self.numbers[base ^ octet] = octet
        return base

    def _next_free(self, place: int) -> int:
        found = self._taken.find(0, place)
        if found < 0:
            found = len(self._taken)
            self._grow()
        return found


def double_array(weights: Mapping[bytes, int]) -> bytes:
    """Return the table of pieces and their weights. The same pieces give the same octets."""
    numbers, slot_of = _slots(weights)
    found = array("i", bytes(4 * len(numbers)))
    for piece, slot in slot_of.items():
        found[slot] = weights.get(piece, 0)
    return numbers.tobytes() + found.tobytes()


def topic_array(weights: Mapping[bytes, tuple[int, int]]) -> bytes:
    """Return the table of pieces and their two packed weights. The same pieces give the same octets."""
    numbers, slot_of = _slots(weights)
    found = array("q", bytes(16 * len(numbers)))
    for piece, slot in slot_of.items():
        found[2 * slot], found[2 * slot + 1] = weights.get(piece, (0, 0))
    return numbers.tobytes() + found.tobytes()


def _slots(pieces: Iterable[bytes]) -> tuple[array[int], dict[bytes, int]]:
    """Return the numbers of all slots, and the slot of each piece and of each beginning of one."""
    following: dict[bytes, set[int]] = defaultdict(set)
    for piece in pieces:
        for length, octet in enumerate(piece):
            following[piece[:length]].add(octet)
    table, slots, slot_of = _DoubleArray(), {b"": 0}, dict[bytes, int]()
    for beginning in sorted(following, key=lambda each: (len(each), each)):
        base = table.add(slots.pop(beginning), sorted(following[beginning]))
        for octet in following[beginning]:
            piece, slot = beginning + bytes((octet,)), base ^ octet
            slot_of[piece] = slot
            if piece in following:
                slots[piece] = slot
    return table.numbers, slot_of
