"""The guide on a phone: a family of four with three devices, from the QR code to Today, with its taps and keystrokes
counted.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lab.spaces import Space, connect, spaces
from playwright.sync_api import Locator, Page
from small_internet.browser import FOR_PAGES, browser_for_pages
from small_internet.running import setup_code, wait_until, without_internet

from hedgerow.policies.network import BlockedAnswer
from hedgerow.policies.reading.load import load_policy

pytestmark = [
    pytest.mark.root,
    pytest.mark.browser,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(not FOR_PAGES.exists(), reason="needs Debian's chromium"),
]

MAX_TAPS, MAX_KEYSTROKES = 14, 30
SERVER = "192.168.77.1"
DEVICES = {"phone": 10, "tablet": 11, "laptop": 12}
PASSWORD = "otter lake"
ROOT = Path(__file__).parents[2]
JOBS, FIRST_DAY, STEPS = (
    ROOT / name for name in ("docs/parent-jobs.md", "docs/first-day.md", "bench/results/guide_taps.md")
)
SHOTS = os.environ.get("HEDGEROW_SHOTS")
"""The folder that gets a screenshot of each step in both themes, if there is one."""
PIXEL = "Mozilla/5.0 (Linux; Android 11; Pixel 5) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Mobile Safari/537.36"  # noqa: E501
SMALL = """[...document.querySelectorAll('button, select, summary, input:not([type=hidden], [type=checkbox], [type=radio]), a.button')]
  .filter(each => each.offsetParent && each.getBoundingClientRect().height < 44).map(each => each.outerHTML.slice(0, 120))"""  # noqa: E501


@dataclass
class Hand:
    """A thumb on the screen: every tap and every key counts. Each field is tapped, unless it has the focus already."""

    page: Page
    taps: int = 0
    keystrokes: int = 0

    def tap(self, place: Locator) -> None:
        place.tap()
        self.taps += 1

    def type(self, place: Locator, text: str) -> None:
        if not place.evaluate("each => each === document.activeElement"):
            self.tap(place)
        self.page.keyboard.type(text)
        self.keystrokes += len(text)


@pytest.fixture
def home() -> Iterator[dict[str, Space]]:
    """Machines on one network: a server and three devices that nobody has named."""
    with spaces("server", *DEVICES) as made:
        named = dict(zip(("server", *DEVICES), made, strict=True))
        server = named["server"]
        server.ip("link", "add", "br0", "type", "bridge")
        server.ip("link", "set", "br0", "up")
        server.ip("address", "add", f"{SERVER}/24", "dev", "br0")
        for name, number in DEVICES.items():
            connect(server, name, named[name], "eth0", f"02:00:00:00:77:{number:02x}")
            server.ip("link", "set", name, "master", "br0")
            named[name].ip("address", "add", f"192.168.77.{number}/24", "dev", "eth0")
            named[name].files = {}
        yield named


def is_blocked(space: Space, name: str) -> bool:
    return space.run("kdig", f"@{SERVER}", "+short", "+timeout=5", "+retry=0", name).stdout.strip() in (
        "0.0.0.0",
        SERVER,
    )


def tells_why(space: Space, name: str) -> bool:
    """Return whether a browser without a proxy comes to the block page."""
    lead = ("--resolve", f"{name}:80:{SERVER}")
    return "<form" in space.run("curl", "-s", "-H", "Accept: text/html", *lead, f"http://{name}/").stdout


def test_a_family_is_protected_within_a_few_taps(home: dict[str, Space], tmp_path: Path) -> None:
    state, errors = tmp_path / "state", tmp_path / "stderr"
    addresses = ("--dns", f"{SERVER}:53", "--proxy", f"{SERVER}:3128", "--web", "0.0.0.0:8053")
    process = home["server"].start_hedgerow(
        "up", "--state", str(state), *addresses, stderr=errors, directory=tmp_path, environment=without_internet()
    )
    assert process.stdout
    assert "ready" in process.stdout.readline(), errors.read_text()
    asks = functools.partial(is_blocked, name="www.pornhub.com")
    wait_until(lambda: asks(home["tablet"]), 30, "filtered before anybody set it up")
    browser = tmp_path / "chromium"
    browser.write_text(f'#!/bin/sh\nexec nsenter --net=/run/netns/{home["phone"].name} {FOR_PAGES} "$@"\n')
    browser.chmod(0o755)
    with browser_for_pages(program=browser) as chromium:
        context = chromium.new_context(
            viewport={"width": 390, "height": 844},
            has_touch=True,
            is_mobile=True,
            user_agent=PIXEL,
            locale="pt-PT",
            timezone_id="Europe/Lisbon",
        )
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda said: complaints.append(said.text))
        hand = Hand(page)
        do_the_guide(hand, f"http://{SERVER}:8053/start#{setup_code(state)}", lambda: asks(home["laptop"]))
        # Browsers say that they ignore this header of pages without TLS, and how the ports of the block page answered.
        harmless = ("Cross-Origin-Opener-Policy", "status of 403", "ERR_SSL_")
        assert [text for text in complaints if not any(each in text for each in harmless)] == []
        context.close()
    policy = load_policy(tmp_path / "hedgerow.yaml")
    assert (policy.network.country, policy.network.timezone) == ("PT", "Europe/Lisbon")
    assert {name: person.profile for name, person in policy.people.items()} == {
        "Ana": "adult",
        "Mia": "child-8-12",
        "Tom": "teen-13-15",
        "Ben": "adult",
    }
    assert sorted((device.person or "", device.macs) for device in policy.devices.values()) == [
        ("Ana", ("02:00:00:00:77:0a",)),
        ("Mia", ("02:00:00:00:77:0b",)),
        ("Tom", ("02:00:00:00:77:0c",)),
    ]
    assert is_blocked(home["tablet"], "www.tiktok.com")
    assert policy.network.resolver.blocked_answer is BlockedAnswer.PAGE, "the phone reached both ports"
    wait_until(lambda: tells_why(home["tablet"], "www.tiktok.com"), 10, "a child with DNS only is told why")
    assert hand.taps <= MAX_TAPS
    assert hand.keystrokes <= MAX_KEYSTROKES
    for document in (JOBS, FIRST_DAY):
        assert f"{hand.taps} taps and {hand.keystrokes} keystrokes" in document.read_text()
    assert f"| **{hand.taps}** | **{hand.keystrokes}** |" in STEPS.read_text()


def do_the_guide(hand: Hand, url: str, asks_late: Callable[[], bool]) -> None:
    """Go from the QR code's address to Today.

    `asks_late`: a device asks for its first name while the step of the devices is on the screen, and is filtered.
    """
    page = hand.page

    def look(step: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, step
        assert page.evaluate(SMALL) == [], f"{step}: a thumb needs 44 pixels"
        for theme in ("dark", "light") if SHOTS else ():
            page.emulate_media(color_scheme=theme)
            page.screenshot(path=Path(SHOTS or "", f"{step}-{theme}.png"), full_page=True)

    go_on = page.locator("main form button.yes").last
    page.goto(url)
    assert page.url.endswith("/start"), "the code has left the address"
    look("password")
    hand.type(page.locator("[name=name]"), "Ana")
    hand.type(page.locator("[name=password]"), PASSWORD)
    hand.tap(go_on)
    page.wait_for_url("**/start/people")
    assert page.get_by_text("Portugal · ").is_visible(), "the phone knows where it is"
    look("people")
    for name, text in (("name-1", "Mia"), ("age-1", "9"), ("name-2", "Tom"), ("age-2", "15"), ("name-3", "Ben")):
        hand.type(page.locator(f"[name={name}]"), text)
    hand.tap(page.locator("label", has=page.locator("[name=adult-3]")))
    hand.tap(go_on)
    page.wait_for_url("**/start/connect")
    look("connect")
    hand.tap(page.locator("main a.button.yes"))
    page.wait_for_url("**/start/devices")
    for number, owner in ((11, "Mia"), (12, "Tom")):
        if owner == "Tom":
            assert asks_late()
        field = page.locator("fieldset.belongs", has_text=re.compile(rf"192\.168\.77\.{number}|:77:0{number:x}"))
        hand.tap(field.locator(".owners label", has_text=owner))
    look("devices")
    assert page.locator("fieldset.belongs").first.locator("input:checked").input_value() == "Ana"
    hand.tap(go_on)
    page.wait_for_url("**/start/done")
    look("done")
    hand.tap(page.locator("main a.button", has_text=re.compile("Hoje|Today")))
    page.wait_for_url(re.compile(r":8053/$"))
    page.goto(f"http://{SERVER}:8053/start/children")
    look("children")
    page.goto(f"http://{SERVER}:8053/start/place")
    zone = page.locator("[name=zone]")
    for country, chosen in (("DE", "Europe/Berlin"), ("US", "Europe/Berlin"), ("PT", "Europe/Lisbon")):
        page.locator("[name=country]").select_option(country)
        assert zone.input_value() == chosen, "a country with many time zones leaves the choice to its people"
    look("place")
