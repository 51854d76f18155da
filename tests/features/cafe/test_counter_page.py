"""The counter's page in Chromium, on a phone: what it says before a tap, and where it says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from small_internet.browser import browser_for_pages
from web_server import NOW, TOKEN, Web, running_web

from hedgerow.features.cafe.counter_store import CounterStore, StaffRow

POLICY = """
cafe: {currency: EUR, prices: {child: {30: 120, 60: 200}, adult: 300}, articles: {Cola: 150}}
seats: {seat-1: {ip: 127.0.0.6}, seat-2: {ip: 127.0.0.7}}
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser_for_pages() as browser:
        yield browser


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with running_web(tmp_path) as running:
        running.policy_path.write_text(POLICY)
        yield running


@pytest.fixture
def page(chromium: Browser, web: Web) -> Iterator[Page]:
    """The counter on a phone."""
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, locale="en")
    page = context.new_page()
    page.goto(f"{web.url}/counter")
    yield page
    context.close()


def choose(page: Page, text: str) -> None:
    page.locator("#opening label", has_text=re.compile(f"^{text}$")).tap()


def test_that_nobody_is_on_duty_is_said_above_the_pin(web: Web, page: Page) -> None:
    """It is about no field of the form that was sent, and all of it is on the screen."""
    CounterStore(web.engine).put_staff(StaffRow("Ana", "staff", NOW, "a hash"))
    page.reload()
    page.get_by_role("button", name="Cola").tap()
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("Nobody is on duty at this counter: enter your PIN first.")
    expect(page.locator("[aria-invalid]")).to_have_count(0)
    pin = page.get_by_label("PIN", exact=True)
    expect(pin).to_be_in_viewport()
    expect(problem).to_be_in_viewport()
    below, above = pin.bounding_box(), problem.bounding_box()
    assert below is not None
    assert above is not None
    assert above["y"] + above["height"] < below["y"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_cost_is_said_before_the_tap(web: Web, page: Page) -> None:
    cost = page.locator("#cost")
    expect(cost).to_have_text("It costs €2.00, in cash now.")
    choose(page, "30")
    expect(cost).to_have_text("It costs €1.20, in cash now.")
    choose(page, "Adult")
    choose(page, "afterwards")
    expect(cost).to_have_text("It costs €1.50 at most, to be paid afterwards.")
    expect(page.get_by_text("from a balance")).to_have_count(0)  # nobody is a member
    with httpx.Client(base_url=f"{web.url}/api/v1", headers={"authorization": f"Bearer {TOKEN}"}) as api:
        for name, balance in (("Vera", 500), ("Otto", 100)):
            number = api.post("/members", json={"name": name}).json()["number"]
            api.post(f"/members/{number}/deposit", json={"amount": balance}).raise_for_status()
    page.reload()
    expect(page.get_by_label("Member")).to_be_hidden()
    choose(page, "from a balance")
    expect(cost).to_have_text("It costs €2.00: choose the member who pays.")
    page.get_by_label("Member").select_option("1 Vera · €5.00")
    expect(cost).to_have_text("It costs €2.00 from the balance of Vera, which has €5.00.")
    page.get_by_label("Member").select_option("2 Otto · €1.00")
    expect(cost).to_have_text("It costs €2.00, and the balance of Otto has only €1.00.")
    expect(cost).to_have_class("short")
