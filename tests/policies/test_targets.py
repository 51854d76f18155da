"""URL rules of a policy: spellings that match, and work that grows with the URL and no faster."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from linear_work import assert_linear

from hedgerow.policies.targets import comparable_path, compile_path

LONGEST = 64_000  # octets of a URL


def as_python_regex(path: str) -> re.Pattern[str]:
    """Return the meaning of a pattern as an expression for Python's backtracking engine."""
    body = ".*".join(re.escape(part) for part in path.split("*"))
    body = body[:1] + "(?:%2f)*" + body[1:].replace("/", r"(?:;[^/?]*)?(?:/|%2f)+")
    return re.compile(body if path.endswith("*") else body + r"(?:$|[/?#&;]|%2f|%00)", re.IGNORECASE | re.DOTALL)


@given(
    st.text("ab/*", max_size=8),
    st.lists(st.sampled_from(["a", "B", "/", ";", "?", "%2F", "%00", "&", "x\n"]), max_size=12),
)
def test_patterns_mean_the_same_as_for_an_engine_that_backtracks(pattern: str, pieces: list[str]) -> None:
    path = "/" + "".join(pieces)
    assert bool(compile_path("/" + pattern)(path)) == (as_python_regex("/" + pattern).match(path) is not None)


@pytest.mark.parametrize(
    ("pattern", "repeated"),
    [
        ("/*video*watch*", "video"),
        ("/*a*b", "a"),
        ("/*a*a*a*a*a*b", "a"),
        ("/a*/b*/c", "/b"),
        ("/a/b/b/b/z", "/b;%2fb"),
        ("/*/b/b/b*z", ";%2fb"),
        ("/a/z", "/a;"),
        ("/*%20*%20*z", "%20"),
    ],
)
def test_a_long_url_costs_a_pattern_of_many_stars_no_more_than_its_length(pattern: str, repeated: str) -> None:
    matches = compile_path(pattern)
    assert not matches("/a" + repeated * 1000)
    assert_linear(matches, lambda size: "/a" + repeated * (size // len(repeated)), LONGEST // 4)


def test_octets_that_are_no_text_are_compared_as_escapes() -> None:
    assert comparable_path("http://a.example/x\udcff/b") == "/x%FF/b"
