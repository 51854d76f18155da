"""Icons of services: our own drawings, wherever a service is named, readable in both themes and silent."""

import re

import httpx
import pytest
from playwright.sync_api import expect
from small_internet.browser import look_through
from web_server.household import fill

from hedgerow.dashboards.words.labels import GLYPHS, monogram
from hedgerow.policies.host_facts import Services

ICON = r'<span class="app[^"]*" aria-hidden="true">'
PAGES = {
    "/": "Minecraft",
    "/log": "",
    "/people/mia/services?group=social": "TikTok",
    "/people/mia/topics": "Games",
    "/people/mia/sites": "Roblox",
    "/people/mia/time": "Everything together",
    "/report": "Social networks",
    "/device": "Minecraft",
}
"""Pages that name services, with one of the names."""


@pytest.fixture
def home(web):
    fill(web)
    return web


@pytest.mark.parametrize("path", PAGES)
def test_a_named_service_has_an_icon_that_screen_readers_skip(home, path):
    with httpx.Client(
        base_url=home.url, trust_env=False, timeout=60, headers={"accept-language": "en"}, verify=False
    ) as client:
        page = client.get(path).text
    assert re.search(rf"{ICON}.{{1,400}}{PAGES[path]}", page, re.DOTALL), path


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_icons_are_readable_in_both_themes(chromium, home, theme):
    context = chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme=theme)
    page = context.new_page()
    for path in ("/", "/people/mia/topics", "/people/mia/sites"):
        page.goto(home.url + path)
        expect(page.locator(".app").first).to_be_visible()
        found = look_through(page, {"runOnly": {"type": "rule", "values": ["color-contrast"]}})
        assert found.violations_count == 0, found.generate_report()
    context.close()


def test_every_service_has_letters_and_every_group_a_drawing():
    services = Services.load().by_id.values()
    assert all(re.fullmatch(r"\w{1,2}", monogram(each.title)) for each in services)
    assert {each.group for each in services} <= set(GLYPHS)
