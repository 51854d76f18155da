"""Permissions and answers on a phone: what the parent and the child read after a tap, and how it is undone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from small_internet.browser import wait_for_script
from web_server import NOW, Web
from web_server.household import fill

from hedgerow.dashboards.control import DeviceView
from hedgerow.policies.model import AccessRequest, DeviceId, Observation, Reason, RequestKind, Verdict
from hedgerow.policies.reading.load import load_policy

pytestmark = pytest.mark.browser
TABLET, PHONE = DeviceId("mia-tablet"), DeviceId("mia-phone")
WIDTH, HEIGHT = 390, 844
POLICY = """\
network: {timezone: Europe/Lisbon}
people:
  mia: {age: 9, devices: [mia-tablet, mia-phone], block: [roblox, tiktok]}
devices:
  mia-tablet: {ip: 192.168.1.31}
  mia-phone: {ip: 192.168.1.33}
"""


@pytest.fixture
def parent(chromium: Browser, web: Web) -> Iterator[Page]:
    """A parent's phone at a home where Mia asks for an app, and another was blocked."""
    fill(web)
    web.policy_path.write_text(POLICY)
    web.recorder.add(
        Observation(
            NOW - 60, TABLET, "mia", "child-8-12", RequestKind.DNS, Verdict.BLOCK, Reason.SERVICE, "roblox", host
        )
        for host in ("www.roblox.com", "apis.roblox.com", "setup.rbxcdn.com")
    )
    web.recorder.add([AccessRequest(NOW - 30, TABLET, "mia", "www.tiktok.com", reason="service: tiktok")])
    web.recorder.flush()
    context = chromium.new_context(locale="en", viewport={"width": WIDTH, "height": HEIGHT}, has_touch=True)
    page = context.new_page()
    page.goto(web.url)
    yield page
    context.close()


def _is_accessible(page: Page) -> bool:
    """Return whether a page is in order in both themes."""
    for theme in ("dark", "light"):
        page.emulate_media(color_scheme=theme)
        if Axe().run(page).response["violations"]:
            return False
    return bool(page.evaluate("document.documentElement.scrollWidth") <= WIDTH)


def test_allow_this_opens_the_app_above_the_bar_and_says_so(parent: Page, web: Web) -> None:
    parent.get_by_role("link", name="Activity").click()
    parent.locator("summary", has_text="Roblox").click()
    part = parent.locator(".parts > li", has_text="setup.rbxcdn.com")
    summary, bar = part.locator("summary"), parent.get_by_role("navigation", name="Pages")
    # The worst place: the line is the last above the bar.
    place = summary.bounding_box(), bar.bounding_box()
    assert place[0] is not None
    assert place[1] is not None
    parent.evaluate("distance => scrollBy(0, distance)", place[0]["y"] + place[0]["height"] - place[1]["y"])
    summary.click()
    hour = part.get_by_role("button", name="An hour")
    expect(hour).to_be_visible()
    wait_for_script(
        parent,
        "() => document.querySelector('.parts details[open] > .allow').getBoundingClientRect().bottom"
        " <= document.querySelector('.top nav').getBoundingClientRect().top",
    )
    expect(part.get_by_text("Allow Roblox for mia")).to_be_visible()
    assert _is_accessible(parent)
    hour.click()
    said = parent.locator(".said")
    expect(said).to_contain_text(re.compile(r"Roblox open for mia until \S+\."))
    assert [(each.subject, each.person) for each in web.control.reader.grants(NOW) if each.person] == [
        ("roblox", "mia")
    ]
    assert _is_accessible(parent)
    said.get_by_role("button", name="Undo").click()
    expect(said).to_contain_text("The permission is over.")
    assert [each for each in web.control.reader.grants(NOW) if each.person] == []


