"""Tests of the patterns of URL rules.

Plain texts between stars are searched for; others are compiled to expressions when needed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hedgerow.blocklists.names import split_url, unescape
from hedgerow.blocklists.patterns import compile_after_host, compile_pattern, compile_set, regex_fragments
from hedgerow.blocklists.rule_modifiers import resource_number
from hedgerow.blocklists.rules import PatternKind

_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.%-")
_PLAIN = re.compile(r"[^*^|]+")


@dataclass(slots=True)
class UrlRequest:
    """A request: its canonical URL, as it is and in lower case, its host and where that ends in the URL, the page's
    host (`initiator`), the method (`GET`), and for a DNS question the record type (`AAAA`). What is unknown is empty.
    """

    url: str
    text: str
    host: str
    host_end: int
    resource: int
    initiator: str
    method: str = ""
    dns_type: str = ""

    @classmethod
    def about(
        cls, url: str, host: str, resource: str = "", initiator: str = "", method: str = "", dns_type: str = ""
    ) -> UrlRequest:
        """Describe a request for a canonical URL with its host; `resource` is the Sec-Fetch-Dest."""
        text = url.lower()
        end = url.find("/") + 2 + len(host)
        return cls(
            url,
            text,
            host,
            end + 2 if ":" in host else end,
            resource_number(resource, text),
            initiator,
            method,
            dns_type,
        )


@functools.lru_cache(maxsize=1)
def describe(url: str, resource: str, initiator: str, method: str) -> UrlRequest | None:
    """Describe a request for a URL; None if it is none.

    The latest one is kept, since each step of a decision asks about it.
    """
    parts = split_url(url)
    return None if parts is None else UrlRequest.about(*parts, resource, initiator, method)


Test = Callable[[UrlRequest], object]


def make_test(
    kind: PatternKind, pattern: str, host: str = "", match_case: bool = False, by_host: bool = False
) -> Test | None:
    """Return a test of a pattern; None if every candidate matches.

    `host` is the one that the pattern names. With `by_host`, it is known to match.
    """
    if kind is not PatternKind.PATTERN:
        return _compile_later(regex_fragments(pattern), lambda: _search_regex(kind, pattern, match_case))
    if not match_case:
        pattern = pattern.lower()
    if host and pattern.startswith("||"):
        test = _test_rest(pattern[2 + len(host) :], match_case)
        return test if by_host else _test_host(host, test)
    steps = None if match_case or pattern.startswith("|") else _plain_steps(unescape(pattern).lower())
    if steps is not None:
        return lambda request: _find_steps(request.text, 0, steps)
    return _compile_later(_pieces(pattern), lambda: _search_pattern(pattern, match_case))


def _search_regex(kind: PatternKind, pattern: str, match_case: bool) -> Test:
    if kind is PatternKind.EXPRESSION:
        search = compile_set([pattern])
        return lambda request: search(request.text.partition("://")[2])
    search = compile_set([pattern], match_case)
    return lambda request: search(request.url)


def _search_pattern(pattern: str, match_case: bool) -> Test:
    search = compile_pattern(pattern, match_case).search
    if match_case:
        return lambda request: search(request.url)
    return lambda request: search(request.text)


def _test_host(host: str, test: Test | None) -> Test:
    """Return a test that a request's host is `host` or beneath it, and of the rest."""
    beneath = f".{host}"
    return lambda request: (request.host == host or request.host.endswith(beneath)) and (test is None or test(request))


def _test_rest(rest: str, match_case: bool) -> Test | None:
    """Return a test of what follows the host, which matches already.

    Most rests are plain text, which compares fastest.
    """
    plain = (unescape(rest) if match_case else unescape(rest).lower()).rstrip("*")
    literal = plain.removesuffix("^")
    if not match_case and _PLAIN.fullmatch(literal):
        if literal == plain:
            return lambda request: request.text.startswith(literal, request.host_end)
        return lambda request: (
            request.text.startswith(literal, end := request.host_end) and _is_border(request.text, end + len(literal))
        )
    if plain in ("", "^"):
        return None
    if not match_case and (test := _test_plain_rest(plain)) is not None:
        return test
    return _compile_later(_pieces(rest), lambda: _match_rest(rest, match_case))


def _match_rest(rest: str, match_case: bool) -> Test:
    expression = compile_after_host(rest, match_case)
    assert expression is not None
    match = expression.match
    if match_case:
        return lambda request: match(request.url, request.host_end)
    return lambda request: match(request.text, request.host_end)


def _test_plain_rest(plain: str) -> Test | None:
    """Return a test of texts between stars, the first of which may begin with a separator; None if it takes an
    expression.
    """
    first, star, others = plain.partition("*")
    steps = _plain_steps(others)
    literal = first.removeprefix("^")
    if not star or steps is None or "^" in literal or "|" in literal:
        return None
    is_separated = first != literal

    def test(request: UrlRequest) -> bool:
        text, at = request.text, request.host_end
        if is_separated:
            if not _is_border(text, at):
                return False
            at = min(at + 1, len(text))
        return text.startswith(literal, at) and _find_steps(text, at + len(literal), steps)

    return test


type _Steps = tuple[tuple[str, bool], ...]
"""Texts that follow each other at any distance. `True`: a separator or the end of the URL follows."""


def _plain_steps(pattern: str) -> _Steps | None:
    """Return the texts between the stars of a pattern without an anchor; None if it takes an expression."""
    pieces = [each for each in pattern.split("*") if each]
    if not pieces or not all(_PLAIN.fullmatch(each.removesuffix("^")) for each in pieces):
        return None
    return tuple((each.removesuffix("^"), each.endswith("^")) for each in pieces)


def _find_steps(text: str, at: int, steps: _Steps) -> bool:
    """Return whether all steps follow in order. The first place of each is as good as any later one."""
    for literal, is_bounded in steps:
        place = text.find(literal, at)
        while is_bounded and place >= 0 and not _is_border(text, place + len(literal)):
            place = text.find(literal, place + 1)
        if place < 0:
            return False
        at = place + len(literal) + is_bounded
    return True


def _compile_later(pieces: Iterable[str], compile_test: Callable[[], Test]) -> Test:
    """Return a test that is compiled when a URL first contains all `pieces`, in lower case, as few ever do.

    Expressions reject slowly, and compiling one takes as long as ten look-ups.
    """
    wanted = sorted(set(pieces), key=len, reverse=True)
    compiled: Test | None = None

    def test(request: UrlRequest) -> object:
        nonlocal compiled
        text = request.text
        for piece in wanted:
            if piece not in text:
                return False
        if compiled is None:
            compiled = compile_test()
        return compiled(request)

    return test


def _pieces(pattern: str) -> list[str]:
    """Return texts each of which occurs in every URL that a pattern matches, in lower case."""
    return _PLAIN.findall(unescape(pattern).lower())


def _is_border(text: str, place: int) -> bool:
    return place >= len(text) or text[place] not in _WORD
