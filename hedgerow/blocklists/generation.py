"""The directory of a compiled generation: its files, and the contents of `meta.json`.

    meta.json categories, sources, sets and shards: everything that a worker reads when it opens the generation hosts/
      hosts-000.trie      rule keys (`names.rule_key`) of one range; ranges and keys are sorted; mapped by marisa-trie
      sets.bin            the number of the set of each key id of each shard, 1, 2 or 4 bytes each, mapped
    urls/                 the URL rules (`url_index`)
    dns/                  likewise the rules about DNS questions ($dnstype, $dnsrewrite)
    names.json            patterns of host names, which no index can hold (`PatternKind.HOST_REGEX`)
    report.json           the compiler's report, for people
    texts/                the lists as they were compiled, for `rule_locator`
    checksums.json        checksums of all files but the texts, verified before a generation is used again

A set is a tuple of entries; an entry is `4 * index of the source + part`, see `EntryKind`.
"""

from __future__ import annotations

import json
import mmap
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import msgspec

FORMAT_VERSION = 11
"""Part of every version. Raise it when the files change, or when the same lists would compile to something else."""

META_FILE, SETS_FILE, REPORT, TEXTS = "meta.json", "sets.bin", "report.json", "texts"
HOSTS, URL_RULES, DNS_RULES, HOST_PATTERNS = "hosts", "urls", "dns", "names.json"
CHECKSUMS_FILE = "checksums.json"

ALL_CATEGORIES = "*"
"""The category of names that no list may block: its exceptions lift every category that can be blocked."""

_CHUNK_BYTES = 1 << 20


class EntryKind(IntEnum):
    """Effect of a source on a key."""

    BLOCK = 0  # the host belongs to the source's category
    EXCEPT = 1  # the host does not, whatever other lists of the category say
    URL = 2  # the source has rules about URLs of the host
    IMPORTANT = 3  # no exception of a list takes the host out of the source's category


@dataclass(frozen=True, slots=True)
class SourceMeta:
    """A source.

    `text` is the path of its copy inside the generation; `format` is the format it was read as; `parsed` is its entry
    in the parse cache, empty if it could not be read. If it `is_corrected`, its patterns and its rules without a host
    do not count for canaries.
    """

    name: str
    category: str
    format: str
    text: str
    parsed: str = ""
    is_corrected: bool = False


@dataclass(frozen=True, slots=True)
class ShardMeta:
    """A range of keys. `first` is its lowest key, cut to two labels; `offset` is its first index into sets.bin."""

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
    """Read the meta file.

    Raises OSError, or ValueError for a directory that another version of the compiler has written.
    """
    meta = msgspec.json.decode((generation / META_FILE).read_bytes(), type=GenerationMeta)
    if meta.layout != FORMAT_VERSION:
        raise ValueError(f"{generation}: not a generation of layout {FORMAT_VERSION}")
    return meta


def write_checksums(folder: Path, leave_out: Collection[str] = ()) -> None:
    """Write the checksums of every file beneath `folder`, except the files or folders `leave_out` in it.

    Raises OSError.
    """
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    checksums = {name: _checksum(folder / name) for name in names if name.partition("/")[0] not in leave_out}
    (folder / CHECKSUMS_FILE).write_text(json.dumps(checksums), encoding="ascii")


def matches_checksums(folder: Path) -> bool:
    """Return whether every file with a checksum is as it was written."""
    try:
        checksums = json.loads((folder / CHECKSUMS_FILE).read_text(encoding="ascii"))
        return bool(checksums) and all(_checksum(folder / name) == number for name, number in checksums.items())
    except (OSError, ValueError, AttributeError):
        return False


def _checksum(path: Path) -> int:
    number = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            number = zlib.crc32(chunk, number)
    return number


def map_file(path: Path) -> memoryview:
    """Map a file into memory, read-only. Raises OSError."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:  # an empty file cannot be mapped
            return memoryview(b"")
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
