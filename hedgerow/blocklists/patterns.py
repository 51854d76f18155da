"""Patterns of rules: compiled for matching, and their literal parts, by which a rule is found.

RE2 runs the regular expressions of lists, in time linear in the text, so that a list cannot stall a worker.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, assert_never

import ahocorasick
import msgspec
import re2  # type: ignore[import-untyped]

from hedgerow.blocklists.generation import HOST_PATTERNS
from hedgerow.blocklists.names import unescape
from hedgerow.blocklists.rules import PatternKind, UrlRule

MAX_REGEX_LENGTH = 2000
_UNREADABLE = "a regular expression that RE2 does not read"
_FRAGMENT = re.compile(r"[^*^|]+")
_SEPARATOR = r"(?:[^\w.%-]|$)"
_HOST_ANCHOR = r"^[a-z][a-z0-9+.-]*://(?:[^/?#:]*?\.)??"
_CLASS = re.compile(r"\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]")
_ESCAPE = re.compile(r"\\(?:x(?:[0-9a-fA-F]{2}|\{[0-9a-fA-F]+\})|[pP](?:\{[^}]*\}|.)|[0-7]{1,3}|Q.*?(?:\\E|$)|(.))?")
_QUANTIFIER = re.compile(r"[*+?]\??|\{(\d*)(?:,\d*)?\}\??")


class CompiledRegex(Protocol):
    """A compiled regular expression."""

    def search(self, text: str, /) -> object: ...


class BadRegex(ValueError):
    """A regular expression that cannot be run; `str()` gives the reason."""


def compile_pattern(pattern: str, match_case: bool = False) -> re.Pattern[str]:
    """Compile an ad blocker's pattern to an expression to search for in a canonical URL, in lower case unless
    `match_case`.

    >>> bool(compile_pattern("||example.com/ads^").search("https://www.example.com/ads?x=1"))
    True
    >>> bool(compile_pattern("||example.com/ads^").search("https://example.com/adsense"))
    False
    """
    body = unescape(pattern) if match_case else unescape(pattern).lower()
    if body.startswith("||"):
        start, body = _HOST_ANCHOR, body[2:]
    elif body.startswith("|"):
        start, body = "^", body[1:]
    else:
        start, body = "^", "*" + body
    first, rest = _translate_body(body)
    # Of several labels of the host that match before a star, the first is as good as any other.
    begin = f"(?>{start}{first})" if "*" in body else start + first
    return re.compile(begin + rest, re.ASCII | re.DOTALL)


def compile_after_host(rest: str, match_case: bool = False) -> re.Pattern[str] | None:
    """Compile the rest of a pattern `||host…`, to be matched where the host ends. None if anything matches."""
    body = unescape(rest) if match_case else unescape(rest).lower()
    return None if body.rstrip("*") in ("", "^") else re.compile("".join(_translate_body(body)), re.ASCII | re.DOTALL)


def _translate_body(body: str) -> tuple[str, str]:
    """Return the expressions for a pattern up to its first star, and for the rest."""
    is_to_end = body.endswith("|")
    first, *pieces = re.split(r"\*+", body.removesuffix("|"))
    expressions = list(map(_translate, pieces))
    # For each piece between stars the first match is as good as any later one, so the search never needs to go back to
    # an earlier piece: atomic groups keep a hostile pattern of many stars linear. Only the last piece before an end is
    # retried.
    steps = [f"(?>.*?{piece})" for piece in expressions]
    if is_to_end:
        steps = [*steps[:-1], f".*{expressions[-1]}$"] if steps else ["$"]
    return _translate(first), "".join(steps)


def _translate(piece: str) -> str:
    return "".join(_SEPARATOR if character == "^" else re.escape(character) for character in piece)


@functools.lru_cache(maxsize=1024)
def compile_regex(pattern: str, match_case: bool = False) -> CompiledRegex:
    """Compile a list's own regular expression. Raises BadRegex."""
    if len(pattern) > MAX_REGEX_LENGTH:
        raise BadRegex("a regular expression that is too long")
    options = _options(match_case, 4 << 20)
    try:
        compiled: CompiledRegex = re2.compile(pattern, options)
    except re2.error:
        raise BadRegex(_UNREADABLE) from None
    return compiled


