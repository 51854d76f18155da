"""The policy for the release before: without what it doesn't know, and back as it was afterwards."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from hedgerow.app.commands.downgrade import RELEASE_BEFORE
from hedgerow.app.older_policy import keep_and_write, older_file, older_files, put_back
from hedgerow.blocklists.yaml_files import read_yaml
from hedgerow.policies.reading.load import load_policy
from hedgerow.policies.reading.schema import RawPolicy

RELEASE = Path(__file__).parents[2] / "hedgerow/app/release_before.yaml"
SCHEDULE = 'schedules:\n  {}: {{{}, when: {{weekend: "10:00-12:00"}}{}}}\n'
TODAY = date(2026, 12, 3)
NOW = datetime(2026, 12, 3, 9, 30, tzinfo=UTC)
HOME = """\
# The family's own words.
network:
  unknown_devices: child-8-12  # guests too
people:
  mia:
    age: 9
    bedtime: {school-nights: "20:30-07:00"}
"""


def older(text: str) -> tuple[str, list[str]]:
    found = older_file(Path("h.yaml"), text, TODAY)
    return found.text, list(found.left_out)


def test_what_the_release_before_reads_stays_as_it_is() -> None:
    assert older(HOME) == (HOME, [])


@pytest.mark.parametrize(
    ("newer", "without", "left_out"),
    [
        ("cafe: {name: Sol}\n", "", ["h.yaml:8: cafe"]),
        ("youtube_only: [UCx]\nblock: [tiktok]\n", "block: [tiktok]\n", ["h.yaml:8: youtube_only"]),
        ("block: [tiktok, web-archives]\n", "block: [tiktok]\n", ["h.yaml:8: block: web-archives"]),
        ("allow: lmarena\n", "", ["h.yaml:8: allow: lmarena"]),
        ("allow: [{what: iask, until: 2027-01-01}]\n", "", ["h.yaml:8: allow: iask"]),
        (
            "budget: {remote-desktops: 30, games: 60}\n",
            "budget: {games: 60}\n",
            ["h.yaml:8: budget.remote-desktops"],
        ),
        (SCHEDULE.format("a", "only: [felo]", ""), "schedules: {}\n", ["h.yaml:9: schedules.a"]),
        (
            SCHEDULE.format("block", "block: games", ", unless: minutes"),
            SCHEDULE.format("block", "block: games", ""),
            ["h.yaml:9: schedules.block.unless"],
        ),
        (
            SCHEDULE.format("b", "only: [felo, chatgpt]", ""),
            SCHEDULE.format("b", "only: [chatgpt]", ""),
            ["h.yaml:9: schedules.b.only: felo"],
        ),
        (
            "profiles:\n  own: {extends: adult, block: [+thundr, +games]}\n",
            "profiles:\n  own: {extends: adult, block: [+games]}\n",
            ["h.yaml:9: profiles.own.block: +thundr"],
        ),
    ],
)
def test_newer_keys_and_names_are_left_out(newer: str, without: str, left_out: list[str]) -> None:
    assert older(HOME + newer) == (HOME + without, left_out)


def test_a_month_of_birth_becomes_an_age() -> None:
    text, left_out = older("people:\n  block: {born: 2016-05}\n  leo: {born: 2016-12-04}\n")
    assert text == "people:\n  block: {age: 10}\n  leo: {age: 9}\n"
    assert left_out == ["h.yaml:2: people.block.born: `age: 10` instead", "h.yaml:3: people.leo.born: `age: 9` instead"]


def test_the_next_upgrade_brings_the_policy_back(tmp_path: Path) -> None:
    main, part = tmp_path / "hedgerow.yaml", tmp_path / "people.yaml"
    main.write_text("include: people.yaml\ncafe: {name: Sol}\n")
    part.write_text("people:\n  leo: {born: 2013-05}\n")
    part.chmod(0o640)
    before = main.read_text(), part.read_text()
    kept = [keep_and_write(each, NOW) for each in older_files(main, NOW)]
    assert load_policy(main).people["leo"].age == 13
    assert [each.name for each in kept] == [f"{each.name}.before-downgrade-20261203-093000" for each in (main, part)]
    assert kept[1].stat().st_mode & 0o777 == part.stat().st_mode & 0o777 == 0o640
    assert older_files(main, NOW) == []
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path, copy)

    assert [is_back for _, is_back in put_back(main)] == [True, True]
    assert (main.read_text(), part.read_text()) == before
    assert sorted(each.name for each in tmp_path.glob("*.yaml*")) == ["hedgerow.yaml", "people.yaml"]

    changed = copy / "people.yaml"
    changed.write_text("people:\n  leo: {age: 14}\n")
    assert [is_back for _, is_back in put_back(copy / "hedgerow.yaml")] == [True, False]
    assert changed.read_text() == "people:\n  leo: {age: 14}\n"
    assert (copy / kept[1].name).read_text() == before[1]


def test_a_policy_that_is_wrong_already_stays_as_it_is(tmp_path: Path) -> None:
    policy = tmp_path / "hedgerow.yaml"
    policy.write_text("cafe: {nom: Sol}\n")
    with pytest.raises(ValueError, match=r"unknown key 'nom'"):
        older_files(policy, NOW)


def test_the_list_is_of_the_release_before() -> None:
    release: dict[str, Any] = read_yaml(RELEASE)
    assert release["version"] == RELEASE_BEFORE
    assert release["keys"].keys() <= RawPolicy.model_fields.keys()
    assert {"tiktok", "games", "gambling"} <= set(release["names"])
