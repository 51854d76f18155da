"""The allows and blocks for one device, indexed for look-up.

Scopes are layered: grant, device, person, household, profile. For each host the nearest scope wins, and within a scope
the most specific rule: a URL before a host, a longer host before a shorter, a host before a service. For a category or
service, the nearest scope that names it wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from hedgerow.policies.host_facts import Services
from hedgerow.policies.model import Decision, Target, TargetKind, Verdict
from hedgerow.policies.targets import ILLEGAL, PathTest, compile_path

_TIMED_RANK = 8192  # more than any specificity
BYPASS = "bypass"
UNSAFE_SEARCH = "unsafe-search"
NEVER_INSPECT = "never-inspect"
MIRRORS = "mirrors"


class RuleScope(IntEnum):
    """The origin of a rule, the nearest first."""

    GRANT = 0
    DEVICE = 1
    PERSON = 2
    HOUSEHOLD = 3
    PROFILE = 4


@dataclass(frozen=True, slots=True)
class Rule:
    """An allow or block of one scope, in force until `until`.

    Of rules that match a request, the one with the lowest `rank` wins.
    """

    allow: bool
    scope: RuleScope
    target: Target
    until: float | None = None
    rank: int = 0

    @property
    def is_timed(self) -> bool:
        """True for a rule of a schedule, a bedtime or a pause for homework."""
        return (self.scope << 16) - self.rank >= _TIMED_RANK


@dataclass(frozen=True, slots=True)
class PathRule:
    """A rule for matching paths and queries. Its target is a URL, or a service that is part of a site."""

    rule: Rule
    matches: PathTest


@dataclass(frozen=True, slots=True)
class ScopeLayer:
    """The rules of one scope. Rules of a schedule form a layer of their own, which names the `schedule`."""

    scope: RuleScope
    allow: tuple[Target, ...] = ()
    block: tuple[Target, ...] = ()
    until: float | None = None
    schedule: str = ""


class RuleIndex:
    """Index of all layers. Masks are of the catalogue's categories; `category_rules` has one entry per bit.

    `illegal` is the mask of that category, which no layer can change; 0 if no list has it.
    """

    __slots__ = (
        "always",
        "blocked",
        "bypass",
        "categories",
        "category_rules",
        "hosts",
        "illegal",
        "lifted",
        "never_inspect",
        "services",
        "unsafe",
        "unsafe_lifted",
        "urls",
    )

    def __init__(
        self, layers: Iterable[ScopeLayer], catalogue_categories: Sequence[str], services: Services, has_illegal: bool
    ) -> None:
        self.hosts: dict[str, Rule] = {}
        self.services: dict[str, Rule] = {}
        self.categories: dict[str, Rule] = {}
        urls: dict[str, list[PathRule]] = {}
        for rule in _rules(layers):
            match rule.target.kind:
                case TargetKind.HOST:
                    _add(self.hosts, rule)
                case TargetKind.SERVICE:
                    _add(self.services, rule)
                case TargetKind.CATEGORY:
                    _add(self.categories, rule)
                case TargetKind.URL:
                    _add_url(urls, rule.target.name, rule)
        for id, rule in self.services.items():
            for pattern in services.by_id[id].urls if id in services.by_id else ():
                _add_url(urls, pattern, replace(rule, rank=rule.rank - 1))
        self.urls: Mapping[str, tuple[PathRule, ...]] = {
            host: tuple(sorted(found, key=lambda url_rule: url_rule.rule.rank)) for host, found in urls.items()
        }
        self._lay_out_categories(catalogue_categories, has_illegal)

    def named(self, decision: Decision) -> Rule | None:
        """Return the rule that a decision names."""
        for known in (self.services, self.categories, self.hosts):
            rule = known.get(decision.what)
            if rule is not None and rule.allow is (decision.verdict is not Verdict.BLOCK):
                return rule
        candidates = (
            each.rule for found in self.urls.values() for each in found if each.rule.target.name == decision.what
        )
        return next(candidates, None)

    def _lay_out_categories(self, names: Sequence[str], has_illegal: bool) -> None:
        self.category_rules = tuple(self.categories.get(name) for name in names)
        self.blocked = self.lifted = self.bypass = self.always = 0
        for bit, (name, rule) in enumerate(zip(names, self.category_rules, strict=True)):
            if rule is None or name == ILLEGAL:
                continue
            if rule.allow:
                self.lifted |= 1 << bit
                self.always |= rule.target.always << bit
            elif name == BYPASS:
                self.bypass |= 1 << bit
            else:
                self.blocked |= 1 << bit
        self.illegal = 1 << names.index(ILLEGAL) if has_illegal else 0
        self.unsafe = 1 << names.index(UNSAFE_SEARCH) if UNSAFE_SEARCH in names else 0
        self.never_inspect = 1 << names.index(NEVER_INSPECT) if NEVER_INSPECT in names else 0
        unsafe = self.categories.get(UNSAFE_SEARCH)
        self.unsafe_lifted = unsafe is not None and unsafe.allow


def _add(known: dict[str, Rule], rule: Rule) -> None:
    """Keep the first rule for each name. A nearer allow, such as a grant, does not take `always` away."""
    first = known.setdefault(rule.target.name, rule)
    if first is not rule and first.allow and rule.allow and rule.target.always:
        known[rule.target.name] = replace(first, target=replace(first.target, always=True))


def _add_url(urls: dict[str, list[PathRule]], pattern: str, rule: Rule) -> None:
    host, _, path = pattern.partition("/")
    urls.setdefault(host, []).append(PathRule(rule, compile_path(f"/{path}")))


def _rules(layers: Iterable[ScopeLayer]) -> Iterable[Rule]:
    """Yield all rules, the nearest scope first and timed ones first in each.

    A service's URLs rank above services and below a host: a part of a site can be closed where the site is open.
    """
    for layer in sorted(layers, key=lambda layer: (layer.scope, not layer.schedule)):
        rank = (layer.scope << 16) - (_TIMED_RANK if layer.schedule else 0)
        for allow, targets in ((False, layer.block), (True, layer.allow)):
            for target in targets:
                until = min((end for end in (layer.until, target.until) if end is not None), default=None)
                yield Rule(allow, layer.scope, target, until, rank - _specificity(target))


def _specificity(target: Target) -> int:
    match target.kind:
        case TargetKind.URL:
            return 2000 + min(len(target.name), 4000)
        case TargetKind.HOST:
            return 1000 + len(target.name)
        case TargetKind.SERVICE | TargetKind.CATEGORY:
            return 0
