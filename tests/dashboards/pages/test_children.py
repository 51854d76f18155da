"""The cards of the children on Today: what they tell, to whom, and what they never tell."""

import re

import httpx
import pytest
from web_server import NOW
from web_server.big_family import fill_big

from hedgerow.dashboards.control import BudgetRow
from hedgerow.journal.activity import VisitReader
from hedgerow.journal.messages import DeviceSeen, ProtectionSeen
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.host_facts import is_background
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import AccessRequest, DeviceId, Observation, Reason, RequestKind, Verdict
from hedgerow.policies.time_model import ActiveMinute

MIA, TOM = DeviceId("mia-tablet"), DeviceId("tom-phone")
HOUSE = """\
network: {timezone: Europe/Lisbon}
people:
  mia: {age: 9, devices: [mia-tablet]}
  tom: {age: 15, devices: [tom-phone]}
  Ana: {profile: adult, devices: [ana-phone]}
devices:
  mia-tablet: {ip: 192.168.1.31}
  tom-phone: {ip: 192.168.1.32}
  ana-phone: {ip: 192.168.1.33}
"""
SEEN = [
    DeviceSeen(NOW - 30, MIA, "192.168.1.31", None, "mia", "child-8-12"),
    DeviceSeen(NOW - 30, TOM, "192.168.1.32", None, "tom", "teen-13-15"),
]


@pytest.fixture
def browser(web):
    web.policy_path.write_text(HOUSE)
    with httpx.Client(
        base_url=web.url, trust_env=False, timeout=60, headers={"origin": web.url}, verify=False
    ) as client:
        yield client


