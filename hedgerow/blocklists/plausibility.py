"""Checks of a new copy of a list: a publisher's mistake must not switch off the internet, nor the filter.

A copy that fails is held back until somebody accepts it or the publisher sends another. Local files are not checked.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from hedgerow.blocklists.categories import is_good
from hedgerow.blocklists.generation import EntryKind
from hedgerow.blocklists.list_parser import ParseCache, ParsedSource, read_rules
from hedgerow.blocklists.names import is_beneath, rule_key
from hedgerow.blocklists.patterns import HostPattern, HostPatternMatcher
from hedgerow.blocklists.rules import UrlRule
from hedgerow.blocklists.sources import ESSENTIAL_PROBLEM, Source, essential_hosts, popular_hosts
from hedgerow.blocklists.url_index import OPAQUE_ORIGIN, group_rules, write_url_index
from hedgerow.blocklists.url_matcher import UrlMatcher
from hedgerow.blocklists.url_tests import UrlRequest

MIN_SHARE_OF_PREVIOUS = 0.6
"""Share of the rules of the last good copy, and of the entries that a list states. With fewer, something is missing."""

MAX_SHARE_OF_POPULAR = 0.02
"""Share of the sample of essential and popular names that a list may block."""

MAX_CANARIES = 100
"""Canaries from which on a list that newly names them is held back; fewer are left out of it."""

_HEAD_BYTES = 4096
_STATED_COUNT = re.compile(
    r"^[#!;/ ]*(?:number of (?:entries|domains|unique domains)|entries|total (?:number of )?domains)\s*:\s*([\d.,]+)",
    re.I | re.M,
)
_BLOCK = 1 << 16


def refusal_of_copy(lists: ParseCache, new: Source, good: Source | None) -> str:
    """Return why the copy of a list at `new.path` must not replace the one at `good.path`; empty if it may.

    Raises OSError.
    """
    name, parsed_source = lists.parse_source(new)
    if not parsed_source.keys and not parsed_source.url_rules:
        first = next((problem.message for problem in parsed_source.problems), "nothing in it is a rule")
        return f"it has no rules: {first}"
    if good is not None:
        before = _rule_count(lists.parse_source(good)[1])
        if _rule_count(parsed_source) < MIN_SHARE_OF_PREVIOUS * before:
            return f"it shrank from {before:,} rules to {_rule_count(parsed_source):,}"
    stated = _stated_count(lists.text_of(name))
    if _rule_count(parsed_source) < MIN_SHARE_OF_PREVIOUS * stated:
        return f"it says that it has {stated:,} entries, but {_rule_count(parsed_source):,} came"
    rules = read_rules(lists.folder / name) if parsed_source.url_rules else ()
    if refusal := _refusal_for_popular_names(new.category, parsed_source, rules):
        return refusal
    known = lists.parse_source(good)[1].corrections if good is not None else {}
    return _refusal_for_canaries(parsed_source.corrections.keys() - known.keys())


def _refusal_for_canaries(named: Collection[str]) -> str:
    """Return why a list that newly names these canaries must be a mistake as a whole; empty if they are few."""
    if len(named) < MAX_CANARIES:
        return ""
    shown = ", ".join(sorted(named)[:3])
    return f"it names {len(named)} sites of health, help, schools, news and the like, such as {shown}"


def _rule_count(parsed_source: ParsedSource) -> int:
    return parsed_source.names + parsed_source.url_rules


def _stated_count(text: Path) -> int:
    """Return the number of entries that the head of a list states, 0 if it states none."""
    with text.open("rb") as file:
        match = _STATED_COUNT.search(file.read(_HEAD_BYTES).decode("utf-8", "replace"))
    return int(re.sub(r"\D", "", match[1]) or 0) if match else 0


def _refusal_for_popular_names(category: str, parsed_source: ParsedSource, rules: Iterable[UrlRule]) -> str:
    if is_good(category):
        return ""
    sample = popular_hosts() | essential_hosts()
    left_out = {host for host in popular_hosts() if is_beneath(host, frozenset(parsed_source.corrections))}
    named = blocked_hosts(parsed_source, popular_hosts()) | hosts_blocked_by_rules(rules, popular_hosts())
    blocked = sorted(named | left_out)
    count = len(blocked) + parsed_source.problem_counts[ESSENTIAL_PROBLEM]
    if count <= MAX_SHARE_OF_POPULAR * len(sample):
        return ""
    such_as = f", such as {', '.join(blocked[:3])}" if blocked else ""
    return f"it blocks {count} of {len(sample)} essential and well-known names{such_as}"


def blocked_hosts(parsed_source: ParsedSource, hosts: frozenset[str]) -> set[str]:
    """Return those of `hosts` that the list names, or of which it names a parent."""
    wanted = {key: host for host in hosts for key in _matching_keys(host)}
    blocked: set[str] = set()
    for run in parsed_source.runs:
        if run.kind == EntryKind.BLOCK:
            with run.path.open("rb") as file:
                while block := file.read(_BLOCK) + file.readline():
                    blocked |= {wanted[key] for key in wanted.keys() & block.decode("ascii").split("\n")}
    return blocked


def hosts_blocked_by_rules(rules: Iterable[UrlRule], hosts: frozenset[str]) -> set[str]:
    """Return those of `hosts` whose names, or front pages as documents or scripts, the rules of a list block."""
    groups = group_rules(((0, rule) for rule in rules), ("",))
    patterns = HostPatternMatcher(HostPattern(0, rule, 1) for _, rule in groups.names if not rule.exception)
    with tempfile.TemporaryDirectory() as folder:
        write_url_index(groups.urls, Path(folder))
        matcher = UrlMatcher(Path(folder), (1,), (False,))
        return {
            host
            for host in hosts
            if patterns.matching(host) or any(matcher.find(request).blocks for request in _front_page_requests(host))
        }


def _front_page_requests(host: str) -> tuple[UrlRequest, ...]:
    return tuple(
        UrlRequest.about(f"https://{host}/", host, resource, OPAQUE_ORIGIN) for resource in ("document", "script")
    )


def _matching_keys(host: str) -> Iterator[str]:
    yield rule_key(host, exact=True)
    labels = rule_key(host).split(".")[:-1]
    for end in range(1, len(labels) + 1):
        yield ".".join(labels[:end]) + "."
