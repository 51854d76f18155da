"""Parsers of formats, and detection of a format."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists.formats import FORMATS, detect, format_named
from hedgerow.blocklists.names import network_key
from hedgerow.blocklists.patterns import compile_rule
from hedgerow.blocklists.rules import ParsedLines, PatternKind


def parse(format_name: str, text: str) -> ParsedLines:
    known = format_named(format_name)
    assert known is not None
    return known.parse(text.split("\n"), 1, "list")


def check(
    format_name: str,
    line: str,
    *,
    hosts: str = "",
    excepted: str = "",
    url: str = "",
    ignored: str = "",
    problem: str = "",
) -> None:
    """Check that one line gives exactly this result; `problem` is a part of the message."""
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
        ("||example.com^$third-party", {"url": "||example.com^"}),
        ("||example.com^$domain=a.example|b.example,script", {"url": "||example.com^"}),
        ("@@||example.com^$~script", {"url": "||example.com^"}),
        ("||example.com^$all", {"hosts": "example.com"}),
        ("||example.com^$important", {"hosts": "example.com"}),
        ("||example.com^$dnsrewrite=NOERROR;A;0.0.0.0", {"hosts": "example.com"}),
        ("||example.com^$dnstype=AAAA", {"url": "||example.com^"}),
        ("||example.com^$badfilter", {"url": "||example.com^"}),
        ("||example.com^$all,to=~a.example", {"url": "||example.com^"}),
        ("||example.com.$all", {"url": "||example.com."}),
        ("||example.com^$popup", {"problem": "$popup"}),
        ("||example.com^$removeparam=utm", {"problem": "$removeparam"}),
        ("||example.com^$script,csp=script-src 'none'", {"problem": "$csp"}),
        ("||example.com^$dnsrewrite=NOERROR;TXT;hello", {"problem": "$dnsrewrite=noerror;txt"}),
        ("||example.com^$domain=/shop[0-9]/", {"problem": "$domain=/"}),
        ("||example.com^$no-such-modifier", {"problem": "$no-such-modifier"}),
        ("@@||example.com^$generichide", {"ignored": "cosmetic rules"}),
        ("||example.com^$$what", {"ignored": "cosmetic rules"}),
        ("||example.com/$.js", {"url": "||example.com/$.js"}),
        ("/ads[0-9]+/", {"url": "ads[0-9]+"}),
        ("/ads[0-9]+/$script", {"url": "ads[0-9]+"}),
        ("/[a-z.]+/", {"problem": "nearly everything"}),
        ("/ads(?!x)/", {"problem": "RE2"}),
        ("||ads*.example.com^", {"url": r"(?:^|\.)ads.*\.example\.com$"}),
        ("||com^", {"problem": "single label"}),
        ("||a..b^", {"problem": "not a host name"}),
        ("*", {"problem": "too short"}),
        ("0.0.0.0 ads.example b.example", {"problem": "a space, which no URL has"}),
        ("|http://*", {"problem": "too short"}),
        ("||*.info^", {"problem": "too short"}),
        ("|http", {"problem": "too wide"}),
        ("@@*http*", {"problem": "too wide"}),
        ("|http$script,domain=a.example", {"url": "|http"}),
        (r"/^https?:\/\//", {"problem": "nearly everything"}),
        (r"/^https?:\/\/[^\/]+\/$/", {"problem": "nearly everything"}),
        (r"@@/\/\//", {"problem": "nearly everything"}),
        (r"/^https?:\/\//$script,domain=a.example", {"url": r"^https?:\/\/"}),
        (r"/^https?:\/\/[a-z]{8}\.com\//", {"url": r"^https?:\/\/[a-z]{8}\.com\/"}),
        ("||example.com^$domain=[x]", {"problem": "$domain= with what is no host"}),
    ],
)
def test_adblock(line: str, expected: dict[str, str]) -> None:
    check("adblock", line, **expected)


@pytest.mark.parametrize(
    ("format_name", "line", "expected"),
    [
        ("wildcard", "*.example.com", {"hosts": "example.com"}),
        ("wildcard", ".example.com", {"hosts": "example.com"}),
        ("dnsmasq", "address=/a.example/B.example/0.0.0.0", {"hosts": "a.example b.example"}),
        ("dnsmasq", "address=/a.example/", {"hosts": "a.example"}),
        ("dnsmasq", "address=/a.example/#", {"hosts": "a.example"}),
        ("dnsmasq", "local=/a.example/ # why", {"hosts": "a.example"}),
        ("dnsmasq", "server=/a.example/", {"hosts": "a.example"}),
        ("dnsmasq", "server=/a.example/#", {"excepted": "a.example"}),
        ("dnsmasq", "server=/a.example/192.0.2.1", {"problem": "elsewhere"}),
        ("dnsmasq", "address=/a.example/192.0.2.1", {"problem": "elsewhere"}),
        ("dnsmasq", "address=/com/0.0.0.0", {"problem": "single label"}),
        ("dnsmasq", "cache-size=1000", {"ignored": "other settings"}),
        ("dnsmasq", "address=/a.example", {"problem": "dnsmasq"}),
        ("unbound", 'local-zone: "a.example." always_null', {"hosts": "a.example"}),
        ("unbound", "local-zone: a.example refuse # x", {"hosts": "a.example"}),
        ("unbound", 'local-zone: "a.example" transparent', {"excepted": "a.example"}),
        ("unbound", 'local-zone: "a.example" redirect', {"ignored": "zones that their data explains"}),
        ("unbound", 'local-data: "a.example. 3600 IN A 0.0.0.0"', {"hosts": "a.example"}),
        ("unbound", 'local-data: "a.example A 192.0.2.1"', {"problem": "elsewhere"}),
        ("unbound", 'local-data: "a.example CNAME safe.example."', {"problem": "elsewhere"}),
        ("unbound", "server:", {"ignored": "other settings"}),
        ("rpz", "*.a.example CNAME .", {"hosts": "a.example"}),
        ("rpz", "*.a.example 300 IN CNAME *.", {"hosts": "a.example"}),
        ("rpz", "*.a.example A 0.0.0.0 ; why", {"hosts": "a.example"}),
        ("rpz", "a.example CNAME rpz-passthru.", {"excepted": "a.example"}),
        ("rpz", "*.a.example CNAME safe.example.", {"problem": "elsewhere"}),
        ("rpz", "32.8.8.8.8.rpz-ip CNAME .", {"hosts": "8.8.8.8"}),
        ("rpz", "128.fe.zz.fe.2620.rpz-ip CNAME .", {"hosts": "2620:fe::fe"}),
        ("rpz", "8.0.0.0.10.rpz-ip CNAME .", {"ignored": "private networks"}),
        ("rpz", "0.0.0.0.0.rpz-ip CNAME .", {"problem": "too wide"}),
        ("rpz", "a.example.rpz-nsdname CNAME .", {"problem": "rpz-nsdname"}),
        ("rpz", "@ SOA localhost. root.localhost. 1 2 3 4 5", {"ignored": "comments"}),
        ("rpz", "  NS  localhost.", {"ignored": "zone data"}),
        ("ips", "8.8.8.8", {"hosts": "8.8.8.8"}),
        ("ips", "2620:FE::fe # quad9", {"hosts": "2620:fe::fe"}),
        ("ips", "10.0.0.0/8", {"ignored": "private networks"}),
        ("ips", "0.0.0.0/0", {"problem": "too wide"}),
        ("ips", "example.com", {"problem": "neither an address"}),
        ("regex", r"(^|\.)ads\d+\.example$", {"url": r"(^|\.)ads\d+\.example$"}),
        ("regex", r"^ads\.;querytype=A", {"problem": "Pi-hole"}),
        ("regex", ".*", {"problem": "nearly everything"}),
        ("regex", "(a", {"problem": "RE2"}),
        ("v2fly", "domain:a.example @ads @cn", {"hosts": "a.example"}),
        ("v2fly", "a.example # why", {"hosts": "a.example"}),
        ("v2fly", "keyword:casino", {"url": "casino"}),
        ("v2fly", "keyword:exam", {"url": "exam"}),
        ("v2fly", "keyword:ab", {"problem": "too short"}),
        ("v2fly", r"regexp:(^|\.)x[0-9]\.example$ @cn", {"url": r"(^|\.)x[0-9]\.example$"}),
        ("v2fly", "include:other @cn", {"ignored": "included files"}),
        ("v2fly", "what:a.example", {"problem": "no such type"}),
        ("v2fly@ads@-cn", "a.example @ads", {"hosts": "a.example"}),
        ("v2fly@ads@-cn", "a.example @ads @cn", {"ignored": "comments"}),
        ("v2fly@ads@-cn", "a.example", {"ignored": "comments"}),
        ("sealed", "what was to be sealed", {"problem": "not a SHA-256"}),
        ("urls", "a.example/x*y|z/", {"url": r"^[a-z]+://(?:[^/:]*\.)?a\.example(?::\d+)?/x\*y\|z/"}),
        ("expressions", "^[^/]+/$", {"problem": "nearly everything"}),
        ("expressions", "^[0-9.]+/search$", {"url": "^[0-9.]+/search$"}),
    ],
)
def test_other_formats(format_name: str, line: str, expected: dict[str, str]) -> None:
    check(format_name, line, **expected)


def test_exact_names_networks_and_digests() -> None:
    """Each has a list of its own in the result."""
    assert parse("v2fly", "full:a.example").exact == ["a.example"]
    assert parse("rpz", "a.example CNAME .").exact == ["a.example"]
    assert parse("rpz", "a.example CNAME .\n*.a.example CNAME .").exact == []
    assert parse("ips", "8.8.4.0/22\n2620:fe::/48\n8.8.8.8-8.8.8.9").networks == [
        network_key(ipaddress.ip_network(network)) for network in ("8.8.4.0/22", "2620:fe::/48", "8.8.8.8/31")
    ]
    assert parse("rpz", "24.0.8.8.8.rpz-ip CNAME .").networks == ["!4." + f"{0x080808:024b}"]
    assert parse("sealed", "sha256:" + "AB" * 32).sealed == ["ab" * 32]
    assert parse("sealed", "https://secret.example/").problems[0].text == ""
    assert parse("adblock", "||a.example^$important").important == ["a.example"]


def test_exceptions_with_a_path() -> None:
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
        ("*.a.example\n*.b.example", "wildcard"),
        ("# c\naddress=/a.example/0.0.0.0\nlocal=/b.example/", "dnsmasq"),
        ('server:\nlocal-zone: "a.example" always_null', "unbound"),
        ("$TTL 1\n@ SOA a. b. 1 2 3 4 5\n  NS a.\na.example CNAME .\n*.a.example CNAME .", "rpz"),
        ("8.8.8.8\n2620:fe::/48", "ips"),
        ("(^|\\.)ads[0-9]\n^track\\.", "regex"),
        ("a.example @ads\ninclude:b\nfull:c.example", "v2fly"),
        (f"# sealed\n{'0' * 64}\n{'a' * 64}", "sealed"),
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
        st.from_regex(r"(address|server|local)=/[a-z./]{0,20}/[0-9.#]{0,8}", fullmatch=True),
        st.from_regex(r"local-(zone|data): \"[a-zA-Z0-9 .]{0,30}\" ?[a-z_]{0,14}", fullmatch=True),
        st.from_regex(r"(\*\.)?[a-z0-9.-]{0,20}(rpz-ip)? (IN )?(CNAME|A) [a-z0-9.*-]{0,12}", fullmatch=True),
        st.from_regex(r"[0-9a-f:.]{0,20}[/-]?[0-9a-f:.]{0,20}", fullmatch=True),
        st.from_regex(
            r"(full|domain|keyword|regexp|include):[a-z0-9.^$|()\[\]*+?\\-]{0,25}( @-?[a-z!]{1,4})?", fullmatch=True
        ),
        st.from_regex(r"@?@?\|\|[a-z.*]{1,12}\^?\$(~?[a-z-]{1,12}(=[a-z.|~*]{0,12})?,?){1,3}", fullmatch=True),
    ),
    max_size=12,
)


FORMS = (*FORMATS, *(known for name in ("urls", "expressions", "v2fly@ads@-cn") if (known := format_named(name))))


@given(st.sampled_from(FORMS), LINES)
def test_every_line_is_accounted_for(known, lines) -> None:
    """No parser raises, loses a line or depends on its neighbours."""
    whole = known.parse(lines, 5, "list")
    apart = [known.parse([line], 5 + index, "list") for index, line in enumerate(lines)]
    for field in ("hosts", "exact", "excepted", "important", "networks", "sealed", "urls", "problems"):
        if known.name == "rpz" and field == "exact":
            continue  # a name is one rule with its wildcard, wherever that stands
        assert getattr(whole, field) == [found for one in apart for found in getattr(one, field)]
    for one in apart:
        assert one.count() + len(one.problems) + one.ignored.total() >= 1


@given(LINES)
def test_detection_never_raises(lines: list[str]) -> None:
    detect(lines)


HOSTS_OF_PAGES = (
    "zoo.site.test",
    "shop9.example.net",
    "my-school.example.org",
    "b.invalid",
    "cdn.img7.example.com",
    "x--y.kids.test",
)
PAGES = tuple(
    f"https://{host}{path}"
    for host in HOSTS_OF_PAGES
    for path in ("/", "/a/b.css", "/q?id=7&k=v", "/v/k.jpg", "/1/2/3")
)
PIECES = (
    "http",
    "https",
    "s?",
    ":",
    "/",
    r"\/",
    "://",
    ".",
    "*",
    "+",
    "?",
    "^",
    "$",
    "|",
    "[a-z]",
    r"[^\/]",
    r"\w",
    "(",
    ")",
    "e",
    "com",
)
WIDE = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


@given(WIDE)
def test_accepted_rules_do_not_match_nearly_all_pages(text: str) -> None:
    """The pages differ from those that the parsers test."""
    for found in (
        parse("adblock", text),
        parse("adblock", f"/{text}/"),
        parse("regex", text),
        parse("expressions", text),
    ):
        for rule in found.urls:
            texts = {
                PatternKind.HOST_REGEX: HOSTS_OF_PAGES,
                PatternKind.EXPRESSION: [page.partition("://")[2] for page in PAGES],
            }.get(rule.kind, PAGES)
            matches = compile_rule(rule)
            assert rule.host or sum(bool(matches(each)) for each in texts) < 0.9 * len(texts), rule
