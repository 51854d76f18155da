"""*Why?* in a parent's words: a sentence first, and files, lists and names of rules behind *Details*."""

import httpx
import pytest
from playwright.sync_api import expect
from web_server import NOW, TOKEN
from web_server.household import fill

from hedgerow.dashboards.control import BudgetRow
from hedgerow.journal.rule_versions import RuleVersions
from hedgerow.policies.model import DeviceId, Observation, Reason, RequestKind, Verdict

MIA = DeviceId("mia-tablet")
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def home(web):
    """Mia has an hour per day, which is used up; it is not bedtime yet."""
    fill(web)
    text = web.policy_path.read_text().replace("{school-days: 1h30m, weekend: 3h}", "1h")
    web.policy_path.write_text(text.replace("20:30-07:00", "23:30-07:00"))
    web.time.rows = (BudgetRow("mia", "", 60, 60, 0, NOW + 9200), BudgetRow("mia", "games", 45, 45, 0, NOW + 9200))
    return web


@pytest.fixture
def phone(chromium, home):
    context = chromium.new_context(viewport=PHONE, has_touch=True, is_mobile=True, locale="en")
    page = context.new_page()
    yield page
    context.close()


def record(web, host, reason, what, rule):
    """Record a block, with the rules of today, and return the number of its row."""
    place = str(web.policy_path)
    version = RuleVersions(web.engine).record(NOW - 7200, "p", "l", {place: web.policy_path.read_text()}, ())
    row = Observation(
        NOW, MIA, "mia", "child-8-12", RequestKind.DNS, Verdict.BLOCK, reason, what, host, "", rule, version=version
    )
    web.recorder.add([row])
    web.recorder.flush()
    return next(each.id for each in web.control.reader.decisions(limit=1).rows)


@pytest.mark.browser
@pytest.mark.parametrize(
    ("reason", "what", "said"),
    [
        (Reason.BUDGET, "", "The limit of 1 hour was used up."),
        (Reason.BUDGET, "games", "The limit of 45 minutes for Games was used up."),
        (Reason.CATEGORY, "gambling", "It belongs to Gambling, which is closed here."),
        (Reason.SERVICE, "roblox", "Roblox is closed here."),
        (Reason.BEDTIME, "bedtime", "It is bedtime."),
        (Reason.SCHEDULE, "dinner", "It is closed during dinner."),
        (Reason.RULE, "news.example", "The rule for news.example closes it."),
        (Reason.BYPASS, "vpn", "It is a way round the filter."),
    ],
)
def test_a_block_is_explained_in_one_sentence_and_files_are_folded(phone, home, reason, what, said):
    row = record(home, "www.game.example", reason, what, f"{home.policy_path}:10")
    phone.goto(f"{home.url}/why?row={row}")
    expect(phone.get_by_text(said, exact=True)).to_be_visible()
    assert ".yaml" not in phone.locator("main").inner_text()
    phone.locator("summary", has_text="Details").first.click()
    expect(phone.get_by_text("Rules and lists")).to_be_visible()


@pytest.mark.browser
def test_what_holds_now_is_said_in_the_same_words(phone, home):
    phone.goto(f"{home.url}/why?who=person:mia&target=roblox")
    expect(phone.get_by_text("Roblox is closed here.", exact=True).first).to_be_visible()
    text = phone.locator("main").inner_text()
    assert ".yaml" not in text
    assert "people:" not in text
    phone.locator("summary", has_text="Details").first.click()
    expect(phone.locator("main")).to_contain_text("hedgerow.yaml")


def test_the_api_says_the_same_and_keeps_its_fields(home):
    query = {"device": MIA, "target": "roblox.com"}
    with httpx.Client(
        base_url=home.url,
        headers={"authorization": f"Bearer {TOKEN}"},
        trust_env=False,
        verify=False,
        timeout=60,
    ) as script:
        told = script.get("/api/v1/explain", params=query).json()
    assert told[0]["why"] == "Roblox is closed here."
    assert {"verdict", "reason", "what", "rule", "until"} <= told[0]["decision"].keys()
