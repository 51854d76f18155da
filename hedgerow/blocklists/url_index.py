"""The index of URL rules, written by the compiler, and the grouping of rules by what they are matched against."""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import marisa_trie
import msgspec

from hedgerow.blocklists.fragment_table import MAX_FRAGMENT, write_fragments
from hedgerow.blocklists.names import rule_key, unescape
from hedgerow.blocklists.patterns import literal_fragments
from hedgerow.blocklists.rule_modifiers import ALL_RESOURCES, NameCondition, parse_modifiers
from hedgerow.blocklists.rules import PatternKind, UrlRule

SourceRule = tuple[int, UrlRule]
"""A rule with the index of its source."""

_HOST = re.compile(r"\|\|([^/^*|]+)\^")


class BadfilterOrder(NamedTuple):
    """A $badfilter that drops a name from the index: the blocks, or the exceptions, of `key` in the lists of a
    category.
    """

    category: str
    key: str
    exception: bool
    important: bool


@dataclass(frozen=True, slots=True)
class GroupedRules:
    """Rules matched against URLs (`urls`), DNS questions (`dns`) and host names (`names`). `badfilters` are sorted."""

    urls: list[SourceRule] = field(default_factory=list)
    dns: list[SourceRule] = field(default_factory=list)
    names: list[SourceRule] = field(default_factory=list)
    badfilters: tuple[BadfilterOrder, ...] = ()


def group_rules(rules: Iterable[SourceRule], categories: Sequence[str]) -> GroupedRules:
    """Group rules, without those that a $badfilter of the same category disables; `categories` has one per source."""
    rest, badfilters = [], set()
    for source, rule in rules:
        if rule.options and parse_modifiers(rule.options).badfilter:
            badfilters.add(_rule_identity(categories[source], rule))
        else:
            rest.append((source, rule))
    orders = sorted(order for identity in badfilters if (order := _badfilter_order(*identity)) is not None)
    groups = GroupedRules(badfilters=tuple(orders))
    for source, rule in rest:
        if badfilters and _rule_identity(categories[source], rule) in badfilters:
            continue
        if rule.kind is PatternKind.HOST_REGEX:
            groups.names.append((source, rule))
        elif rule.options and parse_modifiers(rule.options).is_dns_rule:
            groups.dns.append((source, rule))
        else:
            groups.urls.append((source, rule))
    return groups


def _rule_identity(category: str, rule: UrlRule) -> tuple[str, str, str, bool, str]:
    """Return the identity of a rule, which does not depend on the order of its modifiers."""
    options = ",".join(sorted(option for option in rule.options.split(",") if option and option != "badfilter"))
    return category, rule.kind, rule.pattern, rule.exception, options


def _badfilter_order(category: str, _kind: str, pattern: str, exception: bool, options: str) -> BadfilterOrder | None:
    """Return what a $badfilter removes from the index of hosts; None if it is about a rule that is not there."""
    host = _HOST.fullmatch(pattern)
    if host is None or options not in ("", "important"):
        return None
    return BadfilterOrder(category, rule_key(host[1]), exception, bool(options))


ROWS_FILE, OFFSETS_FILE, PLACES_FILE, BUCKETS_FILE, URL_META_FILE = (
    "rules.jsonl",
    "rules.bin",
    "places.trie",
    "buckets.bin",
    "meta.json",
)
FRAGMENTS_FILE = "fragments.bin"

_LABEL = "\n"
_LITERAL = re.compile(r"[^*^|]+")
_INSIDE_WORD_PENALTY = 8
"""The score that a fragment loses if it begins inside a word."""
_STARTS = frozenset(f"/._-&?={_LABEL}")
_OTHER_START_PENALTY = 4
"""The score that a fragment loses if it begins with another character.

The fewer characters begin one, the faster URLs are searched.
"""
CROWDED_RULES = 6
"""With more rules than this, those of a host are found by initiators, paths or fragments where they have some, and
those of a fragment by initiators.
"""
MANY_RULES = 20_000
"""With more rules than this in all, those of crowded hosts are found by paths.

An ad blocker's lists together have fewer.
"""
MAX_PATH_KEY = 64
"""Characters of a path in a key."""
INITIATOR_MARK = "<"
"""The first character of an initiator's key."""
OPAQUE_ORIGIN = "null"
"""The initiator of requests whose site is unknown."""
_COMMON = frozenset(
    {
        "http",
        "https",
        "http://",
        "https://",
        "https://www.",
        "://",
        "://www.",
        "//www.",
        "www.",
        "/www.",
        "index.php",
        ".js",
        ".css",
        ".html",
        ".php",
        ".gif",
        ".png",
        ".jpg",
    }
    | {f".{suffix}{end}" for suffix in ("com", "net", "org", "ru", "de", "io", "co") for end in ("", "/")}
)


class RuleRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A rule in the index: what was written, and what a look-up needs of its modifiers.

    `types` are the resources that it is about; if `is_untyped`, those of them that the rules of its source are about by
    default. `party` is a `PartyRelation`. `initiators` and `targets` are None if the modifiers limit none; with
    `has_details`, they limit methods or DNS questions. With `is_whole`, every candidate matches.
    """

    source: int
    types: int
    is_untyped: bool
    party: int
    initiators: NameCondition | None
    targets: NameCondition | None
    important: bool
    match_case: bool
    has_details: bool
    is_whole: bool
    exception: bool
    kind: PatternKind
    pattern: str
    host: str
    options: str
    line: int
    text: str
    file: str

    @property
    def rule(self) -> UrlRule:
        """The rule as it was parsed."""
        return UrlRule(
            self.pattern, self.host, self.line, self.text, self.exception, self.options, self.kind, self.file
        )


@dataclass(frozen=True, slots=True)
class UrlIndexMeta:
    """The numbers of places and of fragments. `has_paths`: some places are paths of crowded hosts."""

    places: int
    fragments: int
    has_paths: bool


@dataclass(slots=True)
class _Buckets:
    """Numbers of rules, by the place or fragment that finds them."""

    places: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    fragments: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    anywhere: list[int] = field(default_factory=list)
    has_paths: bool = False


def write_url_index(rules: Sequence[SourceRule], folder: Path) -> None:
    """Write the index of `rules` into `folder`. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = Counter(text for _source, rule in rules for text in _usable(rule))
    crowds = Counter(rule.host for _source, rule in rules if rule.host)
    buckets, offsets = _Buckets(), array("Q", [0])
    encode = msgspec.json.Encoder(order="deterministic").encode  # sets of names
    with (folder / ROWS_FILE).open("wb") as file:
        for number, (source, rule) in enumerate(rules):
            fragment = _place(number, rule, crowds, weights, buckets, by_path=len(rules) > MANY_RULES)
            offsets.append(offsets[-1] + file.write(encode(_row(source, rule, fragment)) + b"\n"))
    _write_array(folder / OFFSETS_FILE, offsets)
    _write_buckets(buckets, folder)
    meta = UrlIndexMeta(len(buckets.places), len(buckets.fragments), buckets.has_paths)
    (folder / URL_META_FILE).write_bytes(msgspec.json.encode(meta))


def _row(source: int, rule: UrlRule, fragment: str) -> RuleRow:
    """Return the row of a rule that is found by a fragment, or by places if that is empty."""
    conditions = parse_modifiers(rule.options)
    has_details = conditions.is_dns_rule or bool(conditions.methods)
    is_fragment = (
        rule.kind is PatternKind.PATTERN
        and fragment != ""
        and [fragment] == literal_fragments(rule)
        and not {"*", "^", "|"}.intersection(rule.pattern)
    )
    return RuleRow(
        source=source,
        types=int(conditions.types_in(ALL_RESOURCES)),
        is_untyped=conditions.types is None and not conditions.is_all,
        party=int(conditions.party),
        initiators=conditions.initiators or None,
        targets=conditions.targets or None,
        important=conditions.important,
        match_case=conditions.match_case,
        has_details=has_details,
        is_whole=is_fragment and not conditions.match_case and not has_details,
        exception=rule.exception,
        kind=rule.kind,
        pattern=rule.pattern,
        host=rule.host,
        options=rule.options,
        line=rule.line,
        text=rule.text,
        file=rule.file,
    )


def _usable(rule: UrlRule) -> set[str]:
    """Return the fragments by which a rule may be found.

    Those of the host are left out, since every URL of the host contains them.
    """
    found = literal_fragments(rule)
    if found and rule.kind is PatternKind.PATTERN and rule.pattern.startswith("||"):
        # The first label of a pattern `||text` follows one of two characters: `_texts` writes the fragment with both.
        found = [found[0][found[0].find(rule.host) + len(rule.host) :] if rule.host else _LABEL + found[0], *found[1:]]
    better = {each[:MAX_FRAGMENT] for text in found for each in (_from_start(text), text)}
    return {text for text in better if len(text) > 2 and text not in _COMMON}


