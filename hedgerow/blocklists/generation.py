"""The directory of a compiled generation: which files it holds and what `meta.json` says about them.

    meta.json        categories, sources, sets, shards: all that a worker reads at once
    hosts-000.trie   rule keys (`names.rule_key`) of one range, sorted ranges in sorted order, mapped by marisa-trie
    sets.bin         for each key id of each shard the number of its set, 1, 2 or 4 bytes each, mapped
    urls.jsonl       the URL rules
    report.json      the compiler's report, for people
    texts/           the lists as they were compiled, for `Catalogue.locate`

A set is a tuple of entries; an entry is `3 * index of the source + part`, see `Part`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from enum import IntEnum
from pathlib import Path

LAYOUT = 1
"""Raised when the files change, or when the same lists would compile to something else: it is part of every version."""

META, SETS, URLS, REPORT, TEXTS = "meta.json", "sets.bin", "urls.jsonl", "report.json", "texts"


class Part(IntEnum):
    """What a source says about a key."""

    BLOCK = 0  # the host belongs to the source's category
    EXCEPT = 1  # the host does not, whatever other lists of the category say
    URL = 2  # the source has rules about URLs of the host


@dataclass(frozen=True, slots=True)
class SourceMeta:
    """`text` is the kept copy's path inside the generation; `format` is what the list was read as."""

    name: str
    category: str
    format: str
    text: str


@dataclass(frozen=True, slots=True)
class ShardMeta:
    """`first` is the lowest key of the shard's range, cut to two labels; `offset` counts entries of sets.bin."""

    first: str
    trie: str
    keys: int
    offset: int


@dataclass(frozen=True, slots=True)
class Meta:
    version: str
    categories: tuple[str, ...]
    sources: tuple[SourceMeta, ...]
    sets: tuple[tuple[int, ...], ...]
    shards: tuple[ShardMeta, ...]
    set_bytes: int


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
        sets=tuple(tuple(entries) for entries in data["sets"]),
        shards=tuple(ShardMeta(**shard) for shard in data["shards"]),
        set_bytes=data["set_bytes"],
    )


def prune_generations(folder: Path, keep: Path) -> None:
    """Removes every generation in `folder` but `keep`, and what compilers that were killed left there.

    A worker that still has an old one mapped goes on with it: its files live until they are unmapped. Must not run beside a
    compiler that writes into the same folder.
    """
    for path in folder.iterdir():
        is_generation = (path / META).is_file() or (path / TEXTS).is_dir()
        if path.is_dir() and is_generation and path.resolve() != keep.resolve():
            shutil.rmtree(path, ignore_errors=True)
