"""The rules of all lists sorted by what must be known to apply them; those that a $badfilter takes back are left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hedgerow.blocklists.conditions import parse_conditions
from hedgerow.blocklists.generation import TakenBack
from hedgerow.blocklists.names import rule_key
from hedgerow.blocklists.rules import Kind, UrlRule

Owned = tuple[int, UrlRule]
"""A rule with the index of its source."""

_HOST = re.compile(r"\|\|([^/^*|]+)\^")


@dataclass(frozen=True, slots=True)
class SortedRules:
    """`urls` are held against URLs; `askers` also hang on who asks, or for what type; `names` are patterns of hosts. `taken_back`
    are orders to take names out of the index, sorted."""

    urls: list[Owned] = field(default_factory=list)
    askers: list[Owned] = field(default_factory=list)
    names: list[Owned] = field(default_factory=list)
    taken_back: tuple[TakenBack, ...] = ()


def sort_rules(rules: Iterable[Owned], categories: Sequence[str]) -> SortedRules:
    """`categories` gives each source's: a $badfilter is about the rules of its own category."""
    rest, taken_back = [], set()
    for source, rule in rules:
        if rule.options and parse_conditions(rule.options).badfilter:
            taken_back.add(_identity(categories[source], rule))
        else:
            rest.append((source, rule))
    orders = sorted(order for identity in taken_back if (order := _order(*identity)) is not None)
    found = SortedRules(taken_back=tuple(orders))
    for source, rule in rest:
        if taken_back and _identity(categories[source], rule) in taken_back:
            continue
        if rule.kind is Kind.HOST_REGEX:
            found.names.append((source, rule))
        elif rule.options and parse_conditions(rule.options).is_about_asker:
            found.askers.append((source, rule))
        else:
            found.urls.append((source, rule))
    return found


def _identity(category: str, rule: UrlRule) -> tuple[str, str, str, bool, str]:
    """Two rules with one identity are the same rule, whatever the order of their modifiers."""
    options = ",".join(sorted(option for option in rule.options.split(",") if option and option != "badfilter"))
    return category, rule.kind, rule.pattern, rule.exception, options


def _order(category: str, _kind: str, pattern: str, exception: bool, options: str) -> TakenBack | None:
    """What a $badfilter takes out of the index of names; None if it is about a rule that is not there."""
    host = _HOST.fullmatch(pattern)
    if host is None or options not in ("", "important"):
        return None
    return TakenBack(category, rule_key(host[1]), exception, bool(options))
