"""The compiled lists, opened: categories of hosts and URLs.

Read-only, and shared by all workers through the page cache.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from hedgerow.blocklists.canaries import is_canary_site
from hedgerow.blocklists.formats.sealed import url_expressions
from hedgerow.blocklists.generation import (
    DNS_RULES,
    URL_RULES,
    GenerationMeta,
    SourceMeta,
    matches_checksums,
    read_meta,
)
from hedgerow.blocklists.host_matcher import HostMatcher
from hedgerow.blocklists.rule_modifiers import parse_modifiers
from hedgerow.blocklists.rules import Origin
from hedgerow.blocklists.url_matcher import CompiledUrlRule, UrlMatcher
from hedgerow.blocklists.url_tests import UrlRequest, describe

ADS_CATEGORY = "ads-trackers"


@dataclass(frozen=True, slots=True)
class UrlMatch:
    """A rule about URLs or DNS questions that matched."""

    category: str
    origin: Origin


class DnsRuleMatch(NamedTuple):
    """A rule about DNS questions that refuses one, or with `target` answers it with another address or host; and the
    categories that an exception for the record type lifts from the host.
    """

    match: UrlMatch | None
    lifted: int
    target: str = ""


class Catalogue:
    """The lists of one generation. `categories[i]` is the category of bit i of a mask.

    `bits` holds the masks of single categories. `host_mask(host)` returns the categories of a canonical host; `hosts`
    says more about hosts, `rule_locator` finds the lines of lists.
    """

    def __init__(
        self, generation: Path, meta: GenerationMeta, corrections: Mapping[str, Iterable[str]] = MappingProxyType({})
    ) -> None:
        self.generation, self.sources = generation, meta.sources
        self.categories, self.version = meta.categories, meta.version
        self.listed = frozenset(source.category for source in meta.sources)  # categories that have a list
        self.bits = {name: 1 << index for index, name in enumerate(meta.categories)}
        masks = [self.bits.get(source.category, 0) for source in meta.sources]
        loaded_only = [_is_about_ads(source) for source in meta.sources]
        self.hosts = HostMatcher(
            generation, meta, self.bits, {host: self.mask_of(names) for host, names in corrections.items()}
        )
        # bound here: the hot path saves a call
        self.host_mask, self.has_url_rules = self.hosts.mask, self.hosts.has_url_rules
        self._urls = UrlMatcher(generation / URL_RULES, masks, loaded_only)
        self._dns_rules = UrlMatcher(generation / DNS_RULES, masks, loaded_only)
        self._has_urls, self.has_dns_rules = len(self._urls) > 0, len(self._dns_rules) > 0
        # Pages ask the same hosts again and again.
        self._lifted = lru_cache(maxsize=1024)(self.hosts.lifted)
        self._matches_by_rule: dict[int, UrlMatch] = {}

    @classmethod
    def open(cls, generation: Path, corrections: Mapping[str, Iterable[str]] = MappingProxyType({})) -> Catalogue:
        """Open a generation. Raises OSError or ValueError for a directory that is not one.

        `corrections` are categories that hosts, with everything beneath them, are not of, whatever lists say.
        """
        try:
            return cls(generation, read_meta(generation), corrections)
        except (KeyError, IndexError, TypeError, AttributeError, RuntimeError) as error:  # a trie raises the last
            raise ValueError(f"{generation}: not a generation of this version: {error}") from error

    def mask_of(self, names: Iterable[str]) -> int:
        """Return the mask of categories. A name that no list and no taxonomy knows has no bit."""
        return reduce(operator.or_, (self.bits.get(name, 0) for name in names), 0)

    def names_of(self, mask: int) -> tuple[str, ...]:
        """Return the categories of a mask."""
        return tuple(name for name, bit in self.bits.items() if mask & bit)

    def match_url(
        self, url: str, resource: str = "", initiator: str = "", mask: int = -1, method: str = ""
    ) -> UrlMatch | None:
        """Return the first rule about URLs that matches, of the categories in `mask`.

        Rules about whole hosts are in `host_mask`, those about DNS questions in `match_dns_rule`. `resource` is the
        request's Sec-Fetch-Dest, `initiator` the host of the page that asks; both are empty where unknown.
        """
        return next(iter(self.match_urls(url, resource, initiator, mask, method)), None)

    def match_urls(
        self, url: str, resource: str = "", initiator: str = "", mask: int = -1, method: str = ""
    ) -> tuple[UrlMatch, ...]:
        """Return one matching rule per category in `mask` that has one. Arguments as for `match_url`."""
        has_sealed = bool(self.hosts.sealed & mask)
        request = describe(url, resource, initiator, method) if has_sealed or self._has_urls else None
        if request is None:
            return ()
        found, host = self._urls.find(request, mask), request.host
        sealed = self.hosts.sealed_mask(url_expressions(url)) & mask if has_sealed else 0
        if not found.blocks and not sealed:
            return ()
        lifted = self._lifted(host)
        matches = [(rule.mask, self._match_of(rule)) for rule in found.blocks if self._stands(rule, host, lifted)]
        # No exception lifts a sealed entry, and its line stays secret.
        matches += [
            (self.bits[name], UrlMatch(name, Origin(self.hosts.sealed_sources[name]))) for name in self.names_of(sealed)
        ]
        return tuple(match for _mask, match in sorted(matches, key=lambda pair: pair[0]))

    def lifted_by_url(self, url: str, resource: str = "", initiator: str = "", mask: int = -1, method: str = "") -> int:
        """Return the categories in `mask`, which block the URL's host, that an exception lifts from this URL."""
        request = describe(url, resource, initiator, method) if self._has_urls else None
        if request is None:
            return 0
        lifted = self._urls.find(request, 0, mask).lifted
        return lifted & ~self.hosts.important(request.host) if lifted else 0

    def match_dns_rule(self, host: str, dns_type: str, mask: int = -1) -> DnsRuleMatch:
        """Match the rules with $dnstype and $dnsrewrite, of the categories in `mask`, against a question for a name."""
        found = self._dns_rules.find(UrlRequest.about(f"dns://{host}/", host, dns_type=dns_type), mask, mask)
        lifted = found.lifted & ~self.hosts.important(host) if found.lifted else 0
        for rule in found.blocks:
            if self._stands(rule, host, self._lifted(host)):
                return DnsRuleMatch(self._match_of(rule), lifted, parse_modifiers(rule.row.options).rewrite)
        return DnsRuleMatch(None, lifted)

    def _stands(self, rule: CompiledUrlRule, host: str, lifted: int) -> bool:
        """Return whether a rule still applies after the exceptions in `lifted`.

        Only essential names lift an important rule. A downloaded rule about no host in particular is wrong about a
        canary.
        """
        row = rule.row
        if not row.host and self.sources[row.source].is_corrected and is_canary_site(host):
            return False
        return not rule.mask & (self.hosts.essential(host) if rule.row.important else lifted)

    def _match_of(self, rule: CompiledUrlRule) -> UrlMatch:
        # The matcher decodes a rule once and keeps it, so its id stays its own.
        match = self._matches_by_rule.get(id(rule))
        if match is None:
            source = self.sources[rule.row.source]
            match = self._matches_by_rule[id(rule)] = UrlMatch(source.category, rule.row.rule.origin(source.name))
        return match


def is_usable(generation: Path) -> bool:
    """Return True if a generation can be opened and its checksums match, so that a bad disk neither stops Hedgerow nor
    unblocks sites.
    """
    try:
        Catalogue.open(generation)
    except (OSError, ValueError):
        return False
    return matches_checksums(generation)


def _is_about_ads(source: SourceMeta) -> bool:
    """Return whether the rules of a source are about resources that pages load.

    Those without a type do not apply to opened pages.
    """
    return source.category == ADS_CATEGORY and source.format == "adblock"
