"""Expressions of sealed lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists.formats.sealed import hash_expression, host_expressions, url_expressions


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        # The example of Safe Browsing's documentation.
        (
            "http://a.b.com/1/2.html?param=1",
            [
                "a.b.com/1/2.html?param=1",
                "a.b.com/1/2.html",
                "a.b.com/",
                "a.b.com/1/",
                "b.com/1/2.html?param=1",
                "b.com/1/2.html",
                "b.com/",
                "b.com/1/",
            ],
        ),
        ("http://1.2.3.4/1/", ["1.2.3.4/1/", "1.2.3.4/"]),
    ],
)
def test_expressions(url: str, expected: list[str]) -> None:
    assert url_expressions(url) == expected


def test_long_hosts_and_paths_are_cut() -> None:
    found = url_expressions("http://a.b.c.d.e.f.g/1/2/3/4/5/6.html?x")
    hosts = list(dict.fromkeys(each.partition("/")[0] for each in found))
    assert hosts == ["a.b.c.d.e.f.g", "c.d.e.f.g", "d.e.f.g", "e.f.g", "f.g"]
    paths = [each.partition("/")[2] for each in found if each.startswith("f.g/")]
    assert paths == ["1/2/3/4/5/6.html?x", "1/2/3/4/5/6.html", "", "1/", "1/2/", "1/2/3/"]


# Ways to write one URL, after the tests of Safe Browsing's documentation.
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host/%25%32%35", "host/%25"),
        ("http://host/%25%32%35%25%32%35", "host/%25%25"),
        ("http://host/asdf%25%32%35asd", "host/asdf%25asd"),
        ("http://www.google.com/blah/..", "www.google.com/"),
        ("www.google.com/", None),
        ("http://www.evil.com/blah#frag", "www.evil.com/blah"),
        ("http://www.GOOgle.com/", "www.google.com/"),
        ("http://www.google.com.../", "www.google.com/"),
        ("http://www.google.com/foo\tbar\rbaz\n2", "www.google.com/foobarbaz2"),
        ("http://www.google.com/q?", "www.google.com/q?"),
        ("http://evil.com/foo#bar#baz", "evil.com/foo"),
        ("http://evil.com/foo?bar;", "evil.com/foo?bar;"),
        ("http://notrailingslash.com", "notrailingslash.com/"),
        ("http://www.gotaport.com:1234/", "www.gotaport.com/"),
        ("  http://www.google.com/  ", "www.google.com/"),
        ("http://host.com//twoslashes?more//slashes", "host.com/twoslashes?more//slashes"),
        ("https://user:pass@host.com/x", "host.com/x"),
        ("http://host.com\\x\\y", "host.com/x/y"),
    ],
)
def test_canonical_forms(url: str, expected: str | None) -> None:
    assert next(iter(url_expressions(url)), None) == expected


def test_hosts() -> None:
    assert list(host_expressions("a.b.example.com")) == ["a.b.example.com/", "b.example.com/", "example.com/"]
    assert list(host_expressions("192.0.2.1")) == ["192.0.2.1/"]
    assert hash_expression("example.com/") == "73d986e009065f182c10bcb6a45db3d6eda9498f8930654af2653f8a938cd801"


@given(st.text(max_size=80))
def test_expressions_never_raise(text: str) -> None:
    assert len(url_expressions(text)) <= 30
    assert len(url_expressions(f"http://{text}")) <= 30
