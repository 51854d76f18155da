"""Times drawn on the week editor in Chromium, and the resulting DNS answers."""

from __future__ import annotations

import re

import pytest
from small_internet import SmallInternet
from small_internet.browser import FOR_PAGES, browser_for_pages
from small_internet.clients import kdig
from small_internet.family import LISTS, TABLET, family_policy
from small_internet.running import Hedgerow, running_hedgerow, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not FOR_PAGES.exists(), reason="needs Debian's chromium")]


def told(running: Hedgerow, name: str) -> list[str]:
    answer = kdig(running.dns, name, source=TABLET)
    return answer.data("A") if answer is not None else []


def test_a_drawn_closing_time_closes_dns_and_undo_reopens_it(whole_internet: SmallInternet) -> None:
    """Over all days and hours, so that it holds whenever this runs."""
    there = [whole_internet.address_of("files.example")]
    with running_hedgerow(family_policy(whole_internet), lists=LISTS) as running, browser_for_pages() as chromium:
        assert told(running, "files.example") == there
        page = chromium.new_page(viewport={"width": 1200, "height": 1000}, locale="en-GB")
        page.context.add_cookies(
            [{"name": name, "value": value, "url": running.web} for name, value in running.cookies.items()]
        )
        page.goto(f"{running.web}/people/mia/schedules")
        page.get_by_text("Add another").click()
        form = page.locator("form[action$='/schedule']").last
        form.get_by_role("textbox", name="Name").fill("camping")
        form.get_by_role("checkbox", name="the internet").check()
        form.get_by_role("button", name="Clear all").scroll_into_view_if_needed()
        first, last = (form.get_by_role("group", name=day, exact=True).bounding_box() for day in ("Monday", "Sunday"))
        assert first is not None
        assert last is not None
        page.mouse.move(first["x"] + 1, first["y"] + first["height"] / 2)
        page.mouse.down()
        page.mouse.move(last["x"] + last["width"] / 2, last["y"] + 5)
        page.mouse.move(last["x"] + last["width"] + 5, last["y"] + last["height"] / 2)
        page.mouse.up()
        form.get_by_role("button", name="Add", exact=True).click()
        page.get_by_role("status").wait_for()
        wait_until(lambda: told(running, "files.example") == ["0.0.0.0"], 30, "the drawn time at the resolver")
        assert 'camping: {block: internet, when: "00:00-24:00"}' in running.policy_path.read_text()
        with page.expect_navigation(url=re.compile(r"/people/[^/]+/schedules\?")):
            page.get_by_role("button", name="Undo").click()
        wait_until(lambda: told(running, "files.example") == there, 30, "the undoing at the resolver")
