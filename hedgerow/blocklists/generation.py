"""The directory of a compiled generation: which files it holds and what `meta.json` says about them.

    meta.json             categories, sources, layers: all that a worker reads at once
    layer-0/
      hosts-000.trie      rule keys (`names.rule_key`) of one range, sorted ranges in sorted order, mapped by marisa-trie
      sets.bin            for each key id of each shard the number of its set, 1, 2 or 4 bytes each, mapped
    layer-1/              as layer-0: sources that changed after layer-0 was built, if any
    urls/                 the URL rules (`url_index`)
    askers/               likewise those that also hang on who asks, or for which type of record
    names.json            the rules about hosts' names that no index can hold (`Kind.HOST_REGEX`)
    report.json           the compiler's report, for people
    texts/                the lists as they were compiled, for `Catalogue.locate`
    checksums.json        of all files but the texts, looked at when a generation is taken up again (`checksums`)

A set is a tuple of entries; an entry is `4 * index of the source + part`, see `Part`. Every source is in one layer only, so
what is known of a host is the union over the layers. When a source changes, the files of layer-0 are linked into the new
generation, the source's entries are left out of its sets, and the source goes into layer-1: no trie of the others is built
again. Nothing that was folded away is missed then: what covered it still holds every entry of it that is left.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

LAYOUT = 5
"""Raised when the files change, or when the same lists would compile to something else: it is part of every version."""

META, SETS, REPORT, TEXTS = "meta.json", "sets.bin", "report.json", "texts"
URLS, ASKERS, NAMES = "urls", "askers", "names.json"

EVERY = "*"
"""The category of names that no list may block: an exception of it lifts every category that is there to be blocked."""


class Part(IntEnum):
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
class LayerMeta:
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


class TakenBack(NamedTuple):
    """An order of a list to take a name out of the index: the block, or the exception, by which lists of a category name the key."""

    category: str
    key: str
    exception: bool
    important: bool


@dataclass(frozen=True, slots=True)
class Meta:
    """`taken_back` is what the layers were built without."""

    version: str
    categories: tuple[str, ...]
    sources: tuple[SourceMeta, ...]
    layers: tuple[LayerMeta, ...]
    taken_back: tuple[TakenBack, ...] = ()


def write_meta(generation: Path, meta: Meta) -> None:
    text = json.dumps({"layout": LAYOUT, **asdict(meta)}, ensure_ascii=False, separators=(",", ":"))
    (generation / META).write_text(text, encoding="utf-8")


def read_meta(generation: Path) -> Meta:
    """Raises OSError, or ValueError for a directory that was written by another version of the compiler."""
    data = json.loads((generation / META).read_text(encoding="utf-8"))
    if data.pop("layout", None) != LAYOUT:
        raise ValueError(f"{generation}: not a generation of layout {LAYOUT}")
    return Meta(
        version=data["version"],
        categories=tuple(data["categories"]),
        sources=tuple(SourceMeta(**source) for source in data["sources"]),
        layers=tuple(_read_layer(layer) for layer in data["layers"]),
        taken_back=tuple(TakenBack(*order) for order in data["taken_back"]),
    )


def _read_layer(data: dict[str, Any]) -> LayerMeta:
    return LayerMeta(
        folder=data["folder"],
        sources=tuple(data["sources"]),
        sets=tuple(tuple(entries) for entries in data["sets"]),
        counts=tuple(data["counts"]),
        shards=tuple(ShardMeta(**shard) for shard in data["shards"]),
        set_bytes=data["set_bytes"],
    )
