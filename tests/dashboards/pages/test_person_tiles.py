"""A person's page: tiles with today's values, each of which opens one thing, also by the addresses of before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, expect
from web_server import NOW, Web
from web_server.household import fill

from hedgerow.dashboards.control import BudgetRow
from hedgerow.dashboards.pages.people import PARTS
from hedgerow.journal.messages import ProtectionSeen
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import DeviceId

PHONE = {"width": 390, "height": 844}
MOST_BYTES, MOST_NODES = 60_000, 800
SITES = ", ".join(f"site-{number}.example" for number in range(60))
HOUSE = f"""\
network: {{timezone: Europe/Lisbon}}
people:
  Zoe:
    age: 9
    devices: [zoe-tablet, zoe-phone, zoe-console]
    bedtime: {{school-nights: "21:00-07:00", weekend: "22:00-08:00"}}
    budget: {{every-day: 1h, games: 30m, video: 45m, roblox: 20m}}
    block: [social, twitch, {SITES}]
    allow: [minecraft, wikipedia.org]
    chores: {{tidy: 10m, read: 15m}}
    schedules: {{homework: {{block: games, when: {{thu: "15:00-17:00"}}}}, dinner: {{block: internet, when: {{every-day: "18:00-18:45"}}}}}}
devices:
  zoe-tablet: {{ip: 192.168.1.31}}
  zoe-phone: {{ip: 192.168.1.32, trusts_ca: true}}
  zoe-console: {{ip: 192.168.1.33}}
