"""An agreement on a child's phone and a parent's side by side, by touch at 390 pixels, and three months later."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from parent_jobs import Hand
from parent_jobs.side_by_side import WIDTH, assert_accessible, assert_taps_in_document, phones
from playwright.sync_api import Browser, Page
from small_internet import SmallInternet
from small_internet.browser import FOR_PAGES, browser_for_pages
from small_internet.fast_time import WallClock
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

from hedgerow.policies.text.locales import LANGUAGES

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not FOR_PAGES.exists(), reason="needs Debian's chromium")]
MIA, TOM, PATIENCE = "127.0.0.2", "127.0.0.3", 90.0
PEOPLE = """
people:
  mia: {age: 9, devices: [tablet], budget: 1h, bedtime: "20:30-07:00", block: [roblox]}
  tom: {age: 15, devices: [phone]}
devices:
  tablet: {ip: 127.0.0.2}
  phone: {ip: 127.0.0.3}
"""
COMPLETE = ("en", "de", "es", "fr", "pt", "pt-BR")
DAY_S = 86400.0


@dataclass
class House:
    running: Hedgerow
    clock: WallClock


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    clock = WallClock(tmp_path_factory.mktemp("wall"), time.time())
    policy = network_section(whole_internet) + PEOPLE
    with running_hedgerow(policy, environment=clock.environment) as running:
        yield House(running, clock)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser_for_pages() as browser:
        yield browser


def look_again(hand: Hand, path: str, words: str) -> None:
    """Open a page until it says something that control finds in its own time."""

    def says_so() -> bool:
        hand.page.goto(path)
        return words in hand.page.locator("body").inner_text()

    wait_until(says_so, PATIENCE, words)


def assert_labels_fit(page: Page, codes: tuple[str, ...], *paths: str) -> None:
    """Open pages in each language, and check that nothing is wider than the phone."""
    for code in codes:
        page.context.set_extra_http_headers({"accept-language": code})
        for path in paths:
            page.goto(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH, (code, path)
    page.context.set_extra_http_headers({"accept-language": "en"})


def test_both_agree_by_touch_and_are_reminded_of_the_next_look(chromium: Browser, house: House) -> None:
    web = house.running.web
    with phones(chromium, house.running, MIA) as (child, parent):
        own = child.page.url
        child.tap(child.page.get_by_role("link", name="Read our rules"))
        child.said("20:30–07:00", "Roblox", "every day 60 min")
        assert_accessible(child.page)
        child.button("Yes, I agree")
        child.said("You have said yes. Now it is your parents’ turn.")
        assert (child.taps, child.keys) == (2, 0)
        look_again(parent, web, "mia has said yes to your rules.")
        parent.tap(parent.page.get_by_role("link", name="Our rules with mia"))
        parent.said("What we promise")
        assert_accessible(parent.page)
        parent.tap(parent.page.get_by_label("At meals, we put our phones away too."))
        parent.choose(parent.page.get_by_label("When do we look at the rules again?"), "after 1 month")
        parent.button("Yes, we agree")
        parent.said("You have said yes. Now it is mia's turn.")
        look_again(child, own, "Your parents have said yes. Now it is your turn.")
        child.taps = 0
        child.tap(child.page.get_by_role("link", name="Read our rules"))
        child.said("Your parents promise something else now.", "At meals, we put our phones away too.")
        child.button("Yes, I agree")
        child.said("You and your parents have said yes.")
        assert (child.taps, parent.taps, parent.keys) == (2, 5, 0)
        for _ in range(2):  # a parent who looks in now and then stays signed in
            house.clock.forward(16 * DAY_S)
            parent.page.goto(web)
        look_again(parent, web, "It is time to look at the rules with mia again.")
        look_again(child, own, "It is time to look at our rules together again.")
        for hand in (child, parent):
            assert_accessible(hand.page)
        assert_labels_fit(child.page, tuple(LANGUAGES), own, f"{own}/rules")
        child.page.goto(own)
        child.taps = 0
        child.tap(child.page.get_by_role("link", name="Read our rules"))
        child.button("I'd rather wait 30 days longer")
        child.said("We look at the rules again: ")
        assert (child.taps, child.keys) == (2, 0)
        look_again(parent, f"{web}/agreement/mia", "Next look: ")
        for _ in range(2):
            house.clock.forward(16 * DAY_S)
            parent.page.goto(web)
        look_again(child, own, "It is time to look at our rules together again.")
        child.taps = parent.taps = 0
        both_say_yes(child, parent, web, "mia")
        assert_taps_in_document("The rules looked at again after a month", child, parent)


def both_say_yes(child: Hand, parent: Hand, web: str, name: str) -> None:
    """Say yes as the child, which has read the rules, and then as the parent on *Today*."""
    child.tap(child.page.get_by_role("link", name="Read our rules"))
    child.button("Yes, I agree")
    child.said("You have said yes. Now it is your parents’ turn.")
    look_again(parent, web, f"{name} has said yes to your rules.")
    parent.button(f"Yes, we agree: {name}")
    parent.said(f"Your yes to the rules of {name} is recorded.")
    child.page.reload()
    child.said("You and your parents have said yes.")


def test_both_agree_with_one_tap_of_the_parent_on_today(chromium: Browser, house: House) -> None:
    with phones(chromium, house.running, TOM) as (child, parent):
        both_say_yes(child, parent, house.running.web, "tom")
        assert_taps_in_document("The rules agreed on", child, parent)


def test_a_teenager_sets_a_goal_by_touch_and_a_parent_reads_nothing_of_it(chromium: Browser, house: House) -> None:
    with phones(chromium, house.running, TOM) as (teenager, parent):
        own = teenager.page.url
        teenager.unfold("Set a goal")
        teenager.enter(teenager.page.get_by_role("textbox", name="Minutes a day"), "45")
        teenager.button("Set the goal")
        teenager.said("0 of 45 minutes used")
        assert teenager.taps == 3
        assert_accessible(teenager.page)
        for path in ("/", "/people/tom", "/agreement/tom", "/log"):
            parent.page.goto(f"{house.running.web}{path}")
            assert "My own goals" not in parent.page.locator("main").inner_text(), path
        assert_labels_fit(teenager.page, tuple(LANGUAGES), own)
