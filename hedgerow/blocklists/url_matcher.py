"""Matching of URL rules: one Aho-Corasick pass over the URL and two look-ups find the candidates; exact conditions decide on each.

The files are those of `url_index`. A worker reads the automaton and maps the rest. A rule is decoded when it first is a candidate.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakMethod

import ahocorasick
import marisa_trie
import msgspec

from hedgerow.blocklists.generation import map_file
from hedgerow.blocklists.names import rule_key
from hedgerow.blocklists.rule_modifiers import (
    ALL_RESOURCES,
    SUBRESOURCES,
    RuleModifiers,
    parse_modifiers,
    party_relations,
)
from hedgerow.blocklists.rules import PatternKind, UrlRule
from hedgerow.blocklists.url_index import (
    BUCKETS_FILE,
    FRAGMENT_FILES,
    INITIATOR_MARK,
    MAX_PATH_KEY,
    OFFSETS_FILE,
    OPAQUE_ORIGIN,
    PLACES_FILE,
    ROWS_FILE,
    URL_META_FILE,
    UrlIndexMeta,
)
from hedgerow.blocklists.url_tests import Test, UrlRequest, make_test

MAX_CACHED_HOST_PAIRS = 8192
"""Pairs of hosts whose rules are cached: pages ask the same few hosts again and again."""

UNKNOWN_SITES = frozenset({"", OPAQUE_ORIGIN})
"""Unknown initiators: none, or an opaque origin, which is a third party to every host."""


@dataclass(slots=True)
class CompiledUrlRule:
    """A rule, decoded. `mask` is the bit of its category; `conditions` are None if none depends on hosts; `test` checks the rest, None if
    every candidate matches. `types` is a plain number, since enum's operators cost more than the rest of a look-up."""

    rule: UrlRule
    source: int
    mask: int
    types: int
    conditions: RuleModifiers | None
    important: bool
    test: Test | None = None


def _hosts_match(rule: CompiledUrlRule, conditions: RuleModifiers, host: str, initiator: str) -> bool:
    party = int(conditions.party)
    return (
        (not party or int(party_relations(host, initiator)) & party == party)
        and (not conditions.initiators or conditions.initiators.admit_host(initiator) or _is_in_doubt(rule, initiator))
        and (not conditions.targets or conditions.targets.admit_host(host))
    )


def _is_in_doubt(rule: CompiledUrlRule, initiator: str) -> bool:
    """Return whether an exception holds because the initiator is unknown.

    A block must be known to hold. An exception for several sites also holds if it may, or the block would be wider than intended. An
    exception for one site does not: that it is just this site is unlikely.
    """
    is_unknown = rule.rule.exception and initiator in UNKNOWN_SITES
    return is_unknown and rule.conditions is not None and len(rule.conditions.initiators.wanted) != 1


def _details_match(conditions: RuleModifiers, request: UrlRequest) -> bool:
    """Check the conditions on record type and method. An unknown one meets no condition."""
    return (
        (not conditions.rewrite or bool(request.dns_type))
        and (not conditions.dns_types or conditions.dns_types.admit(request.dns_type.lower()))
        and (not conditions.methods or conditions.methods.admit(request.method.lower()))
    )


def _add_test(rule: CompiledUrlRule, by_host: bool) -> None:
    """Give a rule a test that is compiled when first needed: most rules are rarely or never candidates."""

    def first(request: UrlRequest) -> bool:
        conditions = parse_modifiers(rule.rule.options)
        test = make_test(rule.rule, by_host)
        if conditions.is_dns_rule or conditions.methods:
            rule.test = lambda request: _details_match(conditions, request) and (test is None or test(request))
        else:
            rule.test = test
        return rule.test is None or bool(rule.test(request))

    rule.test = first


def _is_of(host: str, domain: str) -> bool:
    return host.endswith(domain) and (len(host) == len(domain) or host[-len(domain) - 1] == ".")


@dataclass(frozen=True, slots=True)
class RuleBucket:
    """Rules found at one place. `types` are the resources that its blocks are about; `crowded` are the places of hosts with so many rules
    that these are found by their paths."""

    types: int
    blocks: tuple[CompiledUrlRule, ...]
    exceptions: tuple[CompiledUrlRule, ...]
    crowded: tuple[str, ...] = ()


EMPTY_BUCKET = RuleBucket(0, (), ())


def _bucket(blocks: Iterable[CompiledUrlRule], exceptions: Iterable[CompiledUrlRule], crowded: tuple[str, ...]) -> RuleBucket:
    found = tuple(blocks)
    return RuleBucket(functools.reduce(operator.or_, (rule.types for rule in found), 0), found, tuple(exceptions), crowded)


