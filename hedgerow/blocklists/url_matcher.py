"""Matching of URL rules: one pass over the URL and two look-ups find the candidates; exact conditions decide on each.

The files are those of `url_index`, and mapped. A rule is decoded when it first is a candidate.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import marisa_trie
import msgspec

from hedgerow.blocklists.fragment_table import FragmentTable
from hedgerow.blocklists.generation import map_file
from hedgerow.blocklists.names import rule_key
from hedgerow.blocklists.rule_modifiers import (
    ALL_RESOURCES,
    SUBRESOURCES,
    NameCondition,
    RuleModifiers,
    parse_modifiers,
    party_relations,
)
from hedgerow.blocklists.url_index import (
    BUCKETS_FILE,
    FRAGMENTS_FILE,
    INITIATOR_MARK,
    MAX_PATH_KEY,
    OFFSETS_FILE,
    OPAQUE_ORIGIN,
    PLACES_FILE,
    ROWS_FILE,
    URL_META_FILE,
    RuleRow,
    UrlIndexMeta,
)
from hedgerow.blocklists.url_tests import Test, UrlRequest, make_test

_ROWS = msgspec.json.Decoder(RuleRow)

MAX_CACHED_HOST_PAIRS = 8192
"""Pairs of hosts, with a resource, whose rules are cached: pages ask the same few hosts again and again."""

UNKNOWN_SITES = frozenset({"", OPAQUE_ORIGIN})
"""Unknown initiators: none, or an opaque origin, which is a third party to every host."""


@dataclass(slots=True)
class CompiledUrlRule:
    """A rule, decoded.

    `mask` is the bit of its category; `types` are the resources that it is about; `is_limited`: its modifiers limit the
    hosts or initiators; `is_by_host`: it is only found where its host matches; `test` checks the rest, None if nothing
    is left to check.
    """

    row: RuleRow
    mask: int
    types: int
    is_limited: bool
    is_by_host: bool
    test: Test | None = None

    def compile_and_test(self, request: UrlRequest) -> bool:
        """Give the rule its test. Most rules are rarely or never candidates, and keep this one."""
        row = self.row
        test = make_test(row.kind, row.pattern, row.host, row.match_case, self.is_by_host)
        if row.has_details:
            conditions = parse_modifiers(row.options)
            self.test = lambda request: _details_match(conditions, request) and (test is None or test(request))
        else:
            self.test = test
        return self.test is None or bool(self.test(request))


def _hosts_match(row: RuleRow, host: str, initiator: str) -> bool:
    party = row.party
    if party and party_relations(host, initiator) & party != party:
        return False
    initiators, targets = row.initiators, row.targets
    return (initiators is None or initiators.admit_host(initiator) or _is_in_doubt(row, initiators, initiator)) and (
        targets is None or targets.admit_host(host)
    )


def _is_in_doubt(row: RuleRow, initiators: NameCondition, initiator: str) -> bool:
    """Return whether an exception holds because the initiator is unknown.

    A block must be known to apply. An exception for several sites applies if it may, or the block would be wider than
    intended. An exception for one site does not: that it is just this site is unlikely.
    """
    return row.exception and initiator in UNKNOWN_SITES and len(initiators.wanted) != 1


def _details_match(conditions: RuleModifiers, request: UrlRequest) -> bool:
    """Check the conditions on record type and method. An unknown one meets no condition."""
    return (
        (not conditions.rewrite or bool(request.dns_type))
        and (not conditions.dns_types or conditions.dns_types.admit(request.dns_type.lower()))
        and (not conditions.methods or conditions.methods.admit(request.method.lower()))
    )


class RuleBucket(msgspec.Struct, frozen=True, gc=False):
    """Rules found at one place.

    `types` are the resources that they are about; `crowded` are the places of hosts with so many rules that these are
    found by their paths.
    """

    types: int
    blocks: tuple[CompiledUrlRule, ...]
    exceptions: tuple[CompiledUrlRule, ...]
    crowded: tuple[str, ...] = ()


EMPTY_BUCKET = RuleBucket(0, (), ())


def _make_bucket(rules: Iterable[CompiledUrlRule], crowded: tuple[str, ...] = ()) -> RuleBucket:
    types = 0
    blocks: list[CompiledUrlRule] = []
    exceptions: list[CompiledUrlRule] = []
    for rule in rules:
        types |= rule.types
        (exceptions if rule.row.exception else blocks).append(rule)
    return RuleBucket(types, tuple(blocks), tuple(exceptions), crowded)


@dataclass(frozen=True, slots=True)
class UrlMatches:
    """The result of matching:

    `blocks` has one rule per category that no exception lifts; `lifted` are the categories that one lifts.
    """

    blocks: tuple[CompiledUrlRule, ...] = ()
    lifted: int = 0


NO_MATCHES = UrlMatches()


class UrlMatcher:
    """All URL rules of a generation.

    `masks` are the bits of the sources' categories. `loaded_only` has True for a source whose rules are about what
    pages load, not about pages. Raises OSError or ValueError if the folder is not what `url_index` writes.
    """

    def __init__(self, folder: Path, masks: Sequence[int], loaded_only: Iterable[bool]) -> None:
        self._masks, self._default_types = masks, [int(SUBRESOURCES if only else ALL_RESOURCES) for only in loaded_only]
        meta = msgspec.json.decode((folder / URL_META_FILE).read_bytes(), type=UrlIndexMeta)
        self._has_paths = meta.has_paths
        count = meta.places + meta.fragments + 1
        buckets = map_file(folder / BUCKETS_FILE).cast("I")
        self._starts, self._flat = buckets[: count + 1], buckets[count + 1 :]
        self._offsets, self._rows = map_file(folder / OFFSETS_FILE).cast("Q"), map_file(folder / ROWS_FILE)
        if self._starts[count] != len(self._flat) or self._offsets[-1] != len(self._rows):
            raise ValueError(f"{folder}: its files do not belong together")
        self._trie = marisa_trie.Trie().mmap(str(folder / PLACES_FILE))
        self._find_fragments = FragmentTable(folder / FRAGMENTS_FILE).find
        self._every = functools.reduce(operator.or_, self._masks, 0)
        self._opened: dict[int, RuleBucket] = {}
        always = self._bucket_at(count - 1)
        self._always = (always,) if always != EMPTY_BUCKET else ()
        # Three caches, emptied together.
        self._of_host: dict[str, tuple[RuleBucket, ...]] = {}
        self._of_initiator: dict[str, dict[str, RuleBucket]] = {}
        self._by_hosts: dict[tuple[str, str, int], RuleBucket] = {}

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def find(self, request: UrlRequest, wanted: int = -1, blocked: int = 0) -> UrlMatches:
        """Match the rules of the categories in `wanted`.

        Exceptions are considered only if there is something to lift: a rule that blocks, or a category in `blocked`,
        those that block the whole host.
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
        numbers, crowded = self._find_fragments(request.text), host_bucket.crowded
        buckets = self._find_by_text(request, numbers, crowded) if numbers or crowded else []
        for bucket in buckets if remaining else ():
            for rule in bucket.blocks:
                if rule.mask & remaining and _applies(rule, request):
                    blocks.append(rule)
                    remaining &= ~rule.mask
        blocked |= wanted & ~remaining
        return self._apply_exceptions(request, blocks, blocked, host_bucket, buckets) if blocked else NO_MATCHES

    def _find_by_text(self, request: UrlRequest, numbers: Iterable[int], crowded: tuple[str, ...]) -> list[RuleBucket]:
        """Return the buckets found by fragments, or by paths of crowded hosts, that are about the request's
        resource.
        """
        found = [self._bucket_at(number) for number in numbers]
        for place in crowded:
            path = request.text[request.host_end : request.host_end + MAX_PATH_KEY]
            found += [
                self._bucket_at(number, by_host=True)
                for _key, number in self._trie.iter_prefixes_with_ids(place + path)
            ]
        return [bucket for bucket in found if bucket.types & request.resource]

    def _apply_exceptions(
        self,
        request: UrlRequest,
        blocks: list[CompiledUrlRule],
        blocked: int,
        host_bucket: RuleBucket,
        buckets: list[RuleBucket],
    ) -> UrlMatches:
        """Weigh exceptions against blocks. Only an important exception lifts an important block."""
        lifting = [
            rule
            for rule in host_bucket.exceptions
            if rule.mask & blocked and ((test := rule.test) is None or test(request))
        ]
        for bucket in buckets:
            lifting += [rule for rule in bucket.exceptions if rule.mask & blocked and _applies(rule, request)]
        if not lifting:
            return UrlMatches(tuple(blocks)) if blocks else NO_MATCHES
        lifted, standing = 0, {}
        for rule in lifting:
            lifted |= rule.mask
        forced = {rule.mask for rule in lifting if rule.row.important}
        for rule in (
            rule
            for bucket in (host_bucket, *buckets)
            for rule in bucket.blocks
            if rule.row.important and rule.mask & lifted
        ):
            if rule.mask not in forced and _applies(rule, request):
                standing[rule.mask] = rule
        standing |= {rule.mask: rule for rule in blocks if not rule.mask & lifted}
        return UrlMatches(tuple(standing.values()), lifted & ~sum(standing))

    def _find_by_hosts(self, host: str, initiator: str, resource: int) -> RuleBucket:
        """Cache the rules that the hosts alone find, narrowed to those that apply to them: only patterns remain to be
        tested.
        """
        if len(self._by_hosts) >= MAX_CACHED_HOST_PAIRS:
            for cache in (self._of_host, self._of_initiator, self._by_hosts):
                cache.clear()
        blocks: list[CompiledUrlRule] = []
        exceptions: list[CompiledUrlRule] = []
        crowded: tuple[str, ...] = ()
        for bucket in self._candidates(host, initiator):
            crowded += bucket.crowded
            if bucket.types & resource:
                for rule in bucket.blocks + bucket.exceptions:
                    if rule.types & resource and (not rule.is_limited or _hosts_match(rule.row, host, initiator)):
                        (exceptions if rule.row.exception else blocks).append(rule)
        host_bucket = EMPTY_BUCKET
        if blocks or exceptions or crowded:
            host_bucket = RuleBucket(resource, tuple(blocks), tuple(exceptions), crowded)
        self._by_hosts[host, initiator, resource] = host_bucket
        return host_bucket

    def _candidates(self, host: str, initiator: str) -> Sequence[RuleBucket]:
        """Return the buckets that the hosts alone find."""
        found = self._of_host.get(host)
        if found is None:
            found = self._of_host[host] = self._find_by_host(host)
        initiator = initiator or OPAQUE_ORIGIN
        by_target = self._of_initiator.get(initiator)
        if by_target is None:
            by_target = self._of_initiator[initiator] = self._find_by_initiator(initiator)
        if not by_target:
            return found
        more, domain = [*found], host
        while domain:
            if (bucket := by_target.get(domain)) is not None:
                more.append(bucket)
            domain = domain.partition(".")[2]
        if (bucket := by_target.get("")) is not None:
            more.append(bucket)
        return more

    def _find_by_host(self, host: str) -> tuple[RuleBucket, ...]:
        prefixes = self._trie.iter_prefixes_with_ids(rule_key(host, exact=True)) if host else ()
        return (*[self._bucket_at(number, by_host=True, place=place) for place, number in prefixes], *self._always)

    def _find_by_initiator(self, initiator: str) -> dict[str, RuleBucket]:
        """Return the rules that an initiator finds, by the host that they are about; that is empty if they
        name none.
        """
        by_target: dict[str, list[CompiledUrlRule]] = {}
        for _place, number in self._trie.iter_prefixes_with_ids(INITIATOR_MARK + rule_key(initiator, exact=True)):
            bucket = self._bucket_at(number, by_host=True)
            for rule in bucket.blocks + bucket.exceptions:
                by_target.setdefault(rule.row.host, []).append(rule)
        return {target: _make_bucket(rules) for target, rules in by_target.items()}

    def _bucket_at(self, number: int, by_host: bool = False, place: str = "") -> RuleBucket:
        """Return a bucket, opened on first use.

        `by_host`: its rules are found by their host, at `place`, or by a path of it.
        """
        bucket = self._opened.get(number)
        if bucket is None:
            is_crowded = self._has_paths and place != "" and any(True for _key in self._trie.iterkeys(f"{place}/"))
            rules = (
                self._decode(rule, by_host) for rule in self._flat[self._starts[number] : self._starts[number + 1]]
            )
            bucket = self._opened[number] = _make_bucket(rules, (place,) if is_crowded else ())
        return bucket

    def _decode(self, number: int, by_host: bool) -> CompiledUrlRule:
        row = _ROWS.decode(self._rows[self._offsets[number] : self._offsets[number + 1]])
        types = row.types & self._default_types[row.source] if row.is_untyped else row.types
        is_limited = row.party != 0 or row.initiators is not None or row.targets is not None
        rule = CompiledUrlRule(row, self._masks[row.source], types, is_limited, by_host)
        if not row.is_whole:
            rule.test = rule.compile_and_test
        return rule


def _applies(rule: CompiledUrlRule, request: UrlRequest) -> bool:
    return (
        rule.types & request.resource != 0
        and (not rule.is_limited or _hosts_match(rule.row, request.host, request.initiator))
        and ((test := rule.test) is None or bool(test(request)))
    )
