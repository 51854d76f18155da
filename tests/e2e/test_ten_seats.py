"""A café's afternoon in fast time: ten seats, ten sessions of different lengths.

Minutes are right, and nothing leaks from guest to guest.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.clients import curl, kdig, kdig_addresses
from small_internet.fast_time import WallClock
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

SEATS = {f"seat-{number}": f"127.0.0.{10 + number}" for number in range(1, 11)}
OPENS = {seat: 6 * number for number, seat in enumerate(SEATS)}
ENDS = {seat: 36 + 15 * number for number, seat in enumerate(SEATS)}
"""Minutes after the full hour."""
POLICY = "lists: [{category: gambling, path: lists/gambling.txt}]\nseats:\n" + "".join(
    f"  {seat}: {{ip: {address}}}\n" for seat, address in SEATS.items()
)
FOUR = datetime(2027, 1, 8, 16, tzinfo=UTC).timestamp()
PATIENCE = 60
ROOM = 80
"""Seconds before and after the full minute for a look at a seat, before each of which the clock is set back."""


def _call(running: Hedgerow, path: str, **body: object) -> None:
    token = (running.state / "admin-token").read_text().strip()
    answer = httpx.post(
        f"{running.web}/api/v1{path}",
        json=body,
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
        timeout=60,
        verify=False,
    )
    assert answer.is_success, answer.text


def _is_open(running: Hedgerow, seat: str) -> bool | None:
    answer = kdig(running.dns, "gambling.example", source=SEATS[seat])
    return None if answer is None else answer.data("A") != ["0.0.0.0"]


def _seats_are(running: Hedgerow, open_ones: set[str], clock: WallClock, now: float) -> Callable[[], bool]:
    def is_as_expected(seat: str) -> bool:
        clock.set(now)  # a look at all seats may take a busy machine longer than what comes next
        return _is_open(running, seat) is (seat in open_ones)

    return lambda: all(map(is_as_expected, SEATS))


@pytest.mark.timeout(400)
def test_an_afternoon(internet: SmallInternet, tmp_path: Path) -> None:
    clock = WallClock(tmp_path, FOUR)
    lists = {"lists/gambling.txt": "gambling.example\n"}
    with running_hedgerow(network_section(internet) + POLICY, lists=lists, environment=clock.environment) as running:
        occupied: set[str] = set()
        wait_until(_seats_are(running, occupied, clock, FOUR), PATIENCE, "nobody sits, so all are children's")
        for minute in sorted({*OPENS.values(), *ENDS.values()}):
            now = FOUR + minute * 60
            before, after = (_seats_are(running, occupied, clock, now + seconds) for seconds in (-ROOM, ROOM))
            wait_until(before, PATIENCE, f"nothing changes before minute {minute}")
            clock.set(now)
            for seat in [seat for seat in SEATS if OPENS[seat] == minute]:
                _call(running, f"/sessions/{seat}", band="adult", minutes=ENDS[seat] - minute, name=f"Guest of {seat}")
                occupied.add(seat)
                _leave_traces(running, internet, seat)
            # A session is as long as it was made, from when it was made: the press of the button took a moment,
            # and on a busy machine half a minute.
            occupied -= {seat for seat in SEATS if ENDS[seat] == minute}
            wait_until(after, PATIENCE, f"who sits after minute {minute}")
        _nobody_finds_anything(running)
        with contextlib.closing(sqlite3.connect(running.state / "journal.sqlite")) as journal:
            rows = journal.execute("SELECT device, ends - starts FROM sessions WHERE profile = 'seat-adult'").fetchall()
    assert {device: round(seconds / 60, 6) for device, seconds in rows} == {
        seat: ENDS[seat] - OPENS[seat] for seat in SEATS
    }


def _leave_traces(running: Hedgerow, net: SmallInternet, seat: str) -> None:
    """Something blocked, and something granted that would outlast the guest."""
    wait_until(lambda: _is_open(running, seat), PATIENCE)
    assert curl(net.url("www.pornhub.com", scheme="http"), proxy=running.proxy, source=SEATS[seat]).status == 403
    _call(running, "/grants", subject="www.pornhub.com", how_long="good", device=seat, sure=True)
    wait_until(lambda: kdig_addresses(running.dns, "www.pornhub.com", source=SEATS[seat]) != ["0.0.0.0"], PATIENCE)


def _nobody_finds_anything(running: Hedgerow) -> None:
    """What is closed at a child's seat is closed again, and the next guest's own page is empty."""
    for seat, address in SEATS.items():
        wait_until(
            lambda: kdig_addresses(running.dns, "www.pornhub.com", source=address) == ["0.0.0.0"],  # noqa: B023
            PATIENCE,
            seat,
        )
        _call(running, f"/sessions/{seat}", band="child")
        words = ["curl", "-s", "--interface", address, f"{running.web}/device"]
        page = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        assert "What was blocked here" in page
        assert "pornhub" not in page
        assert "Guest of" not in page