"""  # noqa: E501


@pytest.fixture
def home(web: Web) -> Web:
    fill(web)
    web.policy_path.write_text(HOUSE)
    web.time.rows = (
        BudgetRow("Zoe", "", 15, 60, 45, NOW + 9000),
        BudgetRow("Zoe", "games", 10, 30, 20, NOW + 9000),
    )
    web.recorder.add([ProtectionSeen(NOW - 60, DeviceId("zoe-tablet"), Protection.DNS)])
    web.recorder.flush()
    return web


@pytest.fixture
def phone(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True, locale="en")  # type: ignore[arg-type]
    yield context
    context.close()


def get(web: Web, path: str) -> str:
    with httpx.Client(
        base_url=web.url, trust_env=False, timeout=60, headers={"accept-language": "en"}, verify=False
    ) as client:
        answer = client.get(path)
    assert answer.status_code == 200, path
    return answer.text


@pytest.mark.browser
def test_a_child_with_many_rules_and_devices_fits_a_light_page(phone: BrowserContext, home: Web) -> None:
    page = phone.new_page()
    page.goto(f"{home.url}/people/Zoe", wait_until="networkidle")
    assert page.evaluate("document.querySelectorAll('*').length") <= MOST_NODES
    carried = page.evaluate(
        "performance.getEntries().filter(each => each.transferSize).reduce((sum, each) => sum + each.transferSize, 0)"
    )
    assert 0 < carried <= MOST_BYTES
    assert len(get(home, "/people/Zoe").encode()) <= MOST_BYTES / 2, "also without compression"
    assert page.evaluate("document.documentElement.scrollHeight") <= 2 * 844
    assert page.get_by_role("switch").count() == 0


@pytest.mark.browser
def test_the_tiles_say_what_holds_today_and_open_one_thing_each(phone: BrowserContext, home: Web) -> None:
    page = phone.new_page()
    page.goto(f"{home.url}/people/Zoe")
    said = {
        "Time": "20 min left Games: 10 of 30 minutes used",
        "Bedtime": "until tomorrow, 07:00",
        "Other weekly times": "homework, dinner today 15:00–17:00; today 18:00–18:45",
        "Services": "[0-9]+ of [0-9]+ open",
        "Topics": "[0-9]+ of [0-9]+ open",
        "Own rules": "2 allowed, 62 blocked",
        "Protection": "Safe search: strict",
        "Devices": "3 .*zoe-tablet",
        "A code to read out": "",
        "About": "9 years old Child aged 8 to 12",
    }
    for title, value in said.items():
        link = page.get_by_role("navigation", name="Rules of Zoe").get_by_role("link", name=re.compile(f"^{title}"))
        expect(link).to_have_text(re.compile(rf"^\s*{title}\s*{value}".replace(" ", r"\s+")))
        link.tap()
        page.wait_for_url(re.compile("/people/Zoe/|/devices"))
        assert page.locator("main h2").first.is_visible()
        page.go_back()


@pytest.mark.parametrize("part", PARTS)
def test_each_part_has_a_page_with_a_way_back(home: Web, part: str) -> None:
    page = get(home, f"/people/Zoe/{part}")
    assert f'href="/people/Zoe/{part}" aria-current="page"' in page
    assert '<a class="back" href="/people/Zoe"' in page
    assert len(re.findall(r"\sid=\"([^\"]*)\"", page)) == len(set(re.findall(r"\sid=\"([^\"]*)\"", page)))
    with httpx.Client(base_url=home.url, trust_env=False, timeout=60, verify=False) as client:
        assert client.get(f"/people/nobody/{part}").status_code == 422
        assert 'id="schedules"><a href="/people/Zoe/schedules"' in client.get(f"/people/Zoe/{part}s-of-others").text


OLD = {
    "nights": "nights",
    "time": "time",
    "chores": "time",
    "schedules": "schedules",
    "topics": "topics",
    "switch-games": "topics",
    "services": "services",
    "switch-tiktok": "services",
    "sites": "sites",
    "youtube": "protection",
    "names": "protection",
    "code": "code",
    "about": "about",
    "age": "about",
}
"""Addresses within the page of before, and the parts that have these now."""


@pytest.mark.browser
def test_addresses_of_before_lead_to_the_part_that_they_name(phone: BrowserContext, home: Web) -> None:
    page = phone.new_page()
    for name, part in OLD.items():
        page.goto("about:blank")
        page.goto(f"{home.url}/people/Zoe#{name}")
        is_folded = name.startswith("switch-")  # its group opens by a query
        query = f"?switch={name.removeprefix('switch-')}" if is_folded else ""
        expect(page).to_have_url(f"{home.url}/people/Zoe/{part}{query}#{name}")
        if not name.startswith("switch-t"):
            expect(page.locator(f"#{name}")).to_be_visible()


@pytest.mark.browser
def test_without_scripts_an_address_of_before_marks_its_tile(chromium: Browser, home: Web) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport=PHONE)  # type: ignore[arg-type]
    page = context.new_page()
    for name, part in OLD.items():
        page.goto("about:blank")
        page.goto(f"{home.url}/people/Zoe#{name}")
        link = page.locator(f"#{part} > a")
        expect(link).to_be_in_viewport()
        if name != "switch-tiktok":  # of hundreds of services, the page names none
            expect(link).to_have_css("border-top-color", "rgb(42, 107, 60)")
    link.click()
    expect(page.get_by_role("button", name="Save")).to_be_visible()
    context.close()


@pytest.mark.browser
def test_a_wide_screen_shows_the_tiles_beside_the_open_part(chromium: Browser, home: Web) -> None:
    page = chromium.new_page(viewport={"width": 1280, "height": 900}, locale="en")
    page.goto(f"{home.url}/people/Zoe/time")
    page.get_by_role("navigation", name="Rules of Zoe").get_by_role("link", name=re.compile("^Bedtime")).click()
    expect(page.get_by_role("heading", name="Nights")).to_be_visible()
    expect(page.get_by_role("navigation", name="Rules of Zoe")).to_be_visible()
    page.close()


@pytest.mark.browser
def test_an_address_that_names_nothing_leaves_the_page_as_it_is(phone: BrowserContext, home: Web) -> None:
    """Browsers pass on what somebody typed after the number sign, such as a single percent sign."""
    page = phone.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    for fragment in ("%", "%E0%A4%A", "nothing", "switch-nothing", ""):
        page.goto("about:blank")
        page.goto(f"{home.url}/people/Zoe#{fragment}", wait_until="load")
        page.goto(f"{home.url}/people/Zoe/about?saved=0#{fragment}")
        expect(page.locator("#said.toast")).to_be_visible()
    assert not problems


@pytest.mark.parametrize(
    ("zone", "holidays", "own", "said"),
    [
        ("Europe/Lisbon", "[]", "", "today 15:00–17:00; today 08:00–08:30"),
        ("Europe/Lisbon", "[2026-05-28]", "", "today 10:00–11:00; today 08:00–08:30"),
        ("Europe/Lisbon", "[2026-05-28]", "holidays: []", "today 15:00–17:00; today 08:00–08:30"),
        ("Europe/Lisbon", "[]", "holidays: [2026-05-28]", "today 10:00–11:00; today 08:00–08:30"),
        ("Europe/Lisbon", "[]", "timezone: Pacific/Kiritimati", "today 15:00–17:00; today 09:00–09:30"),
    ],
)
def test_the_times_of_today_are_those_of_holidays_dates_and_the_persons_own_zone(
    web: Web, zone: str, holidays: str, own: str, said: str
) -> None:
    """Thursday evening in Lisbon is Friday in Kiritimati."""
    web.policy_path.write_text(f"""\
