"""A linear model over pieces of host names: for each category the sum of the weights of all pieces that a name
contains.

The pieces are three to nine characters of the name between two dots, such as `.casino` or `sexy-`. `pieces.bin` holds a
number for each of them: both weights, packed. Pure, apart from opening the files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

import msgspec

from hedgerow.blocklists.recognition.name_parts import (
    MAX_TEXT,
    is_inconclusive,
    shape_of,
    site_part,
    text_of,
    without_ambiguous,
)
from hedgerow.blocklists.recognition.piece_table import MIN_PIECE, PieceTable

META_FILE, PIECES_FILE, WELL_KNOWN_FILE = "model.json", "pieces.bin", "well-known.bin"
PACK_BITS: Final = 20
"""A weight in `pieces.bin` is one number for both categories: the second one is shifted by these bits, so that one sum
adds up both.
"""
MAX_WEIGHT: Final = 1000
"""So that neither a weight of the second category nor the sum of all pieces of a text leaves its place in a packed
number.
"""
_HALF = 1 << (PACK_BITS - 1)
_MOST_PARTS = 3
_MAX_ENDS = 2048  # top-level domains


class Calibration(msgspec.Struct, frozen=True):
    """The line from a category's score to the logarithm of its odds, assuming that 2.25 % of unlisted names are adult,
    and 5.5 % gambling.

    `floor` is the lowest score that is worth reporting.
    """

    slope: float
    offset: float
    floor: float


class TrainingSource(msgspec.Struct, frozen=True):
    """A list that the model was trained on."""

    name: str
    role: str
    url: str
    licence: str
    sha256: str
    names: int


class ModelMeta(msgspec.Struct, frozen=True):
    """The contents of `model.json`."""

    categories: tuple[str, str]
    calibrations: tuple[Calibration, Calibration]
    features: int
    slots: int
    well_known: int
    sources: tuple[TrainingSource, ...]


@dataclass(frozen=True, slots=True)
class Recognition:
    """The category that a name looks like, the confidence in percent, and the well-known name that it
    imitates, if any.
    """

    category: str
    confidence: int
    imitated: str = ""


cached_recognition = cache(Recognition)  # there are a thousand at most


class NameModel:
    """The model, opened from a folder. Raises OSError, or ValueError for files that do not belong together."""

    def __init__(self, folder: Path) -> None:
        self.meta = msgspec.json.decode((folder / META_FILE).read_bytes(), type=ModelMeta)
        self._pieces = PieceTable(folder / PIECES_FILE)
        if len(self._pieces) != self.meta.slots:
            raise ValueError(f"{folder}: {len(self._pieces)} slots in place of {self.meta.slots}")
        self._first, self._second = self.meta.calibrations
        self._sum_of_end = lru_cache(maxsize=_MAX_ENDS)(self._pieces.add_up)

    def judge(self, host: str) -> Recognition | None:
        """Return the category that a canonical host name looks like; None for most names."""
        found = self.judge_part(site_part(host))
        return None if found is None or is_inconclusive(host) else found

    def judge_part(self, part: str) -> Recognition | None:
        """Return the category that the `site_part` of a host looks like. The caller checks `is_inconclusive`."""
        return self.judge_text(text_of(part))

    def judge_text(self, text: str) -> Recognition | None:
        """Return the same of the text of a `site_part`."""
        found = self._judge_text(text)
        if found is None:
            return None
        plain = without_ambiguous(text)
        if plain == text:
            return found
        rest = self._judge_text(plain)
        # an ordinary word may speak against it, too
        return rest if rest is None or rest.confidence < found.confidence else found

    def _judge_text(self, text: str) -> Recognition | None:
        if shape := shape_of(text):
            total = self._pieces.add_up(text + shape)
        else:  # most names: many have the same top-level domain
            end = max(text.rfind(".", 0, -1), 0)
            total = self._pieces.add_up(text, end) + self._sum_of_end(text[end:])
        second = (total + _HALF) >> PACK_BITS
        first = total - (second << PACK_BITS)
        size = SIZES[len(text)]
        if first < self._first.floor * size and second < self._second.floor * size:
            return None
        return self._best(first / size, second / size)

    def _best(self, first: float, second: float) -> Recognition:
        odds, others = self._first.slope * first + self._first.offset, self._second.slope * second + self._second.offset
        category, odds = (self.meta.categories[0], odds) if odds >= others else (self.meta.categories[1], others)
        return cached_recognition(category, math.floor(100 / (1 + math.exp(-odds))))

    def strongest_parts(self, text: str, category: str) -> tuple[str, ...]:
        """Return the parts of the text of a name that weigh most for a category, the strongest first."""
        index = self.meta.categories.index(category)
        weights = ((start, end, unpack(weight)[index]) for start, end, weight in self._pieces.weights_in(text))
        return strongest_parts(text, weights)


def strongest_parts(text: str, weights: Iterable[tuple[int, int, int]]) -> tuple[str, ...]:
    """Return the parts of a text that weigh most. `weights` has the beginning, end and weight of each piece."""
    heat = [0.0] * len(text)
    for start, end, weight in weights:
        for place in range(start, end):
            heat[place] += weight / (end - start)
    runs: list[tuple[float, str]] = []
    threshold = max(heat) / 8
    run, strength = "", 0.0
    for character, warmth in [*zip(text, heat, strict=True), (".", 0.0)]:
        if warmth > threshold and character != ".":
            run, strength = run + character, strength + warmth
            continue
        if len(run) >= MIN_PIECE:
            runs.append((strength, run.strip("-")))
        run, strength = "", 0.0
    return tuple(part for _strength, part in sorted(runs, key=lambda each: -each[0])[:_MOST_PARTS])


def unpack(packed: int) -> tuple[int, int]:
    """Return the two weights in a packed number.

    >>> unpack((-3 << PACK_BITS) + 100), unpack((5 << PACK_BITS) - 7)
    ((100, -3), (-7, 5))
    """
    second = (packed + _HALF) >> PACK_BITS
    return packed - (second << PACK_BITS), second


SIZES = tuple(math.sqrt(length) for length in range(MAX_TEXT + 1))
"""By the length of a text, the number by which its score is divided, so that long names do not score higher than short
ones.
"""
