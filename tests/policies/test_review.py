"""Differences between two policies (`check --diff`), and warnings about one (`check`)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from policy_samples import BASE, FILES

from hedgerow.policies.reading.feature_keys import FeatureKey
from hedgerow.policies.reading.load import load_policy, parse_policy
from hedgerow.policies.reading.schema import FEATURE_KEYS
from hedgerow.policies.review import compare, policy_warnings

MIA = (
    "people: {{mia: {{age: 9, devices: [tablet], {}}}}}\ndevices: {{tablet: {{ip: 192.168.1.9}}}}\nnetwork: {{timezone:"
    " UTC}}\n"
)


def _compared(old: str, new: str) -> list[str]:
    return [
        f"{each.whose}: {each.sentence}"
        for each in compare(parse_policy(old.encode(), None), parse_policy(new.encode(), None))
    ]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("", "", []),
        ("allow: [roblox]", "block: [roblox]", ["tablet: allow: -roblox", "tablet: block: +roblox"]),
        ("", "always: [example.org]", ["tablet: allow: +example.org", "tablet: always open: +example.org"]),
        (
            "block: [{what: roblox, until: 2026-12-24}]",
            "block: [{what: roblox, until: 2026-12-25 18:00, note: agreed}]",
            ["tablet: block: +roblox until 2026-12-25 18:00 (agreed), -roblox until 2026-12-25 00:00"],
        ),
        (
            "schedules: {s: {block: games, when: {sat: all-day}}}",
            "schedules: {s: {block: social, when: {sat: all-day}}}",
            ["tablet: schedules: +s (block social: Sat 00:00-24:00), -s (block games: Sat 00:00-24:00)"],
        ),
        (
            "schedules: {s: {allow: youtube, when: {2026-12-24: '10:00-12:00'}}}",
            "schedules: {s: {only: [youtube, internet], when: {2026-12-24: '10:00-13:00'}}}",
            [
                "tablet: schedules: +s (only internet, youtube: 2026-12-24 10:00-13:00), -s (allow youtube: 2026-12-24"
                " 10:00-12:00)"
            ],
        ),
        (
            "bedtime: {sun-thu: '20:30-07:00'}",
            "bedtime: {school-nights: '20:30-07:00'}",
            [
                "tablet: bedtime: "
                + ", ".join(f"{day} 20:30-07:00" for day in ("Mon", "Tue", "Wed", "Thu", "Sun"))
                + " → "
                + ", ".join(f"{day} 20:30-07:00" for day in ("Mon", "Tue", "Wed", "Thu", "Sun"))
                + ", on free days: never"
            ],
        ),
        (
            "budget: {every-day: 1h}",
            "budget: {every-day: 1h, holidays: 2h}",
            [
                "tablet: budget: all use 60/60/60/60/60/60/60 min → "
                "all use 60/60/60/60/60/60/60 (on free days 120/120/120/120/120/120/120) min",
                "unknown devices: budget: all use 60/60/60/60/60/60/60 min → "
                "all use 60/60/60/60/60/60/60 (on free days 120/120/120/120/120/120/120) min",
            ],
        ),
    ],
)
def test_differences_for_a_person(old: str, new: str, said: list[str]) -> None:
    assert _compared(MIA.format(old), MIA.format(new)) == said


def test_a_tunnel_and_a_certificate_that_are_new() -> None:
    tunnel = "endpoint: home.example"
    certificate = "server_name: dns.home.example, certificate: {chain: /etc/chain.pem, key: /etc/key.pem}"
    device = f"devices: {{phone: {{ip: 192.168.1.9, tunnel: {{key: '{'A' * 43}=', number: 2}}}}}}"
    before = "devices: {phone: {ip: 192.168.1.9}}\n"
    found = _compared(before + "network: {}", f"{device}\nnetwork: {{tunnel: {{{tunnel}}}, {certificate}}}")
    assert found[0] == "phone: is recognised differently"
    assert "the network: tunnel: none → home.example, 51820, 51820, 10.87.214.0/24 fd5e:3a81:c7d4:9b26::/64" in found
    assert "the network: certificate: none → /etc/chain.pem, /etc/key.pem" in found


def test_differences_for_the_network() -> None:
    old = "lists: [{category: adult, path: a.txt}]\nnetwork: {upstream: 9.9.9.9}"
    new = (
        "lists: [{category: adult, path: b.txt}]\nnetwork: {upstream: [9.9.9.9, 1.1.1.1], country: PT, query_limit:"
        " {per_client: 7}}"
    )
    assert _compared(old, old) == []
    found = _compared(old, new)
    assert all(each.startswith("the network: ") for each in found)
    assert [each.removeprefix("the network: ").partition(":")[0] for each in found] == [
        "own lists",
        "country",
        "upstream",
        "per_client",
    ]
    assert found[1:3] == ["the network: country: none → PT", "the network: upstream: +1.1.1.1"]


NOW = datetime(2026, 12, 20, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", []),
        ("devices: {a: {ip: 192.168.1.9}, b: {ip: 192.168.1.10}, c: {cidr: 10.0.0.0/24}}", []),
        (
            "devices: {tablet: {ip: 192.168.1.9}, kids: {cidr: 192.168.1.0/28}}",
            ["tablet (192.168.1.9) is inside kids (192.168.1.0/28): the rules of tablet apply there"],
        ),
        (
            (
                "devices: {kids: {cidr: 10.0.0.0/24}, all: {cidr: 10.0.0.0/8}, six: {cidr: 'fd00::/64'}, one: {ip:"
                " 'fd00::1'}}"
            ),
            [
                "kids (10.0.0.0/24) is inside all (10.0.0.0/8): the rules of kids apply there",
                "one (fd00::1) is inside six (fd00::/64): the rules of one apply there",
            ],
        ),
        ("devices: {both: {ip: 192.168.1.9, cidr: 192.168.1.0/28}}", []),
        (
            "people: {ana: {profile: adult, devices: [laptop]}}\ndevices: {laptop: {hostname: anas-laptop}}",
            [
                (
                    "laptop is filtered as child-8-12, not as adult, when only its host name is known: "
                    "any device can claim that name, so it only restricts. Add a mac, ip or client_id"
                ),
            ],
        ),
        ("people: {mia: {age: 9, devices: [laptop]}}\ndevices: {laptop: {hostname: mias-laptop}}", []),
        (
            (
                "people: {mia: {age: 9, devices: [laptop]}}\ndevices: {laptop: {hostname: mias-laptop, mac:"
                " '02:00:00:00:00:01'}}"
            ),
            ["laptop: its host name is ignored, because its mac or ip is better evidence"],
        ),
        ("network: {timezone: UTC}\nblock: [{what: roblox, until: 2026-12-22}]", []),
        (
            "network: {timezone: UTC}\nblock: [{what: roblox, until: 2026-12-20, note: a break}]",
            ["home.yaml:2: the block of roblox for everybody (a break) ends within a day"],
        ),
        (
            (
                "network: {timezone: UTC}\npeople:\n  mia:\n    age: 9\n    allow: [{what: scratch.mit.edu, until:"
                " 2026-12-20 11:59}]"
            ),
            ["home.yaml:5: the allow of scratch.mit.edu for mia has ended: you can delete the line"],
        ),
        (
            (
                "network: {timezone: UTC}\nschedules: {s: {when: '10:00-12:00', block: [{what: games, until:"
                " 2026-12-19}]}}"
            ),
            ["home.yaml:2: the block of games for everybody has ended: you can delete the line"],
        ),
        ("network: {timezone: UTC}\nblock: [{what: roblox, until: 2026-12-01}]", []),
        (
            (
                "people:\n  mia:\n    age: 9\n    schedules:\n      tv: {allow: [youtube, tiktok], when: {weekend:"
                " '10:00-12:00'}}"
            ),
            [
                "home.yaml:5: youtube is also open for mia at other times: use `only` instead of `allow` to close it"
                " then"
            ],
        ),
        ("people: {mia: {age: 6, schedules: {tv: {allow: youtube, when: sat}}}}", []),
        ("people: {mia: {age: 9, block: [youtube], schedules: {tv: {allow: youtube, when: sat}}}}", []),
        ("people: {mia: {age: 9, schedules: {tv: {only: youtube, when: sat}}}}", []),
        (
            "devices: {phone: {client_id: mia-phone}, pad: {client_id: 5d0c2ab81e6f4397a2d4f80b6c11e93a}}",
            ["phone: its client_id is short enough to guess. Take a random one, such as from `openssl rand -hex 16`"],
        ),
    ],
)
def test_warnings(text: str, said: list[str]) -> None:
    assert list(policy_warnings(parse_policy(text.encode(), Path("home.yaml")), NOW)) == said


def test_using_only_the_starter_lists_is_a_warning() -> None:
    few, own = "network: {lists: starter}\n", "lists: [{category: adult, url: 'https://lists.example/adult'}]\n"
    reported = {
        text: policy_warnings(parse_policy(text.encode(), Path("hedgerow.yaml")), NOW)
        for text in ("", few, own, few + own)
    }
    assert [text for text, said in reported.items() if any("most adult sites are open" in each for each in said)] == [
        few
    ]


@pytest.mark.parametrize("key", FEATURE_KEYS, ids=lambda key: key.settings.KEY)
def test_changed_settings_of_a_feature_are_a_difference(tmp_path: Path, key: FeatureKey) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "hedgerow.yaml").write_text(json.dumps(BASE))
    policy = load_policy(tmp_path / "hedgerow.yaml")
    others = {name: text for name, text in policy.features.items() if name != key.settings.KEY}
    (found,) = compare(replace(policy, features=others), policy)
    assert found.whose == "the network"
    assert found.sentence.startswith(f"{key.title or key.settings.KEY}: +")
