"""The counter's page in Chromium, on a phone: what it says before a tap, and where it says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect
from small_internet.browser import browser_for_pages, look_through, wait_for_script
from web_server import NOW, TOKEN, Web, running_web

from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore, StaffRow
from hedgerow.journal.tables import sessions
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.model import DeviceId, Session

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
    with httpx.Client(base_url=f"{web.url}/api/v1", headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as api:
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


SPY = """
window.tones = 0; window.shakes = 0;
const start = AudioScheduledSourceNode.prototype.start;
AudioScheduledSourceNode.prototype.start = function (...given) { window.tones += 1; return start.apply(this, given); };
Navigator.prototype.vibrate = () => { window.shakes += 1; return true; };
"""


def sit(web: Web, seat: str) -> None:
    """Seat a guest for a minute."""
    session = Session(f"of {seat}", DeviceId(seat), "Ana", NOW - 3000, NOW + 60, None, "seat-child")
    entry = CounterEntry(NOW - 3000, "Ana", CounterAction.OPEN, seat, session.id, "child", 50)
    UsageStore(web.engine, clock=lambda: NOW - 3000).start_session(session, entry)
    web.time.seated[seat] = session


def pass_a_minute(web: Web, seat: str) -> None:
    """Let the time of the guest be over."""
    own = sessions.c.device == seat
    web.engine.execute(web.engine.update(sessions).where(own).values(ends=NOW - 1))
    del web.time.seated[seat]


def rung(page: Page) -> tuple[bool, bool]:
    """Return whether the page has sounded and vibrated since this was asked last."""
    tones, shakes = page.evaluate("[window.tones, window.shakes]")
    page.evaluate("window.tones = window.shakes = 0")
    return tones > 0, shakes > 0


def test_the_end_of_a_guests_time_sounds_where_somebody_said_yes_once(web: Web, page: Page) -> None:
    sit(web, "seat-1")
    sit(web, "seat-2")
    page.add_init_script(SPY)
    page.reload()
    switch = page.get_by_role("switch")
    expect(page.get_by_text("Shall this page sound")).to_be_visible()
    expect(switch).to_be_hidden()
    page.get_by_role("button", name="Yes, sound").tap()
    expect(switch).to_be_checked()
    wait_for_script(page, "window.tones > 0")  # as it will sound
    assert rung(page) == (True, True)

    pass_a_minute(web, "seat-1")
    expect(page.locator("[data-seat=seat-1]")).to_contain_text("Time is over")
    wait_for_script(page, "window.tones > 0")
    assert rung(page) == (True, True)
    page.reload()
    expect(switch).to_be_checked()
    expect(page.get_by_text("Shall this page sound")).to_be_hidden()
    expect(page.locator("[data-seat=seat-1]")).to_contain_text("Time is over")
    assert rung(page) == (False, False), "it was told"

    switch.tap()
    expect(switch).not_to_be_checked()
    pass_a_minute(web, "seat-2")
    expect(page.locator("[data-seat=seat-2]")).to_contain_text("Time is over")
    assert rung(page) == (False, False)


def test_an_end_while_the_page_loads_again_sounds_too(web: Web, page: Page) -> None:
    page.add_init_script(SPY)
    page.reload()
    page.get_by_role("button", name="Yes, sound").tap()
    wait_for_script(page, "window.tones > 0")
    page.goto("about:blank")
    sit(web, "seat-1")
    pass_a_minute(web, "seat-1")
    page.goto(f"{web.url}/counter")
    wait_for_script(page, "window.shakes > 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_counter_can_be_used_by_everybody(web: Web, page: Page, scheme: Literal["light", "dark"]) -> None:
    """The choice of a member, an unfolded seat with prices, and the question about sound, in both themes."""
    with httpx.Client(base_url=f"{web.url}/api/v1", headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as api:
        api.post("/members", json={"name": "Vera"}).raise_for_status()
    sit(web, "seat-1")
    page.emulate_media(color_scheme=scheme)
    page.reload()
    choose(page, "from a balance")
    page.locator("[data-seat=seat-1] summary").first.tap()
    expect(page.get_by_role("button", name="15 minutes extra")).to_be_visible()
    assert look_through(page).response["violations"] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for path in ("/counter/members", "/counter/report"):
        page.goto(f"{web.url}{path}")
        assert look_through(page).response["violations"] == [], path
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
