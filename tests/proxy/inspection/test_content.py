"""Scored pages, blocked searches and kinds of files, from outside: in every version of HTTP, with TLS and without."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import brotli
import pytest
import yaml
from office_documents import VBA, zipped
from proxy_stand import Stand
from small_internet.clients import HttpAnswer, curl
from small_internet.whole import SmallInternet

from hedgerow.blocklists.yaml_files import YamlLoader
from hedgerow.policies.model import Reason
from hedgerow.proxy.inspection.engine.http_stream import MAX_HELD

CHILD_WITH_CA = "127.0.0.11"
CHILD = "127.0.0.12"
ADULT = "127.0.0.13"
INSPECTED = "www.school.example"
CASES = Path(__file__).parents[2] / "cases" / "content" / "pages.yaml"
PAGES = {case["name"]: case["text"] for case in yaml.load(CASES.read_text(encoding="utf-8"), YamlLoader)}
VERSIONS = ("--http1.1", "--http2")


def mirror(data: bytes, kind: str = "text/html; charset=utf-8", **more: str) -> str:
    """The path of a page with this content."""
    packed = base64.urlsafe_b64encode(data).decode()
    return (
        f"/mirror?type={quote(kind)}"
        + "".join(f"&{name}={quote(value)}" for name, value in more.items())
        + f"&data={packed}"
    )


def fetch(stand: Stand, url: str, *options: str, source: str = CHILD_WITH_CA) -> HttpAnswer:
    return curl(url, proxy=stand.proxy, source=source, ca=stand.ca, options=options)


BAD = f"<html><script>1</script><p>{PAGES['pornography']}</p>".encode()
GOOD = f"<html><p>{PAGES['sex education']}</p>".encode()


@pytest.mark.parametrize(
    "more", [{}, {"encoding": "gzip"}, {"encoding": "br"}, {"encoding": "zstd"}], ids=["plain", "gzip", "br", "zstd"]
)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_page_is_blocked_by_its_words(
    stand: Stand, net: SmallInternet, scheme: str, version: str, more: dict[str, str]
) -> None:
    answer = fetch(stand, net.url(INSPECTED, mirror(BAD, **more), scheme), version, "--compressed")
    assert answer.status == 403
    assert "This page was blocked because of its words" in answer.text
    reported = stand.wait_for(
        lambda found: any(each.decision and each.decision.reason is Reason.PAGE for each in found)
    )
    scores = [each.decision.what for each in reported if each.decision and each.decision.reason is Reason.PAGE]
    assert scores == ["865 of 100"]
    good = fetch(stand, net.url(INSPECTED, mirror(GOOD, **more), scheme), version, "--compressed")
    assert (good.status, good.body) == (200, GOOD)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_page_that_takes_many_portions_is_weighed_to_its_end(stand: Stand, net: SmallInternet, version: str) -> None:
    much = b"<p>some words " * 50_000
    for page, status in ((much + GOOD, 200), (much + BAD, 403)):
        packed = brotli.compress(page, quality=4)
        answer = fetch(stand, net.url(INSPECTED, mirror(packed, coding="br")), version)
        assert (answer.status, answer.body == packed) == (status, status == 200)
    bomb = brotli.compress("\ufdfa".encode() * 5_000_000)
    answer = fetch(stand, net.url(INSPECTED, mirror(bomb, coding="br")), version)
    assert (answer.status, "This page was blocked because of its words" in answer.text) == (403, True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_page_that_another_site_has_signed_is_neither_asked_for_nor_shown(
    stand: Stand, net: SmallInternet, version: str
) -> None:
    """Chromium shows a signed exchange under the name of the site that signed it, which nobody asks."""
    signed = mirror(b"sxg1-b3\0" + GOOD, "application/signed-exchange;v=b3")
    answer = fetch(
        stand, net.url(INSPECTED, signed), version, "-H", "Sec-Fetch-Dest: document", "-H", "Accept: text/html"
    )
    assert answer.status == 502
    assert b"sxg1" not in answer.body
    accepts = "text/html,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
    asked = fetch(stand, net.url(INSPECTED, "/open"), version, "-H", f"Accept: {accepts}")
    sent = {name.lower(): value for name, value in asked.json()["headers"]}
    assert sent["accept"] == "text/html,*/*;q=0.8"
    assert fetch(stand, net.url("news.example", signed, "http"), source=ADULT).status == 200


def test_an_adult_sees_it(stand: Stand, net: SmallInternet) -> None:
    answer = fetch(stand, net.url("news.example", mirror(BAD), "http"), source=ADULT)
    assert (answer.status, answer.body) == (200, BAD)


def test_what_is_no_page_is_not_weighed(stand: Stand, net: SmallInternet) -> None:
    for kind in ("application/json", "text/css", "image/png"):
        assert fetch(stand, net.url(INSPECTED, mirror(BAD, kind))).body == BAD


@pytest.mark.parametrize("kind", ["application/xml", "text/xml;charset=utf-8", "application/rss+xml"])
def test_xml_is_weighed_where_a_browser_shows_it(stand: Stand, net: SmallInternet, kind: str) -> None:
    page = f"<html xmlns='http://www.w3.org/1999/xhtml'><body><p>{PAGES['pornography']}</p></body></html>".encode()
    url = net.url(INSPECTED, mirror(page, kind))
    assert fetch(stand, url, "-H", "Sec-Fetch-Dest: document").status == 403
    assert fetch(stand, url, "-H", "Accept: text/html,application/xhtml+xml,*/*").status == 403
    assert fetch(stand, url).body == page  # a reader of feeds
    assert fetch(stand, url, "-H", "Sec-Fetch-Dest: empty", "-H", "Accept: text/html").body == page


def test_a_page_that_was_allowed_is_not_weighed(stand: Stand, net: SmallInternet, policy: str) -> None:
    try:
        stand.swap(policy=policy.replace("    age: 9\n", "    age: 9\n    allow: [news.example]\n"))
        assert fetch(stand, net.url("news.example", mirror(BAD), "http"), source=CHILD).status == 200
    finally:
        stand.swap(policy=policy)


def test_the_connection_goes_on_after_a_blocked_page(stand: Stand, net: SmallInternet) -> None:
    for version in VERSIONS:
        urls = [net.url(INSPECTED, path) for path in (mirror(BAD), "/a", mirror(BAD), "/b")]
        fetch(stand, urls[0], version, *(part for url in urls[1:] for part in ("-o", "/dev/null", url)))
    assert [target for _, target in net.origins.requests() if target in {"/a", "/b"}] == ["/a", "/b"] * 2


def test_a_page_that_goes_on_for_ever_is_shown_while_it_comes(stand: Stand, net: SmallInternet) -> None:
    answer = fetch(stand, net.url(INSPECTED, "/drip/400/0.2"), "--max-time", "6", "--header", "Accept: text/html")
    assert 0 < len(answer.body) < 400


def test_files_are_blocked_by_name_and_by_content(stand: Stand, net: SmallInternet) -> None:
    program = b"MZ\x90\x00" + bytes(2000)
    cases = [
        (mirror(program, "application/octet-stream", disposition="attachment; filename=game.exe"), 403),
        (mirror(program, "application/octet-stream"), 403),
        (mirror(program, "text/plain", encoding="gzip"), 403),
        (mirror(b"d8:announce3:abce", "application/x-bittorrent"), 403),
        (mirror(b"just some text", "application/octet-stream"), 200),
        (mirror(b"\x89PNG" + bytes(700), "image/png"), 200),
        *((mirror(program, disguise), 403) for disguise in ("image/png", "video/mp4", "font/woff2", "text/css")),
    ]
    for path, status in cases:
        for version in VERSIONS:
            assert fetch(stand, net.url(INSPECTED, path), version).status == status, path[:60]
    assert fetch(stand, net.url("news.example", cases[0][0], "http"), source=ADULT).body == program
    assert fetch(stand, net.url(INSPECTED, cases[0][0]), "--head").status in {200, 403}


def test_documents_with_macros_are_blocked_by_what_is_in_them(stand: Stand, net: SmallInternet, policy: str) -> None:
    plain, macros = zipped("_rels/.rels", "word/document.xml"), zipped("word/document.xml", "word/data.bin", more=VBA)
    long = {"gap": str(3 * MAX_HELD)}
    # zeros among the types would make these too long
    long_plain = zipped("_rels/.rels", "word/document.xml", last=True)
    long_macros = zipped("word/document.xml", "word/vbaProject.bin", last=True)
    disguises = ("application/octet-stream", "application/msword", "image/png")
    try:
        stand.swap(policy=policy.replace("    age: 9\n", "    age: 9\n    block_files: [macros]\n"))
        for version in VERSIONS:
            for kind in disguises:
                assert fetch(stand, net.url(INSPECTED, mirror(plain, kind)), version).body == plain
                answer = fetch(stand, net.url(INSPECTED, mirror(macros, kind)), version)
                assert (answer.status, "contains macros" in answer.text) == (403, True)
            assert (
                fetch(stand, net.url(INSPECTED, mirror(macros, "application/msword", encoding="gzip")), version).status
                == 403
            )
            whole = fetch(stand, net.url(INSPECTED, mirror(long_plain, "application/msword", **long)), version)
            assert (whole.exit_code, len(whole.body)) == (0, len(long_plain) + 3 * MAX_HELD)
            cut = fetch(stand, net.url(INSPECTED, mirror(long_macros, "application/msword", **long)), version)
            assert cut.exit_code != 0
            assert b"vbaProject" not in cut.body
    finally:
        stand.swap(policy=policy)


def test_origins_are_asked_to_be_careful_and_for_what_can_be_read(stand: Stand, net: SmallInternet) -> None:
    headers = ("--header", "Accept-Encoding: gzip, deflate, br, zstd, dcb", "--header", "Prefer: respond-async")
    sent = {
        name.lower(): value for name, value in fetch(stand, net.url(INSPECTED, "/open"), *headers).json()["headers"]
    }
    assert (sent["prefer"], sent["accept-encoding"]) == ("respond-async, safe", "gzip, deflate, br, zstd")
    grown_up = curl(
        net.url("news.example", "/open", "http"), proxy=stand.proxy, source=ADULT, headers=("Accept-Encoding: br",)
    )
    sent = {name.lower(): value for name, value in grown_up.json()["headers"]}
    assert sent["accept-encoding"] == "br"


def test_only_an_organisations_accounts_are_let_in(stand: Stand, net: SmallInternet, policy: str) -> None:
    directory = "00000000-1111-2222-3333-444444444444"
    rules = (
        "    age: 9\n    tenants: {google: [school.example, club.example], microsoft: [school.example], directory:"
        f" {directory}}}\n"
    )
    forged = (
        "--header",
        "X-GoogApps-Allowed-Domains: mine.example",
        "--header",
        "restrict-access-to-tenants: mine.example",
    )
    try:
        stand.swap(policy=policy.replace("    age: 9\n", rules))
        for host, expected in (
            ("accounts.google.com", {"x-googapps-allowed-domains": "school.example,club.example"}),
            (
                "login.microsoftonline.com",
                {"restrict-access-to-tenants": "school.example", "restrict-access-context": directory},
            ),
            ("login.live.com", {"sec-restrict-tenant-access-policy": "restrict-msa"}),
        ):
            for version in VERSIONS:
                reported = fetch(stand, net.url(host, "/signin"), version, *forged).json()["headers"]
                sent = [(name.lower(), value) for name, value in reported]
                for name, value in expected.items():
                    assert [each for each in sent if each[0] == name] == [(name, value)], host
    finally:
        stand.swap(policy=policy)


@pytest.fixture
def searching(stand: Stand, policy: str) -> Iterator[Stand]:
    stand.swap(policy=policy.replace("    age: 9\n", '    age: 9\n    block_searches: ["vape pen", "pro ana"]\n'))
    yield stand
    stand.swap(policy=policy)


def test_searches_for_blocked_words(searching: Stand, net: SmallInternet) -> None:
    for host, path in (
        ("www.google.com", "/search?q=buy+a+VAPE-pen"),
        ("www.bing.com", "/search?q=vape%20pen"),
        ("duckduckgo.com", "/?q=vape+pen"),
    ):
        answer = fetch(searching, net.url(host, path))
        assert (answer.status, "Searches with these words are blocked" in answer.text) == (403, True), host
    assert fetch(searching, net.url("www.google.com", "/search?q=vaper+pens")).status == 200
    assert fetch(searching, net.url(INSPECTED, "/search?q=vape+pen")).status == 200, "this is no search engine"


STARTPAGE = "www.startpage.com"


@pytest.mark.parametrize("version", VERSIONS)
def test_searches_that_are_sent_as_a_form(searching: Stand, net: SmallInternet, version: str) -> None:
    """As Startpage and DuckDuckGo's pages without scripts send them: their words are read, and their parameters kept
    safe.
    """

    def search(form: str, *options: str, host: str = STARTPAGE) -> HttpAnswer:
        return fetch(searching, net.url(host, "/sp/search"), version, "-d", form, *options)

    for form, sent in (
        ("query=cats&qadf=none&t=x%23", "query=cats&t=x%23&qadf=heavy"),
        ("qadf=none#&query=cats", "qadf=heavy"),
    ):
        reported = search(form).json()
        assert reported["method"] == "POST"
        assert reported["body"]["sha256"] == hashlib.sha256(sent.encode()).hexdigest()
        assert [value for name, value in reported["headers"] if name.lower() == "content-length"] == [str(len(sent))]
    more = "&x=1" * 200
    for form in (
        "query=vape+pen",
        f"query=vape+pen{more}",
        "query=vápe pen",
        "query=v%E1pe+pen",
        "+query=vape+pen",
        "#&query=vape pen",
    ):
        answer = search(form)
        assert (answer.status, "Searches with these words are blocked" in answer.text) == (403, True), form
    assert search("query=vape+pen", host=INSPECTED).status == 200, "this is no search engine"
    help = search("query=i+want+to+die", "-H", "Accept: text/html")
    assert (help.status, "0800 1111" in help.text, "query=i+want+to+die" in help.text) == (200, True, True)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_search_that_cannot_be_read_is_none(searching: Stand, net: SmallInternet, version: str) -> None:
    url = net.url(STARTPAGE, "/sp/search")
    for path in ("/sp/search;x", "/sp/search.php", "/sp/search%00", "/sp%2fsearch"):
        assert fetch(searching, net.url(STARTPAGE, path), version, "-F", "query=cats").status == 403, path
    for how in (
        ("-F", "query=cats", "-F", "qadf=none"),
        ("-d", "query=cats", "-H", "Transfer-Encoding: chunked"),
        ("-d", "query=cats&x=" + "y" * 20_000),
        ("-d", "query=cats", "-H", "Content-Encoding: gzip"),
        ("-d", '{"query": "cats"}', "-H", "Content-Type: application/json"),
    ):
        if version == "--http2" and "Transfer-Encoding: chunked" in how:
            continue
        assert fetch(searching, url, version, *how).status == 403, how
    assert fetch(searching, net.url(STARTPAGE, "/upload"), version, "-F", "picture=x").status == 200, (
        "this is no search"
    )
    assert fetch(searching, url, version, "-d", "").status == 200, "there is nothing to be read"
    assert fetch(searching, net.url("www.google.com", "/search"), version, "-F", "q=x").status == 200, (
        "DNS keeps it safe"
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_searches_that_youtube_sends_itself(searching: Stand, net: SmallInternet, tmp_path: Path, version: str) -> None:
    """Its page asks for results in JSON, packed or not, without another address being opened."""
    file = tmp_path / "search.json"

    def search(body: bytes, *options: str, path: str = "/youtubei/v1/search?prettyPrint=false") -> HttpAnswer:
        file.write_bytes(body)
        kind = ("-H", "Content-Type: application/json", "-H", "Sec-Fetch-Dest: empty")
        return fetch(searching, net.url("www.youtube.com", path), version, *kind, "--data-binary", f"@{file}", *options)

    packed = ("-H", "Content-Encoding: gzip")
    bad = json.dumps({"context": {"client": "x" * 5000}, "query": "buy a VAPE pen"}).encode()
    assert search(bad).status == 403
    assert search(gzip.compress(bad), *packed).status == 403
    assert {each.decision.reason for each in searching.reported() if each.decision} >= {Reason.SEARCH}
    good = json.dumps({"query": "cats"}).encode()
    no_searches = (
        (good, ()),
        (gzip.compress(good), packed),
        (b"[" * 20_000, ()),
        (b'{"query": 1}', ()),
        (gzip.compress(b"x"), packed),
    )
    for body, options in no_searches:
        answer = search(body, *options)
        assert (answer.status, answer.json()["body"]["sha256"]) == (200, hashlib.sha256(body).hexdigest())
    bomb = gzip.compress(b"[" * 50_000_000)
    assert search(bomb, *packed).status == 200
    assert search(bad, path="/youtubei/v1/log").status == 200, "this is no search"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_request_that_names_two_engines_is_kept_safe_for_both(stand: Stand, net: SmallInternet, version: str) -> None:
    asked = "query=cats&qadf=none&q=cats&safe=0"
    url = net.url(STARTPAGE, f"/?{asked}")
    reported = fetch(stand, url, version, "-H", "Host: www.mojeek.com").json()
    assert reported["target"] == "/?query=cats&q=cats&qadf=heavy&safe=1"
    reported = fetch(stand, net.url(STARTPAGE, "/"), version, "-H", "Host: www.mojeek.com", "-d", asked).json()
    assert reported["body"]["sha256"] == hashlib.sha256(b"query=cats&q=cats&qadf=heavy&safe=1").hexdigest()


def test_help_is_offered_before_the_results_and_nobody_hears_of_it(searching: Stand, net: SmallInternet) -> None:
    net.origins.forget_connections()
    searching.reported()
    answer = fetch(searching, net.url("www.google.com", "/search?q=i+want+to+die"), "--header", "Accept: text/html")
    assert (answer.status, "0800 1111" in answer.text) == (200, True)
    assert net.origins.requests() == []
    link = next(part.split('"')[0] for part in answer.text.split('href="') if "hedgerow-help" in part).replace(
        "&amp;", "&"
    )
    assert (
        fetch(searching, link, "--header", "Accept: text/html").json()["target"]
        == "/search?q=i+want+to+die&udm=14&safe=active&ssui=on"
    )
    blocked = fetch(searching, net.url("www.google.com", "/search?q=pro+ana"), "--header", "Accept: text/html")
    assert (blocked.status, "hedgerow-help" in blocked.text) == (200, False)
    picture = fetch(
        searching, net.url("www.google.com", "/search?q=i+want+to+die"), "--header", "Sec-Fetch-Dest: image"
    )
    assert picture.status == 200
    time.sleep(0.3)
    assert not [each for each in searching.reported() if each.request and each.request.url]


def test_a_blocked_search_in_plain_http_is_answered_by_help_too(searching: Stand, net: SmallInternet) -> None:
    """The gate alone refuses other searches, and tells what it refused."""
    searching.reported()
    url = net.url("www.google.com", "/search?q=pro+ana", "http")
    answer = curl(url, proxy=searching.proxy, source=CHILD_WITH_CA, headers=("Accept: text/html",))
    assert (answer.status, "0800 1111" in answer.text) == (200, True)
    time.sleep(0.3)
    assert not [each for each in searching.reported() if each.request and each.request.url]