def visit(
    web, host, *, minutes=1, ago=0, device=MIA, person="mia", verdict=Verdict.ALLOW, what="", kind=RequestKind.DNS
):
    """Record a request per minute, the last one `ago` minutes before now, and the use that a worker counts for it."""
    web.recorder.add(
        Observation(NOW - 60 * (ago + each), device, person, "child-8-12", kind, verdict, Reason.DEFAULT, what, host)
        for each in range(minutes)
    )
    web.recorder.flush()
    if verdict is not Verdict.BLOCK and not is_background(host):
        use = (ActiveMinute(int(NOW // 60) - ago - each, f"person:{person}", "") for each in range(minutes))
        UsageStore(web.engine).add(use)


def cards(browser):
    """Return the text of each card by the child's name."""
    sections = re.findall(r'<section class="card child.*?</section>', browser.get("/").text, re.S)
    read = [re.sub(r'<span class="app[^>]*>[^<]*</span>', "", section) for section in sections]
    texts = [" ".join(re.sub(r"<[^>]+>", " ", section).split()) for section in read]
    return {re.sub(r"^\S+ (\S+) .*", r"\1", text): text for text in texts}


def test_each_child_has_a_card_and_no_adult_has(web, browser):
    assert set(cards(browser)) == {"mia", "tom"}
    web.policy_path.write_text(HOUSE.replace("age: 9", "age: 30"))
    assert set(cards(browser)) == {"tom"}


def test_a_card_tells_what_the_child_is_on_and_the_minutes_of_the_day_by_service(web, browser):
    web.recorder.add(SEEN)
    visit(web, "www.youtube.com", minutes=3)
    visit(web, "i.ytimg.com", minutes=4)
    visit(web, "de.wikipedia.org", minutes=2, ago=30)
    visit(web, "connectivitycheck.gstatic.com", minutes=9, ago=40)
    visit(web, "pokerstars.com", minutes=5, verdict=Verdict.BLOCK)
    mia = cards(browser)["mia"]
    assert "Online: YouTube" in mia
    assert "YouTube 4 min" in mia, "minutes in which two of its names were used count once"
    assert "wikipedia.org 2 min" in mia
    assert "6 min today" in mia, "neither background traffic nor what was blocked"
    assert "pokerstars" not in mia
    visit(web, "www.duolingo.com", minutes=1)
    assert "Online: YouTube, duolingo.com" in cards(browser)["mia"], "the next look reads on from there"


def test_nobody_is_online_at_what_is_blocked_now(web, browser):
    """What was open minutes ago is use of the day, but only blocked questions have come since."""
    web.recorder.add(SEEN)
    visit(web, "www.tiktok.com", minutes=2, ago=2)
    visit(web, "v16.tiktokcdn.com", minutes=1, ago=3)
    visit(web, "www.youtube.com", minutes=1, ago=4)
    visit(web, "www.roblox.com", minutes=2, verdict=Verdict.BLOCK)
    assert "Online: TikTok, YouTube" in cards(browser)["mia"]
    visit(web, "www.tiktok.com", verdict=Verdict.BLOCK)
    visit(web, "youtube.com", verdict=Verdict.BLOCK, what="ads-trackers")
    visit(web, "www.youtube.com", verdict=Verdict.BLOCK, what="adult", kind=RequestKind.HTTP)
    mia = cards(browser)["mia"]
    assert "Online: YouTube" in mia, "a blocked advertisement or page closes no service"
    assert "TikTok 2 min" in mia
    assert "Roblox" not in mia
    visit(web, "www.tiktok.com")
    assert "Online: TikTok, YouTube" in cards(browser)["mia"], "somebody opened it"


def test_a_single_name_in_a_minute_is_no_use_on_any_page(web, browser):
    """An app that nobody looks at asks for one, and the ledger of minutes has none then."""
    web.recorder.add(SEEN)
    UsageStore(web.engine).add([ActiveMinute(int(NOW // 60) - 9, "person:mia", "")])
    lone = Observation(
        NOW - 60, MIA, "mia", "child-8-12", RequestKind.DNS, Verdict.ALLOW, Reason.DEFAULT, "", "a.example"
    )
    web.recorder.add([lone])
    web.recorder.flush()
    mia = cards(browser)["mia"]
    assert "a.example" not in mia
    assert "1 min today" in mia
    assert "everything else 1 min" in mia


def test_a_device_on_the_network_is_neither_online_nor_paused_before_it_uses_hedgerow(web, browser):
    web.recorder.add(SEEN)
    web.recorder.flush()
    assert "not connected yet" in cards(browser)["mia"]
    assert "Online" not in cards(browser)["tom"]
    assert "Nobody is online" in browser.get("/day").text
    browser.post("/pause", data={"person": "mia"})
    browser.post("/pause", data={"person": "tom", "kind": "homework", "minutes": "60"})
    shown = cards(browser)
    assert "Paused, but no device of mia uses Hedgerow yet" in shown["mia"]
    assert "Homework until 22:27 , but no device of tom uses Hedgerow yet" in shown["tom"]
    browser.post("/pause", data={"minutes": "30"})
    assert all("uses Hedgerow yet" in text for text in cards(browser).values())
    web.recorder.add([ProtectionSeen(NOW - 30, MIA, Protection.DNS)])
    web.recorder.flush()
    browser.post("/resume")
    browser.post("/resume", data={"person": "mia"})
    assert "Online" in cards(browser)["mia"]
    assert "1 device seen in the last 15 minutes" in browser.get("/day").text


def test_yesterdays_use_is_not_todays(web, browser):
    web.recorder.add(SEEN)
    visit(web, "www.youtube.com", minutes=5, ago=24 * 60)
    assert "0 min today" in cards(browser)["mia"]


def test_a_private_log_shows_sums_only_even_if_sites_were_kept_before(web, browser):
    web.recorder.add(SEEN)
    visit(web, "www.youtube.com", minutes=3, device=TOM, person="tom")
    visit(web, "www.youtube.com", minutes=3)
    shown = cards(browser)
    assert "YouTube" in shown["mia"]
    assert "YouTube" not in shown["tom"]
    assert "Online" in shown["tom"]
    web.policy_path.write_text(HOUSE.replace("age: 9", "age: 9, privacy: category"))
    assert "YouTube" not in cards(browser)["mia"]


def test_what_was_erased_is_forgotten_at_once(web, browser):
    visit(web, "www.youtube.com", minutes=3)
    assert "YouTube" in cards(browser)["mia"]
    erased = browser.post("/people/mia/erase", data={"sure": "yes"})
    assert erased.headers["location"].startswith("/people/mia?done=")
    assert "YouTube" not in cards(browser)["mia"]
    visit(web, "www.duolingo.com", minutes=1)
    assert "duolingo.com" in cards(browser)["mia"]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("", "not connected yet"),
        ("bedtime: '20:30-07:00'", "Bedtime until tomorrow, 07:00"),
        ("schedules: {dinner: {block: internet, when: '21:00-22:00'}}", "Closed at this time until 22:00"),
    ],
)
def test_a_card_tells_why_the_internet_is_closed(web, browser, rule, told):
    web.policy_path.write_text(HOUSE.replace("age: 9", f"age: 9, {rule}") if rule else HOUSE)
    assert told in cards(browser)["mia"]


def test_pause_and_resume_from_the_card(web, browser):
    assert browser.post("/pause", data={"person": "mia"}).status_code == 303
    shown = cards(browser)
    assert "Paused" in shown["mia"]
    assert "Resume" in shown["mia"]
    assert "Paused" not in shown["tom"]
    assert browser.post("/resume", data={"person": "mia"}).status_code == 303
    assert "Paused" not in cards(browser)["mia"]
    browser.post("/pause", data={"minutes": "30"})
    assert all("Paused until 21:57" in text for text in cards(browser).values()), "a pause for everybody"


def test_all_requests_are_in_one_place(web, browser):
    web.recorder.add(
        [AccessRequest(NOW, MIA, "mia", "scratch.example"), AccessRequest(NOW, DeviceId("tv"), None, "news.example")]
    )
    web.recorder.flush()
    page = browser.get("/").text
    assert not any(".example" in text for text in cards(browser).values())
    assert (page.count("/requests/1/approve"), page.count("/requests/2/approve")) == (2, 2)


def test_the_time_left_is_that_of_all_use_first(web, browser):
    web.time.rows = (BudgetRow("mia", "games", 45, 45, 0, NOW + 3600), BudgetRow("mia", "", 70, 90, 20, NOW + 3600))
    mia = cards(browser)["mia"]
    assert "20 min left" in mia
    assert "Games : 0 minutes left" in mia
    assert "min left" not in cards(browser)["tom"]


def test_a_day_of_many_requests_is_read_by_index_and_once(web):
    """The second reading has only the new rows to read, whatever the journal holds."""
    visit(web, "www.youtube.com", minutes=50)
    visits = VisitReader(web.engine, lambda host: host)
    midnight = NOW - 80_000
    assert (
        sum(map(int.bit_count, visits.minutes(["mia-tablet"], midnight)["mia-tablet"]["www.youtube.com"].values()))
        == 50
    )
    day = visits._days["mia-tablet"]
    query = visits._new_visits("mia-tablet", day.last)
    with web.engine.connect() as connection:
        assert connection.execute(query).all() == []
        sql = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
        plan = " ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}"))
    assert "decisions_device (device=? AND id>?)" in plan, plan


def test_a_large_family_fits_a_small_page(web, browser):
    fill_big(web)
    page = browser.get("/")
    assert len(page.content) < 100_000
    assert len(re.findall(r'<section class="card child', page.text)) == 5


def test_homework_for_an_hour_from_the_card(web, browser):
    assert browser.post("/pause", data={"person": "mia", "kind": "homework", "minutes": "60"}).status_code == 303
    mia = cards(browser)["mia"]
    assert "Homework until 22:27" in mia
    assert mia.count("Resume") == 1
    browser.post("/pause", data={"person": "mia"})
    mia = cards(browser)["mia"]
    assert "Paused" in mia, "a pause of everything takes its place"
    browser.post("/resume", data={"person": "mia"})
    assert "Homework until" not in cards(browser)["mia"]
    assert browser.post("/pause", data={"person": "mia", "kind": "nonsense"}).status_code == 422


def test_a_later_bedtime_tonight_from_the_card(web, browser):
    assert "Bedtime +30" not in cards(browser)["mia"], "she has no bedtime"
    assert browser.post("/bedtime/later", data={"person": "mia", "minutes": "30"}).status_code == 422
    web.policy_path.write_text(HOUSE.replace("age: 9", "age: 9, bedtime: '22:00-07:00'"))
    assert "open until 22:00" in cards(browser)["mia"]
    assert browser.post("/bedtime/later", data={"person": "mia", "minutes": "30"}).status_code == 303
    assert "open until 22:30" in cards(browser)["mia"]
    assert "Later bedtime" in browser.get("/day").text
