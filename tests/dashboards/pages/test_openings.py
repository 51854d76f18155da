"""Openings: dangerous ones ask once, and what stays closed all the same says why and offers what helps."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from web_server import NOW, Web
from web_server.walking import PageReader

from hedgerow.dashboards.control import DeviceView
from hedgerow.policies.model import AccessRequest, Decision, DeviceId, Reason, Verdict
from hedgerow.policies.reading.load import load_policy

HOUSE = """\
network: {timezone: Europe/Lisbon}
people:
  mia: {age: 9, devices: [tablet], bedtime: "20:00-07:00"}
  tom: {age: 15, devices: [laptop]}
  Ana: {profile: adult, devices: [phone], block: [adult, gambling]}
devices:
  tablet: {ip: 192.168.1.31}
  laptop: {ip: 192.168.1.32}
  phone: {ip: 192.168.1.33}
"""


@pytest.fixture
def browser(web: Web) -> Iterator[httpx.Client]:
    web.policy_path.write_text(HOUSE)
    with httpx.Client(
        base_url=web.url,
        trust_env=False,
        timeout=60,
        headers={"origin": web.url, "accept-language": "en"},
        verify=False,
    ) as client:
        yield client


def title(answer: httpx.Response) -> str:
    found = re.search(r"<h1[^>]*>(.*?)</h1>", answer.text, re.S)
    assert found is not None, answer.text
    return re.sub(r"<[^>]+>", "", found[1])


def press(browser: httpx.Client, answer: httpx.Response, button: str) -> httpx.Response:
    """Press the button with this value on a page that asks."""
    form = next(form for form in PageReader(answer.text).forms if any(value == button for _, value in form.buttons))
    data = {each.name: each.value for each in form.fields} | dict(pair for pair in form.buttons if pair[1] == button)
    return browser.post(form.action, data=data)


def test_a_dangerous_switch_asks_once_for_whom_and_for_how_long(web: Web, browser: httpx.Client) -> None:
    for item in ("adult", "drugs", "self-harm", "bypass", "malware", "phishing", "gambling", "nordvpn", "tinder"):
        web.policy_path.write_text(HOUSE)
        asked = browser.post("/people/mia/switch", data={"open": item})
        assert asked.status_code == 200, item
        assert title(asked).startswith("Open ")
        assert title(asked).endswith(" for mia?")
        assert [
            value
            for form in PageReader(asked.text).forms
            for _, value in form.buttons
            if form.action.endswith("switch")
        ] == [
            "hour",
            "today",
            "good",
        ]
        assert web.policy_path.read_text() == HOUSE, "nothing was opened yet"
        assert press(browser, asked, "good").status_code == 303
        assert item in [target.name for target in load_policy(web.policy_path).people["mia"].rules.allow]


def test_an_hour_is_a_permission_and_no_rule(web: Web, browser: httpx.Client) -> None:
    asked = browser.post("/people/tom/switch", data={"open": "adult"})
    done = press(browser, asked, "hour")
    assert done.status_code == 303
    (grant,) = web.control.reader.grants(NOW)
    assert (grant.subject, grant.person, grant.ends) == ("adult", "tom", NOW + 3600)
    assert web.policy_path.read_text() == HOUSE
    page = browser.get(done.headers["location"]).text
    assert "open until" in page.partition('id="switch-adult"')[2].partition("</li>")[0]
    (undo,) = (form for form in PageReader(page).forms if form.action == f"/grants/{grant.id}/revoke")
    assert browser.post(undo.action).status_code == 303
    assert web.control.reader.grants(NOW) == ()


def test_harmless_ones_and_closing_ask_nothing(browser: httpx.Client) -> None:
    assert browser.post("/people/mia/switch", data={"open": "social"}).status_code == 303
    assert browser.post("/people/mia/switch", data={"close": "games"}).status_code == 303
    assert browser.post("/people/Ana/switch", data={"open": "gambling"}).status_code == 303, (
        "it is dangerous for children"
    )
    assert browser.post("/people/Ana/switch", data={"open": "adult"}).status_code == 200, "for everybody"


def test_sites_rules_codes_and_requests_ask_too(web: Web, browser: httpx.Client) -> None:
    asked = browser.post("/grants/new", data={"subject": "pornhub.com", "person": "tom", "for": "hour"})
    assert title(asked) == "Open pornhub.com for tom?"
    asked = browser.post("/people/tom/site", data={"site": "pornhub.com", "stance": "allow", "note": "health"})
    assert title(asked) == "Open pornhub.com for tom?"
    assert "pornhub" not in web.policy_path.read_text()
    assert press(browser, asked, "allow").status_code == 303
    (rule,) = load_policy(web.policy_path).people["tom"].rules.allow
    assert (rule.name, rule.note) == ("pornhub.com", "health")
    id = web.ledger.file(AccessRequest(NOW, DeviceId("laptop"), "tom", "xvideos.com"))
    asked = browser.post(f"/requests/{id}/code")
    assert title(asked) == "Open xvideos.com for tom?"
    assert "It works once." in press(browser, asked, "hour").text
    refused = browser.post(f"/api/v1/requests/{id}/approve", json={"how_long": "hour"})
    assert refused.status_code == 409, refused.text
    asked_for = {"confirm": "sure", "what": "xvideos.com", "dangers": ["adult"], "person": "tom", "device": None}
    assert asked_for.items() <= refused.json().items()
    asked = browser.post(f"/requests/{id}/approve", data={"for": "hour"})
    assert title(asked) == "Open xvideos.com for tom?"
    assert [each.id for each in web.control.reader.requests()] == [id]
    web.control.explained = Decision(Verdict.ALLOW, Reason.GRANT, "xvideos.com")
    assert press(browser, asked, "today").status_code == 303
    assert web.control.reader.requests() == ()


def test_an_approval_in_the_night_says_that_it_opens_nothing_yet(web: Web, browser: httpx.Client) -> None:
    id = web.ledger.file(AccessRequest(NOW, DeviceId("tablet"), "mia", "www.school.example"))
    web.control.explained = Decision(Verdict.BLOCK, Reason.BEDTIME, "bedtime", until=NOW + 36_000)
    told = browser.post(f"/requests/{id}/approve", data={"for": "hour"})
    assert title(told) == "www.school.example is allowed for mia, but still closed"
    assert "bedtime" in told.text
    assert web.control.reader.requests() == (), "it is approved all the same"
    form = next(form for form in PageReader(told.text).forms if form.action == "/openings/always")
    assert browser.post(form.action, data={each.name: each.value for each in form.fields}).status_code == 303
    assert [target.name for target in load_policy(web.policy_path).people["mia"].rules.allow if target.always] == [
        "www.school.example"
    ]
    assert web.control.reader.grants(NOW) == (), "the rule has taken its place: ending it would close nothing"


def test_an_hour_at_bedtime_says_why_it_stays_closed_and_offers_what_helps(web: Web, browser: httpx.Client) -> None:
    told = browser.post("/grants/new", data={"subject": "tiktok", "person": "mia", "for": "hour"})
    assert title(told) == "TikTok is allowed for mia, but still closed"
    assert "bedtime" in told.text
    form = next(form for form in PageReader(told.text).forms if form.action == "/openings/always")
    assert browser.post(form.action, data={each.name: each.value for each in form.fields}).status_code == 303
    (target,) = load_policy(web.policy_path).people["mia"].rules.allow
    assert (target.name, target.always) == ("tiktok", True)
    assert target.until is not None
    assert NOW + 3600 <= target.until <= NOW + 3660
    assert browser.post("/grants/new", data={"subject": "tiktok", "person": "mia", "for": "hour"}).status_code == 303, (
        "it is open now"
    )


@pytest.mark.parametrize(
    ("path", "form", "asks"),
    [
        ("/devices/change", {"device": "phone", "name": "phone", "owner": "profile:guest"}, True),
        ("/devices/change", {"device": "phone", "name": "phone", "owner": "person:mia"}, True),
        ("/devices/give", {"device": ["laptop", "phone"], "owner": "everybody"}, True),
        ("/devices/remove", {"device": "phone"}, True),
        ("/devices/change", {"device": "phone", "name": "my phone", "owner": "person:Ana"}, False),
        ("/devices/change", {"device": "phone", "name": "phone", "owner": "profile:adult"}, False),
        ("/devices/change", {"device": "tablet", "name": "tablet", "owner": "profile:guest"}, False),
    ],
)
def test_nobody_gives_up_signing_in_on_the_device_in_the_hand_without_being_asked(
    web: Web, browser: httpx.Client, path: str, form: dict[str, str], asks: bool
) -> None:
    web.control.devices["127.0.0.1"] = DeviceView(DeviceId("phone"), "Ana", "adult", (), may_sign_in=True)
    before = web.policy_path.read_text()
    told = browser.post(path, data=form)
    assert (told.status_code == 200, web.policy_path.read_text() == before) == (asks, asks)
    if asks:
        assert title(told) == "No more sign-in on this device?"
        assert press(browser, told, "yes").status_code == 303
        assert web.policy_path.read_text() != before


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/grants/new", {"subject": "roblox", "person": "tom", "for": "policy"}),
        ("/people/tom/site", {"site": "roblox", "stance": "allow"}),
        ("/people/tom/switch", {"open": "roblox"}),
    ],
)
def test_a_lasting_rule_says_that_a_schedule_keeps_it_closed_for_now(
    web: Web, browser: httpx.Client, path: str, form: dict[str, str]
) -> None:
    homework = ", block: [roblox], schedules: {homework: {block: games, when: {every-day: '20:00-23:00'}}}}"
    web.policy_path.write_text(HOUSE.replace("devices: [laptop]}", "devices: [laptop]" + homework))
    told = browser.post(path, data=form)
    assert told.status_code == 200, "a page that says so"
    assert title(told) == "Roblox is allowed for tom, but still closed"
    assert re.search(r"<b>homework</b>: [^<]* It ends: 23:00\.", told.text)
    assert load_policy(web.policy_path).people["tom"].rules.block == (), "the rule is in force all the same"
    (hour,) = (each for each in PageReader(told.text).forms if each.action == "/grants/new")
    assert browser.post(hour.action, data={each.name: each.value for each in hour.fields}).status_code == 303
    assert [(each.subject, each.ends) for each in web.control.reader.grants(NOW)] == [("roblox", NOW + 3600)]


def test_a_lasting_rule_may_be_made_at_bedtime(web: Web, browser: httpx.Client) -> None:
    """The page of the person says that it is bedtime. *Permanently* beside what was blocked is meant for now."""
    for path in ("/people/mia/site", "/people/mia/switch"):
        assert browser.post(path, data={"site": "tiktok", "stance": "allow", "open": "tiktok"}).status_code == 303
    told = browser.post("/grants/new", data={"subject": "twitch", "person": "mia", "for": "policy"})
    assert title(told) == "Twitch is allowed for mia, but still closed"


def test_an_hour_in_a_pause_offers_its_end(web: Web, browser: httpx.Client) -> None:
    browser.post("/pause", data={"person": "tom"})
    told = browser.post("/grants/new", data={"subject": "twitch", "person": "tom", "for": "hour"})
    assert "The internet is paused." in told.text
    form = next(form for form in PageReader(told.text).forms if form.action == "/resume")
    assert {each.name: each.value for each in form.fields} == {"person": "tom", "form-page": "/"}
    assert browser.post(form.action, data={"person": "tom"}).status_code == 303
    assert web.control.reader.pauses(NOW) == ()
