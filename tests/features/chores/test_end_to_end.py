"""Chores of a running Hedgerow: a child reports them at the tablet, and they earn minutes and end a schedule."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.clients import curl, kdig_addresses
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

TABLET = "127.0.0.2"
PEOPLE = """
people:
  mia:
    age: 9
    devices: [tablet]
    budget: {games: 30m}
    chores: {Read: {games: 20m}, Tidy: none}
    schedules: {chores first: {block: [idle.example], when: [every-day], unless: chores}}
devices:
  tablet: {ip: 127.0.0.2}
"""


@pytest.fixture(scope="module")
def running(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    with running_hedgerow(network_section(whole_internet) + PEOPLE, workers=2) as each:
        yield each


def _is_blocked(running: Hedgerow, name: str, source: str = TABLET) -> bool:
    return kdig_addresses(running.dns, name, source=source) == ["0.0.0.0"]


def _is_as_wanted(running: Hedgerow, is_blocked: bool) -> bool:
    return _is_blocked(running, "idle.example") is is_blocked


def _report(running: Hedgerow, chore: str) -> dict[str, object]:
    """Report a chore at the tablet, and return its request."""
    words = [
        "curl",
        "-s",
        "-o",
        "-",
        "-w",
        "%{http_code}",
        "--interface",
        TABLET,
        "-H",
        f"Origin: {running.web}",
        "-d",
        f"chore={chore}",
    ]
    done = subprocess.run(
        [*words, f"{running.web}/device/chore"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "303", done.stdout
    return (
        wait_until(lambda: next((row for row in _requests(running) if row["chore"] == chore), None), 30, "the request")
        or {}
    )


def _requests(running: Hedgerow) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(running.run("requests", "--json").stdout)
    return found


def _minutes_of_games(running: Hedgerow) -> int:
    return next(
        int(row["limit"]) for row in json.loads(running.run("budgets", "--json").stdout) if row["subject"] == "games"
    )


def _press(running: Hedgerow, path: str, **form: str) -> str:
    """Send a form of the parent's page, and return the page that follows."""
    with httpx.Client(base_url=running.web, trust_env=False, timeout=60, cookies=running.cookies, verify=False) as page:
        answer = page.post(path, data=form, headers={"origin": running.web}, follow_redirects=True)
    assert answer.status_code == 200, answer.text[:2000]
    return answer.text


def test_chores_earn_minutes_and_end_a_schedule(running: Hedgerow) -> None:
    assert _is_blocked(running, "idle.example")
    before = _minutes_of_games(running)
    request = _report(running, "Read")
    assert _report(running, "Read")["id"] == request["id"], "a chore that waits is not reported twice"
    told = _press(running, f"/requests/{request['id']}/approve", **{"for": "today"})
    assert "20 more minutes for mia today." in told
    assert f'action="/requests/{request["id"]}/reopen"' in told
    assert _minutes_of_games(running) == before + 20
    assert "is open again: Read" in _press(running, f"/requests/{request['id']}/reopen")
    assert _minutes_of_games(running) == before
    assert running.run("requests", "--approve", str(request["id"])).returncode == 0
    assert _minutes_of_games(running) == before + 20
    assert _is_blocked(running, "idle.example"), "one chore is left"
    refused = _report(running, "Tidy")
    assert running.run("requests", "--deny", str(refused["id"])).returncode == 0
    assert _is_blocked(running, "idle.example")
    again = _report(running, "Tidy")
    assert "mia can read that it is done: Tidy." in _press(
        running, f"/requests/{again['id']}/approve", **{"for": "today"}
    )
    wait_until(lambda: not _is_blocked(running, "idle.example"), 30, "the end of the schedule")
    _press(running, f"/requests/{again['id']}/reopen")
    wait_until(lambda: _is_blocked(running, "idle.example"), 30, "the schedule holds again")
    assert running.run("requests", "--approve", str(again["id"])).returncode == 0
    wait_until(lambda: not _is_blocked(running, "idle.example"), 30, "the end of the schedule")
    page = curl(f"{running.web}/device", source=TABLET).text
    assert page.count(">done</span>") == 2
    assert "/device/chore" not in page


def test_hedgerow_goes_on_without_chores(whole_internet: SmallInternet) -> None:
    with running_hedgerow(network_section(whole_internet) + PEOPLE, workers=1) as running:
        assert _is_blocked(running, "idle.example")
        without = "".join(line for line in PEOPLE.splitlines(True) if "chores" not in line)
        running.edit_policy(network_section(whole_internet) + without)
        wait_until(lambda: not _is_blocked(running, "idle.example"), 30, "the policy without chores")
        for closes in (True, False) * 3:  # what was stopped with them would follow no change any more
            running.edit_policy(
                network_section(whole_internet) + without + ("block: [idle.example]\n" if closes else "")
            )
            wait_until(partial(_is_as_wanted, running, closes), 30, "a change after it")
        assert curl(f"{running.web}/device", source=TABLET).status == 200
