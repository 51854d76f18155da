"""Changes of the policy that open something dangerous: refused by the API until somebody is sure, asked on pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from web_server import TOKEN, Web
from web_server.walking import PageReader

from hedgerow.policies.reading.load import load_policy

HOUSE = """\
network: {timezone: Europe/Lisbon}
people:
  mia: {age: 9, devices: [tablet]}
  tom: {age: 15, devices: [laptop], allow: [gambling]}
  Ana: {profile: adult, devices: [phone]}
devices:
  tablet: {ip: 192.168.1.31}
  laptop: {ip: 192.168.1.32}
  phone: {ip: 192.168.1.33}
  console: {ip: 192.168.1.34}
"""


@pytest.fixture
def script(web: Web) -> Iterator[httpx.Client]:
    web.policy_path.write_text(HOUSE)
    with httpx.Client(
        base_url=f"{web.url}/api/v1",
        headers={"authorization": f"Bearer {TOKEN}"},
        trust_env=False,
        timeout=20,
        verify=False,
    ) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/people/mia/rules", {"subject": "gambling", "stance": "allow"}),
        ("PUT", "/people/mia/rules", {"subject": "pornhub.com", "stance": "allow", "only_address": True}),
        ("PUT", "/people/mia/schedules/free", {"effect": "allow", "items": ["gambling"], "when": "15:00-16:00"}),
        ("PATCH", "/policy", {"people": {"mia": {"allow": ["gambling"]}}}),
        ("PATCH", "/policy", {"allow": ["adult"]}),
        ("PATCH", "/policy", {"profiles": {"loose": {"extends": "teen-13-15", "allow": ["tinder"]}}}),
        ("PATCH", "/policy/people/mia", {"always": ["gambling"]}),
        ("PATCH", "/policy/people/mia", {"schedules": {"free": {"when": "15:00-16:00", "allow": "gambling"}}}),
        ("PATCH", "/policy/devices/console", {"allow": ["drugs"]}),
        ("PUT", "/policy/people/zoe", {"age": 8, "allow": ["gambling"]}),
    ],
)
def test_the_api_opens_something_dangerous_only_for_who_is_sure(
    web: Web, script: httpx.Client, method: str, path: str, body: dict[str, Any]
) -> None:
    answer = script.request(method, path, json=body)
    assert answer.status_code == 409, answer.text
    assert answer.json()["confirm"] == "sure"
    assert answer.json()["dangers"]
    assert web.policy_path.read_text() == HOUSE
    is_document = path.startswith("/policy")
    again = script.request(
        method,
        path,
        params={"sure": "true"} if is_document else None,
        json=body if is_document else body | {"sure": True},
    )
    assert again.status_code in (200, 201), again.text
    assert web.policy_path.read_text() != HOUSE


def test_a_policy_put_as_a_whole_asks_for_what_is_new_in_it_only(web: Web, script: httpx.Client) -> None:
    tag = script.get("/policy").headers["etag"]
    headers = {"if-match": tag, "content-type": "application/yaml"}
    for risky in ("mia: {age: 9, devices: [tablet], allow: [pornhub.com]}", "mia: {age: 9, allow: [{what: gambling}]}"):
        text = HOUSE.replace("mia: {age: 9, devices: [tablet]}", risky)
        answer = script.put("/policy", content=text, headers=headers)
        assert (answer.status_code, answer.json()["person"]) == (409, "mia"), answer.text
        assert script.put("/policy?dry_run=true", content=text, headers=headers).status_code == 200
    harmless = HOUSE.replace("age: 9", "age: 10").replace("tom:", "thomas:")
    answer = script.put("/policy", content=harmless, headers=headers)
    assert answer.status_code == 200, "what was open before is not asked again, also under another name"


def test_what_is_opened_for_longer_is_new(web: Web, script: httpx.Client) -> None:
    at_times = {"schedules": {"free": {"when": "15:00-16:00", "allow": "gambling"}}}
    for step in (at_times, {"allow": ["gambling"]}, {"allow": [], "always": ["gambling"]}):
        assert script.patch("/policy/people/mia", json=step).status_code == 409, step
        assert script.patch("/policy/people/mia?sure=true", json=step).status_code == 200, step
    assert script.patch("/policy/people/mia", json={"always": [], "allow": ["gambling"]}).status_code == 200


def test_what_one_person_had_is_new_for_another(web: Web, script: httpx.Client) -> None:
    web.policy_path.write_text("people:\n  mia: {age: 9}\n  Ana: {profile: adult, allow: [gambling]}\n")
    step = {"people": {"Ana": None, "mia": {"allow": ["gambling"]}}}
    assert script.patch("/policy", json=step).status_code == 409


def test_a_profile_for_children_that_stops_closing_a_category_asks(web: Web, script: httpx.Client) -> None:
    closed = HOUSE + "profiles:\n  kid: {extends: teen-16-17, block: [alcohol-tobacco, games]}\n"
    web.policy_path.write_text(closed)
    body = {"profiles": {"kid": {"block": ["alcohol-tobacco"]}}}
    assert script.patch("/policy", json=body).status_code == 200, "games are not dangerous"
    answer = script.patch("/policy", json={"profiles": {"kid": {"block": []}}})
    assert answer.status_code == 409, answer.text


def test_harmless_changes_and_adults_ask_nothing(web: Web, script: httpx.Client) -> None:
    for path, body in (
        ("/people/mia/rules", {"subject": "roblox", "stance": "allow"}),
        ("/people/mia/rules", {"subject": "gambling", "stance": "block"}),
        ("/people/Ana/rules", {"subject": "gambling", "stance": "allow"}),
        ("/people/mia/schedules/play", {"effect": "block", "items": ["gambling"], "when": "15:00-16:00"}),
        ("/people/tom/rules", {"subject": "gambling", "stance": "none"}),
    ):
        answer = script.put(path, json=body)
        assert answer.status_code == 200, answer.text
    last = script.get("/changes").json()[0]["id"]
    assert script.post(f"/changes/{last}/undo").status_code == 200, "somebody was sure when it was made"
    assert [rule.name for rule in load_policy(web.policy_path).people["tom"].rules.allow] == ["gambling"]


def test_the_form_of_a_schedule_asks_before_it_opens_a_dangerous_topic(web: Web, script: httpx.Client) -> None:
    form = {"schedule": "free", "effect": "allow", "what": "gambling", "form": "schedule-new", "mon": "15:00-16:00"}
    with httpx.Client(base_url=web.url, headers={"origin": web.url}, trust_env=False, timeout=60) as browser:
        asked = browser.post("/people/mia/schedule", data=form)
        assert asked.status_code == 200, asked.text
        assert web.policy_path.read_text() == HOUSE
        (again,) = (each for each in PageReader(asked.text).forms if each.action == "/people/mia/schedule")
        fields = [(each.name, each.value) for each in again.fields] + [again.buttons[0]]
        assert browser.post(again.action, data=dict(fields)).status_code == 303
    (schedule,) = load_policy(web.policy_path).people["mia"].rules.schedules
    assert [target.name for target in schedule.allow] == ["gambling"]
