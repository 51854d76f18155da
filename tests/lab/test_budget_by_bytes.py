"""Minutes of use by bytes: games past the proxy, and large downloads from background hosts.

Push messages do not count.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from lab import House, Space
from lab.internet import BIG_FILE, PEER4, PEER6, PEER_NAME
from lab.spaces import PYTHON

pytestmark = pytest.mark.root

GAME = """
import socket, sys, time
peer = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
peer.settimeout(0.5)
peer.connect((sys.argv[1], 27015))
moved = 0
for _ in range(int(sys.argv[2])):
    peer.send(bytes(1000))
    try:
        moved += len(peer.recv(2000))
    except OSError:
        pass
print(moved)
"""
"""Datagrams of 1,000 bytes to an echo server. Prints the bytes that came back."""
PUSH = """
import socket
peer = socket.create_connection(("%s", 5222), 2)
for _ in range(5):
    peer.sendall(bytes(4000))
    left = 4000
    while left:
        left -= len(peer.recv(left))
"""
"""Five messages of 4,000 bytes, back and forth, over a connection that stays open."""


@dataclass
class Budgets:
    """Two children with budgets of which nobody has used a minute yet:

    `player` with the tablet, `idler` with the laptop.
    """

    house: House
    player: str
    idler: str

    def used(self, child: str) -> int:
        rows = json.loads(self.house.hedgerow("budgets", "--json").stdout)
        return next((row["used"] for row in rows if row["whose"] == child), -1)


@pytest.fixture
def budgets(house: House, request: pytest.FixtureRequest) -> Iterator[Budgets]:
    before, number = house.policy.read_text(), len(request.node.name)
    house.hedgerow("gateway", "apply", "--no-strict")
    for who in ("tablet", "laptop"):
        house.meet(who)
        house.resolve(who, PEER_NAME)  # now, since two names in a minute are use
    found = Budgets(house, f"kim{number}", f"lee{number}")
    changed = before.replace("mia: {age: 9,", f"{found.player}: {{age: 9, budget: 2h,")
    house.policy.write_text(changed.replace("tom: {age: 15,", f"{found.idler}: {{age: 15, budget: 2h,"))
    try:
        until(lambda: found.used(found.idler) == 0, "the policy is in force")
        yield found
    finally:
        house.policy.write_text(before)
        house.hedgerow("gateway", "remove")


def until(condition: Callable[[], object], what: str, seconds: float = 45) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)


def plays(device: Space, address: str, count: int) -> int:
    return int(device.must(*PYTHON, GAME, address, str(count)))


def test_a_game_uses_minutes_and_push_messages_do_not(budgets: Budgets) -> None:
    tablet, laptop = budgets.house.devices["tablet"], budgets.house.devices["laptop"]
    laptop.must(*PYTHON, PUSH % PEER4)

    def play() -> bool:
        assert plays(tablet, PEER6, 200) > 100_000, "the game does not pass"
        return budgets.used(budgets.player) >= 1

    until(play, "the game has used a minute")
    assert budgets.used(budgets.idler) == 0, "push messages have used a minute"


def test_a_large_download_of_a_background_host_uses_minutes(budgets: Budgets) -> None:
    laptop, url = budgets.house.devices["laptop"], f"https://dl.google.com{BIG_FILE}"
    for octets, uses in ((1_000_000, False), (10_000_000, True)):
        done = laptop.run(
            "curl",
            "-sk",
            "-r",
            f"0-{octets - 1}",
            "--limit-rate",
            "3M",
            "-o",
            "/dev/null",
            "-w",
            "%{size_download}",
            url,
        )
        assert done.stdout == str(octets), done
        if uses:
            until(lambda: budgets.used(budgets.idler) >= 1, "the download has used a minute")
        assert (budgets.used(budgets.idler) >= 1) == uses
