"""What `check` points out in a policy without mistakes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.review import policy_warnings

NOW = datetime(2026, 12, 20, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", []),
        ("devices: {a: {ip: 192.168.1.9}, b: {ip: 192.168.1.10}, c: {cidr: 10.0.0.0/24}}", []),
        (
            "devices: {tablet: {ip: 192.168.1.9}, kids: {cidr: 192.168.1.0/28}}",
            ["tablet (192.168.1.9) lies inside kids (192.168.1.0/28): what is said for tablet holds there"],
        ),
        (
            "devices: {kids: {cidr: 10.0.0.0/24}, all: {cidr: 10.0.0.0/8}, six: {cidr: 'fd00::/64'}, one: {ip: 'fd00::1'}}",
            [
                "kids (10.0.0.0/24) lies inside all (10.0.0.0/8): what is said for kids holds there",
                "one (fd00::1) lies inside six (fd00::/64): what is said for one holds there",
            ],
        ),
        ("devices: {both: {ip: 192.168.1.9, cidr: 192.168.1.0/28}}", []),
        (
            "people: {ana: {profile: adult, devices: [laptop]}}\ndevices: {laptop: {hostname: anas-laptop}}",
            [
                "laptop is filtered as child-8-12 where only its host name tells of it, not as adult; "
                "any device can take that name, so it only restricts: a mac, ip or client_id proves more",
            ],
        ),
        ("people: {mia: {age: 9, devices: [laptop]}}\ndevices: {laptop: {hostname: mias-laptop}}", []),
        (
            "people: {mia: {age: 9, devices: [laptop]}}\ndevices: {laptop: {hostname: mias-laptop, mac: '02:00:00:00:00:01'}}",
            ["laptop: its host name counts for nothing, because its mac or ip tells more"],
        ),
        ("network: {timezone: UTC}\nblock: [{what: roblox, until: 2026-12-22}]", []),
        (
            "network: {timezone: UTC}\nblock: [{what: roblox, until: 2026-12-20, note: a break}]",
            ["home.yaml:2: the block of roblox for everybody (a break) ends within a day"],
        ),
        (
            "network: {timezone: UTC}\npeople:\n  mia:\n    age: 9\n    allow: [{what: scratch.mit.edu, until: 2026-12-20 11:59}]",
            ["home.yaml:5: the allow of scratch.mit.edu for mia has ended, and the line can go"],
        ),
        (
            "network: {timezone: UTC}\nschedules: {s: {when: '10:00-12:00', block: [{what: games, until: 2026-12-19}]}}",
            ["home.yaml:2: the block of games for everybody has ended, and the line can go"],
        ),
        ("network: {timezone: UTC}\nblock: [{what: roblox, until: 2026-12-01}]", []),
        (
            "people:\n  mia:\n    age: 9\n    schedules:\n      tv: {allow: [youtube, tiktok], when: {weekend: '10:00-12:00'}}",
            ["home.yaml:5: youtube is open for mia at other times too: `only` in place of `allow` would close it then"],
        ),
        ("people: {mia: {age: 6, schedules: {tv: {allow: youtube, when: sat}}}}", []),
        ("people: {mia: {age: 9, block: [youtube], schedules: {tv: {allow: youtube, when: sat}}}}", []),
        ("people: {mia: {age: 9, schedules: {tv: {only: youtube, when: sat}}}}", []),
    ],
)
def test_cautions(text: str, said: list[str]) -> None:
    assert list(policy_warnings(parse_policy(text.encode(), Path("home.yaml")), NOW)) == said


def test_who_keeps_to_the_starter_lists_is_told_how_few_they_are() -> None:
    few, own = "network: {lists: starter}\n", "lists: [{category: adult, url: 'https://lists.example/adult'}]\n"
    told = {text: policy_warnings(parse_policy(text.encode(), Path("hedgerow.yaml")), NOW) for text in ("", few, own, few + own)}
    assert [text for text, said in told.items() if any("most adult sites are open" in each for each in said)] == [few]
