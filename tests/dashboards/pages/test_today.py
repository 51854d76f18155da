"""Today on a phone: what a parent needs in one screen, and buttons that have an effect."""

import re

import pytest
from playwright.sync_api import expect
from web_server import NOW
from web_server.household import fill

from hedgerow.dashboards.control import BudgetRow
from hedgerow.journal.messages import DeviceSeen
from hedgerow.policies.model import DeviceId
from hedgerow.policies.reading.load import load_policy

MIDNIGHT = 1_780_009_200.0
"""The end of the day in Lisbon."""

pytestmark = pytest.mark.browser
PHONE = {"width": 390, "height": 844}
BAR = 60
"""Pixels of the bar at the bottom."""


@pytest.fixture
def home(web):
    """A family whose time has come to sit down at the table: it is 21:26, nobody is in bed, and all devices of children
    are in use.
    """
    fill(web)
    house, _, rest = web.policy_path.read_text().partition("seats:")
    text = f"{house}notices:{rest.partition('notices:')[2]}"
    text = text.replace("[mia-tablet, console]", "[mia-tablet]")
    web.policy_path.write_text(text.replace("20:30-07:00", "23:30-07:00").replace("22:30-06:30", "23:30-06:30"))
    return web


@pytest.fixture
def phone(chromium, home):
    context = chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True, locale="en")
    page = context.new_page()
    page.goto(home.url)
    yield page
    context.close()


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def tap(page, name):
    """Tap a button, and wait for the page that follows."""
    with page.expect_navigation():
        button(page, name).click()


def pauses(web):
    return [(pause.person, pause.device) for pause in web.control.reader.pauses(NOW)]


def test_pause_children_and_requests_are_on_the_first_screen(phone):
    places = {
        name: phone.locator(selector).last.bounding_box()
        for name, selector in {
            "pause": "button:has-text('Pause all')",
            "child": ".child",
            "request": "#requests .answers .yes",
            "link": "nav[aria-label='More of today'] a",
        }.items()
    }
    assert places["pause"]["y"] < places["request"]["y"] < places["child"]["y"] < places["link"]["y"]
    assert places["link"]["y"] + places["link"]["height"] <= PHONE["height"] - BAR
    assert phone.evaluate("document.documentElement.scrollHeight") < PHONE["height"] * 1.25
    for region in ("Today so far", "Blocked today, and why", "Pause"):
        assert phone.get_by_role("heading", name=region, exact=True).count() == 0


@pytest.fixture
def full_house(chromium, home):
    """Three children with limits, one request and one warning."""
    text = home.policy_path.read_text()
    leo = '  Leo: {age: 7, devices: [console], bedtime: "23:00-07:00"}\n  Ana: {profile'
    home.policy_path.write_text(text.replace("  Ana: {profile", leo))
    home.time.rows = tuple(BudgetRow(name, "", 64, 90, 26, NOW + 10000) for name in ("mia", "tom", "Leo"))
    home.ledger.deny(2, "Ana")
    home.recorder.add([DeviceSeen(NOW - 60, DeviceId("console"), "192.168.1.40", None, "Leo", "child-under-8")])
    home.recorder.flush()
    home.change_status(journal_problem="the disk is slow", lists=(), coverage=())
    context = chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True, locale="en")
    page = context.new_page()
    page.goto(home.url)
    yield page
    context.close()


def test_three_children_a_request_and_a_warning_fit_one_screen_and_no_toast_covers_an_answer(full_house):
    trouble = full_house.locator("#trouble-journal")
    expect(full_house.locator(".child")).to_have_count(3)
    assert trouble.bounding_box()["height"] < 60, "the warning is one line"
    last = full_house.locator(".child").last.bounding_box()
    assert last["y"] + last["height"] <= PHONE["height"] - BAR
    trouble.locator("summary").first.tap()
    expect(trouble).to_contain_text("only the log has gaps")
    trouble.locator("summary").first.tap()
    tap(full_house, "Pause mia")
    told = full_house.locator(".toast").bounding_box()
    answers = full_house.locator("#requests button:visible, #requests summary:visible").all()
    assert len(answers) >= 3
    for answer in answers:
        box = answer.bounding_box()
        assert box["y"] + box["height"] <= told["y"]


@pytest.mark.parametrize("count", [1, 4, 7])
def test_what_waits_comes_first_however_many_children_there_are(chromium, home, count):
    names = [f"Kim{number}" for number in range(count)]
    children = "".join(f"  {name}: {{age: 9}}\n" for name in names)
    head, _, rest = home.policy_path.read_text().partition("people:\n")
    home.policy_path.write_text(f"{head}people:\n{children}{rest}")
    context = chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True, locale="en")
    page = context.new_page()
    page.goto(home.url)
    pause = page.get_by_role("button", name="Pause all").bounding_box()
    waiting = page.get_by_text("requests are waiting" if count > 1 else "Requested").first
    answer = page.get_by_role("button", name="Allow").first
    child = page.locator(".child").first.bounding_box()
    assert pause["y"] < waiting.bounding_box()["y"] < child["y"]
    assert child["y"] + child["height"] <= PHONE["height"] - BAR
    if count > 1:
        waiting.tap()
    assert waiting.bounding_box()["y"] < answer.bounding_box()["y"] < PHONE["height"] - BAR
    context.close()


