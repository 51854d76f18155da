"""From a rule's pattern to what is run against a URL, and to the literal text by which the rule is found.

Regular expressions that lists bring are run by RE2, whose time is linear in the text: a list cannot bring a worker to a halt.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Protocol

import re2  # type: ignore[import-untyped]

from hedgerow.blocklists.names import unescape
from hedgerow.blocklists.rules import Kind, UrlRule

LONGEST_REGEX = 2000
_FRAGMENT = re.compile(r"[^*^|]+")
_SEPARATOR = r"(?:[^\w.%-]|$)"
_HOST_ANCHOR = r"^[a-z][a-z0-9+.-]*://(?:[^/?#:]*\.)?"
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]")
_QUANTIFIER = re.compile(r"[*+?]\??|\{(\d*)(?:,\d*)?\}\??")


class Expression(Protocol):
    """A compiled regular expression."""

    def search(self, text: str, /) -> object: ...


class BadRegex(ValueError):
    """A regular expression that cannot be run; `str()` says why."""


def compile_pattern(pattern: str, match_case: bool = False) -> re.Pattern[str]:
    """The regular expression of an ad blocker's pattern, to be searched in a canonical URL, which is lower-case unless case matters.

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
    return re.compile(start + _translate_body(body), re.ASCII | re.DOTALL)


def compile_rest(rest: str, match_case: bool = False) -> re.Pattern[str] | None:
    """The same for what follows the host of a pattern `||host…`, to be matched where the host ends. None if anything matches."""
    body = unescape(rest) if match_case else unescape(rest).lower()
    return None if body.rstrip("*") in ("", "^") else re.compile(_translate_body(body), re.ASCII | re.DOTALL)


def _translate_body(body: str) -> str:
    is_to_end = body.endswith("|")
    first, *pieces = re.split(r"\*+", body.removesuffix("|"))
    expressions = list(map(_translate, pieces))
    # For each piece between stars the first place that fits is as good as any later one, so the search never goes back to an
    # earlier piece: atomic groups keep a hostile pattern of many stars linear. Only the last piece before an end has to be tried.
    steps = [f"(?>.*?{piece})" for piece in expressions]
    if is_to_end:
        steps = [*steps[:-1], f".*{expressions[-1]}$"] if steps else ["$"]
    return _translate(first) + "".join(steps)


def _translate(piece: str) -> str:
    return "".join(_SEPARATOR if character == "^" else re.escape(character) for character in piece)


@functools.lru_cache(maxsize=1024)
def compile_regex(pattern: str, match_case: bool = False) -> Expression:
    """A list's own regular expression. Raises BadRegex."""
    if len(pattern) > LONGEST_REGEX:
        raise BadRegex("a regular expression that is too long")
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = match_case
    options.max_mem = 1 << 22
    try:
        compiled: Expression = re2.compile(pattern, options)
    except re2.error:
        raise BadRegex("a regular expression that RE2 does not read") from None
    return compiled


def compile_set(patterns: Sequence[str], match_case: bool = False) -> Callable[[str], Sequence[int]]:
    """What is called with a text and answers with the numbers of those `patterns` that it matches, all of them looked for in one pass.

    Also the fastest way to ask for a single one, since nobody wants to know where it matches. Raises BadRegex. The memory is a bound
    on what the pass may lay out as it meets new texts, not what it takes.
    """
    if not patterns:
        return lambda _text: ()  # RE2 does not compile an empty set
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = match_case
    options.max_mem = 64 << 20
    found = re2.Set.SearchSet(options)
    try:
        for pattern in patterns:
            found.Add(pattern)
        found.Compile()
    except re2.error:
        raise BadRegex("a regular expression that RE2 does not read") from None
    return lambda text: found.Match(text) or ()


def compile_rule(rule: UrlRule, match_case: bool = False) -> Callable[[str], object]:
    """What is called with a text, the URL or the host as the rule's kind says, and answers with something true if it matches."""
    if rule.kind is Kind.PATTERN:
        return compile_pattern(rule.pattern, match_case).search
    return compile_regex(rule.pattern, match_case).search


def fragments(rule: UrlRule) -> list[str]:
    """Lower-case texts each of which stands in whatever the rule matches."""
    if rule.kind is Kind.PATTERN:
        return _FRAGMENT.findall(unescape(rule.pattern).lower())
    return [run for run in regex_fragments(rule.pattern) if len(run) > 1]


def regex_fragments(pattern: str) -> list[str]:
    r"""Literal runs outside of groups, classes and alternatives: each must stand in a text that the expression matches.

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
    """The literal at a place, or "" for something else that stands there, and where it ends; None for what cannot be followed."""
    character = pattern[place]
    if character == "|":
        return None, place
    if character == "\\":
        following = pattern[place + 1 : place + 2]
        return ("" if following.isalnum() or not following else following), place + 2
    if character == "[":
        found = _CLASS.match(pattern, place)
        return ("", found.end()) if found else (None, place)
    if character == "(":
        # A group that sets flags or looks around changes the meaning of what follows.
        return (
            (None, place)
            if pattern.startswith("(?", place) and not pattern.startswith("(?:", place)
            else ("", _end_of_group(pattern, place))
        )
    return ("" if character in ".^$)" else character), place + 1


def _end_of_group(pattern: str, place: int) -> int:
    depth = 0
    while place < len(pattern):
        if pattern[place] == "\\":
            place += 1
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
