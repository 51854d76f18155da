"""Answers that arrive while a child's page is in the background: a notice of its browser, or the title of the tab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from small_internet.browser import CHROMIUM, browser_for_pages, wait_for_script
from web_server import NOW, Web, running_web

from hedgerow.dashboards.control import DeviceView
from hedgerow.features.wishes.records import WishStore
from hedgerow.journal.store import Store
from hedgerow.journal.tables import wishes
from hedgerow.policies.identity import Grade
from hedgerow.policies.model import DeviceId

pytestmark = pytest.mark.browser
LONG = 60_000

HOUSE = """
network: {lan: [127.0.0.0/8], timezone: UTC}
people: {mia: {age: 10, budget: 1h, devices: [tablet]}}
devices: {tablet: {ip: 127.0.0.1}}
"""
ANSWERED, TELL_ME = "Your parents have answered", "Tell me when there is an answer"
HIDDEN = """
let seen = "visible";
Object.defineProperty(Document.prototype, "visibilityState", { get: () => seen });
window.see = (state) => { seen = state; document.dispatchEvent(new Event("visibilitychange")); };
"""
"""Pages are never hidden from Playwright: it tells each that it is looked at."""
PROMPT = """
const real = Object.getOwnPropertyDescriptor(Notification, "permission").get;
window.asked = 0;
Object.defineProperty(Notification, "permission", { get: () => (asked ? real.call(Notification) : "default") });
Notification.requestPermission = async () => { window.asked += 1; return Notification.permission; };
"""
"""Stands for the browser's question, which Chromium without a screen never asks."""
INSECURE = 'Object.defineProperty(window, "isSecureContext", { get: () => false });'
SHOWN = """navigator.serviceWorker.ready
  .then(async (all) => (await all.getNotifications()).map((each) => `${each.title}: ${each.body}`).join())"""
OPENED = """async () => {
  const [notification] = await self.registration.getNotifications();
  const work = [];
  const event = new NotificationEvent("notificationclick", { notification });
  event.waitUntil = (each) => work.push(each);
  let focused = "";
  WindowClient.prototype.focus = function () { focused = new URL(this.url).pathname; };
  self.dispatchEvent(event);
  await Promise.all(work);
  return focused;
}"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Chromium itself: its headless shell shows no notices."""
    with browser_for_pages(program=CHROMIUM) as browser:
        yield browser


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    (tmp_path / "hedgerow.yaml").write_text(HOUSE)
    with running_web(tmp_path, clock=lambda: NOW) as running:
        running.control.devices["127.0.0.1"] = DeviceView(DeviceId("tablet"), "mia", "child-8-12", grade=Grade.ADDRESS)
        yield running


def ask(store: Store) -> int:
    wish = {"person": "mia", "device": "tablet", "kind": "minutes", "subject": "", "minutes": 30, "note": ""}
    return WishStore(store).file({**wish, "base": None}, NOW)


def answer(store: Store, wish: int) -> None:
    told = {"state": "granted", "given": 15, "answered_by": "Ana", "answered_at": NOW}
    store.execute(store.update(wishes).where(wishes.c.id == wish).values(told))


def own_page(chromium: Browser, web: Web, *permissions: str, script: str = "") -> Page:
    page = chromium.new_context(permissions=permissions, viewport={"width": 390, "height": 844}).new_page()
    page.add_init_script(HIDDEN + script)
    page.goto(f"{web.url}/device")
    return page


def test_a_notice_says_what_was_answered_and_leads_back_to_the_page(chromium: Browser, web: Web) -> None:
    wish = ask(web.engine)
    page = own_page(chromium, web, "notifications", script=PROMPT)
    assert page.evaluate("asked") == 0, "not at load"
    page.get_by_role("button", name=TELL_ME).click()
    expect(page.get_by_role("button", name=TELL_ME)).to_be_hidden(timeout=LONG)
    assert page.evaluate("asked") == 1
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.evaluate("see('hidden')")
    answer(web.engine, wish)
    wait_for_script(page, f"{SHOWN}.then((text) => text.startsWith('{ANSWERED}: '))")
    assert "You got 15 more minutes." in page.evaluate(SHOWN)
    assert "Close the question" not in page.evaluate(SHOWN)
    (worker,) = page.context.service_workers
    assert worker.evaluate(OPENED) == "/device"
    page.context.close()


@pytest.mark.parametrize(("permissions", "script"), [((), ""), (("notifications",), INSECURE)])
def test_without_a_notice_the_title_says_it_until_somebody_looks(
    chromium: Browser, web: Web, permissions: tuple[str, ...], script: str
) -> None:
    wish = ask(web.engine)
    page = own_page(chromium, web, *permissions, script=script)
    usual = page.title()
    expect(page.get_by_role("button", name=TELL_ME)).to_be_hidden(timeout=LONG)
    expect(page.get_by_text("A notice needs a page that was opened by HTTPS.")).to_be_visible(
        visible=bool(script), timeout=LONG
    )
    page.evaluate("see('hidden')")
    answer(web.engine, wish)
    expect(page).to_have_title(f"{ANSWERED} – {usual}", timeout=LONG)
    page.evaluate("see('visible')")
    expect(page).to_have_title(usual, timeout=LONG)
    page.context.close()


def test_an_answer_that_is_seen_at_once_changes_no_title(chromium: Browser, web: Web) -> None:
    page = own_page(chromium, web)
    usual = page.title()
    wish = ask(web.engine)
    expect(page.locator("#wishes")).to_contain_text("waiting for an answer", timeout=LONG)
    answer(web.engine, wish)
    expect(page.locator("#wishes")).to_contain_text("You got 15 more minutes.", timeout=LONG)
    assert page.title() == usual
    page.context.close()
