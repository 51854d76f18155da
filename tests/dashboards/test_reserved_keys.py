"""Every key of the policy tried by every scope: who may change it by the API, by an undo, and by publishing."""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from web_server import TOKEN, Web, running_web

from hedgerow.dashboards.accounts import Role
from hedgerow.dashboards.guard import SESSION_COOKIE
from hedgerow.policies.reading.key_scopes import KeyPath, is_open, policy_keys, reserved_changes, scope_of
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.reading.schema_types import KeyScope, RawModel, managed

PASSWORD = "four words and more"
PARENT = "127.0.0.5"
YAML = {"if-match": "*", "content-type": "application/yaml"}
KEYS = [base64.b64encode(bytes([number] * 32)).decode() for number in range(3)]

ITEM = {"what": "example.org", "until": "2031-01-01", "note": "for school"}
RULES: dict[str, Any] = {
    "always": [ITEM],
    "allow": [ITEM | {"what": "example.com"}],
    "block": [ITEM | {"what": "example.net"}],
    "bedtime": "20:30-07:00",
    "budget": "2h",
    "schedules": {
        "work": {
            "allow": [ITEM | {"what": "a.example"}], "block": [ITEM | {"what": "b.example"}], "only": [ITEM | {"what": "c.example"}],
            "when": {"mon": "15:00-16:00"}, "unless": "chores", "note": "quiet",
        }
    },
    "safe_search": "strict", "youtube": "strict", "privacy": "full", "retention": 30, "pass_through": True,
    "page_scan": {"limit": 100, "everywhere": False}, "picture_scan": {"enabled": True, "limit": 50}, "block_searches": ["pistol"],
    "block_files": ["archives"], "youtube_only": ["@somebody"], "recognise_names": {"block": 90, "mark": 50},
    "tenants": {"google": ["school.example"], "microsoft": ["school.example"], "directory": "11111111-1111-1111-1111-111111111111"},
}  # fmt: skip
OTHER_RULES: dict[str, Any] = {
    "what": "other.example", "until": "2032-01-01", "note": "another", "bedtime": "21:00-06:00", "budget": "3h",
    "schedules.*.when": {"tue": "15:00-16:00"}, "schedules.*.unless": None, "safe_search": "off", "youtube": "off", "privacy": "category",
    "retention": 20, "pass_through": False, "page_scan.limit": 200, "page_scan.everywhere": True, "picture_scan.enabled": False,
    "picture_scan.limit": 60, "block_searches": ["rifle"], "block_files": ["torrents"], "youtube_only": ["@other"],
    "recognise_names.block": 80, "recognise_names.mark": 40, "tenants.google": ["other.example"], "tenants.microsoft": ["other.example"],
    "tenants.directory": "22222222-2222-2222-2222-222222222222",
}  # fmt: skip


def merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    """Add what a mapping has, also inside the mappings that both have."""
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[name] = value