def compile_set(patterns: Sequence[str], match_case: bool = False) -> Callable[[str], Sequence[int]]:
    """Return a function from a text to the numbers of the `patterns` that it matches, found in one pass.

    Raises BadRegex.

    This is also the fastest way to test a single pattern, since the position of a match does not matter.
    """
    if not patterns:
        return lambda _text: ()  # RE2 does not compile an empty set
    search_set = re2.Set.SearchSet(_options(match_case, 64 << 20))
    try:
        for pattern in patterns:
            search_set.Add(pattern)
        search_set.Compile()
    except re2.error:
        raise BadRegex(_UNREADABLE) from None
    return lambda text: search_set.Match(text) or ()


def _options(match_case: bool, max_bytes: int) -> re2.Options:
    """Return RE2's options. `max_bytes` bounds the states that it adds as it meets new texts."""
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = match_case
    options.max_mem = max_bytes
    return options


def compile_rule(rule: UrlRule) -> Callable[[str], object]:
    """Return a function that is true for a text that the rule matches: a URL or a host, depending on the
    rule's kind.
    """
    if rule.kind is PatternKind.PATTERN:
        return compile_pattern(rule.pattern).search
    return compile_regex(rule.pattern).search


def literal_fragments(rule: UrlRule) -> list[str]:
    """Return lower-case texts each of which occurs in every text that the rule matches."""
    if rule.kind is PatternKind.PATTERN:
        return _FRAGMENT.findall(unescape(rule.pattern).lower())
    return [run for run in regex_fragments(rule.pattern) if len(run) > 1]


def regex_fragments(pattern: str) -> list[str]:
    r"""Return the literal runs outside groups, classes and alternatives: each occurs in every text that the expression
    matches.

    >>> regex_fragments(r"^https?:\/\/ads\.[a-z]+\.com\/(x|y)")
    ['http', '://ads.', '.com/']
    """
    runs, run, place = [], "", 0
    while place < len(pattern):
        literal, end = _next_token(pattern, place)
        if literal is None:
            return []
        quantifier = _QUANTIFIER.match(pattern, end)
        if quantifier:
            end = quantifier.end()
            optional = quantifier[0][0] in "*?" or quantifier[1] in ("0", "")
            literal, tail = ("" if optional else literal), True
        else:
            tail = not literal
        run += literal
        if tail:
            runs.append(run)
            run = ""
        place = end
    return [found.lower() for found in [*runs, run] if found]


def _next_token(pattern: str, place: int) -> tuple[str | None, int]:
    """Return the literal at a place, or "" for another token, and its end; None for a token that this parser cannot
    follow.
    """
    character = pattern[place]
    if character == "|":
        return None, place
    escape = _ESCAPE.match(pattern, place)
    if escape:
        following = escape[1] or ""
        return ("" if following.isalnum() or not following.isascii() else following), escape.end()
    if character == "[":
        found = _CLASS.match(pattern, place)
        return ("", found.end()) if found else (None, place)
    if character == "(":
        # A group that sets flags or looks around changes the meaning of the rest.
        is_special = pattern.startswith("(?", place) and not pattern.startswith("(?:", place)
        return (None, place) if is_special else ("", _end_of_group(pattern, place))
    # No URL and no host contains a character outside ASCII, but RE2 takes some for letters in another case.
    return ("" if character in ".^$)" or not character.isascii() else character), place + 1


def _end_of_group(pattern: str, place: int) -> int:
    depth = 0
    while place < len(pattern):
        if escape := _ESCAPE.match(pattern, place):
            place = escape.end() - 1
        elif pattern[place] == "[" and (found := _CLASS.match(pattern, place)):
            place = found.end() - 1
        elif pattern[place] == "(":
            depth += 1
        elif pattern[place] == ")":
            depth -= 1
            if depth == 0:
                return place + 1
        place += 1
    return place


