"""Levels above a policy file: what a site gets from them, what it may refine, and what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hedgerow.policies.model import Policy
from hedgerow.policies.reading.levels import Inherited, level_of
from hedgerow.policies.reading.load import PolicyError, inherited_values, load_policy, parse_policy

ORGANISATION = """\
locked: [network.upstream, "profiles.*.allow", profiles.seat-child.block]
network:
  timezone: Europe/Lisbon
  country: PT
  upstream: ["9.9.9.9"]
profiles:
  seat-child: {block: [+roblox], bedtime: "22:00-08:00"}
  seat-adult: {block: [+bypass]}
lists:
  - {category: adult, url: "https://lists.example/adult.txt"}
"""
GROUP = """\
network: {country: ES}
profiles:
  seat-child: {bedtime: "21:00-08:00"}
"""
SITE = """\
network: {timezone: Atlantic/Madeira}
seats:
  seat-1: {ip: 192.168.60.11}
lists:
  - {category: gambling, url: "https://lists.example/bets.txt"}
"""


def policy_of(folder: Path, site: str = SITE, organisation: str = ORGANISATION, group: str = GROUP) -> Policy:
    """Load a site's file below these two; an empty text is no file."""
    (folder / "organisation").mkdir(exist_ok=True)
    for name, text in (("organisation", organisation), ("group", group)):
        if text:
            (folder / "organisation" / f"{name}.yaml").write_text(text)
    (folder / "hedgerow.yaml").write_text(site)
    return load_policy(folder / "hedgerow.yaml")


def mistakes(folder: Path, **texts: str) -> list[str]:
    with pytest.raises(PolicyError) as error:
        policy_of(folder, **texts)
    return [f"{Path(each.source).name}:{each.line}: {each.message}" for each in error.value.problems]


def test_the_lowest_level_that_gives_a_key_decides(tmp_path: Path) -> None:
    policy = policy_of(tmp_path)
    assert (policy.network.timezone, policy.network.country) == ("Atlantic/Madeira", "ES")
    assert [source.category for source in policy.lists] == ["gambling", "adult"]
    assert list(policy.devices) == ["seat-1"]
    assert [Path(file).name for file in policy.files] == ["organisation.yaml", "group.yaml"]


def test_what_levels_allow_and_block_adds_up(tmp_path: Path) -> None:
    organisation = (
        "block: [one.example, two.example]\nprofiles:\n  seat-child:\n    block: [+roblox, +steam, +discord]\n   "
        " allow: [three.example]\n"
    )
    group = "block: four.example\nprofiles:\n  seat-child: {block: [+telegram]}\n"
    site = SITE + "allow: [{what: two.example, note: ours}]\nprofiles:\n  seat-child: {allow: [steam, discord]}\n"
    policy = policy_of(tmp_path, site=site, organisation=organisation, group=group)
    assert [target.name for target in policy.household.block] == ["four.example", "one.example"]
    assert [Path(target.origin.source).name for target in policy.household.block] == ["group.yaml", "organisation.yaml"]
    assert [target.origin.line for target in policy.household.block] == [1, 1]
    rules = policy.profiles["seat-child"].rules
    blocked, allowed = ({target.name for target in targets} for targets in (rules.block, rules.allow))
    assert {"roblox", "telegram"} <= blocked
    assert not {"steam", "discord"} & blocked
    assert {"steam", "discord", "three.example"} <= allowed


def test_every_value_says_where_it_comes_from(tmp_path: Path) -> None:
    policy = policy_of(tmp_path)
    seat = policy.profiles["seat-child"]
    blocked = next(rule for rule in seat.rules.block if rule.name == "roblox")
    assert blocked.origin is not None
    assert (level_of(blocked.origin.source), blocked.origin.line) == ("organisation", 7)
    places = [source.origin for source in policy.lists if source.origin is not None]
    assert [(level_of(place.source), place.line) for place in places] == [("site", 5), ("organisation", 10)]
    found = set(inherited_values(tmp_path / "hedgerow.yaml"))
    assert Inherited("network.upstream", "organisation", 5, is_locked=True) in found
    assert Inherited("network.country", "group", 1, is_locked=False) in found
    assert Inherited("profiles.seat-child.block", "organisation", 7, is_locked=True) in found
    assert Inherited("profiles.seat-adult", "organisation", 8, is_locked=False) in found
    assert not [each for each in found if each.keys == "network.timezone"]


