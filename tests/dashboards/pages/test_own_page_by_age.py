"""The child's own page by age: pictures for the youngest, the family's words for others, and no names that harm."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, expect
from small_internet.browser import look_through
from web_server import NOW, Web

from hedgerow.dashboards.control import DeviceView
from hedgerow.policies.host_facts import Lifelines
from hedgerow.policies.model import AccessRequest, DeviceId, Grant, Observation, Reason, RequestKind, Verdict
from hedgerow.policies.text.locales import LANGUAGES

ADDRESS = "127.0.0.2"
HOUSE = """\
network: {timezone: Europe/Lisbon, country: GB}
people:
  Zoe: {age: 6, devices: [zoe-tablet], bedtime: "19:00-07:00"}
  Mia: {age: 9, devices: [mia-tablet], privacy: full, block: [tiktok]}
  Tom: {age: 13, devices: [tom-phone], privacy: full, block: [reddit]}
  Eva: {age: 16, devices: [eva-phone], privacy: full}
devices:
  zoe-tablet: {ip: 192.168.1.30}
  mia-tablet: {ip: 192.168.1.31}
  tom-phone: {ip: 192.168.1.32}
  eva-phone: {ip: 192.168.1.33, trusts_ca: true}
"""
VIEWS = {
    "Zoe": ("zoe-tablet", "child-under-8"),
    "Mia": ("mia-tablet", "child-8-12"),
    "Tom": ("tom-phone", "teen-13-15"),
    "Eva": ("eva-phone", "teen-16-17"),
}
BLOCKED = (
    ("www.pornhub.com", Reason.CATEGORY, "adult"),
    ("xvideos-pictures.example", Reason.RECOGNISED, "adult"),
    ("www.youporn.com", Reason.BEDTIME, "bedtime"),
    ("www.xhamster.com", Reason.PAUSE, "pause"),
    ("cams.example", Reason.PAGE, "90 of 50"),
    ("bet365.com", Reason.CATEGORY, "gambling"),
    ("www.tiktok.com", Reason.SERVICE, "tiktok"),
    ("www.roblox.com", Reason.SERVICE, "roblox"),
)
HARSH = re.compile("porn|xvideos|xhamster|cams|bet365|gambling|self-harm|suicide|violence", re.IGNORECASE)
OFFICE = re.compile(r"(?<!\bour )\brules?\b|in charge|manage this network|changes the rule", re.IGNORECASE)


@pytest.fixture
def child(web: Web) -> Iterator[httpx.Client]:
    web.policy_path.write_text(HOUSE)
    for name, (device, profile) in VIEWS.items():
        web.recorder.add(
            Observation(NOW - 60, DeviceId(device), name, profile, RequestKind.DNS, Verdict.BLOCK, reason, what, host)
            for host, reason, what in BLOCKED
        )
    web.recorder.flush()
    transport = httpx.HTTPTransport(local_address=ADDRESS, verify=False)
    headers = {"origin": web.url, "accept-language": "en"}
    with httpx.Client(base_url=web.url, transport=transport, trust_env=False, timeout=60, headers=headers) as client:
        yield client


def sits_at(
    web: Web,
    name: str,
    held: str = "",
    until: float | None = None,
    by: Reason | None = None,
    *,
    is_wrong: bool = False,
) -> None:
    device, profile = VIEWS[name]
    lines = Lifelines.load().for_country("GB")
    web.control.devices[ADDRESS] = DeviceView(
        DeviceId(device), name, profile, lines, held, held_until=until, held_by=by, by_wrong_clock=is_wrong
    )


def told(child: httpx.Client, path: str = "/device") -> str:
    """Return the text of a page without its helplines and the rules on which the family has agreed."""
    main = child.get(path).text.partition("<main")[2]
    main = re.sub(
        r'<section class="care".*?</section>|<section class="card" id="agreement".*?</section>', "", main, flags=re.S
    )
    return " ".join(re.sub(r"<[^>]+>", " ", main).split())


def test_a_six_year_old_sees_three_pictures_and_no_list(web: Web, child: httpx.Client) -> None:
    sits_at(web, "Zoe")
    page, text = child.get("/device").text, told(child)
    assert page.count('class="drawing"') == 3
    assert '<details class="card" id="advice">' in page, "words that a six-year-old cannot read are folded"
    assert [title in text for title in ("This is open", "This is closed", "I want to ask")] == [True] * 3
    assert "<table" not in page
    assert not [name for name in ("4chan", "more", "Pornography", "crypto", "Bumble") if name in text]
    assert not OFFICE.search(text)
    assert not HARSH.search(text)
    assert set(re.findall(r'name="site" value="([^"]+)"', page)) == {"www.tiktok.com", "www.roblox.com"}


def test_what_a_six_year_old_asks_with_one_touch_is_asked(web: Web, child: httpx.Client) -> None:
    sits_at(web, "Zoe")
    web.ledger.file(AccessRequest(NOW, DeviceId("zoe-tablet"), "Zoe", "www.roblox.com", reason="service: roblox"))
    text = told(child)
    assert "Your question is on its way! Roblox" in text
    assert 'value="www.roblox.com"' not in child.get("/device").text, "it is not offered twice"


def test_a_six_year_old_reads_good_night_at_bedtime_and_when_it_ends(web: Web, child: httpx.Client) -> None:
    sits_at(web, "Zoe", "bedtime", NOW + 36_000, Reason.BEDTIME)
    text = told(child)
    assert "Good night!" in text
    assert "It opens again: tomorrow, 07:27." in text
    assert "This is open" not in text


@pytest.mark.parametrize("name", ["Mia", "Tom", "Eva"])
def test_older_children_read_the_familys_words_and_no_names_that_harm(web: Web, child: httpx.Client, name: str) -> None:
    sits_at(web, name)
    text = told(child)
    assert not OFFICE.search(text), OFFICE.findall(text)
    assert not HARSH.search(text), HARSH.findall(text)
    assert "What is not for children is left out here" in text
    assert "Your parents see this list too" in text
    assert "Roblox" in text
    assert name != "Mia" or "4chan" not in text


def test_each_age_has_its_own_tone(web: Web, child: httpx.Client) -> None:
    firsts = {}
    for name in VIEWS:
        sits_at(web, name)
        firsts[name] = told(child).partition("!")[2][:60]
    assert firsts["Tom"] == firsts["Eva"]
    assert len(set(firsts.values())) == 3


def test_a_child_reads_who_closed_something_and_until_when(web: Web, child: httpx.Client) -> None:
    sits_at(web, "Mia", "dinner", NOW + 3600, Reason.SCHEDULE)
    text = told(child)
    assert "Your parents closed the internet until 22:27" in text
    assert "Closed by your parents TikTok" in text
    sits_at(web, "Mia", "pause", NOW + 3600, Reason.PAUSE)
    assert "Your parents paused the internet until 22:27" in told(child)
    sits_at(web, "Tom", "bedtime", by=Reason.BEDTIME, is_wrong=True)
    assert "It is bedtime until the clock is right." in told(child)
    sits_at(web, "Tom", "first", by=Reason.SCHEDULE)
    assert "the clock is right" not in told(child)


@pytest.mark.parametrize("held", ["default", "bedtime", "pause", "budget", "schedule"])
def test_the_name_of_a_schedule_is_not_taken_for_the_reason(web: Web, child: httpx.Client, held: str) -> None:
    sits_at(web, "Zoe", held, NOW + 3600, Reason.SCHEDULE)
    text = told(child)
    assert "Break time!" in text
    assert "Good night!" not in text
    assert "This page is closed" not in text
    sits_at(web, "Mia", held, NOW + 3600, Reason.SCHEDULE)
    assert "Your parents closed the internet until 22:27" in told(child)
    sits_at(web, "Tom", held, NOW + 3600, Reason.SCHEDULE)
    name = "" if held == "schedule" else f" ({held})"
    assert f"The internet is closed at this time{name} until 22:27" in told(child)


def test_the_browsers_own_error_is_prepared_for_where_no_page_can_say_why(web: Web, child: httpx.Client) -> None:
    sits_at(web, "Tom")
    assert "This site can’t be reached" in told(child)
    sits_at(web, "Eva")
    assert "can’t be reached" not in told(child), "her phone trusts the certificate, and shows the page that says why"


def test_a_six_year_old_sees_what_the_browser_shows_in_place_of_a_page(web: Web, child: httpx.Client) -> None:
    """Leo cannot read the browser's own error, and no page can say why without the certificate."""
    sits_at(web, "Zoe")
    page = child.get("/device").text
    closed = page.partition('class="card picture is-closed"')[2].partition("</section>")[0]
    assert 'class="errorpage"' in closed
    assert "If you see something like this, it is closed here. Ask below!" in closed
    assert page.index('class="errorpage"') < page.index('id="ask"')
    text = web.policy_path.read_text().replace("192.168.1.30}", "192.168.1.30, trusts_ca: true}")
    web.policy_path.write_text(text)
    assert 'class="errorpage"' not in child.get("/device").text, "this tablet shows the page that says why"


