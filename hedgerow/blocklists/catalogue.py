"""The compiled lists, mapped: what is this host, what is this URL? Read-only, shared by all workers through the page cache."""

from __future__ import annotations

import json
import mmap
import operator
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path

import marisa_trie

from hedgerow.blocklists.categories import CategoryKind, builtin_categories
from hedgerow.blocklists.generation import EVERY, SETS, URLS, LayerMeta, Meta, Part, read_meta
from hedgerow.blocklists.locate import find_host
from hedgerow.blocklists.names import host_of_key, host_of_url, parse_host, parse_url, rule_key
from hedgerow.blocklists.rules import Origin, UrlRule
from hedgerow.blocklists.urls import UrlMatcher

ADS = "ads-trackers"


@dataclass(frozen=True, slots=True)
class HostMatch:
    """A source that names a host or one of its parents, `domain`, as being of a category."""

    category: str
    source: str
    domain: str


@dataclass(frozen=True, slots=True)
class UrlMatch:
    """A rule about URLs that matched."""

    category: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class _Shard:
    trie: marisa_trie.Trie
    offset: int


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer, mapped. `blocks`, `lifts` and `urls` say for each set's number which categories it gives, which it takes away,
    and whether there are rules about URLs."""

    shards: list[_Shard]
    borders: list[str]
    numbers: Sequence[int]
    sets: tuple[tuple[int, ...], ...]
    blocks: list[int]
    lifts: list[int]
    urls: list[bool]

    @classmethod
    def open(cls, folder: Path, meta: Meta, layer: LayerMeta, bits: dict[str, int]) -> _Layer:
        shards = [_Shard(marisa_trie.Trie().mmap(str(folder / shard.trie)), shard.offset) for shard in layer.shards]
        borders = [shard.first for shard in layer.shards[1:]]
        return cls(shards, borders, _map_numbers(folder / SETS, layer.set_bytes), layer.sets, *_masks_of_sets(meta, layer, bits))


class Catalogue:
    """Open with `Catalogue.open`. `categories[i]` is what bit i of a mask stands for.

    Hosts are canonical (`names.parse_host`). An exception in a list (`@@||host^`) lifts its category from a host and its
    subdomains, whichever list of that category names them.
    """

    def __init__(self, generation: Path, meta: Meta) -> None:
        self._generation, self._meta = generation, meta
        self.categories = meta.categories
        self.version = meta.version
        self._bits = {name: 1 << index for index, name in enumerate(meta.categories)}
        self._layers = [_Layer.open(generation / layer.folder, meta, layer, self._bits) for layer in meta.layers]

    @classmethod
    def open(cls, generation: Path) -> Catalogue:
        """Raises OSError or ValueError for a directory that is no generation."""
        return cls(generation, read_meta(generation))

    def mask_of(self, names: Iterable[str]) -> int:
        """The mask of categories; a name that no list and no taxonomy knows stands for nothing."""
        return reduce(operator.or_, (self._bits.get(name, 0) for name in names), 0)

    def names_of(self, mask: int) -> tuple[str, ...]:
        """The categories of a mask."""
        return tuple(name for name, bit in self._bits.items() if mask & bit)

    def host_mask(self, host: str) -> int:
        """The categories of a host and all its parents; 0 if none is known."""
        key = ".".join(host.split(".")[::-1]) + ".$"
        block = lift = 0
        for layer in self._layers:
            shard = layer.shards[bisect_right(layer.borders, key)]
            for _key, key_id in shard.trie.iter_prefixes_with_ids(key):
                number = layer.numbers[shard.offset + key_id]
                block |= layer.blocks[number]
                lift |= layer.lifts[number]
        return block & ~lift

    def has_url_rules(self, host: str) -> bool:
        """Whether a list has rules about URLs of this host or a parent. Rules that name no host do not count."""
        return any(layer.urls[number] for _key, layer, number in self._keys_of(host))

    def host_sources(self, host: str) -> tuple[HostMatch, ...]:
        """Every source that gives the host a category, the shortest domain first; none for a category that is lifted."""
        mask = self.host_mask(host)
        found = []
        for key, layer, number in sorted(self._keys_of(host), key=lambda found: len(found[0])):
            for entry in layer.sets[number]:
                index, part = divmod(entry, len(Part))
                source = self._meta.sources[index]
                if part == Part.BLOCK and mask & self._bits[source.category]:
                    found.append(HostMatch(source.category, source.name, host_of_key(key)))
        return tuple(found)

    def match_url(self, url: str, resource: str = "", initiator: str = "", mask: int = -1) -> UrlMatch | None:
        """The first rule about URLs that matches, of the categories in `mask`. Rules about whole hosts are `host_mask`'s."""
        return next(iter(self.match_urls(url, resource, initiator, mask)), None)

    def match_urls(self, url: str, resource: str = "", initiator: str = "", mask: int = -1) -> tuple[UrlMatch, ...]:
        """One matching rule for each category in `mask` that has one.

        `resource` is the request's Sec-Fetch-Dest; `initiator` is for rules with modifiers, none of which is compiled yet.
        """
        del initiator
        canonical = parse_url(url)
        found = self._matcher.find_all(canonical) if canonical is not None else []
        if not found:
            return ()
        for _key, layer, number in self._keys_of(host_of_url(url) or ""):
            mask &= ~layer.lifts[number]
        return tuple(
            UrlMatch(self.categories[one.category], Origin(self._meta.sources[one.source].name, one.rule.line, one.rule.text))
            for one in found
            if mask >> one.category & 1 and self._applies_to(resource, one.source)
        )

    def _applies_to(self, resource: str, source: int) -> bool:
        """An ad blocker's rule is about what pages load, not about a page that somebody opens, unless it says so."""
        meta = self._meta.sources[source]
        return not (resource == "document" and meta.category == ADS and meta.format == "adblock")

    def locate(self, host_or_url: str, category: str) -> Origin | None:
        """Which line of which list gives a host or URL its category. Slow: it reads the kept copy of the list."""
        host = parse_host(host_or_url)
        if host is None:
            match = self.match_url(host_or_url, mask=self.mask_of([category]))
            if match is not None:
                return match.origin
            host = host_of_url(host_or_url)
        return self._locate_host(host, category) if host else None

    def _locate_host(self, host: str, category: str) -> Origin | None:
        for match in self.host_sources(host):
            if match.category == category:
                source = next(source for source in self._meta.sources if source.name == match.source)
                found = find_host(self._generation / source.text, source.format, match.domain)
                line, text = found or (None, "")
                return Origin(source.name, line, text)
        return None

    def _keys_of(self, host: str) -> Iterator[tuple[str, _Layer, int]]:
        """The keys that match a host, each with its layer and the number of its set there."""
        key = rule_key(host, exact=True)
        for layer in self._layers:
            shard = layer.shards[bisect_right(layer.borders, key)]
            for found, key_id in shard.trie.iter_prefixes_with_ids(key):
                yield found, layer, layer.numbers[shard.offset + key_id]

    @cached_property
    def _matcher(self) -> UrlMatcher:
        return UrlMatcher(self._load_url_rules())

    def _load_url_rules(self) -> Iterator[tuple[UrlRule, int, int]]:
        bits = {name: index for index, name in enumerate(self.categories)}
        with (self._generation / URLS).open(encoding="utf-8") as lines:
            for line in lines:
                data = json.loads(line)
                source = data.pop("source")
                yield UrlRule(**data), bits[self._meta.sources[source].category], source


def _masks_of_sets(meta: Meta, layer: LayerMeta, bits: dict[str, int]) -> tuple[list[int], list[int], list[bool]]:
    """For each set what it blocks, what it lifts, and whether it has rules about URLs."""
    good = {category.name for category in builtin_categories() if category.kind == CategoryKind.GOOD}
    masks = {**bits, EVERY: sum(bit for name, bit in bits.items() if name not in good)}
    blocks, lifts, urls = [], [], []
    for entries in layer.sets:
        found = dict.fromkeys(Part, 0)
        for entry in entries:
            index, part = divmod(entry, len(Part))
            found[Part(part)] |= masks[meta.sources[index].category]
        blocks.append(found[Part.BLOCK])
        lifts.append(found[Part.EXCEPT])
        urls.append(found[Part.URL] != 0)
    return blocks, lifts, urls


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
