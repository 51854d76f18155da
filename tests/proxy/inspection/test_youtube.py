"""Chosen channels of YouTube, from outside: pages, the calls of its own scripts, and devices that are not inspected."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote

import brotli
import pytest
from proxy_stand import Stand, proxy_stand
from small_internet.clients import HttpAnswer, curl
from small_internet.running import network_section
from small_internet.whole import SmallInternet

CHILD_WITH_CA, CHILD, SIBLING = "127.0.0.11", "127.0.0.12", "127.0.0.13"
CHANNEL, OTHER = "UC" + "a" * 22, "UC" + "b" * 22
PEOPLE = f"""
people:
  mia:
    age: 9
    devices: [tablet, phone]
    allow: [youtube]
    youtube_only: [{CHANNEL}]
  tom: {{age: 15, devices: [laptop]}}
devices:
  tablet: {{ip: {CHILD_WITH_CA}, trusts_ca: true}}
  phone: {{ip: {CHILD}}}
  laptop: {{ip: {SIBLING}, trusts_ca: true}}
"""
VERSIONS = ("--http1.1", "--http2")


@pytest.fixture(scope="module")
def watching(net: SmallInternet) -> Iterator[Stand]:
    with proxy_stand(net, network_section(net) + PEOPLE.removeprefix("\n")) as running:
        yield running


def player(channel: str) -> bytes:
    details = {"videoId": "some-video1", "title": "Clay birds", "channelId": channel}
    return json.dumps(
        {"playabilityStatus": {"status": "OK"}, "streamingData": {"formats": []}, "videoDetails": details}
    ).encode()


def page(channel: str) -> bytes:
    return b"<!doctype html><script>var ytInitialPlayerResponse = " + player(channel) + b";</script>"


def path_to(path: str, data: bytes, kind: str, **more: str) -> str:
    """The path of a page of YouTube that has this content."""
    mark = "&" if "?" in path else "?"
    fields = "".join(f"&{name}={quote(value)}" for name, value in more.items())
    return f"{path}{mark}type={quote(kind)}{fields}&data={base64.urlsafe_b64encode(data).decode()}"


def fetch(stand: Stand, net: SmallInternet, path: str, *options: str, source: str = CHILD_WITH_CA) -> HttpAnswer:
    return curl(net.url("www.youtube.com", path), proxy=stand.proxy, source=source, ca=stand.ca, options=options)


POST = ("--data", '{"videoId": "some-video1"}', "-H", "Content-Type: application/json", "-H", "Sec-Fetch-Dest: empty")


@pytest.mark.parametrize("encoding", [{}, {"encoding": "gzip"}, {"encoding": "br"}], ids=["plain", "gzip", "br"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_film_plays_only_from_a_chosen_channel(
    watching: Stand, net: SmallInternet, version: str, encoding: dict[str, str]
) -> None:
    for channel, status in ((CHANNEL, 200), (OTHER, 403)):
        call = path_to("/youtubei/v1/player", player(channel), "application/json", **encoding)
        answer = fetch(watching, net, call, version, "--compressed", *POST)
        assert answer.status == status, channel
        assert (answer.body == player(channel)) is (status == 200)
        watch = fetch(
            watching,
            net,
            path_to("/watch?v=some-video1", page(channel), "text/html", **encoding),
            version,
            "--compressed",
        )
        assert watch.status == status, channel
        assert (b"ytInitialPlayerResponse" in watch.body) is (status == 200)
        shorts = fetch(
            watching,
            net,
            path_to("/shorts/some-video1", page(channel), "text/html", **encoding),
            version,
            "--compressed",
        )
        assert shorts.status == status, channel


@pytest.mark.parametrize("version", VERSIONS)
def test_a_long_page_is_held_until_its_film_is_known(watching: Stand, net: SmallInternet, version: str) -> None:
    much = b"<p>words</p>" * 40_000
    for channel, status in ((CHANNEL, 200), (OTHER, 403)):
        packed = brotli.compress(much + page(channel), quality=4)
        answer = fetch(watching, net, path_to("/watch?v=some-video1", packed, "text/html", coding="br"), version)
        assert answer.status == status


def test_what_cannot_be_read_and_what_says_nothing_is_closed(watching: Stand, net: SmallInternet) -> None:
    for data, coding in ((player(CHANNEL), "dcb"), (b"{}", "identity"), (b"no JSON", "identity")):
        call = path_to("/youtubei/v1/player", data, "application/json", coding=coding)
        assert fetch(watching, net, call, *POST).status == 403, coding


@pytest.mark.parametrize("path", ["/", "/results?search_query=x", "/@others", "/youtubei/v1/search", "/feed/trending"])
def test_other_pages_are_closed_with_a_reason(watching: Stand, net: SmallInternet, path: str) -> None:
    answer = fetch(watching, net, path)
    assert answer.status == 403
    assert "one of the chosen channels" in answer.text or path.startswith("/youtubei/")


def test_a_device_that_is_not_inspected_gets_none_of_it(watching: Stand, net: SmallInternet) -> None:
    answer = fetch(watching, net, "/watch?v=some-video1", source=CHILD)
    assert answer.status in (0, 403)
    assert b"ytInitial" not in answer.body


def test_others_are_not_restricted(watching: Stand, net: SmallInternet) -> None:
    call = path_to("/youtubei/v1/player", player(OTHER), "application/json")
    assert fetch(watching, net, call, *POST, source=SIBLING).status == 200


def test_a_short_link_leads_to_the_page_that_is_judged(watching: Stand, net: SmallInternet) -> None:
    """A redirect says nothing of a channel, and shows nothing either."""
    answer = fetch(watching, net, "/redirect/x?to=/watch")
    assert answer.status == 403, "no path of YouTube"
    moved = fetch(
        watching, net, path_to("/watch?v=some-video1", b"moved", "text/html", status="302", to="/watch?v=other-vid1")
    )
    assert (moved.status, moved.headers["location"]) == (302, ["/watch?v=other-vid1"])
