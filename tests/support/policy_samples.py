"""Samples of every key of the policy: a policy that gives all of them, and another value of each."""

from __future__ import annotations

import base64
import copy
from pathlib import Path
from typing import Any

import yaml

from hedgerow.policies.reading.key_scopes import KeyPath, policy_keys, scope_of
from hedgerow.policies.reading.schema import SCORE_KEYS

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
            "allow": [ITEM | {"what": "a.example"}],
            "block": [ITEM | {"what": "b.example"}],
            "only": [ITEM | {"what": "c.example"}],
            "when": {"mon": "15:00-16:00"},
            "note": "quiet",
        }
    },
    "safe_search": "strict",
    "youtube": "strict",
    "privacy": "full",
    "retention": 30,
    "pass_through": True,
    "page_scan": {"limit": 100, "everywhere": False},
    "block_searches": ["pistol"],
    "block_files": ["archives"],
    "youtube_only": ["@somebody"],
    "recognise_names": {"block": 90, "mark": 50},
    "tenants": {
        "google": ["school.example"],
        "microsoft": ["school.example"],
        "directory": "11111111-1111-1111-1111-111111111111",
    },
}
OTHER_RULES: dict[str, Any] = {
    "what": "other.example",
    "until": "2032-01-01",
    "note": "another",
    "bedtime": "21:00-06:00",
    "budget": "3h",
    "schedules.*.when": {"tue": "15:00-16:00"},
    "safe_search": "off",
    "youtube": "off",
    "privacy": "category",
    "retention": 20,
    "pass_through": False,
    "page_scan.limit": 200,
    "page_scan.everywhere": True,
    "block_searches": ["rifle"],
    "block_files": ["torrents"],
    "youtube_only": ["@other"],
    "recognise_names.block": 80,
    "recognise_names.mark": 40,
    "tenants.google": ["other.example"],
    "tenants.microsoft": ["other.example"],
    "tenants.directory": "22222222-2222-2222-2222-222222222222",
}


SCOPES = ("people", "devices", "profiles", "seats")
"""Groups of entries that have rules."""


def merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    """Add what a mapping has, also inside the mappings that both have."""
    for name, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[name] = value