def test_a_six_year_old_reads_that_the_answer_is_yes(web: Web, child: httpx.Client) -> None:
    sits_at(web, "Zoe")
    asked = AccessRequest(NOW, DeviceId("zoe-tablet"), "Zoe", "www.tiktok.com", reason="service: tiktok")
    id = web.ledger.file(asked)
    assert id is not None
    web.ledger.approve(id, Grant("g1", "tiktok", "Ana", NOW, NOW + 3600, person="Zoe"))
    text = told(child)
    assert "It’s open now! TikTok" in text
    assert 'value="www.tiktok.com"' not in child.get("/device").text, "it is not asked for again"
    sits_at(web, "Zoe", "bedtime", NOW + 36_000, Reason.BEDTIME)
    assert "open now" not in told(child)


@pytest.mark.browser
@pytest.mark.parametrize("name", ["Mia", "Tom"])
def test_the_answer_the_question_and_help_are_on_the_first_screen(
    web: Web, child: httpx.Client, chromium: Browser, name: str
) -> None:
    sits_at(web, name)
    device = VIEWS[name][0]
    for number in range(4):
        id = web.ledger.file(AccessRequest(NOW + number, DeviceId(device), name, f"news{number}.example"))
        assert id is not None
        web.ledger.deny(id, "ana")
    page = chromium.new_page(viewport={"width": 390, "height": 844}, locale="en")
    web.control.devices["127.0.0.1"] = web.control.devices[ADDRESS]
    page.goto(f"{web.url}/device")
    answer = page.get_by_text("The answer is no: news3.example")
    places = [
        each.bounding_box()
        for each in (page.locator('a[href="#care"]'), answer, page.get_by_role("button", name="Ask", exact=True))
    ]
    assert [place is not None and place["y"] + place["height"] < 844 for place in places] == [True] * 3
    expect(page.get_by_text("news0.example")).to_be_hidden()
    page.locator("#asked-before summary").click()
    expect(page.get_by_text("news0.example")).to_be_visible()
    page.locator('a[href="#care"]').click()
    expect(page.locator(".worry > summary")).to_be_in_viewport()
    page.close()


