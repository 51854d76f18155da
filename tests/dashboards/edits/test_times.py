"""Schedules with several items, presets and holidays, from a person's page."""

import re
from datetime import date
from html import unescape

import httpx
import pytest
from web_server import TOKEN

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.times import (
    ScheduleEffect,
    ScheduleItems,
    holiday_edits,
    holiday_entry,
    presets,
    schedule_edits,
    schedule_items,
)
from hedgerow.dashboards.edits.yaml_text import apply_edits
from hedgerow.dashboards.words.languages import language
from hedgerow.policies.reading.load import load_policy, parse_policy

ENTRY = "people:\n  mia:\n    age: 9   # nearly ten\n"
HOMEWORK = (
    '    schedules:\n      homework: {block: [games, {what: tiktok, until: 2026-12-24}], when: {mon: "15:00-16:00"}}  '
    " # agreed\n"
)
HOUSE = "network: {timezone: Europe/Lisbon}\npeople:\n  mia: {age: 9}\n"
BLOCK, ONLY, ALLOW = ScheduleEffect.BLOCK, ScheduleEffect.ONLY, ScheduleEffect.ALLOW


def mia(text):
    return parse_policy(text.encode(), None).people["mia"]


@pytest.mark.parametrize(
    ("items", "after"),
    [
        (
            ScheduleItems(BLOCK, ("games", "tiktok", "social")),
            "block: [games, {what: tiktok, until: 2026-12-24}, social]",
        ),
        (ScheduleItems(BLOCK, ("tiktok",)), "block: [{what: tiktok, until: 2026-12-24}]"),
        (ScheduleItems(ONLY, ("games",)), "only: [games]"),
        (ScheduleItems(ALLOW, ("internet",)), "allow: [internet]"),
    ],
)
def test_items_of_a_schedule_are_added_and_removed_and_the_others_keep_their_end(items, after):
    text = ENTRY + HOMEWORK
    edited = apply_edits(text, schedule_edits(mia(text), "homework", items, None))
    assert after in edited
    assert "# agreed" in edited
    assert schedule_items(mia(edited).rules.schedules[0]) == items


@pytest.mark.parametrize(
    ("written", "items"),
    [
        ("{block: internet, when: fri}", ScheduleItems(BLOCK, ("internet",))),
        ("{only: [internet], when: fri}", ScheduleItems(ONLY, ("internet",))),
        ("{only: [youtube, games], when: fri}", ScheduleItems(ONLY, ("youtube", "games"))),
        ("{allow: minecraft, when: fri}", ScheduleItems(ALLOW, ("minecraft",))),
        ("{allow: minecraft, block: games, when: fri}", ScheduleItems(None, ("games", "minecraft"))),
    ],
)
def test_items_of_a_schedule_are_read(written, items):
    (schedule,) = mia(f"{ENTRY}    schedules: {{x: {written}}}\n").rules.schedules
    assert schedule_items(schedule) == items


@pytest.mark.parametrize("age", [5, 9, 14, 17])
def test_every_preset_gives_a_valid_policy_and_is_offered_once(age):
    text = ENTRY.replace("age: 9", f"age: {age}")
    offered = presets(mia(text), language("de"))
    assert [each.name for each in offered] == ["school-nights", "homework", "dinner"]
    for preset in offered:
        text = apply_edits(text, preset.edits)
    assert presets(mia(text), language("de")) == []
    assert mia(text).rules.bedtime is not None
    assert {each.name for each in mia(text).rules.schedules} == {"Hausaufgaben", "Abendessen"}


