"""Canaries: no downloaded list puts them into a category of content, and nothing else is opened with them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from hedgerow.blocklists.canaries import KEPT_OPEN_IN, Canaries, canary_line, is_held_out
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.compiler import CompileReport, compile_generation
from hedgerow.blocklists.list_parser import ParseCache
from hedgerow.blocklists.names import registered_domain
from hedgerow.blocklists.plausibility import MAX_CANARIES, refusal_of_copy
from hedgerow.blocklists.sources import Source, popular_hosts, starter_sources

ROOT = Path(__file__).parents[2]
URL = "https://lists.example/list.txt"


@pytest.fixture(scope="module")
def own() -> dict[str, str]:
    """The project's own canaries, which it has in plain text too, with their topics."""
    hosts, topic = dict[str, str](), ""
    for line in (ROOT / "tools" / "canaries.txt").read_text(encoding="utf-8").splitlines():
        topic = line[2:] if line.startswith("# ") else topic
        hosts.update(dict.fromkeys(() if line.startswith("#") else line.split(), topic))
    sites = {host: topic for host, topic in hosts.items() if Canaries.load().topic_of(host)}
    assert len(sites) > 2300
    return sites


def compiled(
    folder: Path, text: str, category: str = "adult", url: str | None = URL
) -> tuple[Catalogue, CompileReport]:
    (folder / "list.txt").write_text(text)
    source = Source("list", category, folder / "list.txt", url)
    report = compile_generation([source], folder / "generation")
    return Catalogue.open(folder / "generation"), report


LISTS = {
    "plain": "scarleteen.com\nwww.brook.org.uk\nbad.example\n",
    "hosts": "0.0.0.0 scarleteen.com www.scarleteen.com\n0.0.0.0 m.brook.org.uk\n0.0.0.0 bad.example\n",
    "adblock": "||scarleteen.com^\n||brook.org.uk^$important\n||bad.example^\n",
    "conditions": "||scarleteen.com^$third-party\n||brook.org.uk^$document\n||bad.example^\n",
    "dnsmasq": "address=/scarleteen.com/brook.org.uk/0.0.0.0\naddress=/bad.example/0.0.0.0\n",
    "rpz": "$TTL 60\nscarleteen.com CNAME .\nbrook.org.uk CNAME .\nbad.example CNAME .\n",
    "wildcard": "*.scarleteen.com\n*.brook.org.uk\n*.bad.example\n",
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS)
def test_a_list_is_in_force_without_the_canaries_that_it_names(tmp_path: Path, text: str) -> None:
    catalogue, report = compiled(tmp_path, text)
    for host in ("scarleteen.com", "www.scarleteen.com", "brook.org.uk", "www.brook.org.uk", "m.brook.org.uk"):
        assert catalogue.host_mask(host) == 0, host
        assert catalogue.match_url(f"https://{host}/", "document") is None
    assert catalogue.names_of(catalogue.host_mask("bad.example")) == ("adult",)
    assert report.sources[0].corrections == {
        "scarleteen.com": "sexual-education",
        "brook.org.uk": "sexual-education",
    }


def test_patterns_and_rules_about_no_host_spare_canaries(tmp_path: Path) -> None:
    text = "/^sca[a-z]+\\.(com|org)$/\n/scarle*teen/\n||bad.example^\n"
    catalogue, _report = compiled(tmp_path, text)
    assert catalogue.host_mask("scarred.com")
    assert not catalogue.host_mask("scarleteen.com")
    assert catalogue.match_url("https://a.example/scarleteen/", "document")
    assert catalogue.match_url("https://www.scarleteen.com/scarleteen/", "document") is None
    (tmp_path / "own").mkdir()
    catalogue, _report = compiled(tmp_path / "own", text, url=None)
    assert catalogue.host_mask("scarleteen.com")


@pytest.mark.parametrize(
    ("host", "category", "url"),
    [
        ("scarleteen.com", "adult", None),  # somebody of the house has written it down
        ("scarleteen.com", "social", URL),  # no category of content
        ("scarleteen.com", "malware", URL),  # it may have been broken into
        ("rooms.scarleteen.com", "adult", URL),  # the list means this host
        ("scarleteen.com.example", "adult", URL),
        ("scarleteens.com", "adult", URL),
    ],
)
def test_nothing_else_is_left_out(tmp_path: Path, host: str, category: str, url: str | None) -> None:
    catalogue, report = compiled(tmp_path, f"{host}\nbad.example\n", category, url)
    assert catalogue.names_of(catalogue.host_mask(host)) == (category,)
    assert report.sources[0].corrections == {}


