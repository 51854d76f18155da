"""URL rules: one pattern against one URL, and many at once."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists import url_index
from hedgerow.blocklists.formats import format_named
from hedgerow.blocklists.fragment_table import FragmentTable
from hedgerow.blocklists.names import split_url
from hedgerow.blocklists.patterns import compile_pattern, regex_fragments
from hedgerow.blocklists.rules import UrlRule
from hedgerow.blocklists.url_index import group_rules, write_url_index
from hedgerow.blocklists.url_matcher import UrlMatcher, UrlMatches
from hedgerow.blocklists.url_tests import UrlRequest


def parse_rules(text: str) -> list[UrlRule]:
    known = format_named("adblock")
    assert known is not None
    parsed = known.parse(text.split("\n"), 1, "list")
    assert parsed.problems == []
    return parsed.urls


def open_matcher(folder: Path, *lists: str, ads: bool = True) -> UrlMatcher:
    """Open a matcher with the URL rules of lists, each in a category of its own."""
    rules = [(source, rule) for source, text in enumerate(lists) for rule in parse_rules(text)]
    found = group_rules(rules, [str(source) for source in range(len(lists))])
    write_url_index(found.urls, folder / "urls")
    return UrlMatcher(folder / "urls", [1 << source for source in range(len(lists))], [ads] * len(lists))


def find(
    matcher: UrlMatcher, url: str, resource: str = "image", initiator: str = "page.example", blocked: int = 0
) -> UrlMatches:
    parts = split_url(url)
    assert parts is not None
    return matcher.find(UrlRequest.about(*parts, resource, initiator), blocked=blocked)


def texts(found: UrlMatches) -> list[str]:
    return [rule.row.text for rule in found.blocks]


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
        ("||example.com:8080/", ["http://example.com:8080/"], ["http://example.com/", "http://example.com:808/"]),
        (
            "/banner/*/img^",
            ["http://a.example/banner/x/img?1", "http://a.example/banner/x/y/img"],
            ["http://a.example/banner/img"],
        ),
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
def test_patterns(pattern: str, matching: list[str], other: list[str], tmp_path: Path) -> None:
    """The expression matches alone and through the index, which must never lose a rule."""
    write_url_index([(0, UrlRule(pattern, "", 1, pattern))], tmp_path)
    expression, matcher = compile_pattern(pattern), UrlMatcher(tmp_path, [8], [False])
    for url in matching:
        assert expression.search(url.lower())
        assert [rule.mask for rule in find(matcher, url).blocks] == [8]
    for url in other:
        assert not expression.search(url.lower())
        assert find(matcher, url).blocks == ()


YES, NO = True, False


@pytest.mark.parametrize(
    ("line", "url", "resource", "initiator", "expected"),
    [
        ("||ads.example^$third-party", "https://x.ads.example/a", "image", "page.example", YES),
        ("||ads.example^$third-party", "https://x.ads.example/a", "image", "www.ads.example", NO),
        ("||ads.example^$third-party", "https://x.ads.example/a", "image", "", NO),
        ("||ads.example^$3p", "https://ads.example/a", "image", "null", YES),
        ("||ads.example^$~third-party", "https://ads.example/a", "image", "www.ads.example", YES),
        ("||ads.example^$first-party", "https://ads.example/a", "image", "page.example", NO),
        ("||a.ads.example^$strict1p", "https://a.ads.example/a", "image", "b.ads.example", NO),
        ("||a.ads.example^$strict3p", "https://a.ads.example/a", "image", "b.ads.example", YES),
        ("/banner/1$script", "https://a.example/banner/1", "script", "", YES),
        ("/banner/*$script", "https://a.example/banner/1", "image", "", NO),
        ("/banner/*$script,image", "https://a.example/banner/1", "image", "", YES),
        ("/banner/*$~script", "https://a.example/banner/1", "script", "", NO),
        ("/banner/*$~script", "https://a.example/banner/1", "style", "", YES),
        ("/banner/*$~script", "https://a.example/banner/1", "", "", NO),
        ("/banner/*$script", "https://a.example/banner/1.js?x", "", "", YES),
        ("/banner/*$xhr", "https://a.example/banner/1", "empty", "", YES),
        ("/banner/*$subdocument", "https://a.example/banner/1", "iframe", "", YES),
        ("/banner/*$media", "https://a.example/banner/1", "video", "", YES),
        ("/banner/*$websocket", "wss://a.example/banner/1", "websocket", "", YES),
        ("/banner/*$object", "https://a.example/banner/1", "embed", "", YES),
        ("/banner/*$other", "https://a.example/banner/1", "manifest", "", YES),
        ("/banner/1", "https://a.example/banner/1", "document", "", NO),
        ("/banner/*$document", "https://a.example/banner/1", "document", "", YES),
        ("/banner/*$all", "https://a.example/banner/1", "document", "", YES),
        ("/banner/*$popup,image", "https://a.example/banner/1", "image", "", YES),
        ("/banner/*$domain=page.example", "https://a.example/banner/1", "image", "www.page.example", YES),
        ("/banner/*$domain=page.example", "https://a.example/banner/1", "image", "other.example", NO),
        ("/banner/*$domain=page.example", "https://a.example/banner/1", "image", "", NO),
        (
            "/banner/*$domain=page.example|~no.page.example",
            "https://a.example/banner/1",
            "image",
            "x.no.page.example",
            NO,
        ),
        ("/banner/*$domain=~page.example", "https://a.example/banner/1", "image", "other.example", YES),
        ("/banner/*$domain=~page.example", "https://a.example/banner/1", "image", "page.example", NO),
        ("/banner/*$domain=shop.*", "https://a.example/banner/1", "image", "www.shop.co.uk", YES),
        ("/banner/*$from=page.example", "https://a.example/banner/1", "image", "page.example", YES),
        ("*$script,domain=page.example", "https://a.example/x", "script", "page.example", YES),
        ("*$script,domain=page.example", "https://a.example/x", "script", "other.example", NO),
        (
            "*$script,domain=page.example,denyallow=good.example",
            "https://www.good.example/x",
            "script",
            "page.example",
            NO,
        ),
        ("*$script,domain=page.example,denyallow=good.example", "https://bad.example/x", "script", "page.example", YES),
        ("/banner/*$to=a.example", "https://a.example/banner/1", "image", "", YES),
        ("/banner/*$to=~a.example", "https://a.example/banner/1", "image", "", NO),
        ("/BannerX/*$match-case", "https://a.example/BannerX/1", "image", "", YES),
        ("/BannerX/*$match-case", "https://a.example/bannerx/1", "image", "", NO),
        ("||a.example/Ba*NnerX^$match-case", "https://a.example/Ba/1/NnerX", "image", "", YES),
        ("||a.example/Ba*NnerX^$match-case", "https://a.example/Ba/1/nnerx", "image", "", NO),
        ("||a.example/ba*NnerX", "https://a.example/BA/nnerx", "image", "", YES),
        ("/banner\\d{2}/", "https://a.example/banner12", "image", "", YES),
        ("/banner\\d{2}/", "https://a.example/banner1", "image", "", NO),
        ("/Banner\\d/$match-case", "https://a.example/banner1", "image", "", NO),
        ("||brand*.example^$image", "https://x.brand-new.example/", "image", "", YES),
        ("||brand*.example^$image", "https://newbrand.example/", "image", "", NO),
        ("||prefix.$image", "https://www.prefix.anything.example/", "image", "", YES),
        ("||ads.example^$redirect=noop.js,script", "https://ads.example/", "script", "", YES),
        ("||ads.example^$dnsrewrite=0.0.0.0,image", "https://ads.example/", "image", "", YES),
        ("||ads.example^$dnstype=A", "https://ads.example/", "image", "", NO),
    ],
)
def test_modifiers(line: str, url: str, resource: str, initiator: str, expected: bool, tmp_path: Path) -> None:
    matcher = open_matcher(tmp_path, line)
    assert bool(find(matcher, url, resource, initiator).blocks) is expected


def test_rules_of_a_crowded_host_are_found_by_initiators(tmp_path: Path) -> None:
    """They still apply only to their host. An exception for several sites also holds for an unknown initiator."""
    lines = [f"||crowd.example/gtm.js$script,domain=s{number}.example" for number in range(20)]
    lines += [f"@@||crowd.example/gtm.js?x{number}$domain=a{number}.example|b{number}.example" for number in range(10)]
    lines += ["||crowd.example/gtm.js$image", "@@||crowd.example/gtm.js?y$domain=only.example"]
    matcher = open_matcher(tmp_path, "\n".join(lines))
    url = "https://www.crowd.example/gtm.js?x1"
    for asked, initiator, blocked in (
        (url, "www.s3.example", True),
        (url, "s33.example", False),
        ("https://other.example/gtm.js?x1", "s3.example", False),
        ("https://crowd.example/gtm.jsx", "s3.example", True),
        ("https://crowd.example/other.js", "s3.example", False),
    ):
        assert bool(find(matcher, asked, "script", initiator).blocks) == blocked, (asked, initiator)
    for initiator, lifted in (
        ("a1.example", True),
        ("b1.example", True),
        ("a2.example", False),
        ("", True),
        ("null", True),
    ):
        assert (find(matcher, url, "image", initiator).blocks == ()) == lifted, initiator
    for initiator, lifted in (("only.example", True), ("", False), ("null", False)):
        assert (find(matcher, "https://crowd.example/gtm.js?y", "image", initiator).blocks == ()) == lifted, initiator


def test_only_important_exceptions_lift_important_rules(tmp_path: Path) -> None:
    text = (
        "/adverts/x\n/adverts/*$important,script\n@@||good.example/adverts/$image,script\n"
        "@@||best.example/adverts/$important"
    )
    matcher = open_matcher(tmp_path, text)
    assert texts(find(matcher, "http://bad.example/adverts/x")) == ["/adverts/x"]
    assert texts(find(matcher, "http://good.example/adverts/")) == []
    assert texts(find(matcher, "http://good.example/adverts/", "script")) == ["/adverts/*$important,script"]
    assert texts(find(matcher, "http://best.example/adverts/", "script")) == []


def test_badfilter_disables_only_rules_of_its_category(tmp_path: Path) -> None:
    bad = "||a.example/ads^$script,third-party,badfilter\n||b.example/ads^$badfilter"
    matcher = open_matcher(
        tmp_path,
        f"||a.example/ads^$third-party,script\n||b.example/ads^$script\n{bad}",
        "||a.example/ads^$third-party,script",
    )
    assert [rule.mask for rule in find(matcher, "http://a.example/ads", "script").blocks] == [2]
    assert texts(find(matcher, "http://b.example/ads", "script")) == ["||b.example/ads^$script"]


def test_exceptions_lift_only_their_category(tmp_path: Path) -> None:
    matcher = open_matcher(tmp_path, "/ads/x\n@@||good.example/ads/", "/ads/x")
    assert [rule.mask for rule in find(matcher, "http://bad.example/ads/x").blocks] == [1, 2]
    assert [rule.mask for rule in find(matcher, "http://good.example/ads/x").blocks] == [2]


def test_exceptions_lift_urls_of_blocked_hosts(tmp_path: Path) -> None:
    matcher = open_matcher(tmp_path, "@@||ads.example/player.js$script")
    assert find(matcher, "http://ads.example/player.js", "script", blocked=1).lifted == 1
    assert find(matcher, "http://ads.example/player.js", "image", blocked=1).lifted == 0
    assert find(matcher, "http://ads.example/other.js", "script", blocked=1).lifted == 0


def test_rules_found_by_initiators_apply_to_their_host_and_subdomains(tmp_path: Path) -> None:
    crowd = "\n".join(f"||ads.example/{number}^$domain=page.example" for number in range(10))
    matcher = open_matcher(tmp_path, crowd)
    for host, expected in (
        ("ads.example", 1),
        ("www.ads.example", 1),
        ("bads.example", 0),
        ("ads.example.org", 0),
        ("page.example", 0),
    ):
        assert len(texts(find(matcher, f"https://{host}/7"))) == expected, host
    assert texts(find(matcher, "https://ads.example/7", initiator="other.example")) == []


@pytest.mark.parametrize(("initiator", "lifted"), [("one.example", 1), ("other.example", 0), ("", 1), ("null", 1)])
def test_exceptions_for_several_sites_hold_for_unknown_initiators(initiator: str, lifted: int, tmp_path: Path) -> None:
    matcher = open_matcher(
        tmp_path, "@@||ads.example/p.js$domain=one.example|two.example\n@@||ads.example/q.js$domain=one.example"
    )
    assert find(matcher, "http://ads.example/p.js", "script", initiator, blocked=1).lifted == lifted
    assert find(matcher, "http://ads.example/q.js", "script", initiator, blocked=1).lifted == (
        initiator == "one.example"
    )


def test_crowded_hosts_and_fragments_lose_no_rule(tmp_path: Path) -> None:
    lines = [f"||crowd.example/path-{number}/" for number in range(50)] + [
        f"/general-{number}." for number in range(50)
    ]
    matcher = open_matcher(tmp_path, "\n".join(lines))
    assert len(matcher) == 100
    for number in range(50):
        assert texts(find(matcher, f"http://www.crowd.example/path-{number}/x")) == [f"||crowd.example/path-{number}/"]
        assert texts(find(matcher, f"http://any.example/x/general-{number}.gif")) == [f"/general-{number}."]
        assert texts(find(matcher, f"http://any.example/path-{number}/")) == []


CROWDED = {
    "/ad-": "/ad-5",
    "/ads^": "/ads?x",
    "/x*y": "/x/1/y",
    "/Case/Path": "/case/path/1",
    "/caf%c3%a9/": "/café/",
    "/naïve": "/na%C3%AFve",
    "/~user/": "/%7Euser/1",
    "/" + "long-" * 30 + "end": "/" + "long-" * 30 + "ending",
    "/p?q=1|": "/p?q=1",
    "/Exact$match-case": "/Exact",
}
"""Rules of one host, each with a path that it matches."""


@pytest.mark.parametrize("many", [0, 1000])
def test_all_rules_of_a_crowded_host_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    """This holds for the host and its subdomains. Rules found by paths need no fragments."""
    monkeypatch.setattr(url_index, "MANY_RULES", many)
    matcher = open_matcher(tmp_path, "\n".join(f"||crowd.example{path}" for path in CROWDED))
    assert bool(list(FragmentTable(tmp_path / "urls" / url_index.FRAGMENTS_FILE).items())) == bool(many)
    for host in ("crowd.example", "www.crowd.example"):
        for rule, path in CROWDED.items():
            assert texts(find(matcher, f"http://{host}{path}")) == [f"||crowd.example{rule}"]
    for url in (
        "crowd.example/x?/abc",
        "notcrowd.example/abc",
        "crowd.example:8080/abc",
        "example/abc",
        "x.example/",
        "crowd.example/exact",
    ):
        assert not find(matcher, f"http://{url}").blocks, url


@pytest.mark.parametrize("many", [0, 1000])
def test_exceptions_and_important_rules_of_a_crowded_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(url_index, "MANY_RULES", many)
    lines = ["||crowd.example/ads^", "||b.crowd.example/ads^$important", "||crowd.example/"]
    lines += [f"@@||crowd.example/ads/{number}" for number in range(9)] + [
        f"||b.crowd.example/x{number}" for number in range(9)
    ]
    matcher = open_matcher(tmp_path, "\n".join(lines))
    assert find(matcher, "http://a.crowd.example/ads/5") == UrlMatches(lifted=1)
    assert texts(find(matcher, "http://b.crowd.example/ads/5")) == ["||b.crowd.example/ads^$important"]
    assert find(matcher, "http://a.crowd.example/ads/x").blocks
    assert texts(find(matcher, "http://a.crowd.example/other")) == ["||crowd.example/"]


def test_no_rules_match_nothing(tmp_path: Path) -> None:
    assert find(open_matcher(tmp_path), "http://example.com/") == UrlMatches()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (r"abc", ["abc"]),
        (r"ab?c", ["a", "c"]),
        (r"ab+c", ["ab", "c"]),
        (r"a(b|c)d", ["a", "d"]),
        (r"ab|cd", []),
        (r"[abc]x", ["x"]),
        (r"ab{0,2}c", ["a", "c"]),
        (r"ab{2}c", ["ab", "c"]),
        (r"(?i)abc", []),
        (r"\/x\.js$", ["/x.js"]),
        (r"\d\w", []),
        (r"(a[)]b)c", ["c"]),
        (r"a[[:digit:]]+b", ["a", "b"]),
        (r"\x41b", ["b"]),
        (r"\x{41}b", ["b"]),
        (r"\101b", ["b"]),
        (r"\p{Greek}?b\pNc", ["b", "c"]),
        (r"\Qa)?\Eb", ["b"]),
        (r"(\Q)\Ea)?b", ["b"]),
        (r"a\\b", ["a\\b"]),
        ("añb\\ñc", ["a", "b", "c"]),
    ],
)
def test_fragments_of_expressions(pattern: str, expected: list[str]) -> None:
    assert regex_fragments(pattern) == expected


@pytest.mark.parametrize(
    ("rule", "url"),
    [
        (r"/ads[[:digit:]]+\.gif/", "http://a.example/ads12.gif"),
        (r"/\x61dsense\d/", "http://a.example/adsense1"),
        ("/banner[0-9]*-(?:größe|size)/", "http://a.example/banner1-size"),
        ("/größe|banner-[a-z]+/", "http://a.example/banner-x"),
    ],
)
def test_expressions_of_re2_and_outside_ascii(rule: str, url: str, tmp_path: Path) -> None:
    matcher = open_matcher(tmp_path, rule + "\n/größer[0-9]+/")  # the second matches no URL, and stops no list
    assert texts(find(matcher, url)) == [rule]


SIMPLE = st.recursive(
    st.sampled_from(["a", "b", "ab", ".", "[ab]", "[^a]", r"\.", "x"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, st.sampled_from(["?", "*", "+", "{0,2}", "{1,2}"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})"),
    ),
    max_leaves=8,
)


@given(SIMPLE, st.text(alphabet="abx.", max_size=12))
def test_fragments_occur_in_every_match(pattern: str, text: str) -> None:
    found = re.search(pattern, text)
    if found:
        assert all(fragment in text for fragment in regex_fragments(pattern))


PIECES = st.lists(st.sampled_from(["a", "b", "ab", "/", ".", "*", "^", "-"]), min_size=1, max_size=8).map("".join)


@given(PIECES, st.lists(st.sampled_from(["a", "b", "/", ".", "-", "?"]), max_size=12).map("".join))
def test_atomic_groups_match_like_plain_expressions(pattern: str, path: str) -> None:
    """The oracle is the plain expression, which may backtrack."""
    url = f"http://x.example/{path}"
    plain = "".join({"*": ".*", "^": r"(?:[^\w.%-]|$)"}.get(character, re.escape(character)) for character in pattern)
    assert bool(compile_pattern(pattern).search(url)) == bool(re.search(plain, url, re.ASCII))


def test_hostile_patterns_stay_linear() -> None:
    expression = compile_pattern("||example.com/" + "*a" * 40 + "*b|")
    start = time.thread_time()
    assert not expression.search("http://example.com/" + "a" * 5000)
    assert time.thread_time() - start < 0.5