def test_holidays_are_everybodys_unless_a_person_has_their_own():
    entry = holiday_entry("2026-12-21", "2026-12-23")
    text = apply_edits(ENTRY, holiday_edits(mia(ENTRY), entry))
    assert parse_policy(text.encode(), None).network.holidays == tuple(date(2026, 12, day) for day in (21, 22, 23))
    assert (
        parse_policy(apply_edits(text, holiday_edits(mia(text), entry, add=False)).encode(), None).network.holidays
        == ()
    )
    own = f"{ENTRY}    holidays: [2026-12-01]\n"
    assert mia(apply_edits(own, holiday_edits(mia(own), entry))).holidays == tuple(
        date(2026, 12, day) for day in (1, 21, 22, 23)
    )
    for first, last in (("", ""), ("2026-12-24", "2026-12-20"), ("soon", "")):
        with pytest.raises(InvalidInput):
            holiday_entry(first, last)


@pytest.fixture
def browser(web):
    web.policy_path.write_text(HOUSE)
    with httpx.Client(
        base_url=web.url, trust_env=False, timeout=30, headers={"origin": web.url}, verify=False
    ) as client:
        yield client


def test_a_schedule_with_several_items_is_added_and_changed_on_the_page(web, browser):
    new = {
        "form": "schedule-new",
        "schedule": "homework",
        "effect": "block",
        "what": ["games", "social"],
        "more": "TikTok, example.org",
    }
    answer = browser.post("/people/mia/schedule", data=new | {"mon": "15:00-17:00"})
    assert re.search(r"saved=[1-9]", answer.headers["location"])
    (schedule,) = load_policy(web.policy_path).people["mia"].rules.schedules
    assert schedule_items(schedule) == ScheduleItems(BLOCK, ("games", "social", "tiktok", "example.org"))
    page = browser.get("/people/mia/schedules").text
    assert re.search(r'name="what" value="tiktok" checked', page)
    change = {
        "form": "schedule-homework",
        "schedule": "homework",
        "effect": "only",
        "what": ["games"],
        "mon": "15:00-17:00",
    }
    browser.post("/people/mia/schedule", data=change)
    (schedule,) = load_policy(web.policy_path).people["mia"].rules.schedules
    assert schedule_items(schedule) == ScheduleItems(ONLY, ("games",))
    assert "saved=0" in browser.post("/people/mia/schedule", data=change).headers["location"]


def test_a_preset_takes_one_tap(web, browser):
    assert re.search(
        r"saved=[1-9]", browser.post("/people/mia/preset", data={"preset": "school-nights"}).headers["location"]
    )
    assert 'bedtime: {school-nights: "20:30-07:00", weekend: "21:30-08:00"}' in web.policy_path.read_text()
    assert browser.post("/people/mia/preset", data={"preset": "school-nights"}).status_code == 422
    assert 'value="school-nights"' not in browser.get("/people/mia/nights").text
    browser.post("/people/mia/preset", data={"preset": "dinner"})
    browser.post("/people/mia/holidays", data={"first": "2026-12-21", "last": ""})
    assert load_policy(web.policy_path).network.holidays == (date(2026, 12, 21),)


MISTAKES = [
    (
        "schedule",
        {"form": "schedule-new", "schedule": "?", "effect": "only", "what": "games", "mon": "15:00-16:00"},
        "schedule",
    ),
    (
        "schedule",
        {"form": "schedule-new", "schedule": "play", "effect": "only", "what": "games", "tue": "15:00"},
        "tue",
    ),
    (
        "schedule",
        {"form": "schedule-new", "schedule": "play", "effect": "only", "more": "robloxx", "fri": "15:00-16:00"},
        "more",
    ),
    ("nights", {"wed-from": "20:00", "wed-to": "", "fri-from": "22:00", "fri-to": "08:00"}, "wed-to"),
    ("budget", {"form": "budget-", "what": "", "school": "90", "weekend": "lots"}, "weekend"),
    ("budget", {"form": "budget-new", "what": "games", "school": "-1", "weekend": "60"}, "school"),
    ("holidays", {"first": "2026-12-24", "last": "2026-12-01"}, "last"),
]


