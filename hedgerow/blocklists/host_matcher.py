"""Categories of hosts: the mapped index, and what some lists have besides names (patterns, networks, sealed
digests).
"""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import marisa_trie

from hedgerow.blocklists.canaries import is_canary_site
from hedgerow.blocklists.categories import CategoryKind, builtin_categories
from hedgerow.blocklists.formats.sealed import hash_expression, hash_key, host_expressions
from hedgerow.blocklists.generation import (
    ALL_CATEGORIES,
    HOSTS,
    SETS_FILE,
    EntryKind,
    GenerationMeta,
    SourceMeta,
    map_file,
)
from hedgerow.blocklists.names import embedded_ipv4, host_of_key, is_address, network_key, parse_network, rule_key
from hedgerow.blocklists.patterns import HostPatternMatcher
from hedgerow.blocklists.rules import Origin


class HostMatch(NamedTuple):
    """A source that puts a host into a category, by the name of the host or of a parent, `domain`."""

    category: str
    source: str
    domain: str


class HostMatcher:
    """The categories of hosts, as masks; `bits` gives the bit of each category.

    Hosts are canonical (`names.parse_host`). An exception in a list (`@@||host^`) lifts its category from a host and
    its subdomains, whichever list of that category names them. So do `corrections`, the masks that the policy lifts,
    and they lift important rules too. Raises OSError or ValueError for files that are not a generation's.
    """

    def __init__(
        self,
        generation: Path,
        meta: GenerationMeta,
        bits: dict[str, int],
        corrections: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        index, folder = meta.hosts, generation / HOSTS
        self._sources, self._bits, self._sets = meta.sources, bits, index.sets
        self._shards = [(marisa_trie.Trie().mmap(str(folder / shard.trie)), shard.offset) for shard in index.shards]
        self._borders = [shard.first for shard in index.shards[1:]]
        numbers = map_file(folder / SETS_FILE)
        self._numbers: Sequence[int] = (
            numbers.cast("H") if index.set_bytes == 2 else numbers.cast("I") if index.set_bytes == 4 else numbers
        )
        if len(self._numbers) != index.keys:
            raise ValueError(f"{folder / SETS_FILE}: {len(self._numbers)} numbers for {index.keys} keys")
        # For each set's number a mask: the categories blocked, lifted, with rules about URLs, never lifted, and never
        # blocked.
        self._blocked, self._lifted, self._url_rules, self._important, self._essential = _masks_of_sets(meta, bits)
        self.patterns = HostPatternMatcher.open(generation, [bits.get(source.category, 0) for source in meta.sources])
        self.sealed_sources = {source.category: source.name for source in meta.sources if source.format == "sealed"}
        self.sealed = sum(bits[category] for category in self.sealed_sources)
        # the first that blocks, by set and category; empty if none does
        self._source_names: dict[tuple[int, str], str] = {}
        # The host of the latest mask, that mask, and the host's keys with their sets.
        self._latest: tuple[str, int, list[tuple[str, int]]] = "", 0, []
        self._has_networks = _has_keys(self._shards, "!")
        # No name ends in a label that begins with a digit, and no address of the internet begins otherwise.
        self.has_addresses = self._has_networks or any(_has_keys(self._shards, digit) for digit in "0123456789")
        self._corrections = corrections
        self._is_plain = not (corrections or self.patterns or self.sealed or self._has_networks or any(self._important))

    def mask(self, host: str) -> int:
        """Return the categories of a host and all its parents; 0 if none is known."""
        key = ".".join(host.split(".")[::-1]) + ".$"  # rule_key, written out: this is the hot path
        trie, offset = self._shards[bisect_right(self._borders, key)]
        blocked = lifted = 0
        found: list[tuple[str, int]] = []
        for prefix, key_id in trie.iter_prefixes_with_ids(key):
            number = self._numbers[offset + key_id]
            found.append((prefix, number))
            blocked |= self._blocked[number]
            lifted |= self._lifted[number]
        if not self._is_plain or ":" in host:
            blocked, lifted = self._add_special(host, found, blocked, lifted)
        mask = blocked & ~lifted
        self._latest = host, mask, found
        return mask

    def _add_special(self, host: str, keys: list[tuple[str, int]], blocked: int, lifted: int) -> tuple[int, int]:
        """Add the matches of important names, patterns of names, networks and digests, which only some lists have."""
        if lifted:
            lifted = (lifted & ~_union(self._important, keys)) | _union(self._essential, keys)
        for pattern in self.patterns.matching(host) if self.patterns else ():
            if pattern.rule.exception:
                lifted |= pattern.mask
            elif not (self._sources[pattern.source].is_corrected and is_canary_site(host)):
                blocked |= pattern.mask
        if self._has_networks and is_address(host) and (network := parse_network(host)) is not None:
            blocked |= _union(self._blocked, self._keys_with(network_key(network)))
        if ":" in host and (inner := embedded_ipv4(host)) is not None:
            blocked |= self.mask(inner)
        if self.sealed:
            blocked |= self.sealed_mask(host_expressions(host))
        return blocked, lifted | self.corrected(host)

    def corrected(self, host: str) -> int:
        """Return the categories that the policy says a host is not of."""
        mask = 0
        while host and self._corrections:
            mask |= self._corrections.get(host, 0)
            host = host.partition(".")[2]
        return mask

    def lifted(self, host: str) -> int:
        """Return the categories that exceptions lift from a host."""
        return _union(self._lifted, self._keys_of(host)) | self.corrected(host)

    def important(self, host: str) -> int:
        """Return the categories of a host that no list's exception lifts."""
        return _union(self._important, self._keys_of(host)) & ~self.corrected(host)

    def essential(self, host: str) -> int:
        """Return the categories by which no list may block a host."""
        return _union(self._essential, self._keys_of(host)) | self.corrected(host)

    def has_url_rules(self, host: str, mask: int = -1) -> bool:
        """Return whether a list of the categories in `mask` has rules about URLs of this host or a parent.

        Rules that name no host do not count. Sealed lists count for every host, since nobody can tell which hosts they
        are about.
        """
        return bool(self.sealed & mask) or bool(_union(self._url_rules, self._keys_of(host)) & mask)

    def sealed_mask(self, expressions: Iterable[str]) -> int:
        """Return the categories of the sealed lists that hold one of these expressions (`formats.sealed`)."""
        keys = (hash_key(hash_expression(expression)) for expression in expressions)
        entries = (self._blocked[number] for key in keys for found, number in self._keys_with(key) if found == key)
        return reduce(operator.or_, entries, 0) & self.sealed

    def sources(self, host: str) -> tuple[HostMatch, ...]:
        """Return every source whose names give a host a category, the shortest domain first; none for a category that
        is lifted.
        """
        mask = self.mask(host)
        return tuple(
            HostMatch(source.category, source.name, host_of_key(key))
            for key, number in sorted(self._keys_of(host), key=lambda pair: len(pair[0]))
            for source in self._blocking_sources(number)
            if mask & self._bits[source.category]
        )

    def address_source(self, address: str, category: str) -> tuple[SourceMeta, str] | None:
        """Return a list of the category that names an address, the IPv4 address inside it, or a network of it; and its
        key there.
        """
        for each in filter(None, (address, embedded_ipv4(address))):
            network = parse_network(each)
            for key in (rule_key(each, exact=True), network_key(network)) if network else ():
                for found, number in self._keys_with(key):
                    for source in self._blocking_sources(number):
                        if source.category == category:
                            return source, found
        return None

    def origin(self, host: str, category: str) -> Origin | None:
        """Return the list that puts a host into a category, without its line, which `rule_locator` looks up."""
        bit, (latest, mask, _keys) = self._bits.get(category, 0), self._latest
        if latest != host:
            mask = self.mask(host)
        for key, number in self._keys_of(host) if mask & bit else ():
            if self._blocked[number] & bit:
                source = self._source_names.get((number, category))
                if source is None:
                    names = (source.name for source in self._blocking_sources(number) if source.category == category)
                    source = self._source_names[number, category] = next(names, "")
                if source:
                    return Origin(source, text=host[1 - len(key.removesuffix("$")) :])  # as `host_of_key` has it
        found = self.address_source(host, category) if is_address(host) else None
        return None if found is None else Origin(found[0].name)

    def _blocking_sources(self, number: int) -> Iterator[SourceMeta]:
        for index, part in (divmod(entry, len(EntryKind)) for entry in self._sets[number]):
            if part == EntryKind.BLOCK:
                yield self._sources[index]

    def _keys_of(self, host: str) -> Iterable[tuple[str, int]]:
        """Return the indexed keys of a host and its parents, which most often are those of the latest mask."""
        latest, _mask, keys = self._latest
        return keys if latest == host else self._keys_with(rule_key(host, exact=True))

    def _keys_with(self, key: str) -> Iterator[tuple[str, int]]:
        """Yield the indexed keys that `key` begins with, the shortest first, each with the number of its set."""
        trie, offset = self._shards[bisect_right(self._borders, key)]
        for found, key_id in trie.iter_prefixes_with_ids(key):
            yield found, self._numbers[offset + key_id]


def _has_keys(shards: Sequence[tuple[marisa_trie.Trie, int]], prefix: str) -> bool:
    return any(True for trie, _offset in shards for _key in trie.iterkeys(prefix))


def _union(masks: Sequence[int], keys: Iterable[tuple[str, int]]) -> int:
    return reduce(operator.or_, (masks[number] for _key, number in keys), 0)


def _masks_of_sets(meta: GenerationMeta, bits: dict[str, int]) -> tuple[list[int], ...]:
    """Return five columns with a mask per set, in the order in which `HostMatcher` unpacks them."""
    good = {category.name for category in builtin_categories() if category.kind == CategoryKind.GOOD}
    masks = {**bits, ALL_CATEGORIES: sum(bit for name, bit in bits.items() if name not in good)}
    columns: tuple[list[int], ...] = ([], [], [], [], [])
    for entries in meta.hosts.sets:
        by_kind, essential = dict.fromkeys(EntryKind, 0), 0
        for entry in entries:
            index, part = divmod(entry, len(EntryKind))
            category = meta.sources[index].category
            by_kind[EntryKind(part)] |= masks[category]
            essential |= masks[ALL_CATEGORIES] if category == ALL_CATEGORIES and part == EntryKind.EXCEPT else 0
        for column, mask in zip(columns, (*(by_kind[kind] for kind in EntryKind), essential), strict=True):
            column.append(mask)
    return columns
