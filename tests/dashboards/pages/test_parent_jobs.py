"""The jobs of a parent, done on a phone in a real Chromium, with their taps and keystrokes.

The table in docs/parent-jobs.md is written by these tests: HEDGEROW_WRITE_DOCS=1 writes it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from web_server import NOW, OWNER, OWNER_PASSWORD, Web
from web_server.household import fill

from hedgerow.policies.reading.load import load_policy

pytestmark = pytest.mark.browser
PHONE = {"width": 390, "height": 844}
DOCUMENT = Path(__file__).parents[3] / "docs" / "parent-jobs.md"
HEAD = """# What a parent does, and what it takes

Each job is done by a test in Chromium at the size of a phone (390 × 844), signed in, beginning on *Today*. A tap is a touch on a button,
link, switch or field; choosing in a list is two taps. Keystrokes are characters typed; a date is picked with three taps.

The guide of the first start comes before: from the QR code to *Today*, a family of four needs 13 taps and 30 keystrokes
([what each step takes](first-day.md#how-long-it-takes)). What the router needs comes on top.

| Job | Taps | Keystrokes | Way |
|---|---|---|---|
"""  # noqa: E501


@dataclass
class Hand:
    """A parent's hand on a page: it counts what it does."""

    page: Page
    web: Web
    taps: int = 0
    keys: int = 0
    way: list[str] = field(default_factory=list)

    def tap(self, what: Locator) -> None:
        self.taps += 1
        what.click()

    def choose(self, what: Locator, label: str) -> None:
        self.taps += 2
        what.select_option(label=label)

    def enter(self, what: Locator, text: str) -> None:
        self.taps += 1
        self.keys += len(text)
        what.fill(text)

    def pick_date(self, what: Locator, date: str) -> None:
        self.taps += 3
        what.fill(date)

    def go(self, *names: str) -> None:
        """Follow links by their names, first in the navigation."""
        for name in names:
            bar = self.page.get_by_role("navigation", name="Pages").get_by_role("link", name=name)
            self.tap(bar if bar.count() else self.page.get_by_role("link", name=name, exact=True).first)

    def button(self, name: str | re.Pattern[str]) -> None:
        self.tap(self.page.get_by_role("button", name=name).first)

    def unfold(self, name: str) -> None:
        self.tap(self.page.locator("summary", has_text=name).first)

    def open(self, tile: str) -> None:
        """Open a tile of a person's page."""
        self.tap(self.page.get_by_role("navigation", name="Rules of ").get_by_role("link", name=re.compile(f"^{tile}")))

    def said(self, *texts: str) -> None:
        """Wait until the page says something."""
        for text in texts:
            expect(self.page.locator("body")).to_contain_text(text, timeout=30_000)

    @property
    def policy(self) -> str:
        return self.web.policy_path.read_text()


type Job = Callable[[Hand], None]
JOBS: dict[str, tuple[str, Job]] = {}


def job(name: str, way: str) -> Callable[[Job], Job]:
    def register(function: Job) -> Job:
        JOBS[name] = way, function
        return function

    return register


@job("Add a second child", "People")
def add_a_child(hand: Hand) -> None:
    hand.go("People")
    hand.enter(hand.page.get_by_role("textbox", name="Name"), "Zoe")
    hand.enter(hand.page.get_by_role("textbox", name="Age"), "6")
    hand.button("Add")
    hand.said("Zoe added.")
    assert load_policy(hand.web.policy_path).people["Zoe"].profile == "child-under-8"


@job("Homework time on school days", "People, the child, weekly times, a preset")
def set_homework(hand: Hand) -> None:
    hand.go("People", "tom")
    hand.open("Other weekly times")
    hand.button(re.compile("Homework"))
    hand.said("Homework set for tom.")
    (schedule,) = load_policy(hand.web.policy_path).people["tom"].rules.schedules
    assert schedule.name == "homework"


@job("School nights", "People, the child, bedtime, a preset")
def set_bedtime(hand: Hand) -> None:
    hand.web.policy_path.write_text(hand.policy.replace(', bedtime: "22:30-06:30"', ""))
    hand.go("People", "tom")
    hand.open("Bedtime")
    hand.button(re.compile("School nights"))
    hand.said("School nights set for tom.")
    assert load_policy(hand.web.policy_path).people["tom"].rules.bedtime is not None


@job("An hour of a game", "Activity")
def open_a_game(hand: Hand) -> None:
    hand.web.policy_path.write_text(hand.policy.replace("20:30-07:00", "23:30-07:00"))  # it is 21:26
    hand.go("Activity")
    hand.unfold("Roblox")
    hand.tap(hand.page.locator("summary", has_text="Allow this").locator("visible=true").first)
    hand.tap(hand.page.get_by_role("button", name="An hour").locator("visible=true").first)
    hand.page.wait_for_url(re.compile("done="))
    grants = hand.web.control.reader.grants(NOW)
    assert any((grant.subject, grant.person) == ("roblox", "mia") for grant in grants), grants


@job("Find out why a site does not work", "Activity, why it does not work")
def explain_a_site(hand: Hand) -> None:
    hand.go("Activity")
    hand.enter(hand.page.get_by_label("Site, service or app"), "tiktok.com")
    hand.choose(hand.page.get_by_label("Person or device"), "mia")
    hand.button("Explain")
    hand.said("Blocked lately")


@job("TikTok closed until Christmas", "People, the child, own rules")
def close_until_christmas(hand: Hand) -> None:
    hand.go("People", "tom")
    hand.open("Own rules")
    hand.enter(hand.page.get_by_label("Site, service or topic"), "TikTok")
    hand.pick_date(hand.page.get_by_label("Until the end of"), "2026-12-24")
    hand.tap(hand.page.locator("#sites").get_by_role("button", name="Block"))
    hand.said("TikTok closed for tom until 2026-12-24.")
    (target,) = load_policy(hand.web.policy_path).people["tom"].rules.block
    assert (target.name, target.until is not None) == ("tiktok", True)


@job("Close YouTube Shorts", "People, the child, services")
def close_shorts(hand: Hand) -> None:
    hand.go("People", "tom")
    hand.open("Services")
    hand.tap(hand.page.get_by_role("link", name="Video"))
    hand.tap(hand.page.get_by_role("switch", name=re.compile("YouTube Shorts")))
    hand.said("YouTube Shorts")
    expect(hand.page.locator("#switch-youtube-shorts button")).to_have_attribute("aria-checked", "false")
    assert "youtube-shorts" in hand.policy


@job("Approve a request for an hour", "Today")
def approve(hand: Hand) -> None:
    hand.web.policy_path.write_text(hand.policy.replace("20:30-07:00", "23:30-07:00"))  # it is 21:26
    hand.tap(
        hand.page.get_by_role("form", name="Allow Minecraft", exact=True)
        .get_by_role("button", name="Allow an hour")
        .first
    )
    hand.said("Minecraft open for mia until ")
    assert any(
        (grant.subject, grant.person) == ("minecraft", "mia") and grant.ends is not None
        for grant in hand.web.control.reader.grants(NOW)
    )


@job("15 minutes more", "Today")
def fifteen_more(hand: Hand) -> None:
    hand.button("15 minutes extra for mia")
    hand.page.wait_for_load_state()
    assert [given[:3] for given in hand.web.time.given] == [("mia", "", 15)]


@job("Pause everybody for dinner", "Today")
def pause_for_dinner(hand: Hand) -> None:
    hand.button("Pause all")
    hand.said("The internet is paused for everybody")
    assert any(pause.person is None and pause.device is None for pause in hand.web.control.reader.pauses(NOW))


@job("See what a child did today", "People, the child")
def see_the_day(hand: Hand) -> None:
    hand.go("People", "mia")
    hand.go("What happened")
    hand.said("mia")
    assert "person=mia" in hand.page.url


@job("See why something was blocked", "Today, what was blocked")
def see_why(hand: Hand) -> None:
    hand.tap(hand.page.get_by_role("link", name=re.compile("^Blocked")))
    hand.tap(hand.page.get_by_role("link", name="Why?").first)
    hand.said("Why")
    assert "/why" in hand.page.url


@job("Read the weekly report", "More")
def read_the_report(hand: Hand) -> None:
    hand.go("More", "The week at home")
    hand.said("mia", "tom")


@job("Change one's own password", "More, the account")
def change_the_password(hand: Hand) -> None:
    hand.go("More", OWNER)
    hand.enter(hand.page.get_by_label("Current password"), OWNER_PASSWORD)
    hand.enter(hand.page.get_by_label("New password"), "four words and more")
    hand.button("Change")
    hand.page.wait_for_url("**/sign-in*")


@job("Invite the other parent", "More, Settings")
def invite_the_other_parent(hand: Hand) -> None:
    hand.go("More", "Settings")
    card = hand.page.get_by_role("region", name="Invite the other parent")
    expect(card.get_by_label("Name")).to_have_value("Ana")  # the only adult without an account
    hand.tap(card.get_by_role("button", name="Invite"))
    expect(hand.page.get_by_role("img", name="QR code of the invitation")).to_be_visible()
    assert {row.name: row.role for row in hand.web.accounts.accounts()}["Ana"] == "parent"


@job("Undo the last change", "the bar after a change")
def undo(hand: Hand) -> None:
    before = hand.policy
    hand.go("People", "mia")
    hand.open("Own rules")
    hand.button("Remove the rule for Roblox")
    hand.said("The rule for Roblox removed for mia.")
    assert hand.policy != before
    taps, keys = hand.taps, hand.keys
    hand.button("Undo")
    hand.said("Undone: The rule for Roblox removed for mia.")
    assert hand.policy == before
    hand.taps, hand.keys = hand.taps - taps, hand.keys - keys


@job("Rename a device", "Devices, the card")
def rename_a_device(hand: Hand) -> None:
    hand.go("Devices")
    card = hand.page.locator("#device-console")
    hand.tap(card.locator("summary", has_text="Change"))
    hand.enter(card.get_by_label("Name"), "playroom")
    hand.tap(card.get_by_role("button", name="Save"))
    hand.said("console is now called playroom.")
    assert load_policy(hand.web.policy_path).devices["playroom"].person == "mia"


@job("Make a device a guest's", "Devices, the card")
def make_a_guest(hand: Hand) -> None:
    hand.go("Devices")
    card = hand.page.locator("#device-console")
    hand.tap(card.locator("summary", has_text="Change"))
    hand.choose(card.get_by_label("Belongs to"), "Guest with their own device")
    hand.tap(card.get_by_role("button", name="Save"))
    hand.said("console changed.")
    device = load_policy(hand.web.policy_path).devices["console"]
    assert (device.profile, device.person) == ("guest", None)


@job("Only one YouTube channel", "People, the child, protection")
def choose_a_channel(hand: Hand) -> None:
    hand.web.policy_path.write_text(hand.policy.replace("{ip: 192.168.1.31,", "{ip: 192.168.1.31, trusts_ca: true,"))
    hand.go("People", "mia")
    hand.open("Protection")
    hand.enter(hand.page.get_by_label("Channel, or address of a channel or video"), "@clay.films")
    hand.tap(hand.page.locator("#youtube").get_by_role("button", name="Add"))
    hand.said("@clay.films at YouTube open for mia.")
    assert load_policy(hand.web.policy_path).people["mia"].rules.content.youtube_only == ("@clay.films",)


@job("Find out how to install the certificate", "More")
def find_the_certificate(hand: Hand) -> None:
    hand.go("More", "Certificate")
    hand.said("Hedgerow network CA 0")


@job("Erase what is stored about a child", "People, the child, about")
def erase(hand: Hand) -> None:
    hand.go("People", "mia")
    hand.open("About")
    hand.button("Erase")
    hand.said("These stay: rules")
    hand.button("Erase")
    hand.said("Erased")
    hand.page.goto(f"{hand.web.url}/log?person=mia")
    hand.said("Nothing to show")


@pytest.fixture(scope="module")
def measured() -> dict[str, tuple[int, int]]:
    return {}


@pytest.mark.parametrize("name", JOBS)
def test_job(chromium: Browser, web: Web, measured: dict[str, tuple[int, int]], name: str) -> None:
    fill(web)
    home, _, rest = web.policy_path.read_text().partition("seats:")
    web.policy_path.write_text(f"{home}notices:{rest.partition('notices:')[2]}")  # a home has no seats
    context = chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True, locale="en")  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto(web.url)
    hand = Hand(page, web)
    JOBS[name][1](hand)
    context.close()
    measured[name] = hand.taps, hand.keys
    if not os.environ.get("HEDGEROW_WRITE_DOCS"):
        assert row(name, *measured[name]) in DOCUMENT.read_text(encoding="utf-8").splitlines()


def row(name: str, taps: int, keys: int) -> str:
    return f"| {name} | {taps} | {keys} | {JOBS[name][0]} |"


def test_the_table_has_these_jobs(measured: dict[str, tuple[int, int]]) -> None:
    if os.environ.get("HEDGEROW_WRITE_DOCS"):
        rows = [row(name, *measured[name]) for name in JOBS]
        DOCUMENT.write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.startswith(HEAD)
    assert [line.split(" | ")[0].removeprefix("| ") for line in text.removeprefix(HEAD).splitlines()] == list(JOBS)
