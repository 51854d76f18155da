"""The announcements on a phone: accessible in both themes, and no label wider than the screen in any language."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from small_internet.browser import CHROMIUM, look_through
from web_server import NOW, Web, running_web

from hedgerow.dashboards.control import DeviceView
from hedgerow.features.growing_up.keeper import GrowthKeeper
from hedgerow.features.growing_up.stages import GrowthStage
from hedgerow.policies.identity import Grade
from hedgerow.policies.model import DeviceId
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.text.locales import LANGUAGES
from hedgerow.seen_time import DAY_S

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
WIDTH = 390
THIS_MACHINE = "127.0.0.1"
COMPLETE = ("en", "de", "es", "fr", "pt", "pt-BR")
HOUSE = """
network: {lan: [127.0.0.0/8], timezone: UTC, country: MY, follow_law: true}
people:
  mia: {born: 2013-06, devices: [mia-tablet]}
  tom: {age: 15, allow: [social], devices: [tom-phone]}
  eve: {born: 2008-05, devices: [eve-phone]}
devices:
  mia-tablet: {ip: 127.0.0.31}
  tom-phone: {ip: 127.0.0.32}
  eve-phone: {ip: 127.0.0.33}
"""
OWN = {
    "mia": (DeviceView(DeviceId("mia-tablet"), "mia", "child-8-12", grade=Grade.ADDRESS), "#growing"),
    "tom": (DeviceView(DeviceId("tom-phone"), "tom", "teen-13-15", grade=Grade.ADDRESS), "#legal"),
    "eve": (DeviceView(DeviceId("eve-phone"), "eve", "adult", grade=Grade.ADDRESS), "#growing"),
}
"""The devices, and the card on each one's page: another profile, a law that commences, and an erasure."""


async def _at_once() -> None:
    """Wait for nothing."""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    state = tmp_path_factory.mktemp("growing")
    (state / "hedgerow.yaml").write_text(HOUSE)
    with running_web(state) as running:
        policy, clock = parse_policy(HOUSE.encode(), None), NOW - 40 * DAY_S
        keeper = GrowthKeeper(running.engine, lambda: policy, str, _at_once, lambda: clock, uptime=lambda: clock)
        while clock < NOW:
            keeper.look()
            clock += DAY_S
        keeper._kept.replace(GrowthStage("eve", "2008-05", "adult", erased_at=NOW + 20 * DAY_S, unseen=20 * DAY_S))
        yield running


@pytest.fixture(scope="module")
def phone() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser: Browser = playwright.chromium.launch(executable_path=str(CHROMIUM))
        size = {"width": WIDTH, "height": 844}
        yield browser.new_context(viewport=size, ignore_https_errors=True).new_page()  # type: ignore[arg-type]
        browser.close()


def _check(page: Page, url: str, card: str, codes: tuple[str, ...]) -> None:
    """Look through a page that has the card in both themes, and measure it in each language."""
    page.set_extra_http_headers({"accept-language": "en"})
    page.goto(url)
    assert page.locator(card).first.is_visible()
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert look_through(page).response["violations"] == [], (url, theme)
    for code in codes:
        page.set_extra_http_headers({"accept-language": code})
        page.goto(url)
        assert page.evaluate("document.documentElement.lang") == code
        assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH, (url, code)


@pytest.mark.parametrize("person", OWN)
def test_a_childs_own_page_with_an_announcement(web: Web, phone: Page, person: str) -> None:
    view, card = OWN[person]
    web.control.devices[THIS_MACHINE] = view
    _check(phone, f"{web.url}/device", card, tuple(LANGUAGES))
    del web.control.devices[THIS_MACHINE]


@pytest.mark.parametrize(
    ("path", "card"),
    [("/", "#growing-1"), ("/", "#legal-1"), ("/people/mia", "#growing-1"), ("/people/tom", "#legal-1")],
)
def test_a_parents_page_with_an_announcement(web: Web, phone: Page, path: str, card: str) -> None:
    _check(phone, f"{web.url}{path}", card, COMPLETE)
