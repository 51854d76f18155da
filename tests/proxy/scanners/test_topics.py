"""Topics of pages: what is recognised and what is not, in many languages, however a page is cut into pieces."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists.yaml_files import YamlLoader
from hedgerow.policies.content import ContentRules
from hedgerow.policies.model import Reason
from hedgerow.policies.remembered import ADULT, is_by_page
from hedgerow.proxy.scanners.page_text import PageFacts, PageLabel
from hedgerow.proxy.scanners.scanner import Head, ScanRules
from hedgerow.proxy.scanners.topics import ListedTopics, PageFinding
from hedgerow.proxy.scanners.visible_text import TextExtractor
from hedgerow.proxy.scanners.words import PageScanner, list_versions

CASES = yaml.load(
    (Path(__file__).parents[2] / "cases" / "content" / "topics.yaml").read_text(encoding="utf-8"), YamlLoader
)
LISTED = ListedTopics(
    Path(), lambda host: int("adult.example" in host) | (2 * ("casino.example" in host)), {"adult": 1, "gambling": 2}
)


def scanned(page: str, url: str = "https://site.example/", sizes: tuple[int, ...] = (), **more: Any) -> PageScanner:
    """Scan a page in pieces of these sizes, and the rest."""
    rules = ScanRules(
        ContentRules(page_limit=10_000),
        list_versions(()),
        ("adult", "gambling"),
        more.get("labels_only", False),
        LISTED,
    )
    rating, pics = more.get("rating", ""), more.get("pics", "")
    scanner = PageScanner.wants(Head(url, "text/html; charset=utf-8", rating=rating, pics_label=pics), rules)
    assert scanner is not None
    data = page.encode()
    for size in sizes:
        scanner.feed(data[:size])
        data = data[size:]
    scanner.feed(data)
    decision = scanner.end()
    assert (decision is not None) == (scanner.finding is not None)
    if decision is not None and scanner.finding is not None:
        assert (decision.reason, decision.what, is_by_page(decision)) == (
            Reason.RECOGNISED,
            scanner.finding.topic,
            True,
        )
    return scanner


def page_of(case: dict[str, Any]) -> str:
    return str(case["page"]) + "".join(
        f'<a class="x" href="https://{host}/">link</a>' for host in case.get("links", ())
    )


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_topic_of_a_page(case: dict[str, Any]) -> None:
    found = scanned(page_of(case)).finding
    assert (found.topic if found is not None else None) == case["topic"]


@given(st.lists(st.integers(1, 200), max_size=20), st.randoms(use_true_random=False))
def test_pieces_make_no_difference(sizes: list[int], chance: random.Random) -> None:
    page = page_of(chance.choice(CASES))
    assert scanned(page, sizes=tuple(sizes)).finding == scanned(page).finding


def test_a_label_counts_for_well_known_hosts_too_and_nothing_else_does() -> None:
    tube = next(page_of(case) for case in CASES if case["name"] == "a tube")
    assert scanned(tube, labels_only=True).finding is None
    assert scanned("<p>Enter", rating="RTA-5042-1996-1400-1577-RTA", labels_only=True).finding == PageFinding(
        ADULT, True, True
    )


def test_words_that_an_address_puts_into_a_title_do_not_describe_the_page() -> None:
    """Somebody could link to a search for them."""
    page = (
        "<title>Results for free porn videos, xxx videos</title><body>"
        + "porn tube, milf, blowjobs, big tits, creampie, cumshots, gangbang. " * 2
    )
    own = scanned(page, "https://books.example/")
    linked = scanned(page, "https://books.example/search/free%20porn+videos/xxx_videos")
    assert own.finding == PageFinding(ADULT, False, True)
    assert linked.finding == PageFinding(ADULT, False, False)


def test_links_to_the_site_itself_do_not_count() -> None:
    links = "".join(
        f"<a href=//{host}/x>" for host in ("a.adult.example", "b.adult.example", "c.adult.example", "d.adult.example")
    )
    assert scanned(f"<title>x</title>{links}", "https://www.adult.example/").finding is None
    assert scanned(f"<title>x</title>{links}", "https://site.example/").finding is None, (
        "many hosts of one site count once"
    )


def facts_of(page: str) -> PageFacts:
    facts = PageFacts()
    TextExtractor(facts).feed(page, last=True)
    return facts


def test_what_a_page_says_about_itself() -> None:
    facts = facts_of(
        "<html><head><TITLE lang=en>A &amp; B</TITLE><meta property='og:title' content='C'><meta name=Keywords"
        ' content="d, e"><meta name=rating content=RTA-5042-1996-1400-1577-RTA><script'
        " src='https://cdn.example/x.js'></script></head><body><h1 class=x>Heading</h1><meta name=description"
        " content='not here'><a href=//WWW.Other.example:8443/a>x</a><img src=/own.png><p>https://plain.example/"
    )
    assert facts.description == " a b c d e heading "
    assert facts.label is PageLabel.ADULT
    assert list(facts.hosts) == ["cdn.example", "www.other.example"]


PICS = '(PICS-1.1 "http://www.{}" l gen true for "https://tube.example/" r ({}))'
PICS_META = f"<head><meta http-equiv=PICS-Label content='{PICS}'>"
VIDEO = (
    '<!doctype html><html><head><title>A film</title><script type="application/ld+json">{"@context": "https://schema.org",'
    ' "@type": "VideoObject", "name": "A film", %s, "duration": "PT9M"}</script></head><body><h1>A film</h1></body>'
)


@pytest.mark.parametrize(
    ("page", "label"),
    [
        ("<head><meta name=RATING content='adult, RTA-5042-1996-1400-1577-RTA'>", PageLabel.ADULT),
        ("<head><meta http-equiv='rating' content='general; adult'>", PageLabel.ADULT),
        ("<head><meta name=rating content=Restricted>", PageLabel.MATURE),
        ("<head><meta name=rating content=general><p>rating: adult", PageLabel.NONE),
        ("<head><meta name=age-de-meta-label content='age=18 hash: x1 v=1.0 kind=sl protocol=all'>", PageLabel.MATURE),
        (
            "<head><meta name=age-de-meta-label content='age=0 info=shop.example/age-de.xml v=1.0 protocol=https'>",
            PageLabel.NONE,
        ),
        (PICS_META.format("icra.org/ratingsv02.html", "na 1 nf 1"), PageLabel.ADULT),
        (PICS_META.format("icra.org/ratingsv02.html", "nf 1 nt 1"), PageLabel.NONE),
        (PICS_META.format("rsac.org/ratingsv01.html", "n 0 s 0 v 0"), PageLabel.NONE),
        (VIDEO % '"isFamilyFriendly": false', PageLabel.MATURE),
        (VIDEO % '"isFamilyFriendly":"http:\\/\\/schema.org\\/False"', PageLabel.MATURE),
        (VIDEO % '"schema:isFamilyFriendly": ["False"]', PageLabel.MATURE),
        (VIDEO % '"isFamilyFriendly": true, "isLive": false', PageLabel.NONE),
        (VIDEO % '"about": "isFamilyFriendly: false"', PageLabel.NONE),
        (
            VIDEO % '"offers": {"hasAdultConsideration": ["https://schema.org/SexualContentConsideration"]}',
            PageLabel.SEXUAL_ITEM,
        ),
        (VIDEO % '"hasAdultConsideration": "https://schema.org/AlcoholConsideration"', PageLabel.NONE),
        (VIDEO % '"hasAdultConsideration": {"@id": "schema:UnclassifiedAdultConsideration"}', PageLabel.MATURE),
        ("<body><div itemscope><meta itemprop=isFamilyFriendly content=False>", PageLabel.MATURE),
        ("<body><span itemprop='isFamilyFriendly'> no </span>", PageLabel.MATURE),
        ("<body><meta itemprop=isFamilyFriendly content=true>", PageLabel.NONE),
        (
            "<body><link property='schema:hasAdultConsideration' href='https://schema.org/SexualContentConsideration'>",
            PageLabel.SEXUAL_ITEM,
        ),
        ('<body><pre>"isFamilyFriendly": false</pre><script>{"isFamilyFriendly": false}</script>', PageLabel.NONE),
        (
            '<body><textarea>{"isFamilyFriendly": false}</textarea><!-- itemprop=isFamilyFriendly content=no -->',
            PageLabel.NONE,
        ),
    ],
)
def test_labels_as_sites_declare_them(page: str, label: PageLabel) -> None:
    assert facts_of(page).label is label
    for size in (1, 9, 70):
        facts = PageFacts()
        extractor = TextExtractor(facts)
        for at in range(0, len(page), size):
            extractor.feed(page[at : at + size])
        extractor.feed("", last=True)
        assert facts.label is label, size


@pytest.mark.parametrize(
    "label", ['"isFamilyFriendly": false', '"hasAdultConsideration": "SexualContentConsideration"']
)
def test_the_label_of_an_item_alone_closes_no_page(label: str) -> None:
    assert scanned(VIDEO % label).finding is None


def test_the_label_of_an_item_counts_with_the_words_of_its_page() -> None:
    words = "<p>Sex toys, vibrators, dildos, anal plugs, butt plug, bondage, fetish, porn videos, xxx, blowjob, milf. "
    item = VIDEO % '"hasAdultConsideration": "https://schema.org/SexualContentConsideration"'
    assert scanned(VIDEO % '"isLive": false' + words).finding is None
    assert scanned(item + words).finding == PageFinding(ADULT, False, False)
    assert scanned(item + words, labels_only=True).finding is None, "a well-known shop"


def test_the_labels_of_a_response() -> None:
    explicit = PICS.format("rsac.org/ratingsv01.html", "n 4 s 4 v 0 l 4")
    assert scanned("<p>Enter", pics=explicit, labels_only=True).finding == PageFinding(ADULT, True, True)
    assert scanned("<p>Enter", rating="general, adult").finding == PageFinding(ADULT, True, True)
    assert scanned("<p>Enter", rating="general", pics=PICS.format("icra.org", "nz 1 vz 1")).finding is None


def test_labels_are_bounded() -> None:
    linked = '<script type="application/ld+json">["' + "x" * 70_000 + '", {"isFamilyFriendly": false}]</script>'
    assert facts_of(linked).label is PageLabel.NONE
    for hostile in ('"isFamilyFriendly":' * 4000, "r (nf 1" * 9000, '"hasAdultConsideration":[' * 3000, "r " * 30_000):
        assert facts_of(f'<script type="application/ld+json">{hostile}</script>').label is PageLabel.NONE
        assert scanned("<p>Enter", pics=hostile).finding is None


def test_facts_are_bounded() -> None:
    facts = facts_of(
        "<title>" + "word " * 50_000 + "</title>" + "".join(f"<a href=https://h{n}.example/>" for n in range(5000))
    )
    assert len(facts.hosts) == 256
    assert len(facts.description) < 2000
    assert facts_of("<meta name=description content='" + "word " * 50_000 + "'>").description == "  "


DATA = 'window.__NEXT_DATA__ = {"title": "Caf\\u00e9 \\"au\\" lait\\n<b>no</b>w", "path": "a\\/b"}'


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (f"a<script>{DATA}</script>b", "a window next data title cafe au lait now path a b b "),
        ('a<script type="application/ld+json">{"name":"One"}</script>b', "a name one b "),
        ("a<script id=__NUXT_DATA__ type='application/json'>[\"One\"]</script>b", "a one b "),
        ('a<script>self.__next_f.push([1,"{\\"t\\":\\"\\\\u00c9lan\\"}"])</script>b', "a self next f push 1 t elan b "),
        ("a<script>(window.__APOLLO_STATE__={x:'One'})</script>b", "a window apollo state x one b "),
        ("a<script>let a = '__NEXT_DATA__'</script>b", "a b "),
        ("a<script>__webpack_require__('One')</script>b", "a b "),
        ("a<style>__NUXT__ { }</style>b", "a b "),
        ("a <!-- __NUXT__ = One -->b", "a b "),
        ('a<script type=application/json>{"x": "never ends', "a x never ends "),
    ],
)
def test_data_of_frameworks_is_text(page: str, expected: str) -> None:
    assert TextExtractor().feed(page, last=True) == expected
    for size in (1, 7, 33, 97):
        extractor = TextExtractor()
        text = "".join(extractor.feed(page[at : at + size]) for at in range(0, len(page), size))
        assert text + extractor.feed("", last=True) == expected, size


def test_data_is_bounded() -> None:
    page = "<script type=application/json>" + '"word",' * 200_000 + "</script>"
    assert len(TextExtractor().feed(page, last=True)) < 600_000
