"""A generation's names, mapped into memory: its layers, with the sets of their keys as masks of categories."""

from __future__ import annotations

import mmap
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import marisa_trie

from hedgerow.blocklists.categories import CategoryKind, builtin_categories
from hedgerow.blocklists.generation import EVERY, SETS, LayerMeta, Meta, Part


@dataclass(frozen=True, slots=True)
class Shard:
    """The names of one range. `offset` is the place of its first set number among the layer's."""

    trie: marisa_trie.Trie
    offset: int


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer, mapped. `blocks`, `lifts`, `urls`, `keeps` and `spares` say for each set's number which categories it gives, which it
    takes away, for which there are rules about URLs, which no exception of a list takes away, and which no list may give."""

    shards: list[Shard]
    borders: list[str]
    numbers: Sequence[int]
    sets: tuple[tuple[int, ...], ...]
    blocks: list[int]
    lifts: list[int]
    urls: list[int]
    keeps: list[int]
    spares: list[int]

    @classmethod
    def open(cls, folder: Path, meta: Meta, layer: LayerMeta, bits: dict[str, int]) -> Layer:
        shards = [Shard(marisa_trie.Trie().mmap(str(folder / shard.trie)), shard.offset) for shard in layer.shards]
        borders = [shard.first for shard in layer.shards[1:]]
        numbers = _map_numbers(folder / SETS, layer.set_bytes)
        if len(numbers) != layer.keys:
            raise ValueError(f"{folder / SETS}: {len(numbers)} numbers for {layer.keys} keys")
        return cls(shards, borders, numbers, layer.sets, *_masks_of_sets(meta, layer, bits))

    def keys_with(self, key: str) -> Iterator[tuple[str, int]]:
        """The keys that a key begins with, the shortest first, each with the number of its set."""
        shard = self.shards[bisect_right(self.borders, key)]
        for found, key_id in shard.trie.iter_prefixes_with_ids(key):
            yield found, self.numbers[shard.offset + key_id]

    def has_keys(self, prefix: str) -> bool:
        return any(True for shard in self.shards for _key in shard.trie.iterkeys(prefix))


def _masks_of_sets(meta: Meta, layer: LayerMeta, bits: dict[str, int]) -> tuple[list[int], ...]:
    """For each set which categories it blocks, lifts, has rules about URLs of, keeps from being lifted and from being blocked."""
    good = {category.name for category in builtin_categories() if category.kind == CategoryKind.GOOD}
    masks = {**bits, EVERY: sum(bit for name, bit in bits.items() if name not in good)}
    columns: tuple[list[int], ...] = ([], [], [], [], [])
    for entries in layer.sets:
        found, spared = dict.fromkeys(Part, 0), 0
        for entry in entries:
            index, part = divmod(entry, len(Part))
            category = meta.sources[index].category
            found[Part(part)] |= masks[category]
            spared |= masks[EVERY] if category == EVERY and part == Part.EXCEPT else 0
        for column, mask in zip(columns, (*(found[part] for part in _COLUMNS), spared), strict=True):
            column.append(mask)
    return columns


_COLUMNS = (Part.BLOCK, Part.EXCEPT, Part.URL, Part.IMPORTANT)


def _map_numbers(path: Path, item_bytes: int) -> Sequence[int]:
    with path.open("rb") as file:
        if path.stat().st_size == 0:  # nothing cannot be mapped
            return ()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    whole = memoryview(mapped)
    match item_bytes:
        case 1:
            return whole
        case 2:
            return whole.cast("H")
        case _:
            return whole.cast("I")
