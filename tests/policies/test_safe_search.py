from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.policies.model import SafeSearch
from hedgerow.policies.safe_search import SearchEngines, apply_safe_search

ENGINES = SearchEngines.load()


@pytest.mark.parametrize(
    ("engine", "level", "url", "expected"),
    [
        (
            "google",
            "strict",
            "https://www.google.com/search?q=cats",
            "https://www.google.com/search?q=cats&safe=active&ssui=on",
        ),
        (
            "google",
            "strict",
            "https://www.google.com/search?safe=off&q=a+b%20c",
            "https://www.google.com/search?q=a+b%20c&safe=active&ssui=on",
        ),
        (
            "google",
            "strict",
            "https://www.google.com/search?%73afe=off&q=c",
            "https://www.google.com/search?q=c&safe=active&ssui=on",
        ),
        ("google", "strict", "https://www.google.com/maps?q=cats", "https://www.google.com/maps?q=cats"),
        ("google", "off", "https://www.google.com/search?q=cats", "https://www.google.com/search?q=cats"),
        (
            "bing",
            "moderate",
            "https://www.bing.com/search?q=cats&adlt=off",
            "https://www.bing.com/search?q=cats&adlt=strict",
        ),
        ("duckduckgo", "strict", "https://duckduckgo.com/?q=cats&kp=-2", "https://duckduckgo.com/?q=cats&kp=1"),
        ("duckduckgo", "strict", "https://duckduckgo.com", "https://duckduckgo.com?kp=1"),
        ("mojeek", "strict", "https://www.mojeek.com//search?q=c&safe=0", "https://www.mojeek.com//search?q=c&safe=1"),
        (
            "mojeek",
            "strict",
            "https://www.mojeek.com/%73earch/?q=c&safe=0",
            "https://www.mojeek.com/%73earch/?q=c&safe=1",
        ),
        ("bing", "strict", "https://www.bing.com/Search?q=c", "https://www.bing.com/Search?q=c&adlt=strict"),
        ("yahoo", "strict", "https://search.yahoo.com/mobile/s?p=c&vm=p", "https://search.yahoo.com/mobile/s?p=c&vm=r"),
        ("yahoo", "strict", "https://search.yahoo.com/logo.svg?v=2", "https://search.yahoo.com/logo.svg?v=2"),
        ("yahoo", "strict", "https://search.yahoo.com/search?p=cats", "https://search.yahoo.com/search?p=cats&vm=r"),
        (
            "brave",
            "moderate",
            "https://search.brave.com/search?q=c",
            "https://search.brave.com/search?q=c&safesearch=strict",
        ),
    ],
)
def test_parameters(engine: str, level: str, url: str, expected: str) -> None:
    assert apply_safe_search(ENGINES.by_id[engine], SafeSearch(level), url, ())[0] == expected


@pytest.mark.parametrize(
    ("engine", "level", "url", "expected"),
    [
        ("google", "strict", "/search?q=cats", "/search?q=cats&udm=14&safe=active&ssui=on"),
        ("google", "off", "/search?q=cats", "/search?q=cats&udm=14"),
        ("google", "off", "/%73earch/?%71=cats", "/%73earch/?%71=cats&udm=14"),
        ("google", "off", "/search?q=cats&udm=2", "/search?q=cats&udm=2"),
        ("google", "off", "/search?q=cats&tbm=nws", "/search?q=cats&tbm=nws"),
        ("google", "off", "/search?hl=pt", "/search?hl=pt"),
        ("google", "off", "/", "/"),
        ("duckduckgo", "off", "/?q=cats&kbe=4&assist=true", "/?q=cats&kbe=0&kbg=-1&assist=false"),
        ("brave", "off", "/search?q=cats&summary=1", "/search?q=cats&summary=0"),
        ("bing", "off", "/search?q=cats", "/search?q=cats"),
    ],
)
def test_ai_answers_are_switched_off(engine: str, level: str, url: str, expected: str) -> None:
    host = f"https://{ENGINES.by_id[engine].hosts[0]}"
    changed = apply_safe_search(ENGINES.by_id[engine], SafeSearch(level), host + url, (), without_ai=True)[0]
    assert changed == host + expected
    assert apply_safe_search(ENGINES.by_id[engine], SafeSearch(level), changed, (), without_ai=True)[0] == changed


def test_headers_are_set_and_those_of_the_client_replaced() -> None:
    youtube = ENGINES.by_id["youtube"]
    given_headers = (("Accept", "*/*"), ("youtube-restrict", "None"))
    url, headers = apply_safe_search(youtube, SafeSearch.MODERATE, "https://www.youtube.com/watch?v=1", given_headers)
    assert url == "https://www.youtube.com/watch?v=1"
    assert headers == (("Accept", "*/*"), ("YouTube-Restrict", "Moderate"))
    assert apply_safe_search(youtube, SafeSearch.OFF, url, given_headers)[1] == given_headers


def test_hosts_match_exactly_or_by_wildcard() -> None:
    def engine_id(host: str) -> str | None:
        engine = ENGINES.engine_of(host)
        return engine.id if engine else None

    assert engine_id("www.google.com") == "google"
    assert engine_id("mail.google.com") is None
    assert engine_id("fr.search.yahoo.com") == "yahoo"
    assert engine_id("eu.startpage.com") == "startpage"
    assert engine_id("noai.duckduckgo.com") == "duckduckgo"
    assert engine_id("mail.yahoo.com") is None
    assert engine_id("") is None


def test_a_missing_level_falls_back_to_strict() -> None:
    for engine in ENGINES.by_id.values():
        if engine.dns:
            assert engine.dns_target(SafeSearch.STRICT)
            assert engine.dns_target(SafeSearch.MODERATE)


@given(
    st.sampled_from(sorted(ENGINES.by_id)),
    st.sampled_from([SafeSearch.STRICT, SafeSearch.MODERATE]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"), max_size=40),
)
def test_applying_safe_search_is_idempotent_and_keeps_parameters(engine_id: str, level: SafeSearch, query: str) -> None:
    engine = ENGINES.by_id[engine_id]
    path = min(engine.paths, default="/")
    once, headers = apply_safe_search(engine, level, f"https://{engine.hosts[0]}{path}?{query}", ())
    assert apply_safe_search(engine, level, once, headers) == (once, headers)
    pairs = parse_qsl(urlsplit(once).query, keep_blank_values=True)
    for name, value in engine.parameters.get(level, {}).items():
        assert [found for key, found in pairs if key == name] == [value]
    dropped = engine.remove | engine.parameters.get(level, {}).keys()
    before = [pair for pair in parse_qsl(query, keep_blank_values=True) if pair[0] not in dropped]
    assert [pair for pair in pairs if pair[0] not in dropped] == before
