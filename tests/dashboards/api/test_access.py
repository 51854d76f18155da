"""The API: policy, exports, events, accounts, and schemathesis over all calls."""

import csv
import io
import json
import threading
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.transport.requests import ManagedCookiesSession
from web_server import NOW, TOKEN, running_web

from hedgerow.policies.model import AccessRequest, DeviceId, Observation, Reason, RequestKind, Verdict
from hedgerow.policies.reading.load import load_policy

PASSWORD = "four words and more"


@pytest.fixture
def script(web):
    with httpx.Client(
        base_url=f"{web.url}/api/v1",
        headers={"authorization": f"Bearer {TOKEN}"},
        trust_env=False,
        timeout=20,
        verify=False,
    ) as client:
        yield client


def seen(host, **more):
    return Observation(
        NOW,
        DeviceId("mia-tablet"),
        "mia",
        "child-8-12",
        RequestKind.DNS,
        Verdict.BLOCK,
        Reason.CATEGORY,
        "gambling",
        host,
        **more,
    )


def test_people_profiles_services_and_lists(web, script):
    assert [
        (row["name"], row["age"], row["profile"], row["devices"], row["block"]) for row in script.get("/people").json()
    ] == [
        ("mia", 9, "child-8-12", ["mia-tablet"], ["roblox"]),
        ("tom", 15, "teen-13-15", [], []),
    ]
    assert "gambling" in next(row for row in script.get("/profiles").json() if row["name"] == "child-8-12")["block"]
    states = {row["id"]: row["open"] for row in script.get("/services", params={"person": "mia"}).json()}
    assert (states["roblox"], states["minecraft"]) == (False, True)
    assert {row["open"] for row in script.get("/services").json()} == {None}
    assert script.get("/lists").json() == []


def test_a_person_is_added_ruled_and_removed(web, script):
    assert script.post("/people", json={"name": "zoe", "age": 3}).json()["profile"] == "child-under-8"
    assert script.put("/people/zoe/rules", json={"subject": "minecraft", "stance": "block"}).json()["block"] == [
        "minecraft"
    ]
    assert script.put("/people/zoe/rules", json={"subject": "minecraft", "stance": "none"}).json()["block"] == []
    change = script.get("/changes").json()[0]
    assert (change["actor"], change["undone_at"]) == ("the command line", None)
    assert any(line.startswith("-") and "minecraft" in line for line in change["diff"])
    assert script.post(f"/changes/{change['id']}/undo").status_code == 200
    assert script.delete("/people/zoe").status_code == 204
    assert set(load_policy(web.policy_path).people) == {"mia", "tom"}


def test_settings_devices_lists_and_receivers_are_changed(web, script):
    assert script.get("/settings").json() == {
        "country": "PT",
        "timezone": "Europe/Lisbon",
        "unknown_devices": "child-8-12",
    }
    assert script.put("/settings", json={"country": "FR", "unknown_devices": "teen-13-15"}).json()["country"] == "FR"
    assert "country: FR          # whose helplines are shown" in web.policy_path.read_text()
    named = script.post("/devices", json={"seen_as": "192.168.1.9", "name": "telly", "person": "tom"})
    assert named.status_code == 201
    assert named.json() == {"device": "telly", "person": "tom", "trusts_ca": False, "owner": "person:tom", "kind": None}
    assert script.put("/devices/telly", json={"person": "mia", "trusts_ca": True}).json()["person"] == "mia"
    assert load_policy(web.policy_path).devices["telly"].trusts_ca
    assert script.put("/devices/telly", json={"person": "", "trusts_ca": False}).json()["person"] is None
    assert script.delete("/devices/telly").status_code == 204
    assert script.post("/lists", json={"url": "https://lists.example/a.txt", "category": "adult"}).status_code == 204
    assert [source.category for source in load_policy(web.policy_path).lists] == ["adult"]
    assert script.delete("/lists", params={"name": "https://lists.example/a.txt"}).status_code == 204
    wishes = {"about": ["request"], "language": "fr", "quiet": "22:00-07:00", "report": "sun 18:00"}
    assert script.put("/notices/ana", json=wishes).status_code == 204
    assert script.put("/notices/ana", json={"language": "de"}).status_code == 204
    assert "notices:\n  ana: {language: de}\n" in web.policy_path.read_text()
    assert script.delete("/notices/ana").status_code == 204
    assert not load_policy(web.policy_path).lists
    assert not load_policy(web.policy_path).notices


