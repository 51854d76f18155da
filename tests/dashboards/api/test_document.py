"""The whole policy by API: read, dry run, replaced with tags, patched, and by entry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import httpx
import pytest
from web_server import TOKEN, Web, running_web

from hedgerow.dashboards.guard import SESSION_COOKIE
from hedgerow.policies.reading.load import load_policy

HOME = {
    "network": {"timezone": "Europe/Lisbon", "country": "PT"},
    "people": {
        "mia": {"age": 9, "devices": ["mia-tablet"], "bedtime": "20:30-07:00", "budget": "2h"},
        "ana": {"age": 41},
    },
    "devices": {"mia-tablet": {"mac": "aa:bb:cc:dd:ee:ff"}},
    "lists": [{"category": "adult", "url": "https://lists.example/a.txt"}],
}


@pytest.fixture
def script(web: Web) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=f"{web.url}/api/v1",
        headers={"authorization": f"Bearer {TOKEN}"},
        trust_env=False,
        timeout=20,
        verify=False,
    ) as client:
        yield client


@pytest.fixture
def manager(web: Web, script: httpx.Client) -> Iterator[httpx.Client]:
    """A token that may manage, but is no admin's."""
    token = script.post("/tokens", json={"name": "terraform", "scopes": ["manage"]}).json()["token"]
    with httpx.Client(
        base_url=f"{web.url}/api/v1",
        headers={"authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=20,
        verify=False,
    ) as client:
        yield client


def tag(client: httpx.Client) -> str:
    return client.get("/policy").headers["etag"]


def test_the_policy_is_read_as_json_and_as_yaml(web: Web, script: httpx.Client) -> None:
    answer = script.get("/policy")
    assert answer.json()["people"]["mia"] == {"age": 9, "devices": ["mia-tablet"], "block": ["roblox"]}
    text = script.get("/policy", headers={"accept": "application/yaml"})
    assert text.text == web.policy_path.read_text()
    assert text.headers["content-type"].startswith("application/yaml")
    assert text.headers["etag"] == answer.headers["etag"]


def test_an_empty_home_gets_its_whole_policy_by_api(tmp_path: Any) -> None:
    with (
        running_web(tmp_path) as web,
        httpx.Client(
            base_url=f"{web.url}/api/v1",
            headers={"authorization": f"Bearer {TOKEN}"},
            trust_env=False,
            timeout=20,
            verify=False,
        ) as script,
    ):
        assert script.get("/policy").json() == {}
        first = script.put("/policy", json=HOME, headers={"if-match": tag(script)})
        assert (first.status_code, first.json()["changed"]) == (200, True)
        assert script.get("/policy").json() == HOME
        assert load_policy(web.policy_path).people["mia"].age == 9
        again = script.put("/policy", json=HOME, headers={"if-match": first.headers["etag"]})
        assert again.json() == {"changed": False, "id": None}
        drift = script.patch("/policy", json={"people": {"mia": {"age": 12}}})
        assert drift.headers["etag"] != first.headers["etag"]
        assert script.put("/policy", json=HOME, headers={"if-match": first.headers["etag"]}).status_code == 412
        assert script.put("/policy", json=HOME, headers={"if-match": drift.headers["etag"]}).json()["changed"]
        assert script.get("/policy").json() == HOME


def test_a_replacement_needs_the_tag_of_what_it_replaces(web: Web, script: httpx.Client) -> None:
    before = web.policy_path.read_text()
    assert script.put("/policy", json=HOME).status_code == 428
    assert script.put("/policy", json=HOME, headers={"if-match": '"other"'}).status_code == 412
    assert web.policy_path.read_text() == before
    assert script.put("/policy", json=HOME, headers={"if-match": f'"other", {tag(script)}'}).status_code == 200
    assert script.put("/policy", json={}, headers={"if-match": "*"}).status_code == 200


def test_yaml_replaces_the_file_as_it_is(web: Web, script: httpx.Client) -> None:
    text = "# mine\npeople:\n  zoe: {age: 3}   # small\n"
    answer = script.put("/policy", content=text, headers={"if-match": tag(script), "content-type": "application/yaml"})
    assert answer.status_code == 200
    assert web.policy_path.read_text() == text
    assert answer.headers["etag"] == tag(script)


def test_a_dry_run_reports_like_check_and_changes_nothing(web: Web, script: httpx.Client) -> None:
    before = web.policy_path.read_text()
    report = script.patch(
        "/policy", json={"people": {"mia": {"block": ["minecraft"]}}}, params={"dry_run": True}
    ).json()
    assert (report["ok"], report["people"], report["devices"]) == (True, ["mia", "tom"], ["mia-tablet"])
    assert report["changes"] == [{"whose": "mia-tablet", "sentence": "block: +minecraft, -roblox"}]
    wrong = script.put("/policy", json={"people": {"mia": {"age": "nine"}}}, params={"dry_run": True}).json()
    assert wrong["ok"] is False
    assert [(each["source"], each["path"]) for each in wrong["problems"]] == [("hedgerow.yaml", "people.mia.age")]
    assert web.policy_path.read_text() == before
    assert script.get("/changes").json() == []


def test_mistakes_are_refused_with_their_place(web: Web, script: httpx.Client) -> None:
    answer = script.patch("/policy", json={"people": {"mia": {"profile": "no-such"}}})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["problems"][0]["path"] == "people.mia.profile"
    assert answer.json()["problems"][0]["line"] > 1


def test_entries_are_made_changed_and_removed(web: Web, script: httpx.Client) -> None:
    made = script.put("/policy/people/zoe", json={"age": 7, "devices": []}, headers={"if-none-match": "*"})
    assert made.json()["changed"]
    assert script.put("/policy/people/zoe", json={}, headers={"if-none-match": "*"}).status_code == 412
    assert script.put("/policy/people/zoe", json={"age": 7, "devices": []}).json() == {"changed": False, "id": None}
    read = script.get("/policy/people/zoe")
    assert read.json() == {"age": 7, "devices": []}
    assert read.headers["etag"] == made.headers["etag"]
    times = {
        "bedtime": {"school-nights": "20:00-07:00"},
        "schedules": {"homework": {"block": ["games"], "when": "15:00-17:00"}},
    }
    changed = script.patch("/policy/people/zoe", json=times, headers={"if-match": read.headers["etag"]})
    assert script.patch("/policy/people/zoe", json={}, headers={"if-match": read.headers["etag"]}).status_code == 412
    assert script.get("/policy/people/zoe").headers["etag"] == changed.headers["etag"]
    assert load_policy(web.policy_path).people["zoe"].rules.schedules[0].name == "homework"
    assert script.patch("/policy/people/zoe", json={"schedules": None}).json()["changed"]
    assert script.delete("/policy/people/zoe").json()["changed"]
    assert [
        script.request(method, "/policy/people/zoe", json={}).status_code for method in ("GET", "PATCH", "DELETE")
    ] == [404] * 3
    assert "# she will be ten in May" in web.policy_path.read_text()
    for section, entry in {
        "devices": {"ip": "192.168.1.7"},
        "seats": {"ip": "192.168.1.8"},
        "notices": {},
        "profiles": {"extends": "adult"},
    }.items():
        assert script.put(f"/policy/{section}/one", json=entry).status_code == 200, section
        assert script.delete(f"/policy/{section}/one").status_code == 200, section


def test_a_change_by_api_can_be_undone(web: Web, script: httpx.Client) -> None:
    before = web.policy_path.read_text()
    change = script.patch("/policy", json={"people": {"tom": None}}).json()
    assert script.post(f"/changes/{change['id']}/undo").status_code == 200
    assert web.policy_path.read_text() == before


NO_DOCUMENTS = (
    ("application/json", b"{", 400),
    ("application/json", b"[]", 400),
    ("application/json", b"[" * 100_000, 400),
    ("application/json", b'{"people": ' + b"[" * 30 + b"]" * 30 + b"}", 400),
    ("application/json", b"\xff", 400),
    ("application/json", b'{"people": {"\\ud800": {}}}', 422),
    ("text/plain", b"{}", 415),
    ("application/yaml", b"\xff", 422),
    ("application/yaml", b"people: [", 422),
    ("application/yaml", b"x" * (5 * 1024 * 1024), 413),
)


def test_what_is_no_document_is_refused(web: Web, script: httpx.Client) -> None:
    before = web.policy_path.read_text()
    for kind, content, status in NO_DOCUMENTS:
        answer = script.put("/policy", content=content, headers={"content-type": kind, "if-match": "*"})
        assert answer.status_code == status, (content[:99], answer.text)
        assert web.policy_path.read_text() == before


ODD_BODIES = (
    b"[" * 60_000,
    b'{"name":' * 7_000,
    b'{"minutes": ' + b"9" * 60_000 + b"}",
    b'{"name": "\\ud800"}',
    b'{"minutes": 1e999}',
    b"\xff",
    b"null",
)


def test_no_body_of_any_call_is_a_fault_of_the_server(script: httpx.Client) -> None:
    """Deep nesting, large numbers, halves of characters, and what is no JSON, for each call that takes JSON."""
    description = script.get("/openapi.json").json()
    calls = [
        (method, re.sub(r"\{[^}]*\}", "1", path).removeprefix("/api/v1"))
        for path, methods in description["paths"].items()
        for method, call in methods.items()
        if "application/json" in call.get("requestBody", {}).get("content", {})
    ]
    assert len(calls) > 30
    for method, path in calls:
        for body in ODD_BODIES:
            answer = script.request(
                method, path, content=body, headers={"content-type": "application/json", "if-match": "*"}
            )
            assert 400 <= answer.status_code < 500, (method, path, body[:40], answer.text[:500])
            assert len(answer.content) < 10_000, (method, path, body[:40])


def test_only_admins_name_files_of_the_machine(web: Web, manager: httpx.Client) -> None:
    before = web.policy_path.read_text()
    patches: tuple[dict[str, Any], ...] = (
        {"code_of_conduct": "/etc/hostname"},
        {"include": "/etc/*"},
        {"phrase_lists": ["/etc/passwd"]},
        {"lists": [{"path": "/etc/hosts", "category": "adult"}]},
        {"network": {"holidays": ["/etc/passwd"]}},
        {"people": {"mia": {"holidays": ["../x"]}}},
        {"network": {"store": "postgresql://hedgerow@db.attacker.example/all"}},
        {"network": {"certificate": {"chain": "/etc/ssl/a.pem", "key": "/etc/ssl/a.key"}}},
    )
    for patch, dry_run in product(patches, (True, False)):
        answer = manager.patch("/policy", json=patch, params={"dry_run": dry_run})
        assert answer.status_code == 403, patch
        assert answer.json()["detail"].startswith("Only an admin may change ")
        assert "problems" not in answer.json()
        assert web.policy_path.read_text() == before


def test_a_manager_changes_the_rest_of_a_policy_with_files(
    web: Web, script: httpx.Client, manager: httpx.Client
) -> None:
    (web.policy_path.parent / "conduct.txt").write_text("Be kind.")
    assert script.patch("/policy", json={"code_of_conduct": "conduct.txt"}).status_code == 200
    assert manager.patch("/policy", json={"people": {"mia": {"age": 10}}}).json()["changed"]
    assert script.get("/changes").json()[0]["actor"] == "token terraform"


def test_readers_see_no_policy_file(web: Web, script: httpx.Client) -> None:
    token = script.post("/tokens", json={"name": "grafana", "scopes": ["read", "metrics"]}).json()["token"]
    for path in ("/policy", "/policy/people/mia"):
        assert script.get(path, headers={"authorization": f"Bearer {token}"}).status_code == 403


def test_every_method_that_is_missing_is_told_with_those_that_are_there(web: Web, script: httpx.Client) -> None:
    assert script.post("/policy").headers["allow"] == "GET, PATCH, PUT"
    assert script.request("OPTIONS", "/devices/x").headers["allow"] == "DELETE, PUT"
    description = script.get("/openapi.json").json()
    for path, operations in description["paths"].items():
        place = path.removeprefix("/api/v1").replace("{", "").replace("}", "")
        missing = next(method for method in ("TRACE", "POST", "PATCH") if method.lower() not in operations)
        answer = script.request("OPTIONS" if missing == "TRACE" else missing, place)
        assert answer.status_code == 405, place
        assert set(answer.headers["allow"].split(", ")) >= {method.upper() for method in operations}


def test_scripts_are_told_how_to_sign_in(web: Web, script: httpx.Client) -> None:
    with httpx.Client(
        base_url=web.url, trust_env=False, cookies={SESSION_COOKIE: "none"}, verify=False, timeout=60
    ) as stranger:
        assert stranger.get("/api/v1/status").headers["www-authenticate"] == 'Bearer realm="Hedgerow"'
        wrong = stranger.get("/api/v1/status", headers={"authorization": "Bearer nonsense"})
        assert (wrong.status_code, wrong.headers["www-authenticate"]) == (
            401,
            'Bearer realm="Hedgerow", error="invalid_token"',
        )
    schemes = script.get("/openapi.json").json()
    assert {name: each["type"] for name, each in schemes["components"]["securitySchemes"].items()} == {
        "token": "http",
        "session": "apiKey",
    }
    assert schemes["security"] == [{"token": []}, {"session": []}]


def test_a_pause_of_everybody_is_asked_for_by_name(script: httpx.Client) -> None:
    for order in ({}, {"minutes": 5}, {"person": "mia", "everybody": True}):
        assert script.post("/pause", json=order).status_code == 422
    assert script.get("/grants").json()["pauses"] == []
    assert script.post("/pause", json={"everybody": True, "minutes": 5}).status_code == 201
