"""Tests of URL patterns beside the expressions that say what a pattern means."""

from __future__ import annotations

import re

from hypothesis import example, given, settings
from hypothesis import strategies as some

from hedgerow.blocklists.patterns import compile_after_host, compile_pattern
from hedgerow.blocklists.rules import PatternKind
from hedgerow.blocklists.url_tests import UrlRequest, make_test

HOST = "h.example"
BODIES = some.lists(some.sampled_from(["a", "ab", "/", "^", "*", "**", ".", "%2F", "%41", "=", "|"]), min_size=1, max_size=7).map("".join)
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
    test = make_test(PatternKind.PATTERN, f"||{HOST}{rest}", HOST)
    for _ in range(2):
        found = test is None or bool(test(asked))
        assert found == (expression is None or bool(expression.match(asked.text, asked.host_end)))


def test_expression_is_compiled_when_its_text_is_met(monkeypatch) -> None:
    from hedgerow.blocklists import url_tests

    compiled: list[str] = []

    def compile_noted(pattern: str) -> re.Pattern[str]:
        compiled.append(pattern)
        return compile_pattern(pattern)

    monkeypatch.setattr(url_tests, "compile_pattern", compile_noted)
    test = make_test(PatternKind.PATTERN, "^banner^x")
    assert test is not None
    assert not test(request("a"))
    assert compiled == []
    assert test(request("banner/x"))
    assert test(request("banner?x"))
    assert compiled == ["^banner^x"]