@dataclass(frozen=True, slots=True)
class UrlMatches:
    """The result of matching: `blocks` has one rule per category that no exception lifts; `lifted` are the categories that one lifts."""

    blocks: tuple[CompiledUrlRule, ...] = ()
    lifted: int = 0


NO_MATCHES = UrlMatches()


class UrlMatcher:
    """All URL rules of a generation.

    `masks` are the bits of the sources' categories. `loaded_only` has True for a source whose rules are about what pages load, not about
    pages. Raises OSError or ValueError if the folder is not what `url_index` writes.
    """

    def __init__(self, folder: Path, masks: Sequence[int], loaded_only: Iterable[bool]) -> None:
        self._masks, self._default_types = masks, [SUBRESOURCES if only else ALL_RESOURCES for only in loaded_only]
        meta = msgspec.json.decode((folder / URL_META_FILE).read_bytes(), type=UrlIndexMeta)
        self._places = meta.places
        count = meta.places + sum(meta.fragments) + 1
        buckets = map_file(folder / BUCKETS_FILE).cast("I")
        self._starts, self._flat = buckets[: count + 1], buckets[count + 1 :]
        self._offsets, self._rows = map_file(folder / OFFSETS_FILE).cast("Q"), map_file(folder / ROWS_FILE)
        if self._starts[count] != len(self._flat) or self._offsets[-1] != len(self._rows):
            raise ValueError(f"{folder}: its files do not belong together")
        self._trie = marisa_trie.Trie().mmap(str(folder / PLACES_FILE))
        self._blocks, self._exceptions = (
            ahocorasick.load(str(folder / file), _refuse_pickled_values) if found else None
            for file, found in zip(FRAGMENT_FILES, meta.fragments, strict=True)
        )
        self._every = functools.reduce(operator.or_, self._masks, 0)
        self._opened = _LazyBuckets(_weak_method(self._open_bucket))
        always = self._open_bucket(count - 1)
        self._always = (always,) if always != EMPTY_BUCKET else ()
        self._found_by = functools.lru_cache(maxsize=MAX_CACHED_HOST_PAIRS)(_weak_method(self._find_by))
        self._by_hosts: dict[tuple[str, str, int], RuleBucket] = {}

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def find(self, request: UrlRequest, wanted: int = -1, blocked: int = 0) -> UrlMatches:
        """Match the rules of the categories in `wanted`.

        Exceptions are considered only if there is something to lift: a rule that blocks, or a category in `blocked`, those that block the
        whole host.
        """
        resource = request.resource
        host_bucket = self._by_hosts.get((request.host, request.initiator, resource))
        if host_bucket is None:
            host_bucket = self._find_by_hosts(request.host, request.initiator, resource)
        wanted &= self._every
        remaining, blocks = wanted, []
        for rule in host_bucket.blocks:
            if rule.mask & remaining and ((test := rule.test) is None or test(request)):
                blocks.append(rule)
                remaining &= ~rule.mask
        for bucket in self._pass(self._blocks, request, host_bucket.crowded) if remaining else ():
            if bucket.types & resource:
                for rule in bucket.blocks:
                    if rule.mask & remaining and _applies(rule, request):
                        blocks.append(rule)
                        remaining &= ~rule.mask
        blocked |= wanted & ~remaining
        return self._apply_exceptions(request, blocks, blocked, host_bucket) if blocked else NO_MATCHES

    def _pass(self, automaton: ahocorasick.Automaton | None, request: UrlRequest, crowded: tuple[str, ...]) -> list[RuleBucket]:
        """Return the buckets found by paths or fragments, each once: in long URLs some fragments recur."""
        opened = self._opened
        numbers = {number for _end, number in automaton.iter(request.text)} if automaton else set()
        for place in crowded:
            path = request.text[request.host_end : request.host_end + MAX_PATH_KEY]
            numbers.update(number for _key, number in self._trie.iter_prefixes_with_ids(place + path))
        return [opened[number] for number in numbers]

    def _apply_exceptions(self, request: UrlRequest, blocks: list[CompiledUrlRule], blocked: int, host_bucket: RuleBucket) -> UrlMatches:
        """Weigh exceptions against blocks. Only an important exception lifts an important block."""
        lifting = [rule for rule in host_bucket.exceptions if rule.mask & blocked and ((test := rule.test) is None or test(request))]
        for bucket in self._pass(self._exceptions, request, host_bucket.crowded):
            lifting += [rule for rule in bucket.exceptions if rule.mask & blocked and _applies(rule, request)]
        if not lifting:
            return UrlMatches(tuple(blocks)) if blocks else NO_MATCHES
        lifted, standing = 0, {}
        for rule in lifting:
            lifted |= rule.mask
        forced = {rule.mask for rule in lifting if rule.important}
        buckets = (host_bucket, *self._pass(self._blocks, request, host_bucket.crowded))
        for rule in (rule for bucket in buckets for rule in bucket.blocks if rule.important and rule.mask & lifted):
            if rule.mask not in forced and _applies(rule, request):
                standing[rule.mask] = rule
        standing |= {rule.mask: rule for rule in blocks if not rule.mask & lifted}
        return UrlMatches(tuple(standing.values()), lifted & ~sum(standing))

    def _find_by_hosts(self, host: str, initiator: str, resource: int) -> RuleBucket:
        """Cache the rules that the hosts alone find, narrowed to those that hold for them: only patterns remain to be tested."""
        if len(self._by_hosts) >= MAX_CACHED_HOST_PAIRS:
            self._by_hosts.clear()
        blocks, exceptions, crowded = list[CompiledUrlRule](), list[CompiledUrlRule](), list[str]()
        for bucket in (*self._found_by("", host), *self._found_by(INITIATOR_MARK, initiator or OPAQUE_ORIGIN), *self._always):
            crowded += bucket.crowded
            for rules, narrowed in ((bucket.blocks, blocks), (bucket.exceptions, exceptions)):
                for rule in rules:
                    if rule.rule.host and not _is_of(host, rule.rule.host):
                        continue  # found by the initiator, and about another host
                    if rule.types & resource and (rule.conditions is None or _hosts_match(rule, rule.conditions, host, initiator)):
                        narrowed.append(rule)
        host_bucket = EMPTY_BUCKET
        if blocks or exceptions or crowded:
            host_bucket = RuleBucket(resource, tuple(blocks), tuple(exceptions), tuple(crowded))
        self._by_hosts[host, initiator, resource] = host_bucket
        return host_bucket

    def _find_by(self, mark: str, host: str) -> tuple[RuleBucket, ...]:
        prefixes = self._trie.iter_prefixes_with_ids(mark + rule_key(host, exact=True)) if host else ()
        return tuple(self._opened[number] for _key, number in prefixes)

    def _open_bucket(self, number: int) -> RuleBucket:
        place = self._trie.restore_key(number) if number < self._places else INITIATOR_MARK
        by_host = not place.startswith(INITIATOR_MARK)
        is_crowded = by_host and any(True for _key in self._trie.iterkeys(f"{place}/"))
        rules = [self._decode(rule, by_host) for rule in self._flat[self._starts[number] : self._starts[number + 1]]]
        return _bucket(
            (rule for rule in rules if not rule.rule.exception),
            (rule for rule in rules if rule.rule.exception),
            (place,) if is_crowded else (),
        )

    def _decode(self, number: int, by_host: bool) -> CompiledUrlRule:
        row = msgspec.json.decode(self._rows[self._offsets[number] : self._offsets[number + 1]])
        source, line, exception, kind, pattern, host, options, text, file, whole = row
        conditions = parse_modifiers(options)
        types = int(conditions.types_in(self._default_types[source]))
        static = conditions if conditions.party or conditions.initiators or conditions.targets else None
        written = UrlRule(pattern, host, line, text, exception, options, PatternKind(kind), file)
        rule = CompiledUrlRule(written, source, self._masks[source], types, static, conditions.important)
        if not whole or conditions.match_case or conditions.is_dns_rule or conditions.methods:
            _add_test(rule, by_host)
        return rule


