"""Is a new copy of a list still that list? A publisher's mistake must not switch the internet off, nor the filter.

A copy that fails is held back, never applied, until somebody accepts it or the publisher sends another. Lists that are files
of one's own are not judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hedgerow.blocklists.categories import CategoryKind, builtin_categories
from hedgerow.blocklists.essential import ESSENTIAL_PROBLEM, essential_hosts, popular_hosts
from hedgerow.blocklists.generation import Part
from hedgerow.blocklists.intake import Intake
from hedgerow.blocklists.names import rule_key
from hedgerow.blocklists.parsed import ParsedLists
from hedgerow.blocklists.sources import Source

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
    return _judge_names(new.category, intake)


def _rules(intake: Intake) -> int:
    return intake.names + intake.url_rules


def _promised(text: Path) -> int:
    """The number of entries that the head of a list states, 0 if it states none."""
    with text.open("rb") as file:
        match = _PROMISE.search(file.read(_HEAD).decode("utf-8", "replace"))
    return int(re.sub(r"\D", "", match[1]) or 0) if match else 0


def _judge_names(category: str, intake: Intake) -> str:
    if any(known.name == category and known.kind == CategoryKind.GOOD for known in builtin_categories()):
        return ""
    sample = popular_hosts() | essential_hosts()
    blocked = sorted(blocked_of(intake, popular_hosts()))
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


def _matching_keys(host: str) -> Iterator[str]:
    yield rule_key(host, exact=True)
    labels = rule_key(host).split(".")[:-1]
    for end in range(1, len(labels) + 1):
        yield ".".join(labels[:end]) + "."
