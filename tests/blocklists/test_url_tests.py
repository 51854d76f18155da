"""Tests of URL patterns beside the expressions that say what a pattern means."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from linear_work import assert_linear

from hedgerow.blocklists.patterns import compile_after_host, compile_pattern, compile_regex
from hedgerow.blocklists.rules import PatternKind
from hedgerow.blocklists.url_tests import UrlRequest, make_test

HOST = "h.example"
BODIES = some.lists(
    some.sampled_from(["a", "ab", "/", "^", "*", "**", ".", "%2F", "%41", "=", "|"]), min_size=1, max_size=7
).map("".join)
PATHS = some.lists(some.sampled_from(["a", "ab", "b", "/", "?", ".", "%2F", "=", "-", "aab"]), max_size=10).map("".join)


def request(path: str) -> UrlRequest:
    return UrlRequest.about(f"https://{HOST}/{path}", HOST)


@settings(max_examples=600)
@given(some.sampled_from(["", "", "|", "||"]), BODIES, PATHS)
@example("", "^a", "a")
@example("", "a^*b", "ab/a-b")
@example("", "a^", "b/a")
@example("", "a^*b^", "a/ab")
@example("", "%2F*a", "%2Fa")
def test_pattern_means_what_its_expression_does(anchor: str, body: str, path: str) -> None:
    pattern, asked = anchor + body, request(path)
    test = make_test(PatternKind.PATTERN, pattern)
    assert test is not None
    for _ in range(2):  # the first may compile
        assert bool(test(asked)) == bool(compile_pattern(pattern).search(asked.text))


@settings(max_examples=600)
@given(BODIES, PATHS)
@example("^*a", "a")
@example("/a*^b", "a/b")
@example("^a*b", "ab")
@example("/*a^", "a")
def test_rest_of_a_pattern_means_what_its_expression_does(rest: str, path: str) -> None:
    asked, expression = request(path), compile_after_host(rest)
    test = make_test(PatternKind.PATTERN, f"||{HOST}{rest}", HOST, by_host=True)
    for _ in range(2):
        found = test is None or bool(test(asked))
        assert found == (expression is None or bool(expression.match(asked.text, asked.host_end)))


def test_expression_is_compiled_when_its_text_is_met(monkeypatch) -> None:
    from hedgerow.blocklists import url_tests

    compiled: list[str] = []

    def compile_noted(pattern: str, match_case: bool) -> re.Pattern[str]:
        compiled.append(pattern)
        return compile_pattern(pattern, match_case)

    monkeypatch.setattr(url_tests, "compile_pattern", compile_noted)
    test = make_test(PatternKind.PATTERN, "^banner^x")
    assert test is not None
    assert not test(request("a"))
    assert compiled == []
    assert test(request("banner/x"))
    assert test(request("banner?x"))
    assert compiled == ["^banner^x"]


@settings(max_examples=600)
@given(some.sampled_from(["h.example", "a.h.example", "ah.example", "h.example.a", "example"]), BODIES, PATHS)
def test_host_of_a_pattern_is_compared_with_that_of_the_request(host: str, body: str, path: str) -> None:
    pattern, asked = f"||{HOST}/{body}", UrlRequest.about(f"https://{host}:81/{path}", host)
    test = make_test(PatternKind.PATTERN, pattern, HOST)
    assert test is not None
    assert bool(test(asked)) == bool(compile_pattern(pattern).search(asked.text))


@settings(max_examples=300)
@given(some.sampled_from([r"^https://h\.[a-z]+/ab?/", r"/(?:a|ab)\?x{0,2}=", "a{2}b", r"\.example/\Ab+$"]), PATHS)
def test_expression_means_what_it_does_alone(pattern: str, path: str) -> None:
    asked, test = request(path), make_test(PatternKind.REGEX, pattern)
    assert test is not None
    assert bool(test(asked)) == bool(compile_regex(pattern).search(asked.url))


@pytest.mark.parametrize(
    "pattern",
    [
        "||h.example/*video*watch*",
        "||a*a*a*b",
        "||a*a^b|",
        "|http*a*a*b",
        "*a*b|",
        "a^*a^b",
        "/(a|aa)+b/",
        "aaaaaaaaaaaaaaaaaaaa^b",
    ],
)
@pytest.mark.parametrize("repeated", ["video", "a", "a/", "%2Fa"])
def test_a_long_url_costs_a_pattern_no_more_than_its_length(pattern: str, repeated: str) -> None:
    """The URL is a stranger's, the pattern of a list: whatever stars it has, and however many labels of the
    host match.
    """
    kind = PatternKind.REGEX if pattern.startswith("/") else PatternKind.PATTERN
    test = make_test(kind, pattern.strip("/"))
    assert test is not None
    host = "a." * 100 + HOST
    assert_linear(
        test, lambda size: UrlRequest.about(f"http://{host}/" + repeated * (size // len(repeated)), host), 16_000
    )