def test_an_audit_of_no_days_is_refused(script):
    for days, status in (
        ({"first": "2026-11-30", "last": "2026-11-01"}, 422),
        ({"first": "9999-12-31"}, 422),  # after today
        ({"first": "2026-11-01", "last": "2026-11-01"}, 200),
        ({"last": "2001-01-01"}, 200),  # the month before it
        ({"last": "0001-01-01"}, 200),
        ({}, 200),
    ):
        answer = script.get("/audit", params=days)
        assert answer.status_code == status, days
        if status == 422:
            assert "the first comes after the last" in answer.json()["detail"]


INVALID_CALLS: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
    ("PUT", "/settings", {"timezone": "Mars/Olympus"}),
    ("PUT", "/settings", {"unknown_devices": "no-such"}),
    ("POST", "/devices", {"seen_as": "the telly", "name": "telly"}),
    ("POST", "/devices", {"seen_as": "192.168.1.9", "name": "mia-tablet"}),
    ("PUT", "/devices/nobody", {"person": "mia"}),
    ("PUT", "/devices/mia-tablet", {"person": "nobody"}),
    ("DELETE", "/devices/nobody", None),
    ("POST", "/lists", {"url": "https://lists.example/a.txt"}),
    ("POST", "/lists", {"source": "x", "url": "https://lists.example/a.txt", "category": "adult"}),
    ("DELETE", "/lists?name=nothing", None),
    ("PUT", "/notices/Ana", {}),
    ("PUT", "/notices/ana", {"quiet": "whenever"}),
    ("DELETE", "/notices/nobody", None),
    ("POST", "/people", {"name": "zoe"}),
    ("POST", "/people", {"name": "zoe", "age": 3, "profile": "adult"}),
    ("POST", "/people", {"name": "zoe", "profile": "no-such"}),
    ("POST", "/people", {"name": "mia", "age": 3}),
    ("PUT", "/people/nobody/rules", {"subject": "minecraft", "stance": "block"}),
    ("PUT", "/people/mia/rules", {"subject": "no such thing", "stance": "block"}),
    ("DELETE", "/people/nobody", None),
    ("GET", "/services?person=nobody", None),
    ("POST", "/tokens", {"name": "x", "scopes": ["admin"]}),
    ("POST", "/accounts", {"name": "x", "role": "admin", "password": "short"}),
    ("PUT", "/accounts/nobody/password", {"password": PASSWORD}),
    ("GET", "/decisions/export?format=xml", None),
    ("GET", "/decisions/export?verdict=maybe", None),
)


def test_invalid_calls_are_refused_with_a_sentence(web, script):
    before = web.policy_path.read_text()
    for method, path, body in INVALID_CALLS:
        answer = script.request(method, path, json=body)
        assert answer.status_code == 422, (method, path, body)
        assert answer.json()["detail"]
        assert web.policy_path.read_text() == before


def test_the_whole_journal_is_exported_across_pages(web, script):
    web.recorder.add(seen(f"{number}.example") for number in range(2500))
    web.recorder.add([seen('=cmd|"evil"')])
    web.recorder.flush()
    lines = script.get("/decisions/export").text.splitlines()
    assert len(lines) == 2501
    assert json.loads(lines[1])["host"] == "2499.example"
    assert len({json.loads(line)["id"] for line in lines}) == 2501
    table = list(csv.DictReader(io.StringIO(script.get("/decisions/export", params={"format": "csv"}).text)))
    assert len(table) == 2501
    assert table[0]["host"] == '\'=cmd|"evil"'
    assert len(script.get("/decisions/export", params={"host": "7.example", "format": "csv"}).text.splitlines()) == 2


