"""The compiled lists, mapped: what is this host, what is this URL? Read-only, shared by all workers through the page cache."""

from __future__ import annotations

import mmap
import operator
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import marisa_trie

from hedgerow.blocklists.categories import CategoryKind, builtin_categories
from hedgerow.blocklists.generation import EVERY, SETS, URLS, LayerMeta, Meta, Part, SourceMeta, read_meta
from hedgerow.blocklists.locate import find_host
from hedgerow.blocklists.names import (
    embedded_ipv4,
    host_of_key,
    host_of_url,
    is_address,
    network_key,
    parse_host,
    parse_network,
    rule_key,
    split_url,
)
from hedgerow.blocklists.patterns import compile_set
from hedgerow.blocklists.rules import Origin
from hedgerow.blocklists.seals import host_expressions, seal, seal_key, url_expressions
from hedgerow.blocklists.url_index import ROWS
from hedgerow.blocklists.urls import Asked, Found, Rule, UrlMatcher

ADS = "ads-trackers"
_ABOUT_CLIENTS = (b"$client=", b",client=")
_ABOUT_QUESTIONS = (b"$dnstype=", b",dnstype=")


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
    """A layer, mapped. `blocks`, `lifts`, `urls` and `keeps` say for each set's number which categories it gives, which it takes
    away, for which there are rules about URLs, and which no exception of a list takes away."""

    shards: list[_Shard]
    borders: list[str]
    numbers: Sequence[int]
    sets: tuple[tuple[int, ...], ...]
    blocks: list[int]
    lifts: list[int]
    urls: list[int]
    keeps: list[int]

    @classmethod
    def open(cls, folder: Path, meta: Meta, layer: LayerMeta, bits: dict[str, int]) -> _Layer:
        shards = [_Shard(marisa_trie.Trie().mmap(str(folder / shard.trie)), shard.offset) for shard in layer.shards]
        borders = [shard.first for shard in layer.shards[1:]]
        return cls(shards, borders, _map_numbers(folder / SETS, layer.set_bytes), layer.sets, *_masks_of_sets(meta, layer, bits))


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A rule about names that no index can hold: `blocks` or `lifts` is its category."""

    source: int
    line: int
    text: str
    file: str
    blocks: int
    lifts: int

    @classmethod
    def open(cls, row: Sequence[Any], masks: Sequence[int]) -> _Pattern:
        source, line, exception, _pattern, text, file = row
        mask = masks[source]
        return cls(source, line, text, file, 0 if exception else mask, mask if exception else 0)


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
        masks = [self._bits.get(source.category, 0) for source in meta.sources]
        self._matcher = UrlMatcher(generation / URLS, masks, [_is_about_ads(source) for source in meta.sources])
        self._patterns = [_Pattern.open(row, masks) for row in self._matcher.names]
        self._patterns_in = compile_set([str(row[3]) for row in self._matcher.names])
        self._cancelled = {rule_key(host): self._bits.get(category, 0) for category, host in self._matcher.cancelled}
        self._sealed_by = {source.category: source.name for source in meta.sources if source.format == "sealed"}
        self._sealing = self.mask_of(self._sealed_by)
        self._has_networks = self._has_keys("!")
        # Whether a list names addresses: no name ends in a label that begins with a digit, and no address of the internet begins otherwise.
        self.has_addresses = self._has_networks or any(map(self._has_keys, "0123456789"))
        # Whether there may be rules for `match_dns`, and some that tell clients apart. Nobody has tags, so `$ctag` never holds.
        self.tells_clients = _holds_any(generation / URLS / ROWS, _ABOUT_CLIENTS)
        self.has_dns_rules = self.tells_clients or _holds_any(generation / URLS / ROWS, _ABOUT_QUESTIONS)
        self._is_plain = not (
            self._patterns
            or self._cancelled
            or self._sealing
            or self._has_networks
            or any(map(any, (layer.keeps for layer in self._layers)))
        )
        # Pages ask the same hosts again and again; a host that is asked for once is not worth remembering (`host_mask`).
        self._mask_of_known = lru_cache(maxsize=8192)(self.host_mask)
        self._host_match = lru_cache(maxsize=1024)(self._find_host_match)
        self._lifted = lru_cache(maxsize=1024)(self._find_lifted)
        self._made: dict[int, UrlMatch] = {}

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
        if self._is_plain and ":" not in host:
            return block & ~lift
        return self._weigh_host(host, key, block, lift)

    def _weigh_host(self, host: str, key: str, block: int, lift: int) -> int:
        """The same with what only some lists have: names taken back or important, patterns of names, networks and seals."""
        if lift or (block and self._cancelled):
            block, lift = self._walk(key)
        for number in self._patterns_in(host) if self._patterns else ():
            block |= self._patterns[number].blocks
            lift |= self._patterns[number].lifts
        if self._has_networks and is_address(host):
            block |= self._networks_of(host)
        if ":" in host and (inner := embedded_ipv4(host)) is not None:
            block |= self.host_mask(inner)
        if self._sealing:
            block |= self._sealed_mask(host_expressions(host))
        return block & ~lift

    def _walk(self, key: str) -> tuple[int, int]:
        block = lift = keep = never = 0
        for found, layer, number in self._keys_with(key):
            block |= layer.blocks[number] & ~self._cancelled.get(found, 0)
            keep |= layer.keeps[number]
            for entry in layer.sets[number]:
                if entry % len(Part) == Part.EXCEPT and self._meta.sources[entry // len(Part)].category == EVERY:
                    never = layer.lifts[number]
            lift |= layer.lifts[number]
        return block, (lift & ~keep) | never

    def _networks_of(self, address: str) -> int:
        network = parse_network(address)
        return 0 if network is None else self._blocks_with(network_key(network))

    def _sealed_mask(self, expressions: Iterable[str]) -> int:
        mask = 0
        for expression in expressions:
            mask |= self._blocks_of(seal_key(seal(expression)))
        return mask & self._sealing

    def _blocks_with(self, key: str) -> int:
        return reduce(operator.or_, (layer.blocks[number] for _key, layer, number in self._keys_with(key)), 0)

    def _blocks_of(self, key: str) -> int:
        """The categories of exactly this key."""
        return reduce(operator.or_, (layer.blocks[number] for found, layer, number in self._keys_with(key) if found == key), 0)

    def address_mask(self, address: str) -> int:
        """The categories of an IP address, by lists of addresses and networks: for what a name resolves to."""
        return self.host_mask(address)

    def address_origin(self, address: str, category: str) -> Origin | None:
        """The list by whose addresses or networks an IP address is of a category; None if there is none."""
        for each in (address, embedded_ipv4(address)):
            network = parse_network(each) if each is not None else None
            for key in () if each is None or network is None else (rule_key(each, exact=True), network_key(network)):
                if (found := self._source_of_key(key, category)) is not None:
                    return found
        return None

    def has_url_rules(self, host: str, mask: int = -1) -> bool:
        """Whether a list of the categories in `mask` has rules about URLs of this host or a parent. Rules that name no host do
        not count, sealed lists do for every host, since nobody can tell."""
        return bool(self._sealing & mask) or any(layer.urls[number] & mask for _key, layer, number in self._keys_of(host))

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

        `resource` is the request's Sec-Fetch-Dest, `initiator` the host of the page that asks.
        """
        parts = split_url(url)
        if parts is None:
            return ()
        found = self._matcher.find(Asked.about(*parts, resource, initiator), mask)
        return self._matches(url, parts[1], found, mask)

    def _matches(self, url: str, host: str, found: Found, mask: int) -> tuple[UrlMatch, ...]:
        sealed = self._sealed_mask(url_expressions(url)) & mask if self._sealing & mask else 0
        if not found.blocks and not sealed:
            return ()
        lifted = self._lifted(host)
        matches = [(rule.mask, self._match_of(rule)) for rule in found.blocks if rule.important or not rule.mask & lifted]
        # Nothing lifts what is sealed, and nothing says where it stands.
        matches += [(bit, UrlMatch(name, Origin(self._sealed_by[name]))) for name, bit in self._bits.items() if sealed & bit]
        return tuple(match for _mask, match in sorted(matches, key=lambda pair: pair[0]))

    def judge(self, url: str, resource: str = "", initiator: str = "", mask: int = -1) -> UrlMatch | None:
        """What an ad blocker's engine would say of a request, of the categories in `mask`: the first rule about its host or its URL
        that matches, exceptions about either considered. None if nothing stands against it, or `url` is none."""
        parts = split_url(url)
        if parts is None:
            return None
        canonical, host = parts
        blocked = self._mask_of_known(host) & mask
        found = self._matcher.find(Asked.about(canonical, host, resource, initiator), mask & ~blocked, blocked)
        blocked &= ~found.lifted
        if blocked:
            return self._host_match(host, blocked)
        if self._sealing & mask:
            return next(iter(self._matches(url, host, found, mask)), None)
        for rule in found.blocks:
            if rule.important or not rule.mask & self._lifted(host):
                return self._match_of(rule)
        return None

    def lifted_by_url(self, url: str, resource: str = "", initiator: str = "", mask: int = -1) -> int:
        """Which of the categories in `mask`, by which a host is blocked, an exception lifts from this URL of it."""
        parts = split_url(url)
        return 0 if parts is None else self._matcher.find(Asked.about(*parts, resource, initiator), 0, mask).lifted

    def match_dns(
        self, host: str, dns_type: str, client: frozenset[str] = frozenset(), tags: frozenset[str] = frozenset(), mask: int = -1
    ) -> UrlMatch | None:
        """A rule with $dnstype, $client or $ctag that refuses a question for a host, `dns_type` as `AAAA`."""
        asked = Asked.about(f"dns://{host}/", host)
        asked.dns_type, asked.client, asked.tags = dns_type.lower(), client, tags
        lifted = self._lifted(host)
        for rule in self._matcher.find(asked, mask).blocks:
            if rule.is_about_who and (rule.important or not rule.mask & lifted):
                return self._match_of(rule)
        return None

    def _match_of(self, rule: Rule) -> UrlMatch:
        # A rule is decoded once and kept, so what it amounts to may be too.
        found = self._made.get(id(rule))
        if found is None:
            found = self._made[id(rule)] = self._make_match(rule)
        return found

    def _make_match(self, rule: Rule) -> UrlMatch:
        source, written = self._meta.sources[rule.source], rule.rule
        name = f"{source.name}: {written.file}" if written.file else source.name
        return UrlMatch(source.category, Origin(name, written.line, written.text))

    def _find_host_match(self, host: str, mask: int) -> UrlMatch:
        category = self.categories[(mask & -mask).bit_length() - 1]
        source = next((found.source for found in self.host_sources(host) if found.category == category), "")
        return UrlMatch(category, Origin(source, text=host))

    def _find_lifted(self, host: str) -> int:
        """What exceptions about a host take from it."""
        return reduce(operator.or_, (layer.lifts[number] for _key, layer, number in self._keys_of(host)), 0)

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
                file, line, text = found or ("", None, "")
                return Origin(f"{source.name}: {file}" if file else source.name, line, text)
        mask = self._bits.get(category, 0) & self.host_mask(host)
        for pattern in (self._patterns[number] for number in self._patterns_in(host)):
            if pattern.blocks & mask:
                name = self._meta.sources[pattern.source].name
                return Origin(f"{name}: {pattern.file}" if pattern.file else name, pattern.line, pattern.text)
        if mask & self._sealing:
            return Origin(self._sealed_by[category])
        return self.address_origin(host, category) if mask and is_address(host) else None

    def _source_of_key(self, key: str, category: str) -> Origin | None:
        """A list of the category that has a key which covers this one; its line is not looked for."""
        entries = (entry for _key, layer, number in self._keys_with(key) for entry in layer.sets[number])
        sources = (self._meta.sources[entry // len(Part)] for entry in entries if entry % len(Part) == Part.BLOCK)
        return next((Origin(source.name) for source in sources if source.category == category), None)

    def _has_keys(self, prefix: str) -> bool:
        return any(True for layer in self._layers for shard in layer.shards for _key in shard.trie.iterkeys(prefix))

    def _keys_of(self, host: str) -> Iterator[tuple[str, _Layer, int]]:
        """The keys that match a host, each with its layer and the number of its set there."""
        return self._keys_with(rule_key(host, exact=True))

    def _keys_with(self, key: str) -> Iterator[tuple[str, _Layer, int]]:
        for layer in self._layers:
            shard = layer.shards[bisect_right(layer.borders, key)]
            for found, key_id in shard.trie.iter_prefixes_with_ids(key):
                yield found, layer, layer.numbers[shard.offset + key_id]


def _is_about_ads(source: SourceMeta) -> bool:
    """An ad blocker's rule is about what pages load, not about a page that somebody opens, unless it says so."""
    return source.category == ADS and source.format == "adblock"


def _masks_of_sets(meta: Meta, layer: LayerMeta, bits: dict[str, int]) -> tuple[list[int], list[int], list[int], list[int]]:
    """For each set which categories it blocks, lifts, has rules about URLs of, and keeps from being lifted."""
    good = {category.name for category in builtin_categories() if category.kind == CategoryKind.GOOD}
    masks = {**bits, EVERY: sum(bit for name, bit in bits.items() if name not in good)}
    blocks, lifts, urls, keeps = [], [], [], []
    for entries in layer.sets:
        found = dict.fromkeys(Part, 0)
        for entry in entries:
            index, part = divmod(entry, len(Part))
            found[Part(part)] |= masks[meta.sources[index].category]
        blocks.append(found[Part.BLOCK])
        lifts.append(found[Part.EXCEPT])
        urls.append(found[Part.URL])
        keeps.append(found[Part.IMPORTANT])
    return blocks, lifts, urls, keeps


def _holds_any(path: Path, words: Iterable[bytes]) -> bool:
    """Whether one of the words stands in a file. Rules keep their modifiers as they are written."""
    with path.open("rb") as file:
        if path.stat().st_size == 0:  # nothing cannot be mapped
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return any(mapped.find(word) >= 0 for word in words)


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
