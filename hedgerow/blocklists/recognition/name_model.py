"""A linear model over pieces of host names: for each category the sum of the weights of all pieces that a name contains.

`features.trie` holds the pieces, three to nine characters of the name between two dots, such as `.casino` or `sexy-`. `weights.bin` holds
a number for each of them, in the order of the trie's ids: both weights, packed. Pure, apart from opening these files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import marisa_trie
import msgspec

from hedgerow.blocklists.generation import map_file
from hedgerow.blocklists.recognition.name_parts import MAX_TEXT, is_inconclusive, shape_of, site_part, text_of, without_ambiguous

META_FILE, FEATURES_FILE, WEIGHTS_FILE, WELL_KNOWN_FILE = "model.json", "features.trie", "weights.bin", "well-known.bin"
MIN_PIECE: Final = 3
MAX_PIECE: Final = 9
PACK_BITS: Final = 20
"""A weight in `weights.bin` is one number for both categories: the second one is shifted by these bits, so that one sum adds up both."""
MAX_WEIGHT: Final = 1000
"""So that neither a weight of the second category nor the sum of all pieces of a text leaves its place in a packed number."""
_HALF = 1 << (PACK_BITS - 1)
_MOST_PARTS = 3
_MAX_ENDS = 2048  # top-level domains


class Calibration(msgspec.Struct, frozen=True):
    """The line from a category's score to the logarithm of its odds, assuming that 2.25 % of unlisted names are adult, and 5.5 % gambling.

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
    well_known: int
    sources: tuple[TrainingSource, ...]


@dataclass(frozen=True, slots=True)
class Recognition:
    """The category that a name looks like, the confidence in percent, and the well-known name that it imitates, if any."""

    category: str
    confidence: int
    imitated: str = ""


class NameModel:
    """The model, opened from a folder. Raises OSError, or ValueError for files that do not belong together."""

    def __init__(self, folder: Path) -> None:
        self.meta = msgspec.json.decode((folder / META_FILE).read_bytes(), type=ModelMeta)
        self._features = marisa_trie.Trie()
        self._features.mmap(str(folder / FEATURES_FILE))
        self._weights = map_file(folder / WEIGHTS_FILE).cast("i")
        if len(self._features) != len(self._weights) or len(self._weights) != self.meta.features:
            raise ValueError(f"{folder}: {len(self._features)} features, {len(self._weights)} weights")
        self._first, self._second = self.meta.calibrations
        self._sum_of_end = lru_cache(maxsize=_MAX_ENDS)(self._sum)

    def judge(self, host: str) -> Recognition | None:
        """Return the category that a canonical host name looks like; None for most names."""
        found = self.judge_part(site_part(host))
        return None if found is None or is_inconclusive(host) else found

    def judge_part(self, part: str) -> Recognition | None:
        """Return the category that the `site_part` of a host looks like. The caller checks `is_inconclusive`."""
        text = text_of(part)
        found = self._judge_text(text)
        if found is None:
            return None
        plain = without_ambiguous(text)
        if plain == text:
            return found
        rest = self._judge_text(plain)
        return rest if rest is None or rest.confidence < found.confidence else found  # an ordinary word may speak against it, too

    def _judge_text(self, text: str) -> Recognition | None:
        if shape := shape_of(text):
            total = self._sum(text + shape)
        else:  # most names: many have the same top-level domain
            end = max(text.rfind(".", 0, -1), 0)
            total = self._sum(text, end) + self._sum_of_end(text[end:])
        second = (total + _HALF) >> PACK_BITS
        first = total - (second << PACK_BITS)
        size = _SIZES[len(text)]
        if first < self._first.floor * size and second < self._second.floor * size:
            return None
        return self._best(first / size, second / size)

    def _sum(self, text: str, count: int | None = None) -> int:
        """Return the sum of the packed weights of all pieces that begin at one of the first characters of a text, or at any."""
        find, weights = self._features.iter_prefixes_with_ids, self._weights
        starts = range(len(text) - MIN_PIECE + 1 if count is None else count)
        return sum([weights[id] for start in starts for _piece, id in find(text[start : start + MAX_PIECE])])

    def _best(self, *scores: float) -> Recognition | None:
        odds = [each.slope * score + each.offset for each, score in zip(self.meta.calibrations, scores, strict=True)]
        best = max(range(len(odds)), key=odds.__getitem__)
        return Recognition(self.meta.categories[best], math.floor(100 / (1 + math.exp(-odds[best]))))

    def strongest_parts(self, host: str, category: str) -> tuple[str, ...]:
        """Return the parts of a name that weigh most for a category, the strongest first."""
        text, index = text_of(host), self.meta.categories.index(category)
        heat = [0.0] * len(text)
        for start in range(len(text) - MIN_PIECE + 1):
            for piece, id in self._features.iter_prefixes_with_ids(text[start : start + MAX_PIECE]):
                for place in range(start, start + len(piece)):
                    heat[place] += unpack(self._weights[id])[index] / len(piece)
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


_SIZES = tuple(math.sqrt(length) for length in range(MAX_TEXT + 1))
"""By the length of a text, the number by which its score is divided, so that long names do not score higher than short ones."""
