"""The directory of a compiled generation: which files it holds and what `meta.json` says about them.

    meta.json             categories, sources, sets and shards: all that a worker reads at once
    hosts/
      hosts-000.trie      rule keys (`names.rule_key`) of one range, sorted ranges in sorted order, mapped by marisa-trie
      sets.bin            for each key id of each shard the number of its set, 1, 2 or 4 bytes each, mapped
    urls/                 the URL rules (`url_index`)
    dns/                  likewise those that are about DNS questions ($dnstype, $dnsrewrite)
    names.json            the rules about hosts' names that no index can hold (`DevicePlatform.HOST_REGEX`)
    report.json           the compiler's report, for people
    texts/                the lists as they were compiled, for `Catalogue.locate`
    checksums.json        of all files but the texts, looked at when a generation is taken up again (`checksums`)

A set is a tuple of entries; an entry is `4 * index of the source + part`, see `EntryKind`.
"""

from __future__ import annotations

import json
import mmap
import zlib
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import marisa_trie
import msgspec

from hedgerow.blocklists.categories import CategoryKind, builtin_categories

FORMAT_VERSION = 7
"""Raised when the files change, or when the same lists would compile to something else: it is part of every version."""

META_FILE, SETS_FILE, REPORT, TEXTS = "meta.json", "sets.bin", "report.json", "texts"
HOSTS, URL_RULES, DNS_RULES, HOST_PATTERNS = "hosts", "urls", "dns", "names.json"

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
    """A source. `text` is the path of its copy inside the generation; `format` is the format it was read as; `parsed` is its entry in the
    parse cache, empty if it could not be read."""

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
    """The index of hosts. `set_bytes` is the width of a number in sets.bin."""

    sets: tuple[tuple[int, ...], ...]
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
    """The contents of `meta.json`."""

    version: str
    categories: tuple[str, ...]
    sources: tuple[SourceMeta, ...]
    hosts: HostIndexMeta
    layout: int = FORMAT_VERSION


def write_meta(generation: Path, meta: GenerationMeta) -> None:
    (generation / META_FILE).write_bytes(msgspec.json.encode(meta))


def read_meta(generation: Path) -> GenerationMeta:
    """Read the meta file. Raises OSError, or ValueError for a directory that another version of the compiler has written."""
    meta = msgspec.json.decode((generation / META_FILE).read_bytes(), type=GenerationMeta)
    if meta.layout != FORMAT_VERSION:
        raise ValueError(f"{generation}: not a generation of layout {FORMAT_VERSION}")
    return meta


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
    """The names of one range. `offset` is the place of its first set number in sets.bin."""

    trie: marisa_trie.Trie
    offset: int


@dataclass(frozen=True, slots=True)
class HostIndex:
    """The index of hosts, mapped. For each set's number a mask of categories: those it `blocks` and `lifts`, those with rules about
    URLs (`urls`), those that no list's exception lifts (`keeps`) and those that no list may block (`spares`)."""

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
    def open(cls, folder: Path, meta: GenerationMeta, bits: dict[str, int]) -> HostIndex:
        index = meta.hosts
        shards = [HostShard(marisa_trie.Trie().mmap(str(folder / shard.trie)), shard.offset) for shard in index.shards]
        borders = [shard.first for shard in index.shards[1:]]
        numbers = _map_numbers(folder / SETS_FILE, index.set_bytes)
        if len(numbers) != index.keys:
            raise ValueError(f"{folder / SETS_FILE}: {len(numbers)} numbers for {index.keys} keys")
        return cls(shards, borders, numbers, index.sets, *_masks_of_sets(meta, bits))

    def keys_with(self, key: str) -> Iterator[tuple[str, int]]:
        """The keys that a key begins with, the shortest first, each with the number of its set."""
        shard = self.shards[bisect_right(self.borders, key)]
        for found, key_id in shard.trie.iter_prefixes_with_ids(key):
            yield found, self.numbers[shard.offset + key_id]

    def has_keys(self, prefix: str) -> bool:
        return any(True for shard in self.shards for _key in shard.trie.iterkeys(prefix))


def _masks_of_sets(meta: GenerationMeta, bits: dict[str, int]) -> tuple[list[int], ...]:
    """For each set which categories it blocks, lifts, has rules about URLs of, keeps from being lifted and from being blocked."""
    good = {category.name for category in builtin_categories() if category.kind == CategoryKind.GOOD}
    masks = {**bits, ALL_CATEGORIES: sum(bit for name, bit in bits.items() if name not in good)}
    columns: tuple[list[int], ...] = ([], [], [], [], [])
    for entries in meta.hosts.sets:
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