network: {{timezone: {zone}, holidays: {holidays}}}
people:
  Zoe:
    age: 9
    {own}
    schedules:
      homework: {{block: games, when: {{school-days: "15:00-17:00", holidays: "10:00-11:00"}}}}
      dentist: {{block: video, when: {{2026-05-28: "08:00-08:30", 2026-05-29: "09:00-09:30"}}}}
      # On this date the times of ordinary weeks do not apply.
      swimming: {{block: social, when: {{every-day: "12:00-13:00", 2026-05-28..2026-05-29: none}}}}
""")
    tile = get(web, "/people/Zoe").partition('id="schedules"')[2].partition("</li>")[0]
    assert said in tile
    assert tile.count("today") == 2


@pytest.mark.browser
def test_a_person_is_removed_after_a_question(phone: BrowserContext, home: Web) -> None:
    page = phone.new_page()
    page.goto(f"{home.url}/people/Zoe/about")
    page.get_by_role("button", name="Remove", exact=True).tap()
    expect(page.get_by_role("heading", name="Remove Zoe?")).to_be_visible()
    expect(page.get_by_text("The devices stay and follow the rules for unknown devices.")).to_be_visible()
    assert "Zoe" in home.control.policy().people
    page.get_by_role("link", name="Leave it as it is").tap()
    expect(page).to_have_url(f"{home.url}/people/Zoe/about")
    page.get_by_role("button", name="Remove", exact=True).tap()
    page.get_by_role("button", name="Remove", exact=True).tap()
    expect(page).to_have_url(re.compile("/people[?]saved="))
    assert "Zoe" not in home.control.policy().people


def test_a_form_leads_back_to_its_part_and_says_what_was_done(home: Web) -> None:
    with httpx.Client(
        base_url=home.url, trust_env=False, timeout=60, headers={"origin": home.url}, verify=False
    ) as parent:
        for path, sent, part in (
            ("site", {"site": "x.example", "stance": "block"}, "sites"),
            ("switch", {"close": "roblox"}, "services"),
            ("switch", {"close": "shopping"}, "topics"),
            ("age", {"age": "10"}, "about"),
            ("names", {"level": "mark"}, "protection"),
            ("youtube", {"item": "@clay.films"}, "protection"),
            ("chore", {"chore": "Water the plants", "minutes": "5"}, "time"),
            ("budget", {"what": "", "school": "60", "weekend": "90"}, "time"),
        ):
            answer = parent.post(f"/people/Zoe/{path}", data=sent)
            assert answer.status_code == 303, answer.text
            assert re.match(rf"/people/Zoe/{part}\?saved=", answer.headers["location"]), (path, answer.headers)
            assert "data-done=" in parent.get(answer.headers["location"]).text


def test_the_address_of_a_form_shows_the_part_that_has_it(home: Web) -> None:
    """Browsers that open their tabs again ask for what they last showed: a refused form."""
    for path, part in (
        ("site", "sites"),
        ("youtube", "protection"),
        ("holidays", "schedules"),
        ("budget", "time"),
        ("chore", "time"),
        ("age", "about"),
        ("remove", "about"),
    ):
        page = get(home, f"/people/Zoe/{path}")
        assert f'href="/people/Zoe/{part}" aria-current="page"' in page
        assert f'action="/people/Zoe/{path}"' in page
    assert 'aria-current="page"' not in get(home, "/people/Zoe/nothing").partition("<main")[2]


def test_a_name_with_any_letters_has_its_parts(web: Web) -> None:
    web.policy_path.write_text('people: {"Zoë / 2": {age: 9}}\n')
    assert web.control.policy().people
    page = get(web, "/people")
    assert quote("Zoë") in page


def test_a_service_is_found_by_a_part_of_its_name(home: Web) -> None:
    found = get(home, "/people/Zoe/services?find=ROBL")
    assert re.findall(r'id="switch-([^"]+)"', found) == ["roblox"]
    assert "No service matches." in get(home, "/people/Zoe/services?find=no+such+thing")
