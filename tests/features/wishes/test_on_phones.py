"""A child's phone and a parent's side by side, by touch at 390 pixels, with a running Hedgerow between them."""

from __future__ import annotations

import datetime
import os
import signal
import time
from collections.abc import Iterator

import pytest
from parent_jobs.side_by_side import DOCUMENT, WIDTH, assert_accessible, assert_taps_in_document, phones
from playwright.sync_api import Browser, expect
from small_internet import SmallInternet
from small_internet.browser import FOR_PAGES, browser_for_pages
from small_internet.clients import kdig_addresses
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

from hedgerow.policies.text.locales import LANGUAGES

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not FOR_PAGES.exists(), reason="needs Debian's chromium")]
MIA, TOM, PATIENCE = "127.0.0.2", "127.0.0.3", 60.0
SITE = "news.example"
COMPLETE = ("en", "de", "es", "fr", "pt", "pt-BR")
PEOPLE = """
people:
  mia: {{age: 9, devices: [tablet], budget: 0m}}
  tom: {{age: 12, devices: [phone], bedtime: "{bedtime}", block: [netflix]}}
devices:
  tablet: {{ip: 127.0.0.2}}
  phone: {{ip: 127.0.0.3}}
"""


def bedtime_now() -> str:
    begins = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=10)
    return f"{begins:%H:%M}-{begins + datetime.timedelta(hours=3):%H:%M}"


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    policy = network_section(whole_internet) + PEOPLE.format(bedtime=bedtime_now())
    with running_hedgerow(policy) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser_for_pages() as browser:
        yield browser


def is_open(house: Hedgerow, address: str) -> bool:
    return kdig_addresses(house.dns, SITE, source=address) != ["0.0.0.0"]


def seconds_until_open(house: Hedgerow, address: str) -> float:
    begun = time.monotonic()
    wait_until(lambda: is_open(house, address), PATIENCE)
    return time.monotonic() - begun


def test_minutes_are_asked_for_and_answered_with_less(chromium: Browser, house: Hedgerow) -> None:
    wait_until(lambda: not is_open(house, MIA), PATIENCE, "no time today")
    with phones(chromium, house, MIA) as (child, parent):
        child.button("+30 min")
        child.said("waiting for an answer")
        assert not is_open(house, MIA), "asking opens nothing"
        less = parent.page.get_by_role("button", name="Only 15 min")
        less.wait_for(timeout=PATIENCE * 1000)  # the page brings itself up to date
        parent.tap(less)
        print(f"minutes in force after {seconds_until_open(house, MIA):.2f} s")
        parent.said("15 more minutes for mia today.")
        child.said("You got 15 more minutes.")
        assert_taps_in_document("Minutes asked for, and answered with less", child, parent)
    assert "| Give fewer minutes than a child asks for | 1 | 0 |" in DOCUMENT.read_text(encoding="utf-8")


def test_bedtime_is_moved_and_a_no_is_read_with_its_reason(chromium: Browser, house: Hedgerow) -> None:
    wait_until(lambda: not is_open(house, TOM), PATIENCE, "it is bedtime")
    with phones(chromium, house, TOM) as (child, parent):
        child.tap(child.page.locator("#wishes").get_by_role("button", name="+30 min"))
        child.said("waiting for an answer")
        yes = parent.page.get_by_role("button", name="Yes: tom")
        yes.wait_for(timeout=PATIENCE * 1000)
        parent.tap(yes)
        print(f"bedtime in force after {seconds_until_open(house, TOM):.2f} s")
        parent.said("tom's bedtime is later")
        child.said("You may stay up until")
        assert_taps_in_document("A bedtime moved", child, parent)
        child.page.reload()
        child.taps = parent.taps = 0
        child.unfold("Why is it like this?")
        child.button("My bedtime")
        assert (child.taps, child.keys) == (2, 0)
        child.said("Why is my bedtime then?")
        (control,) = house.pids("control")
        os.kill(control, signal.SIGKILL)  # what it has confirmed is there after it
        child.page.reload(timeout=PATIENCE * 1000)  # it waits for the next control, not for the connection's end
        wait_until(lambda: house.pids("control") not in ([], [control]), PATIENCE, "control is back")
        no = parent.page.get_by_role("button", name="No: Let’s look at it together at the weekend.")
        parent.await_on_page(no, house.web)
        parent.tap(no)
        parent.said("Your answer is on the child's page")
        child.said("Let’s look at it together at the weekend.")
        assert_taps_in_document("A question about a rule, and a no with its reason", child, parent)


def test_a_proposal_is_accepted_for_a_week(chromium: Browser, house: Hedgerow) -> None:
    with phones(chromium, house, TOM) as (child, parent):
        child.unfold("Why is it like this?")
        child.button("Netflix")
        week = parent.page.get_by_role("button", name="For 7 days")
        week.wait_for(timeout=PATIENCE * 1000)
        parent.page.set_viewport_size({"width": 360, "height": 800})
        for code in COMPLETE:
            parent.page.context.set_extra_http_headers({"accept-language": code})
            parent.page.reload()
            assert parent.page.evaluate("document.documentElement.scrollWidth") <= 360, code
        for code in LANGUAGES:
            child.page.context.set_extra_http_headers({"accept-language": code})
            child.page.reload()
            child.page.evaluate("document.querySelectorAll('#wishes details').forEach(each => { each.open = true })")
            assert child.page.evaluate("document.documentElement.scrollWidth") <= WIDTH, code
        for hand in (child, parent):
            hand.page.context.set_extra_http_headers({"accept-language": "en"})
            hand.page.reload()
        parent.tap(week)
        parent.said("Netflix is open for tom until")
        child.said("Netflix is open until")
        assert parent.taps == 1
        parent.button("Undo")
        parent.said("the question is open again")
        parent.page.get_by_role("button", name="No: tom").first.tap()
        parent.said("Your answer is on the child's page")


def test_a_proposal_is_accepted_and_the_site_opens(chromium: Browser, house: Hedgerow) -> None:
    with phones(chromium, house, TOM) as (child, parent):
        child.unfold("Why is it like this?")
        child.button("Netflix")
        child.said("Why is Netflix closed?")
        parent.said("Why is Netflix closed?")
        for page in (child.page, parent.page):
            assert_accessible(page)
        accept = parent.page.get_by_role("button", name="Open from now on")
        accept.wait_for(timeout=PATIENCE * 1000)
        parent.tap(accept)
        parent.said("Netflix is open for tom from now on.")
        child.said("It was your idea.")
        parent.page.goto(f"{house.web}/changes")
        expect(parent.page.locator("main")).to_contain_text("(proposed by tom)")
        assert_taps_in_document("A proposal accepted", child, parent)
