"""Writing the URL rules of a generation so that a worker can open them at once.

    rules.jsonl     a row a rule, read only when the rule is looked at
    rules.bin       where each row begins, and where the last ends
    places.trie     hosts, hosts with the beginning of a path behind, and after `<` initiators, by which rules are found
                    (keys as `names.rule_key`)
    blocks.ac       an automaton of literal texts, fragments, by which the other rules are found
    exceptions.ac   another for exceptions, which are looked for only where there is something to lift
    buckets.bin     for each place, each fragment of blocks, each of exceptions, then for all URLs: which rules are found there
    meta.json       how many places and fragments there are, and whether some rules tell clients apart

Every rule is found by its host if it names one, unless that host has many; else by its rarest fragment; else by its initiators. Every
worker reads the automata into memory of its own, and maps the trie. So where rules are very many, those about pages of a host with many
are found by host and path: that costs a look-up more in every URL of such a host, and nothing at a start.
The pass over a URL is fastest where few characters can begin a fragment: URLs are mostly letters and digits, so fragments begin
with something else if they can.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ahocorasick
import marisa_trie

from hedgerow.blocklists.conditions import parse_conditions
from hedgerow.blocklists.names import rule_key, unescape
from hedgerow.blocklists.patterns import fragments
from hedgerow.blocklists.rules import Kind, UrlRule
from hedgerow.blocklists.sorted_rules import Owned

ROWS, OFFSETS, PLACES, BUCKETS, META = "rules.jsonl", "rules.bin", "places.trie", "buckets.bin", "meta.json"
FRAGMENTS = ("blocks.ac", "exceptions.ac")

_LABEL = "\n"
_LITERAL = re.compile(r"[^*^|]+")
_INNER = 8
"""What a fragment that begins inside a word loses against one that does not."""
CROWD = 6
"""A host with more rules than this has them found by the sites that ask, or by paths or fragments, where they have some; a fragment with
more, by the sites."""
MANY = 20_000
"""With more rules than this, those of crowded hosts are found by paths; an ad blocker's lists together have fewer."""
LONGEST_PATH = 64
"""How much of a path stands in a key."""
SITES = "<"
"""Stands before the key of a site that asks."""
NOBODY = "null"
"""Stands for a site that is not known."""
_COMMON = frozenset(
    {"http", "https", "http://", "https://", "://", "://www.", "www.", "/www.", ".js", ".css", ".html", ".php", ".gif", ".png", ".jpg"}
    | {f".{suffix}{end}" for suffix in ("com", "net", "org", "ru", "de", "io", "co") for end in ("", "/")}
)


@dataclass(slots=True)
class _Buckets:
    """Numbers of rules, by where they are found."""

    places: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    fragments: tuple[dict[str, list[int]], ...] = field(default_factory=lambda: tuple(defaultdict(list) for _ in FRAGMENTS))
    anywhere: list[int] = field(default_factory=list)