BASE: dict[str, Any] = RULES | {
    "network": {
        "timezone": "Europe/Lisbon",
        "country": "PT",
        "unknown_devices": "child-8-12",
        "lan": ["127.0.0.0/8"],
        "listen": {
            "dns": "127.0.0.1:5300",
            "proxy": "127.0.0.1:3128",
            "web": "127.0.0.1:8053",
            "dot": "127.0.0.1:5301",
            "doh": "127.0.0.1:5302",
            "doq": "127.0.0.1:5303",
            "doh3": "127.0.0.1:5304",
            "transparent": "127.0.0.1:3129",
        },
        "server_name": "dns.home.example",
        "certificate": {"chain": "/etc/a.pem", "key": "/etc/a.key"},
        "reachable": ["192.168.1.0/24"],
        "ports": [443],
        "flows": ["calls"],
        "upstream": ["tls://dns.quad9.net"],
        "upstream_strategy": "strict",
        "forward": {"lan": ["192.168.1.1"]},
        "records": {"nas.lan": ["192.168.1.5"]},
        "blocked_answer": "page",
        "block_page": ["192.168.1.5"],
        "dnssec": "off",
        "client_subnet": "203.0.113.0/24",
        "forwarders": ["192.168.1.1"],
        "proxy_protocol_from": ["192.168.1.1"],
        "query_limit": {"per_client": 100, "total": 1000, "exempt": ["127.0.0.1"]},
        "lists": "recommended",
        "holidays": ["2026-12-24", "2026.ics"],
        "wpad": ["lan"],
        "proxy_sign_in": "never",
        "store": "postgresql://hedgerow@db.example/hedgerow",
        "site": "home",
        "tunnel": {"endpoint": "home.example", "port": 51820, "subnets": ["10.9.0.0/24"]},
        "bundle": {"url": "https://office.example/bundle.json", "key": KEYS[1], "group": "north", "lists": True},
        "new_sites_days": 7,
    },
    "people": {
        "mia": RULES
        | {
            "age": 9,
            "timezone": "Europe/Lisbon",
            "devices": ["tablet"],
            "holidays": ["2026-12-24", "mia.ics"],
            "upstream": ["tls://dns.quad9.net"],
        }
    },
    "devices": {
        "tablet": RULES
        | {
            "upstream": ["tls://dns.quad9.net"],
            "mac": ["02:00:00:00:00:01"],
            "ip": ["127.0.0.2"],
            "cidr": ["127.0.1.0/28"],
            "client_id": "tablet-1",
            "tunnel": {"key": KEYS[1], "number": 2},
            "hostname": ["tablet"],
            "proxy_user": ["tablet"],
            "kind": "tablet",
            "trusts_ca": True,
            "never_inspect": False,
            "proxy_password": "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
        }
    },
    "profiles": {"own": RULES | {"extends": "child-8-12", "title": "Own", "why": "ours", "source": "us"}},
    "seats": {
        "seat-1": RULES
        | {
            "upstream": ["tls://dns.quad9.net"],
            "mac": ["02:00:00:00:00:02"],
            "ip": ["127.0.0.3"],
            "cidr": ["127.0.2.0/28"],
            "client_id": "seat-1",
            "hostname": ["seat-1"],
            "proxy_user": ["seat-1"],
            "kind": "computer",
            "trusts_ca": True,
            "never_inspect": False,
            "profile": "seat-child",
            "tunnel": {"key": KEYS[2], "number": 3},
            "proxy_password": "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
        }
    },
    "lists": [{"category": "adult", "path": "own.txt", "name": "ours", "format": "hosts"}],
    "include": ["more.yaml"],
    "locked": ["profiles.nobody"],
    "code_of_conduct": "conduct.txt",
    "unopened_seats": "closed",
    "phrase_lists": ["phrases.txt"],
    "notices": {
        "mama": {
            "about": ["trouble"],
            "language": "en",
            "quiet": "22:00-07:00",
            "digest": "18:00",
            "report": "sun 18:00",
        }
    },
}
OF_FEATURES = [
    yaml.safe_load(file.read_text()) for file in sorted(Path(__file__).parents[1].glob("features/*/keys.yaml"))
]
"""For each feature a policy with all of its keys, and another value of each of them."""
KEYS_OF_RULES = {key.name for key in SCORE_KEYS}
for _each in OF_FEATURES:
    merge(BASE, _each["policy"])
    for _scope in (entry for group in SCOPES for entry in BASE[group].values()):
        merge(_scope, {key: dict(value) for key, value in _each["policy"].items() if key in KEYS_OF_RULES})

CALENDAR = "BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART;VALUE=DATE:20260102\nSUMMARY:x\nEND:VEVENT\nEND:VCALENDAR\n"
FILES = {
    "2026.ics": CALENDAR,
    "mia.ics": CALENDAR,
    "own.txt": "adult.example\n",
    "more.yaml": "people: {tom: {age: 15}}\n",
    "third.ics": CALENDAR,
    "empty.yaml": "{}\n",
    "conduct.txt": "Be kind.\n",
    "phrases.txt": "<bad phrase><10>\n",
}

