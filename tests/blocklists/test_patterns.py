"""Patterns of names: one pass finds what each pattern matches by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists import list_parser
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.patterns import HostPattern, HostPatternMatcher, compile_regex
from hedgerow.blocklists.rules import UrlRule
from hedgerow.blocklists.sources import Source

PATTERNS = (
    r"(?:^|\.)ads?[0-9]+\.",
    r"casino",
    r"(?:^|\.)porn.*\.example$",
    r"^(a|b)x\.",
    r"[0-9]{4,}",
    r"x|yy",
    r"(?:^|\.)cdn-.*\.ads\.example$",
    r"ab+c\.example",
    r"a.c\.example",
    r"(casino)?bet\.example$",
    r"casino-?bet",
)
PIECES = (
    "ad",
    "ads",
    "1",
    "casino",
    "-",
    "bet",
    ".",
    "porn",
    "example",
    "x",
    "yy",
    "cdn-",
    "abc",
    "a",
    "2345",
    "ax",
    "bx",
)
HOSTS = st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join)
MATCHER = HostPatternMatcher(
    HostPattern(0, UrlRule(pattern, "", line, pattern), 1) for line, pattern in enumerate(PATTERNS)
)


@given(HOSTS)
def test_all_matching_patterns_are_found(host: str) -> None:
    expected = {pattern for pattern in PATTERNS if compile_regex(pattern).search(host)}
    assert {pattern.rule.pattern for pattern in MATCHER.matching(host)} == expected


def test_patterns_beyond_the_limit_are_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_parser, "MAX_HOST_PATTERNS", 2)
    (tmp_path / "list.txt").write_text("".join(f"(^|\\.)ads{number}\\.\n" for number in range(5)))
    report = compile_generation([Source("list", "adult", tmp_path / "list.txt")], tmp_path / "generation")
    assert [(problem.line, problem.message) for problem in report.problems] == [
        (line, list_parser.TOO_MANY_PATTERNS) for line in (3, 4, 5)
    ]
    catalogue = Catalogue.open(tmp_path / "generation")
    assert [bool(catalogue.host_mask(f"ads{number}.example")) for number in range(5)] == [
        True,
        True,
        False,
        False,
        False,
    ]


def test_matcher_without_patterns(tmp_path: Path) -> None:
    assert not HostPatternMatcher(())
    assert HostPatternMatcher(()).matching("a.example") == []
    (tmp_path / "list").write_text("||casino*.example^\n||*bet.example^\n")
    compile_generation([Source("list", "gambling", tmp_path / "list")], tmp_path / "generation")
    catalogue = Catalogue.open(tmp_path / "generation")
    assert [bool(catalogue.host_mask(host)) for host in ("casino1.example", "my-bet.example", "other.example")] == [
        True,
        True,
        False,
    ]
