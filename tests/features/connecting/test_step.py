"""The step in a browser: live with scripts, by a link without them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from small_internet.browser import FOR_PAGES, browser_for_pages
from web_server import NOW, Web, running_web

from hedgerow.journal.messages import DeviceSeen, ProtectionSeen
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import DeviceId

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not FOR_PAGES.exists(), reason="needs Debian's chromium"),
]
TABLET = DeviceId("02:00:00:00:77:0b")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser_for_pages() as browser:
        yield browser


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with running_web(tmp_path) as running:
        running.recorder.add([DeviceSeen(NOW - 60, TABLET, "192.168.1.11", TABLET, None, "child-8-12", "mias-tablet")])
        running.recorder.flush()
        yield running


def ask(web: Web) -> None:
    web.recorder.add([ProtectionSeen(NOW - 1, TABLET, Protection.DNS)])
    web.recorder.flush()


def test_a_tick_comes_without_a_reload_and_what_is_unfolded_stays(web: Web, chromium: Browser) -> None:
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    with page.expect_response("**/events"):
        page.goto(f"{web.url}/start/connect")
    page.get_by_role("link", name="FRITZ!Box").click()
    router = page.locator("details.make", has_text="FRITZ!Box")
    expect(router.get_by_text("Local DNS server").last).to_be_visible()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    expect(page.locator(".arrival")).to_contain_text("not connected yet")
    ask(web)
    expect(page.locator(".arrival.here")).to_contain_text("mias-tablet")
    expect(router).to_have_attribute("open", "")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_without_scripts_a_link_shows_the_devices_anew(web: Web, chromium: Browser) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{web.url}/start/connect")
    assert page.get_by_label("DNS server (IPv4)").input_value() == "192.168.1.2"
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    expect(page.locator(".arrival")).to_contain_text("not connected yet")
    ask(web)
    page.get_by_role("link", name="Check again").click()
    expect(page.locator(".arrival.here")).to_contain_text("uses Hedgerow")
    page.get_by_role("link", name="Continue").click()
    expect(page.get_by_text("uses Hedgerow", exact=True)).to_be_visible()
    context.close()