def test_all_the_rest_is_behind_the_links(phone):
    phone.get_by_role("link", name="Whole day").click()
    for region in ("Pause", "Allowed in addition to the policy", "Today so far", "Blocked today, and why"):
        expect(phone.get_by_role("heading", name=region, exact=True)).to_be_visible()
    phone.get_by_role("main").get_by_role("link", name="Today", exact=True).click()
    phone.get_by_role("link", name=re.compile("^Blocked")).click()
    expect(phone.get_by_role("heading", name="Blocked today, and why")).to_be_in_viewport()


def test_while_all_are_paused_only_resume_all_is_offered(phone, home):
    tap(phone, "Pause all")
    assert (None, None) in pauses(home)
    expect(phone.locator(".everybody")).to_contain_text("The internet is paused for everybody")
    expect(phone.locator(".child").first).to_contain_text("Paused until 21:57")
    assert phone.get_by_role("button", name=re.compile("Pause|Homework")).count() == 0
    assert phone.get_by_role("button", name=re.compile("Resume|End")).all_inner_texts() == ["Resume all"]
    card = phone.locator(".child").last
    chevron, sum = card.locator(".more > summary").bounding_box(), card.locator(".sum").bounding_box()
    assert chevron["y"] >= sum["y"] + sum["height"] or card.locator(".tile").count()
    tap(phone, "Resume all")
    assert (None, None) not in pauses(home)
    expect(button(phone, "Pause mia")).to_be_visible()


@pytest.mark.parametrize("everybody", [False, True])
def test_homework_has_one_resume_which_resumes(phone, home, everybody):
    tap(phone, "Homework for mia: an hour without games, videos and chats")
    assert ("mia", None) in pauses(home)
    if everybody:
        tap(phone, "Pause all")
        assert phone.get_by_role("button", name=re.compile("Resume")).all_inner_texts() == ["Resume all"]
        tap(phone, "Resume all")
    assert phone.get_by_role("button", name=re.compile("Resume|homework", re.IGNORECASE)).count() == 2, "tom's homework"
    expect(button(phone, "Pause mia")).to_have_count(0)
    tap(phone, "Resume mia")
    assert ("mia", None) not in pauses(home)
    expect(button(phone, "Pause mia")).to_be_visible()


@pytest.mark.parametrize(
    ("used", "limit", "full"), [(0, 90, 0), (45, 90, 0.5), (90, 90, 1), (130, 90, 1), (0, 0, 1), (5, 5, 1)]
)
def test_the_bar_is_full_once_the_limit_is_used_up(phone, home, used, limit, full):
    home.time.rows = (BudgetRow("mia", "", used, limit, max(0, limit - used), NOW + 9000),)
    phone.goto(home.url)
    card = phone.locator(".child").first
    bar, filled = card.locator("svg.use"), card.locator("svg.use rect")
    share = filled.bounding_box()["width"] / bar.bounding_box()["width"] if full else 0
    assert share == pytest.approx(full, abs=0.01)
    expect(card).to_contain_text(f"{max(0, limit - used)} min left")
    assert phone.locator(".child").nth(1).locator("svg.use").count() == 0, "no limit, no bar"


def test_the_end_of_the_day_is_tomorrow(phone, home):
    home.ledger.pause("Ana", person="mia", ends=MIDNIGHT)
    home.ledger.pause("Ana", person="tom", ends=MIDNIGHT + 7 * 3600)
    phone.goto(home.url)
    expect(phone.locator(".child").nth(0)).to_contain_text("Paused until tomorrow")
    expect(phone.locator(".child").nth(1)).to_contain_text("Paused until tomorrow, 07:00")
    assert "00:00" not in phone.locator("main").inner_text()


def test_a_budget_is_one_tap(phone, home):
    phone.goto(f"{home.url}/people/tom#time")
    phone.get_by_role("form", name="Time for everything together every day").get_by_role("button", name="1½ h").click()
    expect(phone.locator("input[name=school]").first).to_have_value("90")
    expect(phone.locator(".said")).to_contain_text("tom's time each day: 1 hour 30 minutes.")
    (allowance,) = (each for each in load_policy(home.policy_path).people["tom"].rules.budget or () if not each.subject)
    assert set(allowance.daily) == {90}


@pytest.mark.parametrize(("answer", "minutes"), [("Hours", 60), ("Minutes", 1)])
def test_one_is_not_taken_for_a_minute_without_asking(phone, home, answer, minutes):
    before = home.policy_path.read_text()
    phone.goto(f"{home.url}/people/tom/time")
    form = phone.locator("#time form.limit").first
    form.locator("input[name=school]").fill("1")
    form.get_by_role("button").click()
    expect(phone.get_by_role("heading", level=1)).to_have_text("1 minutes, or hours?")
    assert home.policy_path.read_text() == before
    with phone.expect_navigation():
        button(phone, answer).click()
    (allowance,) = (each for each in load_policy(home.policy_path).people["tom"].rules.budget or () if not each.subject)
    assert set(allowance.daily[:5]) == {minutes}
