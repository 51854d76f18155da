"""Every key of the policy tried by every scope: who may change it by the API, by an undo, and by publishing."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from policy_samples import BASE, FILES, KEYS_OF_POLICY, LEAVES, changed_value, named, with_value
from web_server import TOKEN, Web, running_web

from hedgerow.dashboards.guard import SESSION_COOKIE
from hedgerow.dashboards.scopes import Role
from hedgerow.policies.reading.key_scopes import KeyPath, is_open, reserved_changes
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.reading.schema_types import KeyScope, RawModel, managed

PASSWORD = "four words and more"
PARENT = "127.0.0.1"
YAML = {"if-match": "*", "content-type": "application/yaml"}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    state = tmp_path_factory.mktemp("state")
    for name, text in FILES.items():
        (state / name).write_text(text)
    (state / "hedgerow.yaml").write_text(json.dumps(BASE, indent=1))
    with running_web(state) as running:
        yield running


def caller(web: Web, token: str = TOKEN) -> httpx.Client:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"{web.url}/api/v1", headers=headers, trust_env=False, timeout=60, verify=False)


def put(client: httpx.Client, document: dict[str, Any], *, dry_run: bool = False) -> httpx.Response:
    return client.put("/policy", json=document, headers={"if-match": "*"}, params={"dry_run": dry_run})


@pytest.fixture(scope="module")
def admin(web: Web) -> Iterator[httpx.Client]:
    with caller(web) as client:
        yield client


@pytest.fixture(scope="module")
def manager(web: Web, admin: httpx.Client) -> Iterator[httpx.Client]:
    with caller(web, admin.post("/tokens", json={"name": "dhcp", "scopes": ["manage"]}).json()["token"]) as client:
        yield client


@contextmanager
def signed_in(web: Web, name: str, role: Role) -> Iterator[httpx.Client]:
    """Yield the browser of somebody with an account."""
    asyncio.run(web.accounts.create(name, role, PASSWORD))
    cookie = asyncio.run(web.accounts.sign_in(name, PASSWORD, "", PARENT, ""))
    headers = {"cookie": f"{SESSION_COOKIE}={cookie}", "origin": web.url}
    with httpx.Client(base_url=web.url, headers=headers, trust_env=False, timeout=60, verify=False) as client:
        yield client


def refused(answer: httpx.Response, key: str) -> None:
    assert answer.status_code == 403, (key, answer.text)
    assert answer.json()["detail"] == f"Only an admin may change {key} in the policy, so nothing was changed."


def test_every_key_declares_a_scope() -> None:
    assert len(LEAVES) > 300
    with pytest.raises(TypeError, match="RawNew has keys without a scope: key"):

        class RawNew(RawModel):
            named: str = managed(description="A key with a scope.")
            key: str = ""


def test_inside_a_key_of_admins_all_keys_are_theirs() -> None:
    for path, scope in KEYS_OF_POLICY.items():
        outer = [KEYS_OF_POLICY[path[:length]] for length in range(1, len(path)) if path[:length] in KEYS_OF_POLICY]
        assert KeyScope.ADMIN not in outer or scope is KeyScope.ADMIN, path


def parsed(web: Web, document: dict[str, Any]) -> str:
    """Return the text of a policy without mistakes."""
    text = json.dumps(document)
    parse_policy(text.encode(), web.policy_path, texts={str(web.policy_path.with_name("more.yaml")): b""})
    return text


def test_managers_change_every_other_key(web: Web, manager: httpx.Client) -> None:
    before = web.policy_path.read_text()
    for path, scope in LEAVES:
        if scope is KeyScope.MANAGE:
            after = parsed(web, with_value(path, changed_value(path)))
            assert reserved_changes([before], [after]) == (), path
            assert reserved_changes([after], [before]) == (), path
    for path in (
        ("network", "country"),
        ("people", "*", "bedtime"),
        ("notices", "*", "quiet"),
        ("lists", "[]", "category"),
    ):
        assert put(manager, with_value(path, changed_value(path)), dry_run=True).json()["ok"], path


RESERVED = [path for path, scope in LEAVES if scope is not KeyScope.MANAGE]


@pytest.mark.parametrize("path", RESERVED, ids=[".".join(path) for path in RESERVED])
def test_only_admins_change_a_reserved_key(path: KeyPath, web: Web, manager: httpx.Client) -> None:
    before, wanted = web.policy_path.read_text(), with_value(path, changed_value(path))
    assert not is_open(named(path))
    refused(manager.put("/policy", content=parsed(web, wanted), headers=YAML), ".".join(named(path)))
    assert web.policy_path.read_text() == before


@pytest.mark.parametrize("path", RESERVED, ids=[".".join(path) for path in RESERVED])
def test_a_reserved_key_is_not_removed_but_with_its_entry(path: KeyPath, web: Web) -> None:
    before, after = web.policy_path.read_text(), json.dumps(with_value(path, None))
    is_in_an_entry = {"*", "[]"} & set(path) or path[-1] == "holidays"
    goes_with_its_entry = is_in_an_entry and path[-1] != "upstream"  # without which a child has another resolver
    assert reserved_changes([before], [after]) == (() if goes_with_its_entry else (".".join(named(path)),))


def test_a_manager_sends_a_whole_policy_back_with_reserved_keys_as_they_are(web: Web, manager: httpx.Client) -> None:
    before = web.policy_path.read_text()
    document = manager.get("/policy").json()
    document["people"]["mia"]["age"] = 8
    document["people"].pop("tom")
    assert put(manager, document, dry_run=True).json()["ok"]
    del document["network"]["listen"]["doh3"]
    refused(put(manager, document, dry_run=True), "network.listen.doh3")
    text = before.replace('"age": 9', '"age": 8')
    assert manager.put("/policy", content=text, headers=YAML, params={"dry_run": True}).json()["ok"]
    patch = {"network": {"listen": {"dns": "127.0.0.1:5300"}, "timezone": "Europe/Berlin"}}
    assert manager.patch("/policy", json=patch, params={"dry_run": True}).json()["ok"]
    assert web.policy_path.read_text() == before


def test_every_way_of_the_api_refuses(web: Web, manager: httpx.Client) -> None:
    before = web.policy_path.read_text()
    listen = {"listen": {"web": "0.0.0.0:80"}}
    refused(manager.patch("/policy", json={"network": listen}), "network.listen.web")
    refused(manager.patch("/policy", json={"network": {"site": "cafe-3"}}, params={"dry_run": True}), "network.site")
    refused(manager.patch("/policy/people/mia", json={"holidays": ["/etc/passwd"]}), "people.mia.holidays")
    refused(manager.put("/policy/people/lea", json={"age": 3, "holidays": ["../x"]}), "people.lea.holidays")
    refused(manager.patch("/policy", json={"network": {"holidays": [" https://x/../hol.ics"]}}), "network.holidays")
    text = "# nothing\n" + before.replace('"127.0.0.1:8053"', '"0.0.0.0:80"')
    refused(manager.put("/policy", content=text, headers=YAML), "network.listen.web")
    answer = manager.put("/policy", content=before + "]", headers=YAML)
    assert (answer.status_code, "The policy would be invalid" in answer.text) == (422, True), answer.text
    everything = manager.patch("/policy", json={"network": None}).json()["detail"]
    assert everything.startswith("Only an admin may change network.block_page, network.bundle.group, ")
    assert everything.endswith(" … in the policy, so nothing was changed.")
    assert web.policy_path.read_text() == before


def test_an_undo_changes_no_reserved_key_either(tmp_path: Path) -> None:
    (tmp_path / "hedgerow.yaml").write_text("network: {timezone: Europe/Lisbon}\n")
    with running_web(tmp_path) as web, caller(web) as admin, signed_in(web, "ben", Role.PARENT) as parent:
        assert admin.patch("/policy", json={"network": {"server_name": "dns.a.example"}}).json()["changed"]
        assert admin.patch("/policy", json={"network": {"server_name": None, "country": "PT"}}).json()["changed"]
        newest = max(each["id"] for each in parent.get("/api/v1/changes").json())
        before = web.policy_path.read_text()
        refused(parent.post(f"/api/v1/changes/{newest}/undo"), "network.server_name")
        page = parent.post(f"/changes/{newest}/undo")
        assert page.status_code == 403
        assert "Only an admin may change network.server_name in the policy, so nothing was changed." in page.text
        assert web.policy_path.read_text() == before
        form = {"country": "DE", "zone": "Europe/Berlin", "unknown": "adult"}
        assert parent.post("/settings/network", data=form).status_code == 303
        mine = max(each["id"] for each in parent.get("/api/v1/changes").json())
        assert parent.post(f"/changes/{mine}/undo").status_code == 303
        assert admin.post(f"/changes/{newest}/undo", json={}).status_code == 200
        assert "a.example" in web.policy_path.read_text()


REMOVABLE = """people:
  mia:
    age: 9
    holidays: [2026.ics]
