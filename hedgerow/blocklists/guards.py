"""Is a new copy of a list still that list? A publisher's mistake must not switch the internet off, nor the filter.

A copy that fails is held back, never applied, until somebody accepts it or the publisher sends another. Lists that are files
of one's own are not judged.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from hedgerow.blocklists.categories import is_good
from hedgerow.blocklists.essential import ESSENTIAL_PROBLEM, essential_hosts, popular_hosts
from hedgerow.blocklists.generation import Part
from hedgerow.blocklists.intake import Intake, read_rules
from hedgerow.blocklists.name_patterns import NamePattern, NamePatterns
from hedgerow.blocklists.names import rule_key
from hedgerow.blocklists.parsed import ParsedLists
from hedgerow.blocklists.rules import UrlRule
from hedgerow.blocklists.sorted_rules import sort_rules
from hedgerow.blocklists.sources import Source
from hedgerow.blocklists.url_index import NOBODY, write_url_index
from hedgerow.blocklists.urls import Asked, UrlMatcher

SMALLEST_SHARE = 0.6
"""Of the rules of the last good copy, and of the entries that a list says it has: with fewer something is missing."""

LARGEST_SHARE = 0.02
"""Of the sample of essential and popular names: a list that blocks more is not what it says it is."""

_HEAD = 4096
_PROMISE = re.compile(
    r"^[#!;/ ]*(?:number of (?:entries|domains|unique domains)|entries|total (?:number of )?domains)\s*:\s*([\d.,]+)", re.I | re.M
)
_BLOCK = 1 << 20


def judge_copy(lists: ParsedLists, new: Source, good: Source | None) -> str:
    """Why the copy of a list at `new.path` must not replace the one at `good.path`; empty if it may. Raises OSError."""
    name, intake = lists.take_in(new)
    if not intake.keys and not intake.url_rules:
        first = next((problem.message for problem in intake.problems), "nothing in it is a rule")
        return f"it has no rules: {first}"
    if good is not None:
        before = _rules(lists.take_in(good)[1])
        if _rules(intake) < SMALLEST_SHARE * before:
            return f"it shrank from {before:,} rules to {_rules(intake):,}"
    promised = _promised(lists.text_of(name))
    if _rules(intake) < SMALLEST_SHARE * promised:
        return f"it says that it has {promised:,} entries, but {_rules(intake):,} came"
    return _judge_names(new.category, intake, read_rules(lists.folder / name) if intake.url_rules else ())


def _rules(intake: Intake) -> int:
    return intake.names + intake.url_rules


def _promised(text: Path) -> int:
    """The number of entries that the head of a list states, 0 if it states none."""
    with text.open("rb") as file:
        match = _PROMISE.search(file.read(_HEAD).decode("utf-8", "replace"))
    return int(re.sub(r"\D", "", match[1]) or 0) if match else 0


def _judge_names(category: str, intake: Intake, rules: Iterable[UrlRule]) -> str:
    if is_good(category):
        return ""
    sample = popular_hosts() | essential_hosts()
    blocked = sorted(blocked_of(intake, popular_hosts()) | blocked_by_rules(rules, popular_hosts()))
    count = len(blocked) + intake.problem_counts[ESSENTIAL_PROBLEM]
    if count <= LARGEST_SHARE * len(sample):
        return ""
    named = f", such as {', '.join(blocked[:3])}" if blocked else ""
    return f"it blocks {count} of {len(sample)} essential and well-known names{named}"


def blocked_of(intake: Intake, hosts: frozenset[str]) -> set[str]:
    """Those of `hosts` that the list names, or of which it names a parent."""
    wanted = {key: host for host in hosts for key in _matching_keys(host)}
    found: set[str] = set()
    for run in intake.runs:
        if run.part == Part.BLOCK:
            with run.path.open("rb") as file:
                while block := file.read(_BLOCK) + file.readline():
                    found |= {wanted[key] for key in wanted.keys() & block.decode("ascii").split("\n")}
    return found


def blocked_by_rules(rules: Iterable[UrlRule], hosts: frozenset[str]) -> set[str]:
    """Those of `hosts` whose names the rules of a list block, or whose front pages, when somebody opens them or a page loads them."""
    found = sort_rules(((0, rule) for rule in rules), ("",))
    patterns = NamePatterns(
        NamePattern(0, rule.line, rule.pattern, rule.text, rule.file, 1, 0) for _, rule in found.names if not rule.exception
    )
    with tempfile.TemporaryDirectory() as folder:
        write_url_index(found.urls, Path(folder))
        matcher = UrlMatcher(Path(folder), (1,), (False,))
        return {host for host in hosts if patterns.matching(host) or any(matcher.find(asked).blocks for asked in _front_page(host))}


def _front_page(host: str) -> tuple[Asked, ...]:
    return tuple(Asked.about(f"https://{host}/", host, resource, NOBODY) for resource in ("document", "script"))


def _matching_keys(host: str) -> Iterator[str]:
    yield rule_key(host, exact=True)
    labels = rule_key(host).split(".")[:-1]
    for end in range(1, len(labels) + 1):
        yield ".".join(labels[:end]) + "."