BASE: dict[str, Any] = RULES | {
    "network": {
        "timezone": "Europe/Lisbon", "country": "PT", "unknown_devices": "child-8-12", "lan": ["127.0.0.0/8"],
        "listen": {
            "dns": "127.0.0.1:5300", "proxy": "127.0.0.1:3128", "web": "127.0.0.1:8053", "dot": "127.0.0.1:5301", "doh": "127.0.0.1:5302",
            "doq": "127.0.0.1:5303", "doh3": "127.0.0.1:5304", "transparent": "127.0.0.1:3129",
        },
        "server_name": "dns.home.example", "certificate": {"chain": "/etc/a.pem", "key": "/etc/a.key"}, "reachable": ["192.168.1.0/24"],
        "ports": [443], "flows": ["calls"], "upstream": ["tls://dns.quad9.net"], "upstream_strategy": "strict",
        "forward": {"lan": ["192.168.1.1"]}, "records": {"nas.lan": ["192.168.1.5"]}, "blocked_answer": "page",
        "block_page": ["192.168.1.5"], "dnssec": "off", "client_subnet": "203.0.113.0/24", "forwarders": ["192.168.1.1"],
        "proxy_protocol_from": ["192.168.1.1"], "query_limit": {"per_client": 100, "total": 1000, "exempt": ["127.0.0.1"]},
        "lists": "recommended", "holidays": ["2026-12-24", "2026.ics"], "wpad": ["lan"], "proxy_sign_in": "never",
        "store": "postgresql://hedgerow@db.example/hedgerow", "site": "home",
        "tunnel": {"endpoint": "home.example", "port": 51820, "subnets": ["10.9.0.0/24"]},
        "ddns": {"server": "https://dyn.example/nic/update", "user": "ana", "host": "home.example", "seen_by": "https://ip.example/"},
        "mqtt": {
            "broker": "mqtts://broker.lan", "user": "hedgerow", "may": "operate", "services": ["tiktok"], "home": "hedgerow",
            "language": "en", "ca": "/etc/ca.pem",
        },
        "bundle": {"url": "https://office.example/bundle.json", "key": KEYS[1], "group": "north", "lists": True},
        "oidc": {
            "issuer": "https://login.example", "client": "hedgerow", "groups": "groups", "label": "School", "ca": "/etc/ca.pem",
            "roles": {"admin": ["it"], "parent": ["staff"], "operator": ["front"]}, "address": "https://pages.example",
        },
        "new_sites_days": 7, "registration_age": "registries",
    },
    "people": {
        "mia": RULES | {
            "age": 9, "timezone": "Europe/Lisbon", "devices": ["tablet"], "holidays": ["2026-12-24", "mia.ics"],
            "chores": {"dishes": 10},
        }
    },
    "devices": {
        "tablet": RULES | {
            "mac": ["02:00:00:00:00:01"], "ip": ["127.0.0.2"], "cidr": ["127.0.1.0/28"], "client_id": "tablet-1",
            "tunnel": {"key": KEYS[1], "number": 2}, "hostname": ["tablet"], "proxy_user": ["tablet"], "kind": "tablet",
            "trusts_ca": True, "never_inspect": False,
            "proxy_password": "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
        }
    },
    "profiles": {"own": RULES | {"extends": "child-8-12", "title": "Own", "why": "ours", "source": "us"}},
    "seats": {
        "seat-1": RULES | {
            "mac": ["02:00:00:00:00:02"], "ip": ["127.0.0.3"], "cidr": ["127.0.2.0/28"], "client_id": "seat-1", "hostname": ["seat-1"],
            "proxy_user": ["seat-1"], "kind": "computer", "trusts_ca": True, "never_inspect": False, "profile": "seat-child",
            "tunnel": {"key": KEYS[2], "number": 3},
            "proxy_password": "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
        }
    },
    "lists": [{"category": "adult", "path": "own.txt", "name": "ours", "format": "hosts"}],
    "include": ["more.yaml"], "locked": ["network.upstream"], "code_of_conduct": "conduct.txt", "unopened_seats": "closed",
    "cafe": {
        "name": "Corner", "currency": "EUR", "prices": {"child": {"60": 200}}, "voucher_prices": {"child": {"60": 200}}, "pay": "before",
        "roles": {"staff": {"adult_sessions": 5, "adult_vouchers": 5, "early_ends": 5}}, "bandwidth": {"child": 8},
    },
    "phrase_lists": ["phrases.txt"],
    "notices": {"mama": {"about": ["trouble"], "language": "en", "quiet": "22:00-07:00", "digest": "18:00", "report": "sun 18:00"}},
}  # fmt: skip
OF_FEATURES = [yaml.safe_load(file.read_text()) for file in sorted(Path(__file__).parents[1].glob("features/*/keys.yaml"))]
"""For each feature a policy with all of its keys, and another value of each of them."""
for _each in OF_FEATURES:
    merge(BASE, _each["policy"])

CALENDAR = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:20260102\nSUMMARY:x\nEND:VEVENT\nEND:VCALENDAR\n"
FILES = {
    "2026.ics": CALENDAR, "mia.ics": CALENDAR, "own.txt": "adult.example\n",
    "more.yaml": "people: {tom: {age: 15}}\n", "third.ics": CALENDAR, "empty.yaml": "{}\n",
    "conduct.txt": "Be kind.\n", "phrases.txt": "<bad phrase><10>\n",
}  # fmt: skip

