"""Every search engine with a safe mode, against an origin that echoes the request: with our CA, without it, and
unfiltered.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from proxy_stand import Stand
from small_internet.clients import HttpAnswer, curl
from small_internet.whole import SmallInternet

CHILD_WITH_CA, CHILD, ADULT = "127.0.0.11", "127.0.0.12", "127.0.0.13"

# What a child asks, with the engine's safe mode switched off in the URL, and what must arrive in its place.
ASKED = (
    ("www.google.com", "/search?q=cats&safe=off&ssui=off", {"safe": "active", "ssui": "on"}),
    ("www.google.pt", "/images?q=cats&safe=images", {"safe": "active", "ssui": "on"}),
    ("www.bing.com", "/images/search?q=cats&adlt=off", {"adlt": "strict"}),
    ("edgeservices.bing.com", "/search?q=cats&adlt_set=off", {"adlt": "strict"}),
    ("duckduckgo.com", "/?q=cats&kp=-2", {"kp": "1"}),
    ("html.duckduckgo.com", "/html/?q=cats&kp=-2", {"kp": "1"}),
    ("search.brave.com", "/search?q=cats&safesearch=off", {"safesearch": "strict"}),
    ("yandex.com", "/search/?text=cats&family=no", {"family": "yes"}),
    ("www.yandex.ru", "/images/search?text=cats&family=no", {"family": "yes"}),
    ("www.qwant.com", "/?q=cats&s=0", {"s": "2"}),
    ("api.qwant.com", "/v3/search/web?q=cats&safesearch=0", {"safesearch": "2"}),
    ("search.yahoo.com", "/search?p=cats&vm=p", {"vm": "r"}),
    ("de.search.yahoo.com", "/search/images?p=cats&vm=p", {"vm": "r"}),
    ("www.startpage.com", "/do/search?query=cats&qadf=none", {"qadf": "heavy"}),
    ("www.mojeek.com", "/search?q=cats&safe=0", {"safe": "1"}),
)
# Where a connection goes that cannot be looked into: to the safe host, under the name that the client gave.
SAFE_HOSTS = {
    "www.google.com": "forcesafesearch.google.com",
    "www.google.pt": "forcesafesearch.google.com",
    "www.youtube.com": "restrict.youtube.com",
    "m.youtube.com": "restrict.youtube.com",
    "youtubei.googleapis.com": "restrict.youtube.com",
    "www.youtube-nocookie.com": "restrict.youtube.com",
    "www.bing.com": "strict.bing.com",
    "edgeservices.bing.com": "strict.bing.com",
    "duckduckgo.com": "safe.duckduckgo.com",
    "html.duckduckgo.com": "safe.duckduckgo.com",
    "search.brave.com": "safe.search.brave.com",
    "www.ecosia.org": "strict-safe-search.ecosia.org",
    "pixabay.com": "safesearch.pixabay.com",
    "yandex.com": "familysearch.yandex.ru",
    "www.yandex.ru": "familysearch.yandex.ru",
}
# Without a safe host, and without the CA, nothing could keep them safe.
CLOSED_WITHOUT_CA = (
    "www.qwant.com",
    "api.qwant.com",
    "search.yahoo.com",
    "de.search.yahoo.com",
    "www.startpage.com",
    "www.mojeek.com",
)


def fetch(stand: Stand, net: SmallInternet, source: str, url: str) -> HttpAnswer:
    ca = stand.ca if source == CHILD_WITH_CA else net.authority.root
    return curl(url, proxy=stand.proxy, source=source, ca=ca, headers=("Accept: text/html",))


@pytest.mark.parametrize(
    ("host", "path", "expected"), ASKED, ids=lambda each: each if isinstance(each, str) and "." in each else ""
)
def test_what_reaches_the_engine_is_safe(
    stand: Stand, net: SmallInternet, host: str, path: str, expected: dict[str, str]
) -> None:
    for version in ("http", "https"):
        reported = fetch(stand, net, CHILD_WITH_CA, net.url(host, path, version)).json()
        query = parse_qs(urlsplit(reported["target"]).query)
        assert {name: query[name] for name in expected} == {name: [value] for name, value in expected.items()}
        assert "cats" in reported["target"]
        assert ("Prefer", "safe") in {(name.title(), value) for name, value in reported["headers"]}
    reported = fetch(stand, net, ADULT, net.url(host, path)).json()
    assert reported["target"] == path


@pytest.mark.parametrize(("host", "safe_host"), SAFE_HOSTS.items())
def test_without_the_ca_the_connection_goes_to_the_safe_host(
    stand: Stand, net: SmallInternet, host: str, safe_host: str
) -> None:
    reported = fetch(stand, net, CHILD, net.url(host, "/search?q=cats")).json()
    assert (reported["address"], reported["tls"]["sni"]) == (net.address_of(safe_host), host)
    looked_into = fetch(stand, net, CHILD_WITH_CA, net.url(host, "/search?q=cats")).json()
    assert looked_into["address"] == net.address_of(safe_host)
    free = fetch(stand, net, ADULT, net.url(host, "/search?q=cats")).json()
    assert free["address"] == net.address_of(host)


@pytest.mark.parametrize("host", CLOSED_WITHOUT_CA)
def test_an_engine_that_only_the_inspector_can_keep_safe_is_closed_without_it(
    stand: Stand, net: SmallInternet, host: str
) -> None:
    assert fetch(stand, net, CHILD, net.url(host, "/search?q=cats")).connect_status == 403


def test_an_engine_without_a_safe_mode_is_closed(stand: Stand, net: SmallInternet) -> None:
    url = net.url("www.baidu.com", "/s?wd=cats")
    assert fetch(stand, net, CHILD, url).connect_status == 403
    assert "This search engine has no safe mode" in fetch(stand, net, CHILD_WITH_CA, url).text
    assert fetch(stand, net, ADULT, url).status == 200


@pytest.mark.parametrize(
    "host", ["www.youtube.com", "m.youtube.com", "youtubei.googleapis.com", "www.youtube-nocookie.com"]
)
def test_youtube_is_told_the_level(stand: Stand, net: SmallInternet, policy: str, host: str) -> None:
    assert _youtube(stand, net, host) == ["Strict"]
    try:
        stand.swap(policy=policy.replace("    age: 9\n", "    age: 9\n    youtube: moderate\n"))
        assert _youtube(stand, net, host) == ["Moderate"]
        stand.swap(policy=policy.replace("    age: 9\n", "    age: 9\n    youtube: off\n"))
        assert fetch(stand, net, CHILD, net.url(host, "/watch?v=1")).json()["address"] == net.address_of(host)
    finally:
        stand.swap(policy=policy)


def _youtube(stand: Stand, net: SmallInternet, host: str) -> list[str]:
    reported = fetch(stand, net, CHILD_WITH_CA, net.url(host, "/watch?v=1")).json()["headers"]
    return [value for name, value in reported if name.lower() == "youtube-restrict"]
