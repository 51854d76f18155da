"""Edits of a person's own rules, from their page and the API."""

import datetime
import re
from html import unescape
from zoneinfo import ZoneInfo

import httpx
import pytest
from web_server import NOW, TOKEN, view_of

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.rules import parse_subject, parse_until, remove_rule_edits, rule_edits
from hedgerow.dashboards.edits.yaml_text import apply_edits
from hedgerow.dashboards.words.languages import language
from hedgerow.policies.decide import decide
from hedgerow.policies.explain import find_device
from hedgerow.policies.model import Request, RequestKind, Verdict
from hedgerow.policies.reading.load import load_policy, parse_policy

ENTRY = "people:\n  mia:\n    age: 9   # nearly ten\n"
CHRISTMAS = "2026-12-24"
HOUSE = (
    "network: {timezone: Europe/Lisbon}\npeople:\n  mia: {age: 14, devices: [tablet]}\ndevices:\n  tablet: {ip:"
    " 192.168.1.31}\n"
)


@pytest.mark.parametrize(
    ("before", "item", "options", "after"),
    [
        ("", "tiktok", {"allows": False}, "    block: [tiktok]\n"),
        ("", "tiktok", {"allows": False, "until": CHRISTMAS}, "    block: [{what: tiktok, until: '2026-12-24'}]\n"),
        (
            "    block: [roblox, {what: tiktok, until: 2026-01-01}, games]   # since June\n",
            "tiktok",
            {"allows": False, "until": CHRISTMAS, "note": "a break"},
            "    block: [roblox, {what: tiktok, until: '2026-12-24', note: a break}, games] # since June\n",
        ),
        (
            "    block: [tiktok, roblox]\n",
            "tiktok",
            {"allows": True, "note": "for school"},
            "    block: [roblox]\n    allow: [{what: tiktok, note: for school}]\n",
        ),
        ("    always: [scratch.mit.edu]\n", "scratch.mit.edu", {"allows": False}, "    block: [scratch.mit.edu]\n"),
        (
            "    always: [education]\n",
            "education",
            {"allows": True, "until": CHRISTMAS},
            "    always: [education]\n    allow: [{what: education, until: '2026-12-24'}]\n",
        ),
        ('    allow: ["https://Example.org/"]\n', "example.org", {"allows": False}, "    block: [example.org]\n"),
        ("    block: [example.org]\n", "example.org", {"allows": False}, "    block: [example.org]\n"),
        (
            "    block: [setup.rbxcdn.com, rbxcdn.com]\n",
            "roblox",
            {"allows": True, "address": "setup.rbxcdn.com"},
            "    allow: [roblox]\n",
        ),
        # What is wider than the site, or than its service, stays closed.
        (
            "    block: [example.org]\n",
            "lessons.example.org",
            {"allows": True, "address": "lessons.example.org"},
            "    block: [example.org]\n    allow: [lessons.example.org]\n",
        ),
        (
            "    block: [youtube.com]\n",
            "youtube-music",
            {"allows": True, "address": "music.youtube.com"},
            "    block: [youtube.com]\n    allow: [youtube-music]\n",
        ),
        (
            "    block: [tiktok.com]\n",
            "www.tiktok.com",
            {"allows": True, "address": "www.tiktok.com"},
            "    block: [tiktok.com]\n    allow: [www.tiktok.com]\n",
        ),
    ],
)
def test_a_rule_replaces_the_older_one_about_the_same_thing(before, item, options, after):
    text = ENTRY + before
    edited = apply_edits(text, rule_edits(parse_policy(text.encode(), None), "mia", item, **options))
    assert edited == ENTRY + after
    parse_policy(edited.encode(), None)


def test_a_rule_is_removed_whatever_its_spelling():
    text = ENTRY + "    allow: [WWW.Example.org/Games/]   # here\n    block: [{what: roblox, until: 2026-12-24}]\n"
    policy = parse_policy(text.encode(), None)
    names = [target.name for target in (*policy.people["mia"].rules.allow, *policy.people["mia"].rules.block)]
    for name in names:
        text = apply_edits(text, remove_rule_edits(policy, "mia", name))
    assert text == ENTRY + "    # here\n"


@pytest.mark.parametrize(
    ("typed", "item"),
    [
        ("TikTok", "tiktok"),
        (" social  NETWORKS ", "social"),
        ("Soziale Netzwerke", "social"),
        ("example.org/games", "example.org/games"),
    ],
)
def test_services_and_topics_are_found_by_id_or_title(typed, item):
    assert parse_subject(parse_policy(b"", None), typed, language("de")) == item


@pytest.mark.parametrize(
    ("typed", "say"),
    [
        ("", "Enter a site"),
        ("tiktk", "Did you mean TikTok?"),
        ("exa mple", "neither a site such as"),
        ("a.b:80", "neither a site"),
    ],
)
def test_an_unknown_subject_is_refused_with_a_suggestion(typed, say):
    with pytest.raises(InvalidInput, match=re.escape(say)):
        parse_subject(parse_policy(b"", None), typed)


def test_the_end_of_a_rule_is_still_to_come():
    lisbon = ZoneInfo("Europe/Lisbon")
    today = datetime.datetime.fromtimestamp(NOW, lisbon).date()
    assert parse_until(today.isoformat(), NOW, lisbon) == today.isoformat()
    for text in ((today - datetime.timedelta(1)).isoformat(), f"{today} 01:00", "tomorrow", "2026-02-30", "9999999999"):
        with pytest.raises(InvalidInput):
            parse_until(text, NOW, lisbon)


