"""The index of hosts, written by the compiler: sorted runs of keys are merged range by range into tries.

A range is small enough to build its trie, a shard, in little memory.
"""

from __future__ import annotations

import bisect
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import marisa_trie

from hedgerow.blocklists.generation import SETS_FILE, EntryKind, HostIndexMeta, ShardMeta
from hedgerow.blocklists.list_parser import ParsedSource
from hedgerow.blocklists.url_index import BadfilterOrder

BLOCK_BYTES = 1 << 13
"""Bytes of a run that are read at a time.

Keys beyond the range wait for the next one, in each of perhaps a hundred runs.
"""
SAMPLE_BYTES = 12_000
"""Distance in bytes at which keys of a run are sampled, to choose the borders of the ranges."""
KEY_BYTES = 20
"""Length of a typical key, to estimate the number of keys in a run."""


def two_labels(key: str) -> str:
    """Return the first two labels of a key.

    Borders are cut to them, so that a host and its parents fall into one range.

    >>> two_labels("com.example.www.")
    'com.example.'
    """
    first = key.find(".")
    second = key.find(".", first + 1)
    return key[: second + 1] if second > 0 else key[: first + 1]


class KeyRun:
    """A run on disk, read range by range in ascending order."""

    def __init__(self, path: Path, entry: int) -> None:
        self.entry = entry
        self.size = path.stat().st_size
        self._file = path.open("rb")
        self._rest: list[str] = []

    def sample(self) -> list[str]:
        """Return keys at even distances, without reading the whole run."""
        keys = []
        for place in range(0, self.size, SAMPLE_BYTES):
            self._file.seek(place)
            if place:
                self._file.readline()
            if line := self._file.readline():
                keys.append(line.decode("ascii").rstrip("\n"))
        self._file.seek(0)
        return keys

    def take_until(self, border: str | None) -> list[str]:
        """Return the keys not yet taken that are below `border`, or all if it is None."""
        keys = self._rest
        while border is None or not keys or keys[-1] < border:
            block = self._file.read(BLOCK_BYTES) + self._file.readline()
            if not block:
                break
            keys += block.decode("ascii").split("\n")[:-1]
        cut = len(keys) if border is None else bisect.bisect_left(keys, border)
        self._rest = keys[cut:]
        del keys[cut:]
        return keys

    def close(self) -> None:
        self._file.close()