def test_events_arrive_as_they_happen(web, script):
    web.recorder.add([seen("before.example")])
    web.recorder.flush()
    with script.stream("GET", "/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert next(lines) == ": listening"
        web.recorder.add([seen("now.example"), AccessRequest(NOW, DeviceId("mia-tablet"), "mia", "asked.example")])
        threading.Thread(target=web.recorder.flush).start()
        told = []
        for line in lines:
            told.append(line)
            if "asked.example" in line:
                break
    assert "before.example" not in "".join(told)
    assert any(line.startswith("data: ") and json.loads(line[6:])["host"] == "now.example" for line in told)
    assert {line for line in told if line.startswith("event")} == {"event: decision", "event: request"}


def test_a_grant_says_what_it_does_not_lift(web, script):
    order = {"subject": "x.example", "how_long": "hour"}
    assert script.post("/pause", json={"person": "mia", "minutes": 30}).status_code == 201
    for target in ({"person": "mia"}, {"device": "mia-tablet"}):
        given = script.post("/grants", json=order | target).json()
        assert (given["closed"], given["closed_until"] - NOW) == ("pause", pytest.approx(1800, abs=120)), target
    assert script.post("/resume", json={"person": "mia"}).status_code == 204
    for target in ({"person": "mia"}, {"device": "mia-tablet"}, {}):
        given = script.post("/grants", json=order | target).json()
        assert (given["subject"], given["closed"], given["closed_until"]) == ("x.example", None, None), target


def test_accounts_sessions_and_tokens(web, script):
    assert script.post("/accounts", json={"name": "ana", "role": "admin", "password": PASSWORD}).status_code == 201
    with httpx.Client(
        base_url=web.url, trust_env=False, headers={"origin": web.url}, verify=False, timeout=60
    ) as browser:
        assert browser.post("/sign-in", data={"name": "ana", "password": PASSWORD}).status_code == 303
        (session,) = script.get("/web-sessions").json()
        assert script.delete(f"/web-sessions/{session['id']}").status_code == 204
        assert browser.get("/").status_code == 303
    assert script.put("/accounts/ana/password", json={"password": "another good one"}).status_code == 204
    assert script.get("/accounts").json()[0].keys() == {"name", "role", "code", "created_at"}
    token = script.post("/tokens", json={"name": "backup", "scopes": ["read"]}).json()["token"]
    reader = {"authorization": f"Bearer {token}"}
    assert script.get("/people", headers=reader).status_code == 200
    assert script.post("/people", json={"name": "zoe", "age": 3}, headers=reader).status_code == 403
    assert script.get("/tokens", headers=reader).status_code == 403
    manager = {
        "authorization": (
            f"Bearer {script.post('/tokens', json={'name': 'homework', 'scopes': ['manage']}).json()['token']}"
        )
    }
    given = script.post("/grants", json={"subject": "x.example", "how_long": "hour", "person": "mia"}, headers=manager)
    assert given.json()["actor"] == "token homework"
    row = next(row for row in script.get("/tokens").json() if row["name"] == "backup")
    assert script.delete(f"/tokens/{row['id']}").status_code == 204
    assert script.get("/people", headers=reader).status_code == 401


@pytest.fixture(scope="module")
def whole_api(tmp_path_factory):
    """Return all calls except the endless stream."""
    state = tmp_path_factory.mktemp("api")
    (state / "hedgerow.yaml").write_text("people: {mia: {age: 9, devices: [192.168.1.5]}}\n")
    with running_web(state) as web:
        web.recorder.add([seen("kept.example"), AccessRequest(NOW, DeviceId("mia-tablet"), "mia", "asked.example")])
        web.recorder.flush()
        yield schemathesis.openapi.from_url(f"{web.url}/api/v1/openapi.json").exclude(path="/api/v1/events")


def test_every_call_matches_its_openapi_description(whole_api):
    """Schemathesis' own plug-in does not support this pytest. `tests/e2e/test_whole_api.py` tries more of each."""
    checks = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
    tried = set()
    with ManagedCookiesSession() as session:  # a connection, without the cookies of earlier answers
        session.trust_env = False  # each request would look for .netrc and proxies
        for result in whole_api.get_all_operations():
            operation = result.ok()

            @settings(max_examples=5, suppress_health_check=list(HealthCheck), database=None)
            @given(operation.as_strategy())
            def holds(case):
                answer = case.call(session=session, headers={"authorization": f"Bearer {TOKEN}"}, timeout=20)
                case.validate_response(answer, checks=checks)

            holds()
            tried.add(operation.label)
    assert len(tried) >= 25