@pytest.fixture
def browser(web):
    web.policy_path.write_text(HOUSE)
    with httpx.Client(
        base_url=web.url, trust_env=False, timeout=30, headers={"origin": web.url}, verify=False
    ) as client:
        yield client


def tiktok_is_open(web, at):
    view = view_of(load_policy(web.policy_path))
    device = find_device(view.rulesets, "tablet")
    assert device is not None
    ruleset = view.rulesets.ruleset(device, at)
    return (
        decide(ruleset, view.catalogue, Request(device.id, RequestKind.DNS, "www.tiktok.com")).verdict
        is not Verdict.BLOCK
    )


def test_a_service_is_blocked_until_a_date_with_a_note_from_the_page(web, browser):
    answer = browser.post(
        "/people/mia/site", data={"site": "TikTok", "until": "2026-12-24", "note": "we agreed", "stance": "block"}
    )
    assert re.search(r"saved=[1-9]", answer.headers["location"])
    page = unescape(browser.get("/people/mia/sites").text)
    assert "we agreed" in page
    assert "Dec" in page
    after = datetime.datetime(2026, 12, 25, 12, tzinfo=ZoneInfo("Europe/Lisbon")).timestamp()
    assert not tiktok_is_open(web, NOW)
    assert tiktok_is_open(web, after)
    browser.post("/people/mia/site/remove", data={"site": "tiktok"})
    assert web.policy_path.read_text() == HOUSE


@pytest.mark.parametrize(
    ("typed", "field", "say"),
    [
        ({"site": "tiktk", "until": "2026-12-24", "note": "we <b>agreed</b>"}, "site", "Did you mean TikTok?"),
        ({"site": "TikTok", "until": "2020-01-01", "note": "we agreed"}, "until", "This date is over."),
        ({"site": "TikTok", "until": "never", "note": "we agreed"}, "until", "Enter a date"),
        ({"site": "TikTok", "until": "", "note": "n" * 200}, "note", "at most 120"),
    ],
)
def test_a_mistake_is_shown_beside_its_field_and_nothing_typed_is_lost(web, browser, typed, field, say):
    answer = browser.post("/people/mia/site", data=typed | {"stance": "block"})
    assert answer.status_code == 422
    form = answer.text.partition('action="/people/mia/site" class="ruleform">')[2].partition("</form>")[0]
    for name, value in typed.items():
        label = next(part for part in form.split("<label")[1:] if f'name="{name}"' in part)
        assert f'value="{value}"' in unescape(label)
        assert (say in unescape(label)) is (name == field)
        assert ('aria-invalid="true"' in label) is (name == field)
    assert web.policy_path.read_text() == HOUSE


YOUTUBE = HOUSE.replace("tablet: {ip: 192.168.1.31}", "tablet: {ip: 192.168.1.31, trusts_ca: true}")


def test_channels_of_youtube_are_chosen_where_pages_are_inspected(web, browser):
    refused = browser.post("/people/mia/youtube", data={"item": "@clay.films"})
    assert refused.status_code == 422
    assert "needs a device whose pages are inspected" in refused.text
    assert web.policy_path.read_text() == HOUSE
    web.policy_path.write_text(YOUTUBE)
    for item in ("@clay.films", "https://youtu.be/some-video1?si=x", "https://www.youtube.com/@Clay.Films"):
        assert browser.post("/people/mia/youtube", data={"item": item}).status_code == 303
    assert load_policy(web.policy_path).people["mia"].rules.content.youtube_only == ("@clay.films", "video:some-video1")
    assert "goes round the proxy" in browser.get("/people/mia/protection").text, "there is no gateway"
    wrong = browser.post("/people/mia/youtube", data={"item": "clay films"})
    assert (wrong.status_code, "Enter a channel such as @name" in wrong.text, 'value="clay films"' in wrong.text) == (
        422,
        True,
        True,
    )
    for item in ("@clay.films", "video:some-video1"):
        browser.post("/people/mia/youtube", data={"remove": item})
    assert web.policy_path.read_text() == YOUTUBE


def test_the_api_sets_rules_with_an_end_and_a_note(web):
    web.policy_path.write_text(HOUSE)
    with httpx.Client(
        base_url=f"{web.url}/api/v1",
        headers={"authorization": f"Bearer {TOKEN}"},
        trust_env=False,
        verify=False,
        timeout=60,
    ) as api:
        rule = {"subject": "tiktok", "stance": "block", "until": "2026-12-24 18:00", "note": "a break"}
        view = api.put("/people/mia/rules", json=rule).json()
        end = datetime.datetime(2026, 12, 24, 18, tzinfo=ZoneInfo("Europe/Lisbon")).timestamp()
        assert view["rules"] == [{"subject": "tiktok", "stance": "block", "until": end, "note": "a break"}]
        assert api.put("/people/mia/rules", json=rule | {"until": "2020-01-01"}).status_code == 422
        assert api.put("/people/mia/rules", json={"subject": "tiktok", "stance": "none"}).json()["rules"] == []
    assert web.policy_path.read_text() == HOUSE