def _texts(fragment: str) -> list[str]:
    return ["/" + fragment[1:], "." + fragment[1:]] if fragment.startswith(_LABEL) else [fragment]


def _path_of(rule: UrlRule) -> str:
    """Return the beginning, in lower case, of the paths that a rule about pages of its host matches; empty if any path
    may match.
    """
    anchor = f"||{rule.host}/"
    if not rule.host or rule.kind is not PatternKind.PATTERN or not rule.pattern.lower().startswith(anchor):
        return ""
    found = _LITERAL.match(unescape(rule.pattern).lower(), len(anchor) - 1)
    path = found[0][:MAX_PATH_KEY] if found else ""
    return path if len(path) > 1 else ""


def _from_start(text: str) -> str:
    """Return a fragment from its first character with which fragments should begin."""
    return text[next((place for place, character in enumerate(text) if character in _STARTS), len(text)) :]


def _choose(rule: UrlRule, weights: Counter[str]) -> str:
    """Return the fragment that occurs in the fewest URLs: rare among the rules, long, and not inside a word.

    Empty if there is none.
    """

    def score(text: str) -> tuple[int, int]:
        penalty = 0 if text[0] in _STARTS else _INSIDE_WORD_PENALTY if text[0].isalnum() else _OTHER_START_PENALTY
        return min(len(text), 12) - weights[text].bit_length() - penalty, len(text)

    return max(sorted(_usable(rule)), key=score, default="")


def _place(
    number: int, rule: UrlRule, crowds: Counter[str], weights: Counter[str], buckets: _Buckets, by_path: bool
) -> str:
    """Decide where a rule is found. Return its fragment, or an empty string if it is found by places."""
    fragment = _choose(rule, weights)
    is_selective = len(fragment) > 4 and not fragment[0].isalnum()
    conditions = parse_modifiers(rule.options)
    sites = _places_of_sites(rule, conditions.initiators.wanted)
    places: list[str] = []
    if sites and (crowds[rule.host] > CROWDED_RULES or weights[fragment] > CROWDED_RULES):
        places = sites
    elif by_path and crowds[rule.host] > CROWDED_RULES and (path := _path_of(rule)):
        places = [rule_key(rule.host) + path]
        buckets.places[rule_key(rule.host)]  # the host is a place even without rules: it leads to its paths
        buckets.has_paths = True
    elif rule.host and (crowds[rule.host] <= CROWDED_RULES or not is_selective):
        places = [rule_key(rule.host)]
    elif not is_selective:
        # Targets are often top-level domains: even a short text is in fewer URLs.
        is_rare = len(fragment) > 3 and not fragment[0].isalnum()
        places = sites or ([] if is_rare else _places_of(conditions.targets.wanted, ""))
    for place in places:
        buckets.places[place].append(number)
    if not places:
        for text in _texts(fragment):
            (buckets.fragments[text] if text else buckets.anywhere).append(number)
    return "" if places else fragment


def _places_of_sites(rule: UrlRule, sites: frozenset[str]) -> list[str]:
    """Return the places of the initiators that a rule is limited to.

    An exception for several sites also applies to an unknown one.
    """
    places = _places_of(sites, INITIATOR_MARK)
    return (
        [*places, INITIATOR_MARK + rule_key(OPAQUE_ORIGIN)] if places and rule.exception and len(sites) > 1 else places
    )


def _places_of(names: frozenset[str], mark: str) -> list[str]:
    """Return the places of names; nothing if one is an entity (`google.*`), which a look-up by prefix cannot find."""
    return [] if any(name.endswith(".*") for name in names) else [mark + rule_key(name) for name in sorted(names)]


def _write_buckets(buckets: _Buckets, folder: Path) -> None:
    trie = marisa_trie.Trie(list(buckets.places))
    trie.save(str(folder / PLACES_FILE))
    by_id: list[list[int]] = [[]] * len(buckets.places)
    for key, numbers in buckets.places.items():
        by_id[trie.key_id(key)] = numbers
    write_fragments(
        folder / FRAGMENTS_FILE, {text: bucket for bucket, text in enumerate(buckets.fragments, len(by_id))}
    )
    starts, flat = array("I", [0]), array("I")
    for numbers in (*by_id, *buckets.fragments.values(), buckets.anywhere):
        flat.extend(numbers)
        starts.append(len(flat))
    _write_array(folder / BUCKETS_FILE, starts + flat)


def _write_array(path: Path, numbers: array[int]) -> None:
    with path.open("wb") as file:
        numbers.tofile(file)
