"""A budget used by two devices over DNS and proxy, across a crash and a restart: exact to the minute."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from small_internet import SmallInternet
from small_internet.clients import curl, kdig_addresses
from small_internet.fast_time import WallClock
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

TABLET, CONSOLE = "127.0.0.2", "127.0.0.3"
PEOPLE = """
people:
  mia: {age: 9, devices: [tablet, console], budget: 4m}
devices:
  tablet: {ip: 127.0.0.2}
  console: {ip: 127.0.0.3}
"""
FOUR = datetime(2027, 1, 8, 16, tzinfo=UTC).timestamp()
PATIENCE = 60


@contextlib.contextmanager
def _started(net: SmallInternet, directory: Path, clock: WallClock) -> Iterator[Hedgerow]:
    policy = network_section(net) + "  country: GB\n" + PEOPLE
    with running_hedgerow(policy, workers=2, directory=directory, environment=clock.environment) as running:
        yield running


def _used(running: Hedgerow) -> int | None:
    """None while control is away."""
    token = (running.state / "admin-token").read_text().strip()
    try:
        answer = httpx.get(
            f"{running.web}/api/v1/budgets",
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=PATIENCE,
            verify=False,
        )
    except httpx.HTTPError:
        return None
    if answer.status_code == 401:  # the token of the control before
        return None
    return next(int(row["used"]) for row in answer.json() if row["whose"] == "mia")


def _saved(running: Hedgerow) -> set[int]:
    """How many minutes of all use the journal holds, by whatever they are counted for."""
    with contextlib.closing(sqlite3.connect(running.state / "journal.sqlite", timeout=PATIENCE)) as journal:
        rows = journal.execute("SELECT minutes FROM usage WHERE subject = ''").fetchall()
    return {int(minutes).bit_count() for (minutes,) in rows}


def _is_blocked(running: Hedgerow, name: str, source: str = TABLET) -> bool:
    return kdig_addresses(running.dns, name, source=source) == ["0.0.0.0"]


def _use_both(running: Hedgerow, net: SmallInternet) -> None:
    """Both devices in the same minute, one over DNS and one over the proxy."""
    for name in ("school.example", "www.wikipedia.org"):
        assert not _is_blocked(running, name)
    assert curl(net.url("school.example", scheme="http"), proxy=running.proxy, source=CONSOLE).status == 200


def _video(running: Hedgerow, net: SmallInternet) -> ssl.SSLSocket:
    """A tunnel that stays open."""
    port = net.url("school.example").removeprefix("https://").partition(":")[2].partition("/")[0] or "443"
    raw = socket.create_connection(running.proxy, timeout=PATIENCE, source_address=(CONSOLE, 0))
    raw.sendall(f"CONNECT school.example:{port} HTTP/1.1\r\nHost: school.example:{port}\r\n\r\n".encode())
    assert b" 200 " in raw.recv(4096)
    context = ssl.create_default_context(cafile=str(net.authority.root))
    return context.wrap_socket(raw, server_hostname="school.example")


@pytest.mark.timeout(300)
def test_two_devices_share_a_budget_of_four_minutes(internet: SmallInternet, tmp_path: Path) -> None:
    clock = WallClock(tmp_path, FOUR + 5)
    home = tmp_path / "home"
    home.mkdir()
    with _started(internet, home, clock) as running:
        _use_both(running, internet)
        wait_until(lambda: _used(running) == 1, PATIENCE, "a minute counts once for two devices and two points")
        clock.set(FOUR + 65)
        _use_both(running, internet)
        wait_until(lambda: _used(running) == 2, PATIENCE)
        wait_until(lambda: _saved(running) == {2}, PATIENCE, "what was told a moment before a crash may be lost")
        (control,) = running.pids("control")
        os.kill(control, signal.SIGKILL)
        wait_until(
            lambda: running.pids("control") not in ([], [control]) and _used(running) == 2,
            PATIENCE,
            "a crash forgets no minute",
        )

    clock.set(FOUR + 125)
    with _started(internet, home, clock) as running:
        assert _used(running) == 2, "a restart forgets no minute"
        _use_both(running, internet)
        wait_until(lambda: _used(running) == 3, PATIENCE)
        clock.set(FOUR + 185)
        _use_both(running, internet)
        wait_until(lambda: _used(running) == 4, PATIENCE)
        wait_until(lambda: "mia: 1 minute is left" in running.stderr, PATIENCE, "the warning")
        _until_the_end(running, internet, clock)
        _a_minute_more(running, clock)


def _until_the_end(running: Hedgerow, net: SmallInternet, clock: WallClock) -> None:
    """The last minute is had to its end, which cuts what runs."""
    with _video(running, net) as video:
        assert not _is_blocked(running, "bank.example")
        assert clock.now() < FOUR + 240, "the machine took a minute for the above"
        clock.set(FOUR + 238)
        video.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            assert video.recv(1) == b"", "the tunnel is cut"
        assert clock.now() >= FOUR + 240, "and not before"
    wait_until(lambda: _is_blocked(running, "bank.example"), PATIENCE, "DNS")
    page = curl(net.url("school.example", scheme="http"), proxy=running.proxy, source=CONSOLE)
    assert page.status == 403
    assert "time is used up" in page.text
    assert curl(net.url("www.childline.org.uk", scheme="http"), proxy=running.proxy, source=CONSOLE).status == 200
    assert _used(running) == 4


def _a_minute_more(running: Hedgerow, clock: WallClock) -> None:
    assert running.run("bonus", "mia", "1").returncode == 0
    wait_until(lambda: not _is_blocked(running, "bank.example"), PATIENCE, "a minute more")
    clock.set(FOUR + 8 * 3600 - 1)
    wait_until(lambda: _used(running) == 0, PATIENCE, "midnight")
    assert not _is_blocked(running, "school.example")