def test_a_mistake_is_shown_beside_its_field_and_nothing_typed_is_lost(web, browser):
    for form, typed, field in MISTAKES:
        answer = browser.post(f"/people/mia/{form}", data=typed)
        assert answer.status_code == 422, (form, typed)
        page = unescape(answer.text)
        (invalid,) = [tag for tag in re.findall(r"<input[^>]*>", page) if 'aria-invalid="true"' in tag]
        assert f'name="{field}"' in invalid
        assert len([tag for tag in re.findall(r'<[^>]*role="alert"[^>]*>', page) if " hidden" not in tag]) == 1
        for name, value in typed.items():
            kept = (rf'<input[^>]* name="{name}"[^>]* value="{re.escape(value)}"', f'<option value="{value}" selected')
            assert any(re.search(each, page) for each in kept), (name, value)
        assert web.policy_path.read_text() == HOUSE


def test_a_schedule_about_nothing_is_refused(web, browser):
    answer = browser.post(
        "/people/mia/schedule", data={"form": "schedule-new", "schedule": "x", "effect": "only", "mon": "15:00-16:00"}
    )
    assert answer.status_code == 422
    assert "Choose what the schedule is about." in answer.text


def test_the_api_sets_times_and_channels(web):
    web.policy_path.write_text(
        HOUSE.replace("{age: 9}", "{age: 9, devices: [pc]}") + "devices: {pc: {ip: 192.168.1.9, trusts_ca: true}}\n"
    )
    with httpx.Client(
        base_url=f"{web.url}/api/v1/people/mia",
        headers={"authorization": f"Bearer {TOKEN}"},
        trust_env=False,
        verify=False,
        timeout=60,
    ) as api:
        api.put("/bedtime", json={"when": {"school-nights": "20:00-07:00"}}).raise_for_status()
        limit = {"what": "games", "school": 30, "weekend": 60}
        assert api.put("/budget", json={"school": 90, "weekend": 90}).json()["budgets"] == [
            {"what": "", "school": 90, "weekend": 90, "differs": False}
        ]
        assert limit | {"differs": False} in api.put("/budget", json=limit).json()["budgets"]
        assert "budget: {every-day: 1h30m, games: {school-days: 30m, weekend: 1h}}" in web.policy_path.read_text()
        assert api.put("/budget", json={"school": 1441}).status_code == 422
        assert api.put("/budget", json={"what": "gamez", "school": 30}).status_code == 422
        for what in ("games", ""):
            api.put("/budget", json={"what": what})
        assert api.get("/times").json()["budgets"] == []
        later = api.post("/bedtime/later", json={"minutes": 45}).json()
        assert (later["subject"], later["person"], later["actor"]) == ("bedtime", "mia", "the command line")
        items = {"effect": "block", "items": ["games", "tiktok"], "when": {"mon-thu": ["15:00-16:00"]}}
        view = api.put("/schedules/homework", json=items).json()
        assert view["schedules"] == [{"name": "homework", "effect": "block", "items": ["games", "tiktok"]}]
        assert api.put("/schedules/homework", json=items | {"items": ["robloxx"]}).status_code == 422
        assert len(api.post("/presets", json={"preset": "dinner"}).json()["schedules"]) == 2
        assert api.post("/presets", json={"preset": "school-nights"}).status_code == 422
        assert len(api.delete("/schedules/dinner").json()["schedules"]) == 1
        api.post("/holidays", json={"days": "2026-12-21..2026-12-23"}).raise_for_status()
        assert len(load_policy(web.policy_path).network.holidays) == 3
        api.delete("/holidays/2026-12-21..2026-12-23").raise_for_status()
        assert load_policy(web.policy_path).network.holidays == ()
        assert api.put("/youtube", json={"items": ["@clay.films", "youtu.be/some-video1"]}).json()["youtube"] == [
            "@clay.films",
            "video:some-video1",
        ]
        assert api.put("/youtube", json={"items": []}).json() == api.get("/times").json()
        assert api.get("/times").json()["has_bedtime"] is True
