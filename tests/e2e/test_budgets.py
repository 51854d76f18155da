"""Bonus minutes, seats, included files, and `check --diff`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
from small_internet import SmallInternet
from small_internet.clients import curl, kdig_addresses
from small_internet.running import Hedgerow, hedgerow_command, network_section, running_hedgerow, wait_until

SEAT = "127.0.0.6"
PEOPLE = """
people:
  mia: {age: 9, devices: [tablet, console], budget: 2m, chores: {Tidy the room: none}}
include: more/*.yaml
devices:
  tablet: {ip: 127.0.0.2}
  console: {ip: 127.0.0.3}
seats:
  seat-1: {ip: 127.0.0.6}
"""


@pytest.fixture(scope="module")
def running(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    policy = network_section(whole_internet) + "  country: GB\n" + PEOPLE
    extra = {"more/tom.yaml": "people: {tom: {age: 15, devices: [127.0.0.4, console]}}\n"}
    with running_hedgerow(policy, lists=extra, workers=2, upstream_authority=whole_internet.authority.root) as each:
        yield each


def _is_blocked(running: Hedgerow, name: str, source: str) -> bool:
    return kdig_addresses(running.dns, name, source=source) == ["0.0.0.0"]


def _seat(running: Hedgerow, *words: str) -> subprocess.CompletedProcess[str]:
    return hedgerow_command("seat", *words, "--state", str(running.state))


def test_bonus_minutes_need_a_budget(running: Hedgerow) -> None:
    given = json.loads(running.run("bonus", "mia", "5", "--json").stdout)
    assert (given["minutes"], given["actor"]) == (5, "the command line")
    assert (
        next(row for row in json.loads(running.run("budgets", "--json").stdout) if row["whose"] == "mia")["left"] == 7
    )
    told = running.run("bonus", "mia", "5", "--for", "games")
    assert told.returncode == 2
    assert "mia has a time budget for all use, but none for games" in told.stderr


def test_a_seat_returns_to_child_rules_after_a_session(running: Hedgerow) -> None:
    assert _is_blocked(running, "gambling.example", SEAT) or _is_blocked(running, "www.tiktok.com", SEAT)
    assert _seat(running, "open", "seat-1", "--as", "adult", "--minutes", "60").returncode == 0
    wait_until(lambda: not _is_blocked(running, "www.tiktok.com", SEAT), 30, "an adult sits there")
    assert json.loads(_seat(running, "extend", "seat-1", "90", "--json").stdout) == {"seat": "seat-1", "minutes": 90}
    (row,) = json.loads(_seat(running, "list", "--json").stdout)
    assert (row["device"], row["profile"]) == ("seat-1", "seat-adult")
    assert _seat(running, "end", "seat-1").returncode == 0
    wait_until(lambda: _is_blocked(running, "www.tiktok.com", SEAT), 30, "a child's seat again")
    assert "Nobody sits at seat-1 any more" in _seat(running, "end", "seat-1").stderr
    assert "is a seat" in _seat(running, "open", "seat-1", "--person", "mia").stderr


def test_the_page_of_a_shared_device_is_that_of_the_sessions_person(running: Hedgerow) -> None:
    def page() -> str:
        return curl(f"{running.web}/device", source="127.0.0.3").text

    assert "Tidy the room" not in page()
    assert _seat(running, "open", "console", "--person", "mia", "--minutes", "60").returncode == 0
    wait_until(lambda: "Tidy the room" in page(), 30, "mia's chores at the console")
    assert "Hello, mia!" in page()
    assert "belongs to" not in page()
    assert _seat(running, "end", "console").returncode == 0
    wait_until(lambda: "mia" not in page(), 30, "nothing of mia's is left there")


def test_a_pause_for_everybody_spares_whom_the_command_names(running: Hedgerow) -> None:
    held = json.loads(running.run("pause", "--except", "mia", "--json").stdout)
    assert (held["person"], held["device"], held["spared_person"], held["spared_device"]) == (None, None, "mia", None)
    wait_until(lambda: _is_blocked(running, "bank.example", "127.0.0.99"), 10, "a stranger is paused")
    assert not _is_blocked(running, "bank.example", "127.0.0.2"), "mia is not"
    assert running.run("pause", "mia", "--except", "mia").returncode == 2
    assert running.run("pause", "--except", "nobody").returncode == 2
    running.run("resume")
    wait_until(lambda: not _is_blocked(running, "bank.example", "127.0.0.99"), 10, "the pause is over")


def test_json_of_a_pause(running: Hedgerow) -> None:
    held = json.loads(running.run("pause", "mia", "--minutes", "30", "--json").stdout)
    assert (held["person"], held["ends"] - held["starts"]) == ("mia", pytest.approx(1800, abs=60))
    wait_until(lambda: _is_blocked(running, "bank.example", "127.0.0.2"), 10, "the pause holds")
    assert json.loads(running.run("resume", "mia", "--json").stdout) == {"resumed": "mia"}
    wait_until(lambda: not _is_blocked(running, "bank.example", "127.0.0.2"), 10, "the pause is over")


def test_an_included_file_is_followed(running: Hedgerow) -> None:
    assert not _is_blocked(running, "bank.example", "127.0.0.4")
    fresh = running.directory / "more" / "tom.yaml"
    fresh.write_text("people: {tom: {age: 15, devices: [127.0.0.4], block: [bank.example]}}\n")
    wait_until(lambda: _is_blocked(running, "bank.example", "127.0.0.4"), 30, "the edit holds")
    (running.directory / "more" / "kim.yaml").write_text(
        "people: {kim: {age: 15, devices: [127.0.0.5], block: [bank.example]}}\n"
    )
    wait_until(lambda: _is_blocked(running, "bank.example", "127.0.0.5"), 30, "a new file is found")


def test_check_diff_shows_changes(running: Hedgerow) -> None:
    other = running.directory / "other.yaml"
    other.write_text(running.policy_path.read_text().replace("budget: 2m", "budget: 3h, block: [roblox]"))
    told = running.run("check", str(other), "--diff").stdout
    assert "tablet: block: +roblox" in told
    assert "tablet: budget: all use 2/2/2/2/2/2/2 min → all use 180/180/180/180/180/180/180 min" in told
    assert "seat-1" not in told