def write_url_index(rules: Sequence[Owned], folder: Path) -> None:
    """Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = Counter(text for _source, rule in rules for text in _usable(rule))
    crowds = Counter(rule.host for _source, rule in rules if rule.host)
    buckets, offsets = _Buckets(), array("Q", [0])
    with (folder / ROWS).open("wb") as file:
        for number, (source, rule) in enumerate(rules):
            fragment = _place(number, rule, crowds, weights, buckets, by_path=len(rules) > MANY)
            whole = (
                rule.kind is Kind.PATTERN
                and fragment != ""
                and [fragment] == fragments(rule)
                and not {"*", "^", "|"}.intersection(rule.pattern)
            )
            row = [source, rule.line, rule.exception, rule.kind, rule.pattern, rule.host, rule.options, rule.text, rule.file, whole]
            offsets.append(offsets[-1] + file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"))
    _write_array(folder / OFFSETS, offsets)
    _write_buckets(buckets, folder)
    tells_clients = any(parse_conditions(rule.options).clients for _source, rule in rules)
    meta = {"places": len(buckets.places), "fragments": [*map(len, buckets.fragments)], "tells_clients": tells_clients}
    (folder / META).write_text(json.dumps(meta), encoding="ascii")


def _usable(rule: UrlRule) -> set[str]:
    """The fragments by which a rule may be found; of a rule with a host only those behind it, since the host stands in every URL of it."""
    found = fragments(rule)
    if found and rule.kind is Kind.PATTERN and rule.pattern.startswith("||"):
        # What begins a label of the host comes after one of two characters: `_texts` writes it with both.
        found = [found[0][found[0].find(rule.host) + len(rule.host) :] if rule.host else _LABEL + found[0], *found[1:]]
    return {better for text in found for better in (_from_border(text), text) if len(better) > 2 and better not in _COMMON}


def _texts(fragment: str) -> list[str]:
    return ["/" + fragment[1:], "." + fragment[1:]] if fragment.startswith(_LABEL) else [fragment]


def _path_of(rule: UrlRule) -> str:
    """How the path begins that a rule about pages of its host wants, in lower case; empty if it does not say."""
    anchor = f"||{rule.host}/"
    if not rule.host or rule.kind is not Kind.PATTERN or not rule.pattern.lower().startswith(anchor):
        return ""
    found = _LITERAL.match(unescape(rule.pattern).lower(), len(anchor) - 1)
    path = found[0][:LONGEST_PATH] if found else ""
    return path if len(path) > 1 else ""


def _from_border(text: str) -> str:
    """What of a fragment is left from its first character that is no letter or digit."""
    return text[next((place for place, character in enumerate(text) if not character.isalnum()), len(text)) :]


def _choose(rule: UrlRule, weights: Counter[str]) -> str:
    """The fragment that the fewest URLs hold: seldom among the rules, long, and beginning at a border. Empty if there is none."""

    def score(text: str) -> tuple[int, int]:
        return min(len(text), 12) - weights[text].bit_length() - (_INNER if text[0].isalnum() else 0), len(text)

    return max(sorted(_usable(rule)), key=score, default="")


def _place(
    number: int, rule: UrlRule, crowds: Counter[str], weights: Counter[str], buckets: _Buckets, by_path: bool
) -> str:  # fmt: skip
    """Decides where a rule is to be found. Returns the fragment by which it is, or nothing."""
    fragment = _choose(rule, weights)
    is_telling = len(fragment) > 4 and not fragment[0].isalnum()
    conditions = parse_conditions(rule.options)
    sites = _places_of_sites(rule, conditions.initiators.wanted)
    places: list[str] = []
    if sites and (crowds[rule.host] > CROWD or weights[fragment] > CROWD):
        places = sites
    elif by_path and crowds[rule.host] > CROWD and (path := _path_of(rule)):
        places = [rule_key(rule.host) + path]
        buckets.places[rule_key(rule.host)]  # the host is a place even if nothing else is found there: it leads to its paths
    elif rule.host and (crowds[rule.host] <= CROWD or not is_telling):
        places = [rule_key(rule.host)]
    elif not is_telling:
        places = sites or _places_of(conditions.targets.wanted, "")
    for place in places:
        buckets.places[place].append(number)
    if not places:
        for text in _texts(fragment):
            (buckets.fragments[rule.exception][text] if text else buckets.anywhere).append(number)
    return "" if places else fragment


def _places_of_sites(rule: UrlRule, sites: frozenset[str]) -> list[str]:
    """By the sites that ask, where a rule is for these only. An exception for several also holds when nobody is known to ask."""
    places = _places_of(sites, SITES)
    return [*places, SITES + rule_key(NOBODY)] if places and rule.exception and len(sites) > 1 else places


def _places_of(names: frozenset[str], mark: str) -> list[str]:
    """None if one of the names is an entity (`google.*`), which a look-up by prefix cannot find."""
    return [] if any(name.endswith(".*") for name in names) else [mark + rule_key(name) for name in sorted(names)]


def _write_buckets(buckets: _Buckets, folder: Path) -> None:
    trie = marisa_trie.Trie(list(buckets.places))
    trie.save(str(folder / PLACES))
    by_id: list[list[int]] = [[]] * len(buckets.places)
    for key, numbers in buckets.places.items():
        by_id[trie.key_id(key)] = numbers
    by_fragment: list[list[int]] = []
    for file, found in zip(FRAGMENTS, buckets.fragments, strict=True):
        automaton = ahocorasick.Automaton(ahocorasick.STORE_INTS)
        for bucket, text in enumerate(found, len(by_id) + len(by_fragment)):
            automaton.add_word(text, bucket)
        if found:
            automaton.make_automaton()
            automaton.save(str(folder / file))
        by_fragment += found.values()
    starts, flat = array("I", [0]), array("I")
    for numbers in (*by_id, *by_fragment, buckets.anywhere):
        flat.extend(numbers)
        starts.append(len(flat))
    _write_array(folder / BUCKETS, starts + flat)


def _write_array(path: Path, numbers: array[int]) -> None:
    with path.open("wb") as file:
        numbers.tofile(file)
