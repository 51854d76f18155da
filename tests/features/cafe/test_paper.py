"""Printed vouchers, and the counter on a desktop, in Chromium."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from small_internet.browser import browser_for_pages
from web_server import Web, running_web

SEATS = "seats: {" + ", ".join(f"seat-{number}: {{ip: 192.168.1.{60 + number}}}" for number in range(1, 9)) + "}\n"
CAFE = "cafe: {name: Café of the two long names, currency: EUR, prices: {child: 200, adult: 300}}\n"
MM = 96 / 25.4
"""CSS pixels per millimetre."""
PAPERS = {"A4": (210, 297), "Letter": (216, 279)}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser_for_pages() as browser:
        yield browser


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "hedgerow.yaml").write_text(SEATS + CAFE)
    with running_web(state) as running:
        yield running


@pytest.mark.parametrize("paper", PAPERS)
def test_twenty_vouchers_fit_two_pages(web: Web, chromium: Browser, paper: str) -> None:
    width, height = PAPERS[paper]
    context = chromium.new_context(ignore_https_errors=True, java_script_enabled=True)
    page = context.new_page()
    page.goto(f"{web.url}/counter")
    page.locator("[name=count]").fill("20")
    page.get_by_role("button", name="Create a sheet").click()
    page.wait_for_selector(".vouchers li")
    page.set_viewport_size({"width": int((width - 20) * MM), "height": int((height - 20) * MM)})
    page.emulate_media(media="print")
    cut = page.evaluate(
        "[...document.querySelectorAll('.vouchers li')].filter(each => each.scrollWidth > each.clientWidth"
        " || each.scrollHeight > each.clientHeight || each.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert cut == 0, "nothing runs over a cutting edge"
    pdf = page.pdf(format=paper, prefer_css_page_size=False)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 2
    context.close()


def test_the_seats_use_the_width_of_a_desktop(web: Web, chromium: Browser) -> None:
    context = chromium.new_context(ignore_https_errors=True, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(f"{web.url}/counter")
    boxes = [each.bounding_box() for each in page.locator(".seat").all()]
    main = page.locator("main").bounding_box()
    assert main is not None
    right = max(each["x"] + each["width"] for each in boxes if each)
    assert right > main["x"] + main["width"] * 0.9
    assert min(each["width"] for each in boxes if each) >= 150
    context.close()