def test_rules_about_pages_of_a_canary_hold(tmp_path: Path) -> None:
    catalogue, report = compiled(tmp_path, "||scarleteen.com/forum/\n||bad.example^\n")
    assert catalogue.match_url("https://scarleteen.com/forum/1", "document")
    assert report.sources[0].corrections == {}


@pytest.mark.parametrize(
    ("known", "more", "is_held"), [(0, MAX_CANARIES, True), (0, MAX_CANARIES - 1, False), (50, 99, False)]
)
def test_a_hundred_new_canaries_hold_an_update_back(
    tmp_path: Path, own: dict[str, str], known: int, more: int, is_held: bool
) -> None:
    hosts, others = sorted(own), "".join(f"n{number}.example\n" for number in range(500))
    (tmp_path / "good").write_text("\n".join(hosts[:known]) + "\n" + others)
    (tmp_path / "new").write_text("\n".join(hosts[: known + more]) + "\n" + others)
    good, new = (Source("list", "adult", tmp_path / name, URL) for name in ("good", "new"))
    refusal = refusal_of_copy(ParseCache(tmp_path / "parsed"), new, good)
    assert refusal.startswith("it names 100 sites of health, help, schools") if is_held else not refusal


def test_canaries_count_among_the_names_that_everybody_knows(tmp_path: Path) -> None:
    """They are left out of the list, and still show that it has gone wrong."""
    for name, hosts in (("good", ["a.example"]), ("new", [*popular_hosts(), "a.example"])):
        (tmp_path / name).write_text("\n".join(sorted(hosts)) + "\n")
    refusals = {
        refusal_of_copy(
            ParseCache(tmp_path / "parsed"),
            *(Source("list", "adult", tmp_path / name, url) for name in ("new", "good")),
        )
        for url in (None, URL)
    }
    assert all(re.match("it blocks 9[0-9] of [0-9]+ essential and well-known names", refusal) for refusal in refusals)


def test_a_list_is_parsed_anew_when_it_becomes_a_downloaded_one(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("scarleteen.com\nbad.example\n")
    cache = ParseCache(tmp_path / "parsed")
    found = [
        cache.parse_source(Source("list", "adult", tmp_path / "list.txt", url))[1].corrections
        for url in (None, URL, URL, None)
    ]
    assert [len(each) for each in found] == [0, 1, 1, 0]


def test_starter_lists_block_no_canary() -> None:
    canaries = Canaries.load()
    for source in starter_sources():
        assert source.path
        if source.category in KEPT_OPEN_IN:
            lines = source.path.read_text(encoding="utf-8").split()
            assert not [host for host in lines if canaries.topic_of(host)], source.name


def test_the_file_of_canaries(own: dict[str, str]) -> None:
    canaries, categories = Canaries.load(), {category.name for category in builtin_categories()}
    assert 4900 < len(canaries) < 5200
    assert categories >= KEPT_OPEN_IN
    assert set(canaries.topics) == set(own.values())
    assert 0.45 < sum(map(is_held_out, own)) / len(own) < 0.55
    text = (ROOT / "hedgerow" / "blocklists" / "data" / "canaries.txt").read_text(encoding="ascii")
    assert {canary_line(host) for host in own} <= set(text.splitlines())
    assert all(registered_domain(host) == host for host in own)
    assert canaries.topic_of_site("kids.www.bbc.co.uk") == "news"
    assert not canaries.topic_of("kids.bbc.co.uk")
    assert not canaries.topic_of_site("192.0.2.1")
    assert not canaries.topic_of_site("com")


def test_the_tool_writes_the_shipped_lines(own: dict[str, str]) -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        from canaries import OUT, is_site, own_hosts, render
    finally:
        sys.path.pop(0)
    hosts: dict[str, str] = {}
    for topic, host in own_hosts():
        if is_site(host):
            hosts.setdefault(host, topic)
    assert own.items() <= hosts.items()
    lines = set(render(hosts).splitlines())
    assert lines <= set(OUT.read_text(encoding="ascii").splitlines())
