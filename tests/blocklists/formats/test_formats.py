"""Each format's parser, and telling formats apart."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists.formats import FORMATS, detect, format_named
from hedgerow.blocklists.rules import Parsed


def parse(format_name: str, text: str) -> Parsed:
    known = format_named(format_name)
    assert known is not None
    return known.parse(text.split("\n"), 1, "list")


def check(format_name: str, line: str, *, hosts: str = "", excepted: str = "", url: str = "", ignored: str = "", problem: str = "") -> None:
    """One line gives exactly this, and nothing else; a problem is known by a part of its message."""
    parsed = parse(format_name, line)
    assert parsed.hosts == hosts.split()
    assert parsed.excepted == excepted.split()
    assert [rule.pattern for rule in parsed.urls] == url.split()
    assert list(parsed.ignored) == ([ignored] if ignored else [])
    assert len(parsed.problems) == bool(problem)
    for found in parsed.problems:
        assert problem in found.message
        assert found.line == 1


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0.0.0.0 example.com", {"hosts": "example.com"}),
        ("127.0.0.1\tExample.COM. # why", {"hosts": "example.com"}),
        ("0.0.0.0 a.example b.example c.example#x", {"hosts": "a.example b.example c.example"}),
        ("::1 bücher.example", {"hosts": "xn--bcher-kva.example"}),
        ("0 short.example", {"hosts": "short.example"}),
        (":: six.example", {"hosts": "six.example"}),
        ("0.0.0.0 192.0.2.7", {"hosts": "192.0.2.7"}),
        ("0.0.0.0 0.0.0.0", {"ignored": "local names"}),
        ("127.0.0.1 localhost", {"ignored": "local names"}),
        ("127.0.0.1 localhost.localdomain", {"ignored": "local names"}),
        ("255.255.255.255 broadcasthost", {"ignored": "local names"}),
        ("fe80::1%lo0 localhost", {"ignored": "local names"}),
        ("ff02::1 ip6-allnodes", {"ignored": "local names"}),
        ("", {"ignored": "comments"}),
        ("# comment", {"ignored": "comments"}),
        ("0.0.0.0", {"problem": "without a name"}),
        ("0.0.0.0 com", {"problem": "single label"}),
        ("0.0.0.0 bad..example", {"problem": "not a host name"}),
        ("192.0.2.1 rewritten.example", {"problem": "no sink"}),
        ("example.com 0.0.0.0", {"problem": "does not begin with an address"}),
    ],
)
def test_hosts(line: str, expected: dict[str, str]) -> None:
    check("hosts", line, **expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("example.com", {"hosts": "example.com"}),
        ("  Example.COM.  # why", {"hosts": "example.com"}),
        ("*.example.com", {"hosts": "example.com"}),
        (".example.com", {"hosts": "example.com"}),
        ("bücher.example", {"hosts": "xn--bcher-kva.example"}),
        ("192.0.2.1", {"hosts": "192.0.2.1"}),
        ("2001:DB8::1", {"hosts": "2001:db8::1"}),
        ("https://example.com/", {"hosts": "example.com"}),
        ("example.com/a/b", {"url": "||example.com/a/b^"}),
        ("http://Example.com/a/", {"url": "||example.com/a/"}),
        ("0.0.0.0", {"ignored": "local names"}),
        ("localhost", {"ignored": "local names"}),
        ("; comment", {"ignored": "comments"}),
        ("com", {"problem": "single label"}),
        ("two words", {"problem": "neither a domain nor an address"}),
        ("<html>", {"problem": "neither a domain nor an address"}),
        ("example.com/*", {"problem": "wildcard"}),
    ],
)
def test_plain(line: str, expected: dict[str, str]) -> None:
    check("plain", line, **expected)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("||example.com^", {"hosts": "example.com"}),
        ("||Example.com", {"hosts": "example.com"}),
        ("||bücher.example^", {"hosts": "xn--bcher-kva.example"}),
        ("||192.0.2.1^", {"hosts": "192.0.2.1"}),
        ("@@||example.com^", {"excepted": "example.com"}),
        ("example.com", {"hosts": "example.com"}),
        ("||example.com/ads^", {"url": "||example.com/ads^"}),
        ("||Example.com:8080/", {"url": "||example.com:8080/"}),
        ("|https://example.com/x", {"url": "|https://example.com/x"}),
        ("/banner/*/img^", {"url": "/banner/*/img^"}),
        ("ads.js", {"url": "ads.js"}),
        ("! comment", {"ignored": "comments"}),
        ("[Adblock Plus 2.0]", {"ignored": "comments"}),
        ("example.com##.ad", {"ignored": "cosmetic rules"}),
        ("###ad", {"ignored": "cosmetic rules"}),
        ("example.com#@#.ad", {"ignored": "cosmetic rules"}),
        ("example.com#?#div:has(.ad)", {"ignored": "cosmetic rules"}),
        ("example.com$$script[tag]", {"ignored": "cosmetic rules"}),
        ("||example.com^$third-party", {"problem": "$third-party"}),
        ("||example.com^$domain=a.example|b.example,script", {"problem": "$domain"}),
        ("@@||example.com^$~script", {"problem": "$script"}),
        ("||example.com^$$what", {"ignored": "cosmetic rules"}),
        ("||example.com/$.js", {"problem": "a $ that begins no modifier"}),
        ("/ads[0-9]+/", {"problem": "regular expressions"}),
        ("/ads[0-9]+/$script", {"problem": "regular expressions"}),
        ("||com^", {"problem": "single label"}),
        ("||a..b^", {"problem": "not a host name"}),
        ("*", {"problem": "too short"}),
        ("|http://*", {"problem": "too short"}),
        ("||*.info^", {"problem": "public suffix"}),
    ],
)
def test_adblock(line: str, expected: dict[str, str]) -> None:
    check("adblock", line, **expected)


def test_an_exception_with_a_path_is_an_exception() -> None:
    (rule,) = parse("adblock", "@@||example.com/good^").urls
    assert rule.exception
    assert (rule.host, rule.line, rule.text) == ("example.com", 1, "@@||example.com/good^")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("# c\n127.0.0.1 localhost\n0.0.0.0 a.example", "hosts"),
        ("::1 a.example\n:: b.example", "hosts"),
        ("# c\n\na.example\nb.example # x\n*.c.example", "plain"),
        ("a.example/path\nb.example", "plain"),
        ("[Adblock Plus]\na.example", "adblock"),
        ("! c\n||a.example^\n@@||b.example^", "adblock"),
        ("example.com##.ad\n||x.example^", "adblock"),
        ("<!doctype html>\n<html>\n<body>Hello a.example</body>", None),
        ('{"a": 1,\n "b": [2, 3]}', None),
        ("", None),
        ("# only\n# comments", None),
    ],
)
def test_detection(text: str, name: str | None) -> None:
    known = detect(text.split("\n"))
    assert (known and known.name) == name


LINES = st.lists(
    st.one_of(
        st.text(max_size=60).map(lambda text: text.replace("\n", " ")),
        st.from_regex(r"(@@)?\|{0,2}[a-z0-9.*^|/$,=~#-]{0,40}", fullmatch=True),
        st.from_regex(r"(0\.0\.0\.0|::1|127\.0\.0\.1|[a-z]{2,4})\s[a-z0-9._-]{0,30}(#.*)?", fullmatch=True).map(
            lambda t: t.replace("\n", " ")
        ),
    ),
    max_size=12,
)


@given(st.sampled_from(FORMATS), LINES)
def test_every_line_is_accounted_for_and_has_its_own_place(known, lines) -> None:
    """No parser raises, loses a line or depends on its neighbours."""
    whole = known.parse(lines, 5, "list")
    apart = [known.parse([line], 5 + index, "list") for index, line in enumerate(lines)]
    for field in ("hosts", "exact", "excepted", "urls", "problems"):
        assert getattr(whole, field) == [found for one in apart for found in getattr(one, field)]
    for one in apart:
        assert len(one.hosts) + len(one.excepted) + len(one.urls) + len(one.problems) + one.ignored.total() >= 1


@given(LINES)
def test_detection_never_raises(lines: list[str]) -> None:
    detect(lines)