lists:
  - {name: own, category: adult, path: own.txt}
"""
WITHOUT: dict[str, dict[str, Any]] = {"people.mia.holidays": {"people": {"mia": None}}, "lists.path": {"lists": None}}
"""Changes that remove an entry, by the reserved key in it."""


def newest_change(client: httpx.Client) -> int:
    return max(each["id"] for each in client.get("/api/v1/changes").json())


@contextmanager
def removable(state: Path) -> Iterator[tuple[Web, httpx.Client, httpx.Client]]:
    """Serve a policy with entries that have reserved keys, to an admin and a parent."""
    for name in ("2026.ics", "third.ics", "own.txt"):
        (state / name).write_text(FILES[name])
    (state / "hedgerow.yaml").write_text(REMOVABLE)
    with running_web(state) as web, caller(web) as admin, signed_in(web, "ben", Role.PARENT) as parent:
        yield web, admin, parent


@pytest.mark.parametrize("key", WITHOUT)
def test_an_undo_brings_back_what_its_author_removed(tmp_path: Path, key: str) -> None:
    with removable(tmp_path) as (web, admin, parent):
        assert parent.patch("/api/v1/policy", json=WITHOUT[key], headers={"if-match": "*"}).json()["changed"]
        removal, without = newest_change(parent), web.policy_path.read_text()
        assert without != REMOVABLE
        assert parent.patch("/api/v1/policy", json={"bedtime": "21:00-06:00"}).json()["changed"]
        assert admin.post(f"/changes/{newest_change(parent)}/undo", json={}).status_code == 200
        assert parent.post(f"/changes/{removal}/undo").status_code == 303
        assert web.policy_path.read_text() == REMOVABLE
        assert parent.post(f"/changes/{newest_change(parent)}/undo").status_code == 303, "the undo of the undo"
        assert web.policy_path.read_text() == without
        assert parent.post(f"/api/v1/changes/{newest_change(parent)}/undo").status_code == 200
        assert web.policy_path.read_text() == REMOVABLE


@pytest.mark.parametrize("key", WITHOUT)
def test_an_undo_brings_nothing_back_that_an_admin_removed(tmp_path: Path, key: str) -> None:
    with removable(tmp_path) as (web, admin, parent):
        assert admin.patch("/policy", json=WITHOUT[key]).json()["changed"]
        refused(parent.post(f"/api/v1/changes/{newest_change(parent)}/undo"), key)
        assert admin.post(f"/changes/{newest_change(parent)}/undo", json={}).status_code == 200
        assert parent.patch("/api/v1/policy", json=WITHOUT[key]).json()["changed"]
        removal, without = newest_change(parent), web.policy_path.read_text()
        assert admin.post(f"/changes/{removal}/undo", json={}).status_code == 200
        assert admin.patch("/policy", json=WITHOUT[key]).json()["changed"]
        assert web.policy_path.read_text() == without
        refused(parent.post(f"/api/v1/changes/{removal}/undo"), key)
        assert web.policy_path.read_text() == without


def test_an_undo_brings_nothing_back_that_an_admin_changed_later(tmp_path: Path) -> None:
    with removable(tmp_path) as (web, admin, parent):
        mia = {"people": {"mia": {"age": 9, "holidays": ["third.ics"]}}}
        assert parent.patch("/api/v1/policy", json=WITHOUT["people.mia.holidays"]).json()["changed"]
        removal, without = newest_change(parent), web.policy_path.read_text()
        assert admin.patch("/policy", json=mia).json()["changed"]
        assert parent.patch("/api/v1/policy", json=WITHOUT["people.mia.holidays"]).json()["changed"]
        assert web.policy_path.read_text() == without
        refused(parent.post(f"/api/v1/changes/{removal}/undo"), "people.mia.holidays")
        assert web.policy_path.read_text() == without


def test_no_undo_brings_back_a_certificate_of_an_admin(tmp_path: Path) -> None:
    """A parent's own change removes nothing of it, and the admin's is not undone by others."""
    with removable(tmp_path) as (web, admin, parent):
        files = {"server_name": "dns.home.example", "certificate": {"chain": "/etc/a.pem", "key": "/etc/a.key"}}
        assert admin.patch("/policy", json={"network": files}).json()["changed"]
        assert parent.patch("/api/v1/policy", json=WITHOUT["people.mia.holidays"]).json()["changed"]
        removal = newest_change(parent)
        assert admin.patch("/policy", json={"network": {"certificate": None}}).json()["changed"]
        before = web.policy_path.read_text()
        assert parent.post(f"/api/v1/changes/{removal}/undo").status_code == 422, "the file was changed again"
        answer = parent.post(f"/api/v1/changes/{newest_change(parent)}/undo")
        assert answer.status_code == 403, answer.text
        assert "network.certificate." in answer.json()["detail"]
        assert web.policy_path.read_text() == before


@pytest.mark.parametrize("key", ["include", "code_of_conduct", "network.holidays", "people.mia.holidays"])
@pytest.mark.parametrize("name", ["pipe.ics", "zero.ics"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, key: str, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.ics")
    (tmp_path / "zero.ics").symlink_to("/dev/zero")
    (tmp_path / "hedgerow.yaml").write_text("people: {mia: {age: 9}}\n")
    patch: Any = [name]
    for step in reversed(key.split(".")):
        patch = {step: patch[0] if step == "code_of_conduct" else patch}
    with running_web(tmp_path) as web, caller(web) as admin:
        answer = admin.patch("/policy", json=patch)
        assert answer.status_code == 422, answer.text
        assert "it is a pipe or a device" in answer.text
        assert admin.patch("/policy", json={"people": {"mia": {"age": 10}}}).json()["changed"]