def test_an_approval_says_what_is_open_and_until_when(parent: Page, web: Web) -> None:
    request = parent.locator(".request", has_text="TikTok")
    expect(request).to_contain_text("www.tiktok.com")
    request.get_by_role("button", name="Allow an hour").click()
    expect(parent.locator(".said")).to_contain_text(
        re.compile(r"TikTok open for mia until \S+\. It also opens names that other services use: ")
    )
    assert _is_accessible(parent)
    web.control.devices["127.0.0.1"] = DeviceView(PHONE, "mia", "child-8-12")
    parent.goto(f"{web.url}/device")
    expect(parent.locator('[data-fresh="asked"]')).to_contain_text(re.compile(r"TikTok is open until \S+\."))
    assert _is_accessible(parent)


def test_less_than_the_app_can_be_chosen(parent: Page, web: Web) -> None:
    request = parent.locator(".request", has_text="TikTok")
    request.locator("summary").click()
    request.get_by_label("Only www.tiktok.com").check()
    request.get_by_label("Only on mia-tablet").check()
    assert _is_accessible(parent)
    request.get_by_role("button", name="For today").click()
    expect(parent.locator(".said")).to_contain_text("www.tiktok.com open for mia-tablet until ")
    assert ("www.tiktok.com", TABLET, None) in [
        (each.subject, each.device, each.person) for each in web.control.reader.grants(NOW)
    ]


def test_a_denial_is_told_to_the_parent_and_the_child(parent: Page, web: Web) -> None:
    parent.locator(".request", has_text="TikTok").get_by_role("button", name="Deny").click()
    expect(parent.locator(".said")).to_contain_text("TikTok stays closed for mia, who can read your answer.")
    assert _is_accessible(parent)
    web.control.devices["127.0.0.1"] = DeviceView(TABLET, "mia", "child-8-12")
    parent.goto(f"{web.url}/device")
    expect(parent.locator('[data-fresh="asked"]')).to_contain_text("The answer is no: TikTok stays closed.")
    assert _is_accessible(parent)


def test_a_no_has_a_reason_that_the_child_reads(parent: Page, web: Web) -> None:
    request = parent.locator(".request", has_text="TikTok")
    request.locator("summary").click()
    expect(request.get_by_text("No, because …")).to_be_visible()
    assert _is_accessible(parent)
    request.get_by_role("button", name="Homework first.").click()
    expect(parent.locator(".said")).to_contain_text("TikTok stays closed for mia, who can read your answer.")
    web.control.devices["127.0.0.1"] = DeviceView(TABLET, "mia", "child-8-12")
    parent.goto(f"{web.url}/device")
    expect(parent.locator('[data-fresh="asked"] blockquote')).to_contain_text("Homework first.")
    assert _is_accessible(parent)


def test_a_reason_in_own_words_is_text(parent: Page, web: Web) -> None:
    request = parent.locator(".request", has_text="TikTok")
    request.locator("summary").click()
    request.get_by_label("In your own words").fill("<b>At the weekend</b>, with me")
    request.get_by_role("button", name="Deny", exact=True).click()
    expect(parent.locator(".said")).to_contain_text("stays closed")
    web.control.devices["127.0.0.1"] = DeviceView(TABLET, "mia", "child-under-8")
    parent.goto(f"{web.url}/device")
    expect(parent.locator("#ask blockquote")).to_contain_text("<b>At the weekend</b>, with me")
    assert _is_accessible(parent)


def test_permanently_replaces_what_blocked_the_address(parent: Page, web: Web) -> None:
    web.policy_path.write_text(POLICY.replace("[roblox, tiktok]", "[rbxcdn.com, roblox, tiktok]"))
    parent.get_by_role("link", name="Activity").click()
    parent.locator("summary", has_text="Roblox").click()
    part = parent.locator(".parts > li", has_text="setup.rbxcdn.com")
    part.locator("summary").click()
    part.get_by_role("button", name="Permanently").press("Enter")  # what unfolds may still move
    expect(parent.locator(".said")).to_contain_text("Roblox open for mia.")
    rules = load_policy(web.policy_path).people["mia"].rules
    assert ([each.name for each in rules.allow], [each.name for each in rules.block]) == (["roblox"], ["tiktok"])