def choose_borders(runs: Sequence[KeyRun], keys_per_shard: int) -> list[str]:
    """Return ascending borders between ranges of about `keys_per_shard` keys each; none if one range is enough."""
    samples = sorted(key for run in runs for key in run.sample())
    total = sum(run.size for run in runs) // KEY_BYTES
    shards = max(1, -(-total // keys_per_shard))
    step = max(1, len(samples) // shards)
    return sorted({two_labels(key) for key in samples[step::step]} - {two_labels(samples[0])}) if shards > 1 else []


class SetTable:
    """Sets of entries and their numbers. Number 0 is the empty set."""

    def __init__(self) -> None:
        self.sets: list[tuple[int, ...]] = [()]
        self._numbers: dict[tuple[int, ...], int] = {(): 0}

    def number(self, entries: tuple[int, ...]) -> int:
        number = self._numbers.setdefault(entries, len(self.sets))
        if number == len(self.sets):
            self.sets.append(entries)
        return number

    def adding(self, entry: int) -> dict[int, int]:
        """Return a mapping from each set's number to the number of that set with `entry` added, filled on use."""
        return _Adding(self, entry)


class _Adding(dict[int, int]):
    def __init__(self, table: SetTable, entry: int) -> None:
        super().__init__()
        self._table, self._entry = table, entry

    def __missing__(self, number: int) -> int:
        entries = self._table.sets[number]
        self[number] = grown = self._table.number(tuple(sorted({*entries, self._entry})))
        return grown


def merge_range(runs: Sequence[KeyRun], border: str | None, table: SetTable) -> dict[str, int]:
    """Return all keys below `border` that were not yet taken, each with the number of the set of its entries."""
    merged: dict[str, int] = {}
    for run in runs:
        adding = table.adding(run.entry)
        keys = run.take_until(border)
        if not merged:
            merged = dict.fromkeys(keys, adding[0])
        else:
            get = merged.get
            for key in keys:
                merged[key] = adding[get(key, 0)]
    return merged


def apply_badfilters(
    merged: dict[str, int], table: SetTable, orders: Iterable[BadfilterOrder], categories: Sequence[str]
) -> None:
    """Remove from `merged` what the orders disable; `categories` has one per source."""
    for order in orders:
        number = merged.get(order.key, 0)
        entries = table.sets[number]
        left = tuple(entry for entry in entries if not _is_disabled(order, entry, entries, categories))
        if left:
            merged[order.key] = table.number(left)
        elif number:
            del merged[order.key]


def _is_disabled(order: BadfilterOrder, entry: int, entries: tuple[int, ...], categories: Sequence[str]) -> bool:
    index, part = divmod(entry, len(EntryKind))
    if categories[index] != order.category:
        return False
    if order.exception:
        return part == EntryKind.EXCEPT
    is_important = len(EntryKind) * index + EntryKind.IMPORTANT in entries
    return part in (EntryKind.BLOCK, EntryKind.IMPORTANT) and is_important == order.important


def fold_covered(merged: dict[str, int], table: SetTable) -> Iterator[tuple[str, int]]:
    """Yield the keys in order, without those whose set adds nothing to the sets of the keys that cover them."""
    covering: list[tuple[str, frozenset[int]]] = []
    known: dict[int, frozenset[int]] = {}
    for key in sorted(merged):
        while covering and not key.startswith(covering[-1][0]):
            covering.pop()
        number = merged[key]
        entries = known.get(number)
        if entries is None:
            entries = known[number] = frozenset(table.sets[number])
        if covering:
            above = covering[-1][1]
            if entries <= above:
                continue
            entries |= above
        covering.append((key, entries))
        yield key, number


KEYS_PER_SHARD = 50_000
"""Fewer make the compiler smaller and the index larger.

With 100,000 it takes 7 MB more, and an index of a million names 0.5 MB less.
"""
NUM_TRIES = 5  # more nested tries are smaller and slower; more than five gain nothing

KeyCounts = Counter[tuple[int, ...]]
"""The number of distinct keys per set, covered ones included."""


def write_host_index(
    parsed_sources: Sequence[ParsedSource],
    categories: Sequence[str],
    badfilters: Sequence[BadfilterOrder],
    folder: Path,
) -> tuple[HostIndexMeta, KeyCounts]:
    """Write the index of all sources into the new directory `folder`; `categories` has one for each. Raises OSError."""
    folder.mkdir()
    table, numbers, counts = SetTable(), array("I"), Counter[int]()
    shards: list[ShardMeta] = []
    runs = [
        KeyRun(run.path, len(EntryKind) * index + run.kind)
        for index, each in enumerate(parsed_sources)
        for run in each.runs
    ]
    try:
        borders = choose_borders(runs, KEYS_PER_SHARD)
        for first, border in zip(["", *borders], [*borders, None], strict=True):
            merged = merge_range(runs, border, table)
            apply_badfilters(merged, table, badfilters, categories)
            counts.update(merged.values())
            trie = f"hosts-{len(shards):03}.trie"
            in_shard = _write_trie(_fold(merged, table), folder / trie)
            shards.append(ShardMeta(first, trie, len(in_shard), len(numbers)))
            numbers += in_shard
    finally:
        for run in runs:
            run.close()
    set_bytes = _write_sets(folder / SETS_FILE, numbers, len(table.sets))
    totals = KeyCounts({table.sets[number]: count for number, count in counts.items()})
    return HostIndexMeta(tuple(table.sets), tuple(shards), set_bytes), totals


def _fold(merged: dict[str, int], table: SetTable) -> tuple[list[str], array[int]]:
    """Return the keys of a shard with the numbers of their sets. Empties `merged` to free memory for the trie."""
    keys, numbers = list[str](), array("I")
    for key, number in fold_covered(merged, table):
        keys.append(key)
        numbers.append(number)
    merged.clear()
    return keys, numbers


def _write_trie(folded: tuple[list[str], array[int]], path: Path) -> array[int]:
    """Build and save a shard's trie. Return the set number for each key id."""
    keys, of_keys = folded
    trie = marisa_trie.Trie(keys, num_tries=NUM_TRIES)
    trie.save(str(path))
    if not keys:
        return array("I")
    # Looking up each key's id costs more than everything else here, so the commonest set is filled in beforehand.
    commonest = Counter(of_keys).most_common(1)[0][0]
    numbers = array("I", [commonest]) * len(keys)
    for key, number in zip(keys, of_keys, strict=True):
        if number != commonest:
            numbers[trie.key_id(key)] = number
    return numbers


def _write_sets(path: Path, numbers: array[int], sets: int) -> int:
    """Write the set numbers as narrowly as possible. Return the bytes per number."""
    code = "B" if sets <= 1 << 8 else "H" if sets <= 1 << 16 else "I"
    narrow = array(code, numbers)
    with path.open("wb") as file:
        narrow.tofile(file)
    return narrow.itemsize