_SAMPLE_HOSTS = (
    "a.test",
    "www.garden.example.com",
    "123.invalid",
    "xn--bcher-kva.test",
    "mail-2.x7q.invalid",
    "b4.invalid",
    "news.town.test",
    "cdn.img7.example.net",
)
_SAMPLE_PATHS = (
    "index.html?q=1",
    "img/logo_2.png",
    "app/main.js",
    "de/news/2024-05-01",
    "watch?v=q-7x&t=3",
    "a/b/c/",
    "~mia/",
    "search?query=birds+of+lisbon",
)
_SAMPLE_PAGES = (
    tuple(f"{host}/" for host in _SAMPLE_HOSTS),
    tuple(f"{host}/{path}" for host, path in zip(_SAMPLE_HOSTS, _SAMPLE_PATHS, strict=True)),
)
_SAMPLE_URLS = tuple(
    tuple(scheme + page for page in pages)
    for scheme, pages in itertools.product(("http://", "https://"), _SAMPLE_PAGES)
)


def matches_nearly_everything(rule: UrlRule) -> bool:
    """Return whether a rule matches most hosts, or most URLs of a scheme and a kind of page, ignoring case.

    Rules that a host or an initiator limits need not be tested.
    """
    groups = _samples_for(rule.kind)
    if rule.kind is PatternKind.PATTERN:
        # Cheaper than the expression, and enough for nearly every pattern.
        wanted = literal_fragments(rule)
        groups = tuple(
            texts for texts in groups if _is_majority(all(part in text for part in wanted) for text in texts)
        )
    if not groups:
        return False
    search = compile_rule(rule)
    return any(_is_majority(search(text) for text in texts) for texts in groups)


def _is_majority(matches: Iterable[object]) -> bool:
    return sum(map(bool, matches)) > len(_SAMPLE_HOSTS) / 2


def _samples_for(kind: PatternKind) -> Sequence[Sequence[str]]:
    match kind:
        case PatternKind.PATTERN | PatternKind.REGEX:
            return _SAMPLE_URLS
        case PatternKind.EXPRESSION:
            return _SAMPLE_PAGES
        case PatternKind.HOST_REGEX:
            return (_SAMPLE_HOSTS,)
        case _:
            assert_never(kind)


_MIN_FRAGMENT = 3
"""Length from which a literal text in a pattern is worth searching for."""


class HostPattern(NamedTuple):
    """A rule about names, with the index of its source and the bit of its category."""

    source: int
    rule: UrlRule
    mask: int


class HostPatternMatcher:
    """All patterns of a generation.

    Raises BadRegex for a pattern that cannot be run; the compiler lets none through.
    """

    def __init__(self, patterns: Iterable[HostPattern]) -> None:
        found = defaultdict[str, list[HostPattern]](list)
        for pattern in patterns:
            fragment = max(regex_fragments(pattern.rule.pattern), key=len, default="")
            found[fragment if len(fragment) >= _MIN_FRAGMENT else ""].append(pattern)
        self._always = found.pop("", [])
        self._in_always = compile_set([each.rule.pattern for each in self._always])
        self._buckets = list(found.values())
        self._automaton = ahocorasick.Automaton(ahocorasick.STORE_INTS)
        for bucket, fragment in enumerate(found):
            self._automaton.add_word(fragment, bucket)
        if found:
            self._automaton.make_automaton()
        self._tests: dict[str, Callable[[str], Sequence[int]]] = {}

    @classmethod
    def open(cls, generation: Path, masks: Sequence[int]) -> HostPatternMatcher:
        """Open a generation's patterns; `masks` are the bits of the sources' categories.

        Raises OSError or ValueError.
        """
        rules = msgspec.json.decode((generation / HOST_PATTERNS).read_bytes(), type=list[tuple[int, UrlRule]])
        return cls(HostPattern(source, rule, masks[source]) for source, rule in rules)

    def __bool__(self) -> bool:
        return bool(self._always or self._buckets)

    def matching(self, host: str) -> list[HostPattern]:
        """Return the patterns that a canonical host matches."""
        found = [self._always[number] for number in self._in_always(host)]
        if self._buckets:
            for bucket in {bucket for _end, bucket in self._automaton.iter(host)}:
                found += [pattern for pattern in self._buckets[bucket] if self._test(pattern.rule.pattern)(host)]
        return found

    def _test(self, pattern: str) -> Callable[[str], Sequence[int]]:
        test = self._tests.get(pattern)
        if test is None:
            test = self._tests[pattern] = compile_set([pattern])
        return test
