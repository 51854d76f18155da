"""The compiled lists, mapped: what is this host, what is this URL? Read-only, shared by all workers through the page cache."""

from __future__ import annotations

import operator
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import NamedTuple

from hedgerow.blocklists.formats.sealed import hash_expression, hash_key, host_expressions, url_expressions
from hedgerow.blocklists.generation import DNS_RULES, HOSTS, URL_RULES, EntryKind, GenerationMeta, HostIndex, SourceMeta, read_meta
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
from hedgerow.blocklists.patterns import HostPatternMatcher
from hedgerow.blocklists.rule_locator import ListLine, find_host, find_network
from hedgerow.blocklists.rule_modifiers import parse_modifiers
from hedgerow.blocklists.rules import Origin
from hedgerow.blocklists.url_matcher import (
    NO_MATCHES,
    CompiledUrlRule,
    UrlMatcher,
    UrlMatches,
    UrlRequest,
    weak_method,
)

ADS_CATEGORY = "ads-trackers"


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


class DnsRuleMatch(NamedTuple):
    """A rule about DNS questions that refuses one, or with `target` answers it with another address or host, and the categories that an
    exception for the record type lifts from the host."""

    match: UrlMatch | None
    lifted: int
    target: str = ""


class Catalogue:
    """Open with `Catalogue.open`. `categories[i]` is what bit i of a mask stands for.

    Hosts are canonical (`names.parse_host`). An exception in a list (`@@||host^`) lifts its category from a host and its
    subdomains, whichever list of that category names them.
    """

    def __init__(self, generation: Path, meta: GenerationMeta) -> None:
        self._generation, self._meta = generation, meta
        self.categories = meta.categories
        self.version = meta.version
        # The categories of which there is a list.
        self.listed = frozenset(source.category for source in meta.sources)
        self._bits = {name: 1 << index for index, name in enumerate(meta.categories)}
        self._hosts = HostIndex.open(generation / HOSTS, meta, self._bits)
        masks = [self._bits.get(source.category, 0) for source in meta.sources]
        loaded_only = [_is_about_ads(source) for source in meta.sources]
        self._matcher = UrlMatcher(generation / URL_RULES, masks, loaded_only)
        self._dns_rules = UrlMatcher(generation / DNS_RULES, masks, loaded_only)
        self.has_dns_rules = len(self._dns_rules) > 0
        self._patterns = HostPatternMatcher.open(generation, masks)
        self._sealed_by = {source.category: source.name for source in meta.sources if source.format == "sealed"}
        self._sealing = self.mask_of(self._sealed_by)
        self._has_networks = self._hosts.has_keys("!")
        # Whether a list names addresses: no name ends in a label that begins with a digit, and no address of the internet begins otherwise.
        self.has_addresses = self._has_networks or any(map(self._hosts.has_keys, "0123456789"))
        has_important = any(self._hosts.keeps)
        self._is_plain = not (self._patterns or self._sealing or self._has_networks or has_important)
        # Pages ask the same hosts again and again; a host that is asked for once is not worth remembering (`host_mask`).
        self._mask_of_known = lru_cache(maxsize=8192)(weak_method(self.host_mask))
        self._host_match = lru_cache(maxsize=1024)(weak_method(self._find_host_match))
        self._lifted = lru_cache(maxsize=1024)(weak_method(self._find_lifted))
        self._made: dict[int, UrlMatch] = {}

    @classmethod
    def open(cls, generation: Path) -> Catalogue:
        """Raises OSError or ValueError for a directory that is no generation."""
        try:
            return cls(generation, read_meta(generation))
        except (KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:  # a trie raises the last
            raise ValueError(f"{generation}: not a generation of this version: {error}") from error

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
        hosts = self._hosts
        shard = hosts.shards[bisect_right(hosts.borders, key)]
        for _key, key_id in shard.trie.iter_prefixes_with_ids(key):
            number = hosts.numbers[shard.offset + key_id]
            block |= hosts.blocks[number]
            lift |= hosts.lifts[number]
        if self._is_plain and ":" not in host:
            return block & ~lift
        return self._special_host_mask(host, key, block, lift)

    def _special_host_mask(self, host: str, key: str, block: int, lift: int) -> int:
        """The same with what only some lists have: important names, patterns of names, networks and seals."""
        if lift:
            block, lift = self._walk(key)
        for pattern in self._patterns.matching(host) if self._patterns else ():
            block |= pattern.blocks
            lift |= pattern.lifts
        if self._has_networks and is_address(host):
            block |= self._networks_of(host)
        if ":" in host and (inner := embedded_ipv4(host)) is not None:
            block |= self.host_mask(inner)
        if self._sealing:
            block |= self._sealed_mask(host_expressions(host))
        return block & ~lift

    def _walk(self, key: str) -> tuple[int, int]:
        block = lift = keep = never = 0
        for _found, number in self._hosts.keys_with(key):
            block |= self._hosts.blocks[number]
            keep |= self._hosts.keeps[number]
            lift |= self._hosts.lifts[number]
            never |= self._hosts.spares[number]
        return block, (lift & ~keep) | never

    def _networks_of(self, address: str) -> int:
        network = parse_network(address)
        return 0 if network is None else self._blocks_with(network_key(network))

    def _sealed_mask(self, expressions: Iterable[str]) -> int:
        mask = 0
        for expression in expressions:
            mask |= self._blocks_of(hash_key(hash_expression(expression)))
        return mask & self._sealing

    def _blocks_with(self, key: str) -> int:
        return reduce(operator.or_, (self._hosts.blocks[number] for _key, number in self._hosts.keys_with(key)), 0)

    def _blocks_of(self, key: str) -> int:
        """The categories of exactly this key."""
        return reduce(operator.or_, (self._hosts.blocks[number] for found, number in self._hosts.keys_with(key) if found == key), 0)

    def address_origin(self, address: str, category: str) -> Origin | None:
        """The list by whose addresses or networks an IP address is of a category, without its line; None if there is none."""
        found = self._source_of_address(address, category)
        return None if found is None else Origin(found[0].name)

    def has_url_rules(self, host: str, mask: int = -1) -> bool:
        """Whether a list of the categories in `mask` has rules about URLs of this host or a parent. Rules that name no host do
        not count, sealed lists do for every host, since nobody can tell."""
        return bool(self._sealing & mask) or any(self._hosts.urls[number] & mask for _key, number in self._keys_of(host))

    def host_sources(self, host: str) -> tuple[HostMatch, ...]:
        """Every source that gives the host a category, the shortest domain first; none for a category that is lifted."""
        mask = self.host_mask(host)
        found = []
        for key, number in sorted(self._keys_of(host), key=lambda found: len(found[0])):
            for entry in self._hosts.sets[number]:
                index, part = divmod(entry, len(EntryKind))
                source = self._meta.sources[index]
                if part == EntryKind.BLOCK and mask & self._bits[source.category]:
                    found.append(HostMatch(source.category, source.name, host_of_key(key)))
        return tuple(found)

    def match_url(self, url: str, resource: str = "", initiator: str = "", mask: int = -1, method: str = "") -> UrlMatch | None:
        """The first rule about URLs that matches, of the categories in `mask`. Rules about whole hosts are `host_mask`'s, those about DNS
        questions `match_dns_rule`'s."""
        return next(iter(self.match_urls(url, resource, initiator, mask, method)), None)

    def match_urls(self, url: str, resource: str = "", initiator: str = "", mask: int = -1, method: str = "") -> tuple[UrlMatch, ...]:
        """One matching rule for each category in `mask` that has one.

        `resource` is the request's Sec-Fetch-Dest, `initiator` the host of the page that asks.
        """
        parts = split_url(url)
        if parts is None:
            return ()
        found = self._matcher.find(UrlRequest.about(*parts, resource, initiator, method), mask)
        return self._matches(url, parts[1], found, mask)

    def _matches(self, url: str, host: str, found: UrlMatches, mask: int) -> tuple[UrlMatch, ...]:
        sealed = self._sealed_mask(url_expressions(url)) & mask if self._sealing & mask else 0
        if not found.blocks and not sealed:
            return ()
        lifted = self._lifted(host)
        matches = [(rule.mask, self._match_of(rule)) for rule in found.blocks if self._stands(rule, host, lifted)]
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
        found = self._matcher.find(UrlRequest.about(canonical, host, resource, initiator), mask & ~blocked, blocked)
        if found.lifted:
            blocked &= ~found.lifted | self._kept(host)
        if blocked:
            return self._host_match(host, blocked)
        if self._sealing & mask:
            return next(iter(self._matches(url, host, found, mask)), None)
        for rule in found.blocks:
            if self._stands(rule, host, self._lifted(host)):
                return self._match_of(rule)
        return None

    def lifted_by_url(self, url: str, resource: str = "", initiator: str = "", mask: int = -1, method: str = "") -> int:
        """Which of the categories in `mask`, by which a host is blocked, an exception lifts from this URL of it."""
        parts = split_url(url)
        found = NO_MATCHES if parts is None else self._matcher.find(UrlRequest.about(*parts, resource, initiator, method), 0, mask)
        return found.lifted & ~self._kept(parts[1]) if parts and found.lifted else 0

    def match_dns_rule(self, host: str, dns_type: str, mask: int = -1) -> DnsRuleMatch:
        """Match the rules with $dnstype and $dnsrewrite, of the categories in `mask`, against a question for a name."""
        found = self._dns_rules.find(UrlRequest.about(f"dns://{host}/", host, dns_type=dns_type), mask, mask)
        lifted = found.lifted & ~self._kept(host) if found.lifted else 0
        if not found.blocks:
            return DnsRuleMatch(None, lifted)
        by_host = self._lifted(host)
        rule = next((rule for rule in found.blocks if self._stands(rule, host, by_host)), None)
        if rule is None:
            return DnsRuleMatch(None, lifted)
        return DnsRuleMatch(self._match_of(rule), lifted, parse_modifiers(rule.rule.options).rewrite)

    def _stands(self, rule: CompiledUrlRule, host: str, lifted: int) -> bool:
        """Whether a rule holds for a host of which exceptions lift these categories: an important one does, but for essential names."""
        if not rule.important:
            return not rule.mask & lifted
        return not any(rule.mask & self._hosts.spares[number] for _key, number in self._keys_of(host))

    def _match_of(self, rule: CompiledUrlRule) -> UrlMatch:
        # A rule is decoded once and kept, so what it amounts to may be too.
        found = self._made.get(id(rule))
        if found is None:
            found = self._made[id(rule)] = self._make_match(rule)
        return found

    def _make_match(self, rule: CompiledUrlRule) -> UrlMatch:
        source, written = self._meta.sources[rule.source], rule.rule
        name = f"{source.name}: {written.file}" if written.file else source.name
        return UrlMatch(source.category, Origin(name, written.line, written.text))

    def _find_host_match(self, host: str, mask: int) -> UrlMatch:
        category = self.categories[(mask & -mask).bit_length() - 1]
        source = next((found.source for found in self.host_sources(host) if found.category == category), "")
        return UrlMatch(category, Origin(source, text=host))

    def _find_lifted(self, host: str) -> int:
        """What exceptions about a host take from it."""
        return reduce(operator.or_, (self._hosts.lifts[number] for _key, number in self._keys_of(host)), 0)

    def _kept(self, host: str) -> int:
        """The categories of a host that no exception takes from it."""
        return reduce(operator.or_, (self._hosts.keeps[number] for _key, number in self._keys_of(host)), 0)

    def locate(self, host_or_url: str, category: str) -> Origin | None:
        """Which line of which list gives a host or URL its category. Slow: it reads the kept copy of the list."""
        host = parse_host(host_or_url)
        if host is None:
            match = self.match_url(host_or_url, mask=self.mask_of([category]))
            if match is not None:
                return match.origin
            host = host_of_url(host_or_url)
        return next(self.locate_all(host, category), None) if host else None

    def locate_all(self, host: str, category: str) -> Iterator[Origin]:
        """Every line by which lists give a canonical host its category. Slow, as `locate` is."""
        for match in self.host_sources(host):
            if match.category == category:
                source = next(source for source in self._meta.sources if source.name == match.source)
                yield _origin(source, find_host(self._generation / source.text, source.format, match.domain))
        mask = self._bits.get(category, 0) & self.host_mask(host)
        for pattern in self._patterns.matching(host):
            if pattern.blocks & mask:
                name = self._meta.sources[pattern.source].name
                yield Origin(f"{name}: {pattern.file}" if pattern.file else name, pattern.line, pattern.text)
        if mask & self._sealing & self._sealed_mask(host_expressions(host)):
            yield Origin(self._sealed_by[category])
        found = self._source_of_address(host, category) if mask and is_address(host) else None
        if found is not None:
            source, key = found
            text, is_network = self._generation / source.text, key.startswith("!")
            yield _origin(
                source, find_network(text, source.format, key) if is_network else find_host(text, source.format, host_of_key(key))
            )

    def _source_of_address(self, address: str, category: str) -> tuple[SourceMeta, str] | None:
        """A list of the category that names an address, what it merely writes in another way, or a network of it; and its key there."""
        for each in filter(None, (address, embedded_ipv4(address))):
            network = parse_network(each)
            for key in (rule_key(each, exact=True), network_key(network)) if network else ():
                for found, number in self._hosts.keys_with(key):
                    for index, part in (divmod(entry, len(EntryKind)) for entry in self._hosts.sets[number]):
                        if part == EntryKind.BLOCK and self._meta.sources[index].category == category:
                            return self._meta.sources[index], found
        return None

    def _keys_of(self, host: str) -> Iterator[tuple[str, int]]:
        """The keys that match a host, each with the number of its set."""
        return self._hosts.keys_with(rule_key(host, exact=True))


def _origin(source: SourceMeta, line: ListLine) -> Origin:
    return Origin(f"{source.name}: {line.file}" if line.file else source.name, line.number, line.text)


def _is_about_ads(source: SourceMeta) -> bool:
    """An ad blocker's rule is about what pages load, not about a page that somebody opens, unless it says so."""
    return source.category == ADS_CATEGORY and source.format == "adblock"
