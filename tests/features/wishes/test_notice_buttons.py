"""Notices of wishes in a parent's browser: their buttons answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from small_internet.browser import CHROMIUM, browser_for_pages
from web_server import NOW, running_web

from hedgerow.dashboards.control import BudgetRow
from hedgerow.dashboards.push import push_body
from hedgerow.dashboards.words.languages import language
from hedgerow.features.wishes.buttons import buttons_of
from hedgerow.features.wishes.records import WishStore, notice_key
from hedgerow.journal.database import open_journal
from hedgerow.journal.outbox import NoticeRow
from hedgerow.journal.store import Store
from hedgerow.journal.tables import wishes

HOUSE = """
network: {lan: [127.0.0.0/8], timezone: UTC}
people: {mia: {age: 10, budget: 1h, devices: [tablet]}}
devices: {tablet: {ip: 127.0.0.31}}
"""
SHOWN = """navigator.serviceWorker.ready
  .then(async (all) => (await all.getNotifications()).map((each) => `${each.title} ${each.body}`).join())"""
TAP = """async (action) => {
  const [notification] = await self.registration.getNotifications();
  self.dispatchEvent(new NotificationEvent("notificationclick", { notification, action }));
}"""


def _ask(store: Store, kind: str, subject: str = "", minutes: int = 30) -> str:
    wish = {"person": "mia", "device": "tablet", "kind": kind, "subject": subject, "minutes": minutes, "note": ""}
    return notice_key("tablet", WishStore(store).file({**wish, "base": None}, NOW))


def _row(key: str) -> NoticeRow:
    return NoticeRow(1, NOW, "ana", "request", key, "mia asks for 30 more minutes.", 1, "waiting", 0, NOW, None, "")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Store]:
    store = open_journal(tmp_path / "journal.sqlite")
    yield store
    store.dispose()


def _titles(store: Store, key: str, now: float = NOW, code: str = "en") -> list[str]:
    return [each.title for each in buttons_of(store, key, language(code), now)]


def test_each_kind_has_its_answers_and_an_answered_one_has_none(journal: Store) -> None:
    minutes = _ask(journal, "minutes")
    talk = "Let’s talk about it"
    assert _titles(journal, minutes) == ["Yes", "Only 15 min", "No: Homework first.", talk]
    assert _titles(journal, minutes, NOW + 2 * 86400.0) == [], "it was for that day"
    late = "No: It is late: sleep comes first."
    assert _titles(journal, _ask(journal, "bedtime")) == ["Yes", "Only 15 min", late, talk]
    assert _titles(journal, _ask(journal, "rule", "tiktok", 0))[0] == "Open from now on"
    assert _titles(journal, _ask(journal, "rule", "bedtime", 0))[0].startswith("No: ")
    assert _titles(journal, minutes, code="de")[0] == "Ja"
    for key in ("tablet a.example", "tablet wish minutes", "tablet wish 99", f"tablet wish {'9' * 30}"):
        assert _titles(journal, key) == []
    journal.execute(journal.update(wishes).values(state="denied"))
    assert _titles(journal, minutes) == []


def test_a_notice_with_the_longest_buttons_fits_a_message_of_a_push_service(journal: Store) -> None:
    key = _ask(journal, "rule", "tiktok", 0)
    for code in ("ar", "de", "fr", "hi", "uk"):
        buttons = buttons_of(journal, key, language(code), NOW)
        told = push_body("t" * 60, "ü" * 5000, (_row(key),), None, language(code), buttons)
        assert len(told.encode()) < 3900


def _until(page: Page, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium itself: its headless shell shows no notices."""
    with browser_for_pages(program=CHROMIUM) as browser:
        yield browser


@pytest.mark.browser
def test_a_tap_on_a_button_gives_less(chromium: Browser, tmp_path: Path) -> None:
    (tmp_path / "hedgerow.yaml").write_text(HOUSE)
    with running_web(tmp_path, clock=lambda: NOW) as web:
        web.time.rows = (BudgetRow("mia", "", 60, 60, 0, NOW + 3600),)
        key = _ask(web.engine, "minutes")
        buttons = buttons_of(web.engine, key, language("en"), NOW)
        told = push_body("mia asks", "", (_row(key),), None, language("en"), buttons)
        context = chromium.new_context(permissions=["notifications"])
        page = context.new_page()
        page.goto(web.url)
        devtools = context.new_cdp_session(page)
        registered: list[str] = []
        devtools.on(
            "ServiceWorker.workerRegistrationUpdated",
            lambda event: registered.extend(each["registrationId"] for each in event["registrations"]),
        )
        devtools.send("ServiceWorker.enable")
        page.evaluate("navigator.serviceWorker.register('/service-worker.js')")
        page.evaluate("navigator.serviceWorker.ready.then(() => true)")
        _until(page, lambda: bool(registered) and bool(context.service_workers))
        pushed = {"origin": web.url, "registrationId": registered[0], "data": told}
        devtools.send("ServiceWorker.deliverPushMessage", pushed)
        _until(page, lambda: page.evaluate(SHOWN).startswith("mia asks"))
        less = [each["title"] for each in json.loads(told)["buttons"]].index("Only 15 min")
        context.service_workers[0].evaluate(TAP, str(less))
        _until(page, lambda: page.evaluate(SHOWN).startswith("Answered. 15 more minutes for mia"))
        (wish,) = WishStore(web.engine).answered(NOW)
        assert (wish.state, wish.given) == ("granted", 15)
        context.close()
