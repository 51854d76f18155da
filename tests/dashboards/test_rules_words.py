"""The rules in plain words say what is decided."""

from __future__ import annotations

import pytest

from hedgerow.dashboards.pages.languages import language
from hedgerow.dashboards.pages.rules_words import rules_in_words
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
def test_the_nearest_scope_decides(household: str, person: str, device: str, opens: tuple[str, ...], closes: tuple[str, ...]) -> None:
    text = f"{household}\npeople: {{mia: {{age: 15, devices: [tablet], {person}}}}}\ndevices: {{tablet: {{ip: 192.168.1.9, {device}}}}}\n"
    told = rules_in_words(parse_policy(text.encode(), None), "teen-13-15", "mia", "tablet", language("en"), 1_800_000_000.0)
    assert (told.allowed, told.services) == (opens, closes)
