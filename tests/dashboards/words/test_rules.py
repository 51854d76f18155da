"""Sentences about rules match the decisions."""

from __future__ import annotations

import pytest

from hedgerow.dashboards.words.languages import language
from hedgerow.dashboards.words.rules import rules_text
from hedgerow.policies.reading.load import parse_policy


@pytest.mark.parametrize(
    ("household", "person", "device", "opens", "closes"),
    [
        ("allow: [roblox]", "block: [roblox]", "", (), ("Roblox",)),
        ("block: [roblox]", "allow: [roblox]", "", ("Roblox",), ()),
        ("", "allow: [roblox]", "block: [roblox]", (), ("Roblox",)),
        ("block: [roblox]", "", "", (), ("Roblox",)),
        ("", "block: [{what: roblox, until: 2000-01-01}]", "", (), ()),
        ("allow: [roblox]", "block: [{what: roblox, until: 2000-01-01}]", "", ("Roblox",), ()),
    ],
)
def test_the_nearest_scope_decides(
    household: str, person: str, device: str, opens: tuple[str, ...], closes: tuple[str, ...]
) -> None:
    text = (
        f"{household}\npeople: {{mia: {{age: 15, devices: [tablet], {person}}}}}\ndevices: {{tablet: {{ip: 192.168.1.9,"
        f" {device}}}}}\n"
    )
    policy = parse_policy(text.encode(), None)
    told = rules_text(policy, "teen-13-15", "mia", "tablet", language("en"), 1_800_000_000.0)
    of_profile = rules_text(parse_policy(b"", None), "teen-13-15", None, None, language("en"), 0.0).services
    assert (told.allowed, set(told.services) - set(of_profile)) == (opens, set(closes))


def test_targets_that_are_always_open_or_only_at_times() -> None:
    schedules = (
        "{tv: {only: youtube, when: [sat, 2026-12-24..2026-12-26, 2026-12-31]}, day: {only: internet, when:"
        " '07:00-21:00'}}"
    )
    text = f"people: {{mia: {{age: 9, allow: [roblox], always: [example.org], schedules: {schedules}}}}}"
    told = rules_text(parse_policy(text.encode(), None), "child-8-12", "mia", None, language("en"), 1_800_000_000.0)
    assert (told.allowed, told.always) == (("Roblox",), ("example.org",))
    assert [(each.name, each.is_only, each.is_all, each.targets) for each in told.schedules] == [
        ("tv", True, False, ("YouTube",)),
        ("day", True, True, ()),
    ]
    assert told.schedules[0].when == (
        ("Saturday", "00:00–24:00"),
        ("24 Dec 2026 – 26 Dec 2026", "00:00–24:00"),
        ("31 Dec 2026", "00:00–24:00"),
    )


def test_a_seat_says_the_hours_of_its_kind_and_of_the_café():
    policy = parse_policy(b'bedtime: "23:00-08:00"\nprofiles: {seat-child: {bedtime: "20:00-14:00"}}', None)
    rules = rules_text(policy, "seat-child", None, "seat-1", language("en"), 0.0)
    assert [times for _, times in rules.nights] == ["23:00–08:00", "20:00–14:00"]
    rules = rules_text(policy, "child-8-12", None, "tv", language("en"), 0.0)
    assert [times for _, times in rules.nights] == ["23:00–08:00"]
