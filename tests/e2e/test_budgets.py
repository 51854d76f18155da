"""A budget used over DNS and proxy from two devices, with a crash in the middle; minutes on top; a seat; an included file."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator

import pytest
from small_internet import SmallInternet
from small_internet.clients import curl, kdig
from small_internet.running import Hedgerow, hedgerow_command, network_section, running_hedgerow, wait_until

TABLET, CONSOLE, SEAT = "127.0.0.2", "127.0.0.3", "127.0.0.6"
PEOPLE = """
people:
  mia: {age: 9, devices: [tablet, console], budget: 2m}
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
    extra = {"more/tom.yaml": "people: {tom: {age: 15, devices: [127.0.0.4]}}\n"}
    with running_hedgerow(policy, lists=extra, workers=2, upstream_authority=whole_internet.authority.root) as each:
        yield each


def _is_blocked(running: Hedgerow, name: str, source: str) -> bool:
    return kdig(running.dns, name, source=source).data("A") == ["0.0.0.0"]


def _budget(running: Hedgerow) -> dict[str, object]:
    rows = json.loads(running.run("budgets", "--json").stdout)
    return next(row for row in rows if row["whose"] == "mia")


def _use(running: Hedgerow, internet: SmallInternet) -> None:
    """Both devices at once, over both points."""
    for name in ("school.example", "www.wikipedia.org", "bank.example"):
        assert not _is_blocked(running, name, TABLET)
    answer = curl(internet.url("school.example", scheme="http"), proxy=running.proxy, source=CONSOLE)
    assert answer.status == 200


def _tunnel(running: Hedgerow, internet: SmallInternet) -> ssl.SSLSocket:
    port = internet.url("school.example").removeprefix("https://").partition(":")[2].partition("/")[0] or "443"
    raw = socket.create_connection(running.proxy, timeout=10, source_address=(CONSOLE, 0))
    raw.sendall(f"CONNECT school.example:{port} HTTP/1.1\r\nHost: school.example:{port}\r\n\r\n".encode())
    assert b" 200 " in raw.recv(4096)
    context = ssl.create_default_context(cafile=str(internet.authority.root))
    return context.wrap_socket(raw, server_hostname="school.example")


def _seat(running: Hedgerow, *words: str) -> subprocess.CompletedProcess[str]:
    return hedgerow_command("seat", *words, "--state", str(running.state))


def _end_of(minute: int) -> float:
    return (minute + 1) * 60.0


@pytest.mark.timeout(240)
def test_two_minutes_of_two_devices_over_a_crash(running: Hedgerow, internet: SmallInternet) -> None:
    if time.time() % 60 > 45:
        wait_until(lambda: time.time() % 60 < 45, 20, "a minute begins")
    first = int(time.time() // 60)
    _use(running, internet)
    wait_until(lambda: _budget(running)["used"] == 1, 5, "the minute is counted, once for two devices and two points")
    assert int(time.time() // 60) == first, "this machine is too slow for a minute"

    (control,) = running.pids("control")
    os.kill(control, signal.SIGKILL)
    wait_until(lambda: running.pids("control") not in ([], [control]) and running.run("budgets", "--json").returncode == 0, 20)
    assert _budget(running)["used"] == 1, "a crash forgets no minute"

    wait_until(lambda: time.time() >= _end_of(first) + 0.5, 65, "the next minute")
    _use(running, internet)
    wait_until(lambda: _budget(running)["left"] == 0, 5, "the second minute is counted")
    with _tunnel(running, internet) as tunnel:
        assert not _is_blocked(running, "bank.example", TABLET), "the last minute is had to its end"
        tunnel.settimeout(70)
        try:
            assert tunnel.recv(1) == b"", "the tunnel is cut"
        except (ConnectionResetError, ssl.SSLError):
            pass
        late = time.time() - _end_of(first + 1)
    assert 0 <= late < 2, late
    wait_until(lambda: _is_blocked(running, "bank.example", TABLET), 2, "the budget is used up for DNS")
    page = curl(internet.url("school.example", scheme="http"), proxy=running.proxy, source=CONSOLE)
    assert page.status == 403
    assert "time is used up" in page.text
    assert curl(internet.url("www.childline.org.uk", scheme="http"), proxy=running.proxy, source=CONSOLE).status == 200

    assert running.run("bonus", "mia", "1").returncode == 0
    wait_until(lambda: not _is_blocked(running, "bank.example", TABLET), 2, "there is a minute more")
    told = running.run("bonus", "mia", "5", "--for", "games")
    assert told.returncode == 2
    assert "mia has a budget for all use, and none for games" in told.stderr


def test_a_seat_is_opened_and_falls_back_to_a_child(running: Hedgerow) -> None:
    assert _is_blocked(running, "gambling.example", SEAT) or _is_blocked(running, "www.tiktok.com", SEAT)
    assert _seat(running, "open", "seat-1", "--as", "adult", "--minutes", "60").returncode == 0
    wait_until(lambda: not _is_blocked(running, "www.tiktok.com", SEAT), 2, "an adult sits there")
    assert _seat(running, "extend", "seat-1", "90").returncode == 0
    (row,) = json.loads(_seat(running, "list", "--json").stdout)
    assert (row["device"], row["profile"]) == ("seat-1", "seat-adult")
    assert _seat(running, "end", "seat-1").returncode == 0
    wait_until(lambda: _is_blocked(running, "www.tiktok.com", SEAT), 2, "a child's seat again")
    assert "nobody sits at seat-1" in _seat(running, "end", "seat-1").stderr
    assert "is a seat" in _seat(running, "open", "seat-1", "--person", "mia").stderr


def test_an_included_file_is_followed(running: Hedgerow) -> None:
    assert not _is_blocked(running, "bank.example", "127.0.0.4")
    fresh = running.directory / "more" / "tom.yaml"
    fresh.write_text("people: {tom: {age: 15, devices: [127.0.0.4], block: [bank.example]}}\n")
    wait_until(lambda: _is_blocked(running, "bank.example", "127.0.0.4"), 2, "the edit holds")
    (running.directory / "more" / "kim.yaml").write_text("people: {kim: {age: 15, devices: [127.0.0.5], block: [bank.example]}}\n")
    wait_until(lambda: _is_blocked(running, "bank.example", "127.0.0.5"), 2, "a new file is found")


def test_what_a_file_would_change_is_told(running: Hedgerow) -> None:
    other = running.directory / "other.yaml"
    other.write_text(running.policy_path.read_text().replace("budget: 2m", "budget: 3h, block: [roblox]"))
    told = running.run("check", str(other), "--diff").stdout
    assert "tablet: block: +roblox" in told
    assert "tablet: budget: all use 2/2/2/2/2/2/2 min → all use 180/180/180/180/180/180/180 min" in told
    assert "seat-1" not in told