def _applies(rule: CompiledUrlRule, request: UrlRequest) -> bool:
    return (
        rule.types & request.resource != 0
        and (rule.conditions is None or _hosts_match(rule, rule.conditions, request.host, request.initiator))
        and ((test := rule.test) is None or bool(test(request)))
    )


class _LazyBuckets(dict[int, RuleBucket]):
    """Buckets by number, opened on first use."""

    def __init__(self, open_bucket: Callable[[int], RuleBucket]) -> None:
        super().__init__()
        self._open_bucket = open_bucket

    def __missing__(self, number: int) -> RuleBucket:
        bucket = self[number] = self._open_bucket(number)
        return bucket


def _refuse_pickled_values(data: bytes) -> object:
    """Replace the automaton's unpickler: an automaton of numbers has no objects, and nothing is ever unpickled."""
    raise ValueError(f"an automaton with {len(data)} bytes of foreign values")


def _weak_method[*Arguments, Result](method: Callable[[*Arguments], Result]) -> Callable[[*Arguments], Result]:
    """Return the method without a reference to its object.

    An object that caches its own method is in a cycle. Unused, it would stay with its mapped files until a full garbage collection.
    """
    reference = WeakMethod(method)

    def call(*arguments: *Arguments) -> Result:
        bound = reference()
        assert bound is not None, "only its object keeps the cache"
        return bound(*arguments)

    return call
