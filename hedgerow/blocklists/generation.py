"""The directory of a compiled generation: which files it holds and what `meta.json` says about them.

    meta.json             categories, sources, layers: all that a worker reads at once
    layer-0/
      hosts-000.trie      rule keys (`names.rule_key`) of one range, sorted ranges in sorted order, mapped by marisa-trie
      sets.bin            for each key id of each shard the number of its set, 1, 2 or 4 bytes each, mapped
    layer-1/              as layer-0: sources that changed after layer-0 was built, if any
    urls/                 the URL rules (`url_index`)
    dns/                  likewise those that are about DNS questions ($dnstype, $dnsrewrite)
    names.json            the rules about hosts' names that no index can hold (`DevicePlatform.HOST_REGEX`)
    report.json           the compiler's report, for people
    texts/                the lists as they were compiled, for `Catalogue.locate`
    checksums.json        of all files but the texts, looked at when a generation is taken up again (`checksums`)

A set is a tuple of entries; an entry is `4 * index of the source + part`, see `EntryKind`. Every source is in one layer only, so
what is known of a host is the union over the layers. When a source changes, the files of layer-0 are linked into the new
generation, the source's entries are left out of its sets, and the source goes into layer-1: no trie of the others is built
again. Nothing that was folded away is missed then: what covered it still holds every entry of it that is left.
"""

from __future__ import annotations

import json
import mmap
import zlib
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

import marisa_trie

from hedgerow.blocklists.categories import CategoryKind, builtin_categories

FORMAT_VERSION = 6
"""Raised when the files change, or when the same lists would compile to something else: it is part of every version."""

META_FILE, SETS_FILE, REPORT, TEXTS = "meta.json", "sets.bin", "report.json", "texts"
URL_RULES, DNS_RULES, HOST_PATTERNS = "urls", "dns", "names.json"

ALL_CATEGORIES = "*"
"""The category of names that no list may block: an exception of it lifts every category that is there to be blocked."""


class EntryKind(IntEnum):
    """What a source says about a key."""

    BLOCK = 0  # the host belongs to the source's category
    EXCEPT = 1  # the host does not, whatever other lists of the category say
    URL = 2  # the source has rules about URLs of the host
    IMPORTANT = 3  # no exception of a list takes the host out of the source's category


@dataclass(frozen=True, slots=True)
class SourceMeta:
    """`text` is the kept copy's path inside the generation; `format` is what the list was read as; `parsed` names what it
    was parsed to, so that two generations can tell whether a source is the same, and is empty if it could not be read."""

    name: str
    category: str
    format: str
    text: str
    parsed: str = ""


@dataclass(frozen=True, slots=True)
class ShardMeta:
    """`first` is the lowest key of the shard's range, cut to two labels; `offset` counts entries of sets.bin."""

    first: str
    trie: str
    keys: int
    offset: int


@dataclass(frozen=True, slots=True)
class HostIndexMeta:
    """`sources` are the indices of the sources in the layer. `counts[n]` is how many keys had the set `sets[n]` when the
    layer was built, those that were folded away included."""

    folder: str
    sources: tuple[int, ...]
    sets: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]
    shards: tuple[ShardMeta, ...]
    set_bytes: int

    @property
    def keys(self) -> int:
        return sum(shard.keys for shard in self.shards)


class BadfilterOrder(NamedTuple):
    """An order of a list to take a name out of the index: the block, or the exception, by which lists of a category name the key."""

    category: str
    key: str
    exception: bool
    important: bool


@dataclass(frozen=True, slots=True)
class GenerationMeta:
    """`taken_back` is what the layers were built without."""

    version: str
    categories: tuple[str, ...]
    sources: tuple[SourceMeta, ...]
    layers: tuple[HostIndexMeta, ...]
    badfilters: tuple[BadfilterOrder, ...] = ()


def write_meta(generation: Path, meta: GenerationMeta) -> None:
    text = json.dumps({"layout": FORMAT_VERSION, **asdict(meta)}, ensure_ascii=False, separators=(",", ":"))
    (generation / META_FILE).write_text(text, encoding="utf-8")


def read_meta(generation: Path) -> GenerationMeta:
    """Raises OSError, or ValueError for a directory that was written by another version of the compiler."""
    data = json.loads((generation / META_FILE).read_text(encoding="utf-8"))
    if data.pop("layout", None) != FORMAT_VERSION:
        raise ValueError(f"{generation}: not a generation of layout {FORMAT_VERSION}")
    return GenerationMeta(
        version=data["version"],
        categories=tuple(data["categories"]),
        sources=tuple(SourceMeta(**source) for source in data["sources"]),
        layers=tuple(_read_host_index_meta(layer) for layer in data["layers"]),
        badfilters=tuple(BadfilterOrder(*order) for order in data["badfilters"]),
    )


