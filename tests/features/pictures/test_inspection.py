"""Hidden pictures from outside. The limit of 0 hides harmless ones: no other kind is used here."""

from __future__ import annotations

import base64
import os
import signal
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from harmless_pictures import harmless_picture, with_long_comment
from proxy_stand import Stand
from small_internet.clients import HttpAnswer, curl
from small_internet.running import command_of, wait_until
from small_internet.whole import SmallInternet

from hedgerow.features.pictures.scanner import is_installed
from hedgerow.features.pictures.whole_bodies import PROCESSES

pytestmark = pytest.mark.skipif(not is_installed(), reason="the extra `pictures` is not installed (make pictures)")

CHILD_WITH_CA, ADULT = "127.0.0.11", "127.0.0.13"
HOST, OTHER_HOST = "www.school.example", "news.example"
BROWSER = (
    "-H",
    "Sec-Fetch-Dest: image",
    "-H",
    "Sec-Fetch-Mode: no-cors",
    "-H",
    "Accept: image/avif,image/webp,image/svg+xml,image/*,*/*;q=0.8",
)
HIDES_ALL = "    picture_scan: {enabled: true, limit: 0}\n"


@pytest.fixture(scope="module")
def picture() -> bytes:
    return harmless_picture()


def path_of(data: bytes, kind: str = "image/jpeg", gap: int = 0) -> str:
    return f"/mirror?type={quote(kind)}&gap={gap}&data={base64.urlsafe_b64encode(data).decode()}"


@pytest.fixture
def hiding(stand: Stand, net: SmallInternet, policy: str, picture: bytes) -> Iterator[Stand]:
    stand.swap(policy=policy.replace("    age: 9\n", "    age: 9\n" + HIDES_ALL))
    url = net.url(HOST, path_of(picture))
    wait_until(lambda: "could not be checked" not in fetch(stand, url, *BROWSER).text, 120, "the judge has started")
    yield stand
    stand.swap(policy=policy)


def fetch(stand: Stand, url: str, *options: str, source: str = CHILD_WITH_CA) -> HttpAnswer:
    return curl(url, proxy=stand.proxy, source=source, ca=stand.ca, options=options)


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("kind", ["image/jpeg", "text/plain"])
def test_a_picture_above_the_limit_is_replaced(
    hiding: Stand, net: SmallInternet, picture: bytes, version: str, kind: str
) -> None:
    answer = fetch(hiding, net.url(HOST, path_of(picture, kind)), version, *BROWSER)
    assert (answer.status, answer.headers["content-type"], answer.headers["cache-control"]) == (
        403,
        ["image/svg+xml; charset=utf-8"],
        ["no-store"],
    )
    assert "".join(ElementTree.fromstring(answer.text).itertext()).startswith("This picture is hidden")
    hiding.wait_for(lambda found: any(each.decision and each.decision.what.endswith(" of 0") for each in found))
    german = fetch(hiding, net.url(HOST, path_of(picture, kind)), version, *BROWSER, "-H", "Accept-Language: de")
    assert "Dieses Bild ist ausgeblendet" in german.text
    assert hiding.counters()["hedgerow_proxy_pictures_judged_total", "hidden"] >= 2


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_a_longer_picture_is_collected_and_replaced_too(
    hiding: Stand, net: SmallInternet, picture: bytes, version: str
) -> None:
    """Plain responses of at most 64 KiB take the fast path, others the layers."""
    body, gap = with_long_comment(picture)
    answer = fetch(hiding, net.url(HOST, path_of(body, gap=gap)), version, *BROWSER)
    assert (answer.status, answer.headers["content-type"]) == (403, ["image/svg+xml; charset=utf-8"])


def test_programs_without_svg_get_a_plain_picture_and_people_the_block_page(
    hiding: Stand, net: SmallInternet, picture: bytes
) -> None:
    url = net.url(HOST, path_of(picture))
    plain = fetch(hiding, url)
    assert (plain.status, plain.headers["content-type"], plain.body[:4]) == (403, ["image/png"], b"\x89PNG")
    page = fetch(
        hiding, url, "-H", "Sec-Fetch-Dest: document", "-H", "Sec-Fetch-Mode: navigate", "-H", "Accept: text/html,*/*"
    )
    assert "This picture is hidden" in page.text
    assert "Ask for access" in page.text


def test_a_page_starts_the_processes_before_its_pictures_come(hiding: Stand, net: SmallInternet) -> None:
    inspector = hiding.inspector.pid

    def judges() -> set[int]:
        children = Path(f"/proc/{inspector}/task/{inspector}/children").read_text().split()
        return {int(each) for each in children if "hedgerow.features.pictures.process" in command_of(int(each))}

    former = judges()
    for each in former:
        os.kill(each, signal.SIGKILL)
    wait_until(lambda: former.isdisjoint(judges()), 10, "the processes have ended")
    assert (
        fetch(hiding, net.url(HOST), "-H", "Sec-Fetch-Dest: document", "-H", "Sec-Fetch-Mode: navigate").status == 200
    )
    wait_until(lambda: len(judges()) == PROCESSES, 10, "others have started")


def test_what_is_below_the_limit_or_no_picture_passes_unchanged(
    stand: Stand, net: SmallInternet, policy: str, picture: bytes
) -> None:
    try:
        stand.swap(policy=policy.replace("    age: 9\n", "    age: 9\n    picture_scan: {enabled: true, limit: 99}\n"))
        wait_until(lambda: fetch(stand, net.url(HOST, path_of(picture)), *BROWSER).body == picture, 120)
        assert fetch(stand, net.url(HOST, "/bytes/300000"), *BROWSER).status == 200
    finally:
        stand.swap(policy=policy)


def test_other_people_and_allowed_sites_see_their_pictures(
    stand: Stand, net: SmallInternet, policy: str, picture: bytes
) -> None:
    try:
        stand.swap(policy=policy.replace("    age: 9\n", f"    age: 9\n{HIDES_ALL}    allow: [{OTHER_HOST}]\n"))
        assert fetch(stand, net.url(OTHER_HOST, path_of(picture), "http"), *BROWSER, source=ADULT).body == picture
        assert fetch(stand, net.url(OTHER_HOST, path_of(picture), "http"), *BROWSER).body == picture
        url = net.url(HOST, path_of(picture))
        assert fetch(stand, url, *BROWSER).status == 403
        for page in (f"https://{OTHER_HOST}/", "https://www.rijksmuseum.nl/en"):
            assert fetch(stand, url, *BROWSER, "-H", f"Referer: {page}").body == picture, page
    finally:
        stand.swap(policy=policy)
