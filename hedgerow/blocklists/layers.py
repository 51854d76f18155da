"""Layers of a generation: written anew, or those of the generation before, less the sources that changed since."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import marisa_trie

from hedgerow.blocklists.generation import SETS, LayerMeta, Meta, Part, ShardMeta, SourceMeta, TakenBack
from hedgerow.blocklists.intake import Intake
from hedgerow.blocklists.merge import KeyRun, SetTable, choose_borders, fold_covered, merge_range, take_back
from hedgerow.blocklists.parsed import link_or_copy

KEYS_A_SHARD = 100_000
"""Fewer would take less memory to compile and a larger index."""
NUM_TRIES = 5  # more nested tries are smaller and slower; beyond five nothing is gained

WORTH_KEEPING = 50_000
"""Fewer keys than this are compiled in the time that it takes to think about it."""
LARGEST_CHANGE = 0.25
"""Of the keys of layer-0: beyond it, look-ups in two layers cost more than one compile."""

Totals = Counter[tuple[int, ...]]
"""How many distinct keys there are of each set."""


@dataclass(frozen=True, slots=True)
class Content:
    """What goes into layers: what was taken in from each source, its category, and what lists take back."""

    intakes: Sequence[Intake]
    categories: Sequence[str]
    taken_back: tuple[TakenBack, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """`kept` maps each index of a source in the old layer-0 that stays there to its new index; the others are written anew."""

    generation: Path
    layer: LayerMeta
    kept: Mapping[int, int]


def plan_reuse(sources: Sequence[SourceMeta], content: Content, generation: Path, old: Meta) -> Plan | None:
    """What of the generation before can be used again; None if a full compile is the better way."""
    if old.taken_back != content.taken_back:
        return None
    layer, intakes = old.layers[0], content.intakes
    places = {(source.name, source.category, source.parsed): index for index, source in enumerate(sources) if source.parsed}
    before = {index: old.sources[index] for index in layer.sources}
    found = {index: places.get((source.name, source.category, source.parsed)) for index, source in before.items()}
    kept = {index: now for index, now in found.items() if now is not None}
    staying = sum(intakes[now].keys for now in kept.values())
    changed = sum(intake.keys for intake in intakes) - staying
    total = sum(layer.counts)
    if staying < WORTH_KEEPING or changed > LARGEST_CHANGE * staying or staying < (1 - LARGEST_CHANGE) * total:
        return None
    return Plan(generation, layer, kept)


def write_whole(content: Content, building: Path) -> tuple[tuple[LayerMeta, ...], Totals]:
    """One layer of all sources."""
    layer, totals = _write_layer(range(len(content.intakes)), content, building, "layer-0", None)
    return (layer,), totals


def write_change(plan: Plan, content: Content, building: Path) -> tuple[tuple[LayerMeta, ...], Totals]:
    """The old layer-0 without what changed, and a second layer of that."""
    base = _link_layer(plan, building)
    changed = [index for index in range(len(content.intakes)) if index not in set(base.sources)]
    layer, totals = _write_layer(changed, content, building, "layer-1", base)
    return (base, layer), totals


def _link_layer(plan: Plan, building: Path) -> LayerMeta:
    old = plan.layer
    (building / "layer-0").mkdir()
    for name in (SETS, *(shard.trie for shard in old.shards)):
        link_or_copy(plan.generation / old.folder / name, building / "layer-0" / name)
    sets = tuple(_renumbered(entries, plan.kept) for entries in old.sets)
    return LayerMeta("layer-0", tuple(sorted(plan.kept.values())), sets, old.counts, old.shards, old.set_bytes)


def _renumbered(entries: tuple[int, ...], kept: Mapping[int, int]) -> tuple[int, ...]:
    parts = (divmod(entry, len(Part)) for entry in entries)
    return tuple(sorted(len(Part) * kept[index] + part for index, part in parts if index in kept))


def _write_layer(members: Sequence[int], content: Content, building: Path, folder: str, base: LayerMeta | None) -> tuple[LayerMeta, Totals]:
    (building / folder).mkdir()
    table, numbers, counts = SetTable(), array("I"), Counter[int]()
    shards: list[ShardMeta] = []
    totals = Totals() if base is None else _totals_of(base)
    runs, others = _open_runs(members, content.intakes), _open_runs(base.sources, content.intakes) if base else []
    try:
        borders = choose_borders(runs, KEYS_A_SHARD) if runs else []
        for first, border in zip(["", *borders], [*borders, None], strict=True):
            merged = merge_range(runs, border, table)
            take_back(merged, table, content.taken_back, content.categories)
            counts.update(merged.values())
            _add_totals(totals, merged, table, _elsewhere(merged, others, border, content))
            trie = f"hosts-{len(shards):03}.trie"
            in_shard = _write_trie(_fold(merged, table), building / folder / trie)
            shards.append(ShardMeta(first, trie, len(in_shard), len(numbers)))
            numbers += in_shard
    finally:
        for run in (*runs, *others):
            run.close()
    set_bytes = _write_sets(building / folder / SETS, numbers, len(table.sets))
    in_order = tuple(counts[number] for number in range(len(table.sets)))
    return LayerMeta(folder, tuple(members), tuple(table.sets), in_order, tuple(shards), set_bytes), totals


def _open_runs(members: Sequence[int], intakes: Sequence[Intake]) -> list[KeyRun]:
    return [KeyRun(run.path, len(Part) * index + run.part) for index in members for run in intakes[index].runs]


def _totals_of(layer: LayerMeta) -> Totals:
    totals = Totals()
    for entries, count in zip(layer.sets, layer.counts, strict=True):
        totals[entries] += count
    return totals


def _elsewhere(merged: dict[str, int], others: Sequence[KeyRun], border: str | None, content: Content) -> tuple[dict[str, int], SetTable]:
    """What sources of the other layer say of the keys of a range."""
    found, table = dict[str, int](), SetTable()
    for run in others:
        adding = table.adding(run.entry)
        for key in merged.keys() & run.take_until(border):
            found[key] = adding[found.get(key, 0)]
    take_back(found, table, content.taken_back, content.categories)
    return found, table


def _add_totals(totals: Totals, merged: dict[str, int], table: SetTable, others: tuple[dict[str, int], SetTable]) -> None:
    """Adds the keys of a range; a key that sources of the other layer name too is moved from their set to the union."""
    elsewhere, both = others
    pairs = Counter(zip(merged.values(), map(elsewhere.get, merged), strict=True)) if elsewhere else None
    if pairs is None:
        for number, count in Counter(merged.values()).items():
            totals[table.sets[number]] += count
        return
    for (number, other), count in pairs.items():
        known = both.sets[other or 0]
        if known:
            totals[known] -= count
        totals[tuple(sorted({*table.sets[number], *known}))] += count


def _fold(merged: dict[str, int], table: SetTable) -> tuple[list[str], array[int]]:
    """The keys of a shard and the number of the set of each; empties `merged`, since building a trie of them takes memory enough."""
    keys, numbers = list[str](), array("I")
    for key, number in fold_covered(merged, table):
        keys.append(key)
        numbers.append(number)
    merged.clear()
    return keys, numbers


def _write_trie(folded: tuple[list[str], array[int]], path: Path) -> array[int]:
    """Builds and saves a shard's trie. Returns the set number for each key id."""
    keys, of_keys = folded
    trie = marisa_trie.Trie(keys, num_tries=NUM_TRIES)
    trie.save(str(path))
    if not keys:
        return array("I")
    # Asking the trie for each key's id costs more than all else here, so the commonest set is filled in beforehand.
    commonest = Counter(of_keys).most_common(1)[0][0]
    numbers = array("I", [commonest]) * len(keys)
    for key, number in zip(keys, of_keys, strict=True):
        if number != commonest:
            numbers[trie.key_id(key)] = number
    return numbers


def _write_sets(path: Path, numbers: array[int], sets: int) -> int:
    """Writes the set numbers as narrow as they allow. Returns the bytes that each takes."""
    code = "B" if sets <= 1 << 8 else "H" if sets <= 1 << 16 else "I"
    narrow = array(code, numbers)
    with path.open("wb") as file:
        narrow.tofile(file)
    return narrow.itemsize
