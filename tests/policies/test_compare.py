"""What `check --diff` says of two policies."""

from __future__ import annotations

import pytest

from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.review import compare

MIA = "people: {{mia: {{age: 9, devices: [tablet], {}}}}}\ndevices: {{tablet: {{ip: 192.168.1.9}}}}\nnetwork: {{timezone: UTC}}\n"


def _compared(old: str, new: str) -> list[str]:
    return [f"{each.whose}: {each.sentence}" for each in compare(parse_policy(old.encode(), None), parse_policy(new.encode(), None))]


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
            ["tablet: schedules: +s (only internet, youtube: 2026-12-24 10:00-13:00), -s (allow youtube: 2026-12-24 10:00-12:00)"],
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
                "all use 60/60/60/60/60/60/60 (on free days 120/120/120/120/120/120/120) min"
            ],
        ),
    ],
)
def test_what_changes_for_a_person(old: str, new: str, said: list[str]) -> None:
    assert _compared(MIA.format(old), MIA.format(new)) == said


def test_what_changes_for_the_network() -> None:
    old = "lists: [{category: adult, path: a.txt}]\nnetwork: {upstream: 9.9.9.9}"
    new = "lists: [{category: adult, path: b.txt}]\nnetwork: {upstream: [9.9.9.9, 1.1.1.1], country: PT, query_limit: {per_client: 7}}"
    assert _compared(old, old) == []
    found = _compared(old, new)
    assert all(each.startswith("the network: ") for each in found)
    assert [each.removeprefix("the network: ").partition(":")[0] for each in found] == ["own lists", "country", "upstream", "per_client"]
    assert found[1:3] == ["the network: country: none → PT", "the network: upstream: +1.1.1.1"]
