"""URL rules: one Aho-Corasick pass over the URL finds the candidates, a regular expression settles each.

Of each rule the rarest fragment of literal text is put into the automaton; only rules whose fragment stands in the URL are
looked at. Matching ignores case, as ad blockers do. Modifiers are not honoured here: the parser leaves such rules out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import ahocorasick

from hedgerow.blocklists.names import unescape
from hedgerow.blocklists.rules import UrlRule

_FRAGMENT = re.compile(r"[^*^|]+")
_SEPARATOR = r"(?:[^\w.%-]|$)"
_HOST_ANCHOR = r"^[a-z][a-z0-9+.-]*://(?:[^/?#:]*\.)?"
_COMMON = ("http://", "https://", "://", "www.", ".com", ".html", ".php")


@dataclass(slots=True)
class _Entry:
    """A rule in the automaton: its category's bit, its source's index and, once it was needed, its regular expression."""

    rule: UrlRule
    category: int
    source: int
    regex: re.Pattern[str] | None = field(default=None)

    def matches(self, url: str) -> bool:
        if self.regex is None:
            self.regex = compile_pattern(self.rule.pattern)
        return self.regex.search(url) is not None


@dataclass(frozen=True, slots=True)
class FoundRule:
    """A rule that matched: the bit number of its category and the index of its source in the generation."""

    category: int
    source: int
    rule: UrlRule


class UrlMatcher:
    """All URL rules of a generation, in this process's memory; built on first use."""

    def __init__(self, rules: Iterable[tuple[UrlRule, int, int]]) -> None:
        """`rules` are (rule, bit number of its category, index of its source)."""
        entries = [_Entry(rule, category, source) for rule, category, source in rules]
        buckets: dict[str, list[_Entry]] = {}
        self._always: list[_Entry] = []
        weights = Counter(fragment for entry in entries for fragment in _fragments(entry.rule.pattern))
        for entry in entries:
            fragment = _rarest(_fragments(entry.rule.pattern), weights)
            bucket = buckets.setdefault(fragment, []) if fragment else self._always
            bucket.append(entry)
        self._automaton = ahocorasick.Automaton()
        for fragment, bucket in buckets.items():
            self._automaton.add_word(fragment, tuple(bucket))
        self._automaton.make_automaton()
        self._is_empty = not buckets

    def find_all(self, url: str) -> list[FoundRule]:
        """The rules that match `url` (canonical), one for each category that no exception lifts."""
        text = url.lower()
        blocks: dict[int, _Entry] = {}
        lifted: set[int] = set()
        for entry in self._candidates(text):
            category = entry.category
            if category not in lifted and (entry.rule.exception or category not in blocks) and entry.matches(text):
                if entry.rule.exception:
                    lifted.add(category)
                else:
                    blocks[category] = entry
        return [FoundRule(bit, entry.source, entry.rule) for bit, entry in sorted(blocks.items()) if bit not in lifted]

    def _candidates(self, text: str) -> Iterator[_Entry]:
        yield from self._always
        if not self._is_empty:
            for _end, bucket in self._automaton.iter(text):
                yield from bucket


def _fragments(pattern: str) -> list[str]:
    return _FRAGMENT.findall(unescape(pattern).lower())


def _rarest(fragments: list[str], weights: Counter[str]) -> str:
    """The fragment that the fewest URLs will hold: seldom among the rules, long, and not what every URL has."""
    return max(fragments, key=lambda text: (text not in _COMMON, min(len(text), 12) - weights[text].bit_length(), len(text)), default="")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The regular expression of an ad blocker's pattern, to be searched in a canonical, lower-case URL.

    >>> bool(compile_pattern("||example.com/ads^").search("https://www.example.com/ads?x=1"))
    True
    >>> bool(compile_pattern("||example.com/ads^").search("https://example.com/adsense"))
    False
    """
    body = unescape(pattern).lower()
    if body.startswith("||"):
        start, body = _HOST_ANCHOR, body[2:]
    elif body.startswith("|"):
        start, body = "^", body[1:]
    else:
        start, body = "^", "*" + body
    is_to_end = body.endswith("|")
    first, *pieces = re.split(r"\*+", body.removesuffix("|"))
    expressions = list(map(_translate, pieces))
    # For each piece between stars the first place that fits is as good as any later one, so the search never goes back to an
    # earlier piece: atomic groups keep a hostile pattern of many stars linear. Only the last piece before an end has to be tried.
    steps = [f"(?>.*?{piece})" for piece in expressions]
    if is_to_end:
        steps = [*steps[:-1], f".*{expressions[-1]}$"] if steps else ["$"]
    return re.compile(start + _translate(first) + "".join(steps), re.ASCII | re.DOTALL)


def _translate(piece: str) -> str:
    return "".join(_SEPARATOR if character == "^" else re.escape(character) for character in piece)