def _read_host_index_meta(data: dict[str, Any]) -> HostIndexMeta:
    return HostIndexMeta(
        folder=data["folder"],
        sources=tuple(data["sources"]),
        sets=tuple(tuple(entries) for entries in data["sets"]),
        counts=tuple(data["counts"]),
        shards=tuple(ShardMeta(**shard) for shard in data["shards"]),
        set_bytes=data["set_bytes"],
    )


CHECKSUMS_FILE = "checksums.json"
_PIECE = 1 << 20


def write_checksums(folder: Path, leave_out: Collection[str] = ()) -> None:
    """Of every file in and beneath `folder`, but for the files or folders `leave_out` in it. Raises OSError."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    kept = {name: _checksum(folder / name) for name in names if name.partition("/")[0] not in leave_out}
    (folder / CHECKSUMS_FILE).write_text(json.dumps(kept), encoding="ascii")


def matches_checksums(folder: Path) -> bool:
    """Whether every file that has a checksum is what it was when it was written."""
    try:
        kept = json.loads((folder / CHECKSUMS_FILE).read_text(encoding="ascii"))
        return bool(kept) and all(_checksum(folder / name) == number for name, number in kept.items())
    except (OSError, ValueError, AttributeError):
        return False


def _checksum(path: Path) -> int:
    number = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            number = zlib.crc32(piece, number)
    return number


@dataclass(frozen=True, slots=True)
class HostShard:
    """The names of one range. `offset` is the place of its first set number among the layer's."""

    trie: marisa_trie.Trie
    offset: int


@dataclass(frozen=True, slots=True)
class HostIndex:
    """A layer, mapped. `blocks`, `lifts`, `urls`, `keeps` and `spares` say for each set's number which categories it gives, which it
    takes away, for which there are rules about URLs, which no exception of a list takes away, and which no list may give."""

    shards: list[HostShard]
    borders: list[str]
    numbers: Sequence[int]
    sets: tuple[tuple[int, ...], ...]
    blocks: list[int]
    lifts: list[int]
    urls: list[int]
    keeps: list[int]
    spares: list[int]

    @classmethod
    def open(cls, folder: Path, meta: GenerationMeta, layer: HostIndexMeta, bits: dict[str, int]) -> HostIndex:
        shards = [HostShard(marisa_trie.Trie().mmap(str(folder / shard.trie)), shard.offset) for shard in layer.shards]
        borders = [shard.first for shard in layer.shards[1:]]
        numbers = _map_numbers(folder / SETS_FILE, layer.set_bytes)
        if len(numbers) != layer.keys:
            raise ValueError(f"{folder / SETS_FILE}: {len(numbers)} numbers for {layer.keys} keys")
        return cls(shards, borders, numbers, layer.sets, *_masks_of_sets(meta, layer, bits))

    def keys_with(self, key: str) -> Iterator[tuple[str, int]]:
        """The keys that a key begins with, the shortest first, each with the number of its set."""
        shard = self.shards[bisect_right(self.borders, key)]
        for found, key_id in shard.trie.iter_prefixes_with_ids(key):
            yield found, self.numbers[shard.offset + key_id]

    def has_keys(self, prefix: str) -> bool:
        return any(True for shard in self.shards for _key in shard.trie.iterkeys(prefix))


def _masks_of_sets(meta: GenerationMeta, layer: HostIndexMeta, bits: dict[str, int]) -> tuple[list[int], ...]:
    """For each set which categories it blocks, lifts, has rules about URLs of, keeps from being lifted and from being blocked."""
    good = {category.name for category in builtin_categories() if category.kind == CategoryKind.GOOD}
    masks = {**bits, ALL_CATEGORIES: sum(bit for name, bit in bits.items() if name not in good)}
    columns: tuple[list[int], ...] = ([], [], [], [], [])
    for entries in layer.sets:
        found, spared = dict.fromkeys(EntryKind, 0), 0
        for entry in entries:
            index, part = divmod(entry, len(EntryKind))
            category = meta.sources[index].category
            found[EntryKind(part)] |= masks[category]
            spared |= masks[ALL_CATEGORIES] if category == ALL_CATEGORIES and part == EntryKind.EXCEPT else 0
        for column, mask in zip(columns, (*(found[part] for part in _COLUMNS), spared), strict=True):
            column.append(mask)
    return columns


_COLUMNS = (EntryKind.BLOCK, EntryKind.EXCEPT, EntryKind.URL, EntryKind.IMPORTANT)


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
