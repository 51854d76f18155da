"""URL rules: one pattern against one URL, and many at once."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists.rules import UrlRule
from hedgerow.blocklists.urls import UrlMatcher, compile_pattern


def rule(pattern: str, exception: bool = False) -> UrlRule:
    return UrlRule(pattern, "", 1, pattern, exception)


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        (
            "||example.com/ads^",
            ["http://example.com/ads", "https://a.b.example.com/ads/1", "https://example.com/ads?x"],
            [
                "https://example.com/adsense",
                "https://notexample.com/ads/",
                "https://a.example/?u=example.com/ads/",
                "https://example.com.evil/ads",
            ],
        ),
        ("||example.com:8080/", ["http://example.com:8080/"], ["http://example.com/", "http://example.com:80801/"]),
        ("/banner/*/img^", ["http://a.example/banner/x/img?1", "http://a.example/banner/x/y/img"], ["http://a.example/banner/img"]),
        ("|https://a.example/", ["https://a.example/x"], ["http://a.example/", "https://b.example/https://a.example/"]),
        ("swf|", ["http://a.example/x.swf"], ["http://a.example/x.swf?1"]),
        ("a*b|", ["http://x.example/abab"], ["http://x.example/abac"]),
        ("||a.example/*.js|", ["http://a.example/b/c.js"], ["http://a.example/c.jsx"]),
        ("/CaseLess/", ["http://a.example/caseless/", "http://a.example/x/CASELESS/"], []),
        ("/a%7eb", ["http://a.example/a~b"], []),
        ("||example.com^*^x", ["http://example.com/a/x", "http://example.com:1/x"], ["http://example.com/ax"]),
        ("?id=1.2(", ["http://a.example/?id=1.2("], ["http://a.example/?id=1x2("]),
    ],
)
def test_patterns(pattern: str, matching: list[str], other: list[str]) -> None:
    """The expression alone, and through the automaton, which must never lose a rule."""
    expression, matcher = compile_pattern(pattern), UrlMatcher([(rule(pattern), 3, 7)])
    for url in matching:
        assert expression.search(url.lower())
        assert [(found.category, found.source) for found in matcher.find_all(url)] == [(3, 7)]
    for url in other:
        assert not expression.search(url.lower())
        assert matcher.find_all(url) == []


def test_exceptions_lift_only_their_category() -> None:
    matcher = UrlMatcher([(rule("/ads/"), 0, 0), (rule("/ads/"), 1, 1), (rule("||good.example/ads/", exception=True), 0, 2)])
    assert [found.category for found in matcher.find_all("http://bad.example/ads/")] == [0, 1]
    assert [found.category for found in matcher.find_all("http://good.example/ads/")] == [1]


def test_no_rules_match_nothing() -> None:
    assert UrlMatcher([]).find_all("http://example.com/") == []


PIECES = st.lists(st.sampled_from(["a", "b", "ab", "/", ".", "*", "^", "-"]), min_size=1, max_size=8).map("".join)


@given(PIECES, st.lists(st.sampled_from(["a", "b", "/", ".", "-", "?"]), max_size=12).map("".join))
def test_atomic_groups_match_what_a_plain_expression_matches(pattern: str, path: str) -> None:
    """The oracle is the obvious expression, which may go back."""
    url = f"http://x.example/{path}"
    plain = "".join({"*": ".*", "^": r"(?:[^\w.%-]|$)"}.get(character, re.escape(character)) for character in pattern)
    assert bool(compile_pattern(pattern).search(url)) == bool(re.search(plain, url, re.ASCII))


def test_a_hostile_pattern_stays_fast() -> None:
    expression = compile_pattern("||example.com/" + "*a" * 40 + "*b|")
    start = time.perf_counter()
    assert not expression.search("http://example.com/" + "a" * 5000)
    assert time.perf_counter() - start < 0.5