WHOLE = BASE | {"people": BASE["people"] | {"tom": {"age": 15}}}
"""The policy with what its file includes."""
OTHERS: dict[str, Any] = {
    "network.timezone": "Europe/Berlin",
    "network.country": "DE",
    "network.unknown_devices": "adult",
    "network.lan": ["127.0.0.0/9"],
    "network.listen.*": "127.0.0.1:5400",
    "network.server_name": "dns2.home.example",
    "network.certificate.chain": "/etc/b.pem",
    "network.certificate.key": "/etc/b.key",
    "network.reachable": ["192.168.2.0/24"],
    "network.ports": [444],
    "network.flows": ["push"],
    "network.upstream": ["9.9.9.9"],
    "upstream": ["9.9.9.11"],
    "network.upstream_strategy": "parallel",
    "network.forward": {"lan": ["192.168.1.9"]},
    "network.records": {"nas.lan": ["192.168.1.6"]},
    "network.blocked_answer": "zero",
    "network.block_page": ["192.168.1.6"],
    "network.dnssec": "validate",
    "network.client_subnet": "198.51.100.0/24",
    "network.forwarders": ["192.168.1.9"],
    "network.proxy_protocol_from": ["192.168.1.9"],
    "network.query_limit.per_client": 101,
    "network.query_limit.total": 1001,
    "network.query_limit.exempt": ["127.0.0.2"],
    "network.lists": "starter",
    "network.holidays": ["2026-12-24", "third.ics"],
    "network.wpad": ["home"],
    "network.proxy_sign_in": "unknown",
    "network.store": "postgresql://x@db.attacker.example/x",
    "network.site": "cafe-3",
    "network.tunnel.endpoint": "x.example",
    "network.tunnel.port": 51821,
    "network.tunnel.subnets": ["10.8.0.0/24"],
    "network.bundle.url": "https://attacker.example/bundle.json",
    "network.bundle.key": KEYS[0],
    "network.bundle.group": "south",
    "network.bundle.lists": False,
    "network.new_sites_days": 0,
    "people.*.age": 10,
    "people.*.born": "2016-05",
    "people.*.profile": "adult",
    "people.*.timezone": "Europe/Berlin",
    "people.*.devices": [],
    "people.*.holidays": ["third.ics"],
    "mac": ["02:00:00:00:00:09"],
    "ip": ["127.0.0.9"],
    "cidr": ["127.0.9.0/28"],
    "client_id": "other-1",
    "tunnel.key": KEYS[0],
    "tunnel.number": 9,
    "hostname": ["other"],
    "proxy_user": ["other"],
    "kind": "phone",
    "trusts_ca": False,
    "never_inspect": True,
    "proxy_password": "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$b3RoZXJvdGhlcm90aGVyb3RoZXI",
    "devices.*.profile": "adult",
    "seats.*.profile": "seat-adult",
    "profiles.*.extends": "adult",
    "profiles.*.title": "x",
    "profiles.*.why": "x",
    "profiles.*.source": "x",
    "lists.[].source": "ut1-adult",
    "lists.[].category": "gambling",
    "lists.[].url": "https://x.example/a",
    "lists.[].path": "more.yaml",
    "lists.[].format": "plain",
    "lists.[].name": "x",
    "lists.[].refresh": "1d",
    "include": ["more.yaml", "empty.yaml"],
    "locked": [],
    "corrections": {"adult": ["school.example"]},
    "code_of_conduct": "phrases.txt",
    "unopened_seats": "child",
    "phrase_lists": [],
    "notices.*.about": ["update-failed"],
    "notices.*.language": "de",
    "notices.*.quiet": "21:00-07:00",
    "notices.*.digest": "19:00",
    "notices.*.report": "mon 18:00",
}
"""A changed value of every key that has no keys inside, by its path or the end of it."""

for _each in OF_FEATURES:
    OTHERS |= _each["others"]

KEYS_OF_POLICY = {path: scope_of(key) for path, key in policy_keys()}
LEAVES = [
    (path, scope)
    for path, scope in KEYS_OF_POLICY.items()
    if not any(other[: len(path)] == path != other for other in KEYS_OF_POLICY)
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


def named(path: KeyPath) -> KeyPath:
    """Return the path of a key in the base policy: with the names of entries, without the places of items.

    >>> named(("seats", "*", "upstream")), named(("lists", "[]", "path"))
    (('seats', 'seat-1', 'upstream'), ('lists', 'path'))
    """
    names = {"devices": "tablet", "seats": "seat-1"}
    return tuple(names.get(path[0], "mia") if step == "*" else step for step in path if step != "[]")


def with_value(path: KeyPath, value: Any) -> dict[str, Any]:
    """Return the base policy with another value of a key; None removes the key."""
    document = copy.deepcopy(WHOLE)
    if path[:1] == ("people",) and path[-1] in {"born", "profile"}:
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