WHOLE = BASE | {"people": BASE["people"] | {"tom": {"age": 15}}}
"""The policy with what its file includes."""
OTHERS: dict[str, Any] = {
    "network.timezone": "Europe/Berlin", "network.country": "DE", "network.unknown_devices": "adult", "network.lan": ["127.0.0.0/9"],
    "network.listen.*": "127.0.0.1:5400", "network.server_name": "dns2.home.example", "network.certificate.chain": "/etc/b.pem",
    "network.certificate.key": "/etc/b.key", "network.reachable": ["192.168.2.0/24"], "network.ports": [444], "network.flows": ["push"],
    "network.upstream": ["9.9.9.9"], "network.upstream_strategy": "parallel", "network.forward": {"lan": ["192.168.1.9"]},
    "network.records": {"nas.lan": ["192.168.1.6"]}, "network.blocked_answer": "zero", "network.block_page": ["192.168.1.6"],
    "network.dnssec": "validate", "network.client_subnet": "198.51.100.0/24", "network.forwarders": ["192.168.1.9"],
    "network.proxy_protocol_from": ["192.168.1.9"], "network.query_limit.per_client": 101, "network.query_limit.total": 1001,
    "network.query_limit.exempt": ["127.0.0.2"], "network.lists": "starter", "network.holidays": ["2026-12-24", "third.ics"],
    "network.wpad": ["home"], "network.proxy_sign_in": "unknown", "network.store": "postgresql://x@db.attacker.example/x",
    "network.site": "cafe-3", "network.tunnel.endpoint": "x.example",
    "network.tunnel.port": 51821, "network.tunnel.subnets": ["10.8.0.0/24"], "network.ddns.server": "https://attacker.example/u",
    "network.ddns.user": "x", "network.ddns.host": "x.example", "network.ddns.seen_by": "https://attacker.example/",
    "network.mqtt.broker": "mqtts://attacker.example", "network.mqtt.user": "x", "network.mqtt.may": "manage",
    "network.mqtt.services": ["roblox"], "network.mqtt.home": "other", "network.mqtt.language": "de", "network.mqtt.ca": "/etc/x.pem",
    "network.bundle.url": "https://attacker.example/bundle.json", "network.bundle.key": KEYS[0], "network.bundle.group": "south",
    "network.bundle.lists": False, "network.oidc.issuer": "https://attacker.example", "network.oidc.client": "x",
    "network.oidc.groups": "g", "network.oidc.label": "x", "network.oidc.ca": "/etc/x.pem", "network.oidc.roles.admin": ["pupils"],
    "network.oidc.roles.parent": ["pupils"], "network.oidc.roles.operator": ["pupils"], "network.oidc.address": "https://attacker.example",
    "network.new_sites_days": 0,
    "network.registration_age": "https://attacker.example/", "people.*.age": 10, "people.*.profile": "adult",
    "people.*.timezone": "Europe/Berlin", "people.*.devices": [], "people.*.holidays": ["third.ics"],
    "people.*.chores": {"dishes": 20}, "mac": ["02:00:00:00:00:09"], "ip": ["127.0.0.9"], "cidr": ["127.0.9.0/28"], "client_id": "other-1",
    "tunnel.key": KEYS[0], "tunnel.number": 9, "hostname": ["other"], "proxy_user": ["other"], "kind": "phone", "trusts_ca": False,
    "never_inspect": True, "proxy_password": "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$b3RoZXJvdGhlcm90aGVyb3RoZXI",
    "devices.*.profile": "adult", "seats.*.profile": "seat-adult", "profiles.*.extends": "adult", "profiles.*.title": "x",
    "profiles.*.why": "x", "profiles.*.source": "x", "lists.[].source": "ut1-adult", "lists.[].category": "gambling",
    "lists.[].url": "https://x.example/a", "lists.[].path": "more.yaml", "lists.[].format": "plain", "lists.[].name": "x",
    "lists.[].refresh": "1d", "include": ["more.yaml", "empty.yaml"], "locked": [], "code_of_conduct": "phrases.txt",
    "unopened_seats": "child",
    "cafe.name": "x", "cafe.currency": "USD", "cafe.prices": {"child": {"60": 1}}, "cafe.voucher_prices": {"child": {"60": 1}},
    "cafe.pay": "after", "cafe.roles.*.adult_sessions": 6, "cafe.roles.*.adult_vouchers": 6, "cafe.roles.*.early_ends": 6,
    "cafe.bandwidth": {"child": 9}, "phrase_lists": [], "notices.*.about": ["update-failed"], "notices.*.language": "de",
    "notices.*.quiet": "21:00-07:00", "notices.*.digest": "19:00", "notices.*.report": "mon 18:00",
}  # fmt: skip
"""A changed value of every key that has no keys inside, by its path or the end of it."""

for _each in OF_FEATURES:
    OTHERS |= _each["others"]

KEYS_OF_POLICY = {path: scope_of(key) for path, key in policy_keys()}
LEAVES = [
    (path, scope) for path, scope in KEYS_OF_POLICY.items() if not any(other[: len(path)] == path != other for other in KEYS_OF_POLICY)
]
"""Every key that has no keys inside."""


def changed_value(path: KeyPath) -> Any:
    """Return the sample for a key, by the longest known end of its path; a rule may be that of any scope."""
    values, names = OTHER_RULES | OTHERS, [each for each in path if each != "[]"]
    for spelled in (list(path), [*path[:-1], "*"], names):
        for start in range(len(spelled)):
            if (key := ".".join(spelled[start:])) in values:
                return values[key]
    raise LookupError(f"no sample for {'.'.join(path)}")