REFUSED = {
    "the key itself": (
        {"site": "network:\n  upstream: [1.1.1.1]"},
        "hedgerow.yaml:2: 'network.upstream' is locked by the organisation",
    ),
    "through a wildcard": (
        {"site": "profiles:\n  seat-teen:\n    extends: seat-child\n    allow: [adult]"},
        "hedgerow.yaml:4: 'profiles.seat-teen.allow' is locked",
    ),
    "in the group's file": (
        {"group": "profiles: {seat-child: {block: []}}"},
        "group.yaml:1: 'profiles.seat-child.block' is locked",
    ),
    "text in place of keys": (
        {"site": "network: upstream"},
        "hedgerow.yaml:1: 'network' is locked by the organisation",
    ),
    "locked by the group": (
        {"site": 'bedtime: "22:00-07:00"', "group": "locked: bedtime"},
        "hedgerow.yaml:1: 'bedtime' is locked by the group",
    ),
    "locks of a site": (
        {"site": "locked: [people]"},
        "hedgerow.yaml:1: 'locked' belongs to the levels above this file",
    ),
    "a key that no policy has": (
        {"organisation": "locked: [netwrok.upstream]"},
        "organisation.yaml:1: a policy has no key 'netwrok'",
    ),
    "includes above": (
        {"organisation": "include: more.yaml"},
        "organisation.yaml:1: 'include' is not allowed in the organisation's file",
    ),
    "a mistake above": ({"group": "network: {country: Lusitania}"}, "group.yaml:1:"),
    "no YAML above": ({"group": "a: [b"}, "group.yaml:1:"),
    "a list above": ({"group": "- a"}, "group.yaml:1: a policy is a mapping of keys to values"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_level_may_not_give(tmp_path: Path, name: str) -> None:
    texts, message = REFUSED[name]
    found = mistakes(tmp_path, **texts)
    assert any(each.startswith(message) for each in found), found


def test_included_files_of_a_site_are_no_way_round(tmp_path: Path) -> None:
    (tmp_path / "people.yaml").write_text("profiles:\n  seat-child: {allow: [adult]}")
    assert mistakes(tmp_path, site="include: people.yaml") == [
        "people.yaml:2: 'profiles.seat-child.allow' is locked by the organisation"
        f" ({tmp_path}/organisation/organisation.yaml, line 1)"
    ]


def test_a_mistake_is_told_once_and_in_its_file(tmp_path: Path) -> None:
    assert len(mistakes(tmp_path, group="network: {countrry: PT}")) == 1


def test_the_file_of_an_organisation_can_be_checked_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "base.yaml"
    file.write_text(ORGANISATION)
    assert load_policy(file).network.country == "PT"
    file.write_text("locked: [nothing]")
    with pytest.raises(PolicyError, match="a policy has no key 'nothing'"):
        load_policy(file)


def test_texts_replace_files_of_levels(tmp_path: Path) -> None:
    policy_of(tmp_path)
    file = tmp_path / "hedgerow.yaml"
    place = str((tmp_path / "organisation" / "group.yaml").absolute())
    assert parse_policy(SITE.encode(), file, texts={place: b"network: {country: FR}"}).network.country == "FR"
    assert parse_policy(SITE.encode(), file, texts={place: b""}).network.country == "PT"


def test_an_empty_site_has_all_from_above(tmp_path: Path) -> None:
    assert policy_of(tmp_path, site="", group="").network.timezone == "Europe/Lisbon"