def test_a_no_can_be_talked_about_with_the_parents(web: Web, child: httpx.Client) -> None:
    sits_at(web, "Mia")
    id = web.ledger.file(AccessRequest(NOW, DeviceId("mia-tablet"), "Mia", "news.example"))
    assert id is not None
    web.ledger.deny(id, "ana")
    assert "news.example stays closed. You can talk about it with your parents." in told(child)


def test_the_sheet_of_a_child_says_nothing_of_the_others(web: Web) -> None:
    web.policy_path.write_text(HOUSE)
    with httpx.Client(base_url=web.url, trust_env=False, timeout=60, verify=False) as parent:
        for name in VIEWS:
            page = parent.get("/start/children", params={"of": name}).text
            sheet = " ".join(re.findall(r'<section class="card.*?</section>', page, re.S))
            assert [each for each in VIEWS if each in sheet] == [name]
            if name in ("Zoe", "Mia"):
                assert not HARSH.search(sheet.partition('id="help-title"')[0])
            links = re.findall(r'href="/start/children\?of=(\w+)"', page)
            assert links == list(VIEWS), "one sheet per child"
        assert "<h3><bdi>Zoe" in parent.get("/start/children?of=nobody").text


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_the_pictures_are_explained_in_every_language(web: Web, child: httpx.Client, code: str) -> None:
    sits_at(web, "Zoe")
    child.headers["accept-language"] = code
    text = told(child)
    assert child.get("/device").text.count("drawing") == 3
    assert not [each for each in ("This is open", "I want to ask", "is awake", "look here") if each in text]


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_of_all_ages_fit_a_phone_and_are_accessible(
    web: Web, child: httpx.Client, chromium: Browser, scheme: Literal["light", "dark"]
) -> None:
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, color_scheme=scheme, is_mobile=True, locale="en"
    )
    page = context.new_page()
    for name in VIEWS:
        sits_at(web, name)
        web.control.devices["127.0.0.1"] = web.control.devices[ADDRESS]
        page.goto(f"{web.url}/device")
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert look_through(page).response["violations"] == [], name
    context.close()