def with_value(path: KeyPath, value: Any) -> dict[str, Any]:
    """Return the base policy with another value of a key; None removes the key."""
    document = copy.deepcopy(WHOLE)
    if path[:1] == ("people",) and path[-1] == "profile":
        del document["people"]["mia"]["age"]
    holder: Any = document
    for step in path[:-1]:
        holder = next(iter(holder.values())) if step == "*" else holder[0] if step == "[]" else holder[step]
    holder.pop(path[-1], None)
    if value is not None:
        holder[path[-1]] = value
    if path == ("lists", "[]", "source"):
        document["lists"] = [*BASE["lists"], {"source": value}]
    if path == ("lists", "[]", "url"):
        document["lists"] = [*BASE["lists"], {"category": "adult", "url": value}]
    return document


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
    return httpx.Client(base_url=f"{web.url}/api/v1", headers=headers, trust_env=False, timeout=60)


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
    with httpx.Client(base_url=web.url, headers=headers, trust_env=False, timeout=60) as client:
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
    for path in (("network", "country"), ("people", "*", "bedtime"), ("notices", "*", "quiet"), ("lists", "[]", "category")):
        assert put(manager, with_value(path, changed_value(path)), dry_run=True).json()["ok"], path


RESERVED = [path for path, scope in LEAVES if scope is not KeyScope.MANAGE]


@pytest.mark.parametrize("path", RESERVED, ids=[".".join(path) for path in RESERVED])
def test_only_admins_change_a_reserved_key(path: KeyPath, web: Web, manager: httpx.Client) -> None:
    before, wanted = web.policy_path.read_text(), with_value(path, changed_value(path))
    assert not is_open(tuple("mia" if step == "*" else step for step in path if step != "[]"))
    named = ".".join("mia" if step == "*" else step for step in path if step != "[]")
    refused(manager.put("/policy", content=parsed(web, wanted), headers=YAML), named)
    assert web.policy_path.read_text() == before


@pytest.mark.parametrize("path", RESERVED, ids=[".".join(path) for path in RESERVED])
def test_a_reserved_key_is_not_removed_but_with_its_entry(path: KeyPath, web: Web) -> None:
    before, after = web.policy_path.read_text(), json.dumps(with_value(path, None))
    is_in_an_entry = {"*", "[]"} & set(path) or path[-1] == "holidays"
    assert reserved_changes([before], [after]) == (() if is_in_an_entry else (".".join(path),))


def test_a_manager_sends_a_whole_policy_back_with_reserved_keys_as_they_are(web: Web, manager: httpx.Client) -> None:
    before = web.policy_path.read_text()
    document = manager.get("/policy").json()
    document["people"]["mia"]["age"] = 8
    document["people"].pop("tom")
    assert put(manager, document, dry_run=True).json()["ok"]
    del document["network"]["oidc"]["label"]
    refused(put(manager, document, dry_run=True), "network.oidc.label")
    text = before.replace('"age": 9', '"age": 8')
    assert manager.put("/policy", content=text, headers=YAML, params={"dry_run": True}).json()["ok"]
    patch = {"network": {"oidc": {"client": "hedgerow"}, "timezone": "Europe/Berlin"}}
    assert manager.patch("/policy", json=patch, params={"dry_run": True}).json()["ok"]
    assert web.policy_path.read_text() == before


def test_every_way_of_the_api_refuses(web: Web, manager: httpx.Client) -> None:
    before = web.policy_path.read_text()
    role = {"oidc": {"roles": {"admin": ["pupils"]}}}
    refused(manager.patch("/policy", json={"network": role}), "network.oidc.roles.admin")
    refused(manager.patch("/policy", json={"network": {"site": "cafe-3"}}, params={"dry_run": True}), "network.site")
    refused(manager.patch("/policy/people/mia", json={"holidays": ["/etc/passwd"]}), "people.mia.holidays")
    refused(manager.put("/policy/people/lea", json={"age": 3, "holidays": ["../x"]}), "people.lea.holidays")
    refused(manager.patch("/policy", json={"network": {"holidays": [" https://x/../hol.ics"]}}), "network.holidays")
    text = "# nothing\n" + before.replace('"pupils"', '"x"').replace('"it"', '"pupils"')
    refused(manager.put("/policy", content=text, headers=YAML), "network.oidc.roles.admin")
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


def test_no_undo_brings_back_who_signs_in_as_admin(tmp_path: Path) -> None:
    """A parent's own change removes nothing of it, and the admin's is not undone by others."""
    with removable(tmp_path) as (web, admin, parent):
        oidc = {"issuer": "https://id.example", "client": "hedgerow", "groups": "groups", "roles": {"admin": ["pupils"]}}
        assert admin.patch("/policy", json={"network": {"oidc": oidc}}).json()["changed"]
        assert parent.patch("/api/v1/policy", json=WITHOUT["people.mia.holidays"]).json()["changed"]
        removal = newest_change(parent)
        assert admin.patch("/policy", json={"network": {"oidc": None}}).json()["changed"]
        before = web.policy_path.read_text()
        assert parent.post(f"/api/v1/changes/{removal}/undo").status_code == 422, "the file was changed again"
        answer = parent.post(f"/api/v1/changes/{newest_change(parent)}/undo")
        assert answer.status_code == 403, answer.text
        assert "network.oidc." in answer.json()["detail"]
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
