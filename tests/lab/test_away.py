"""A child's tablet away from home: through the tunnel it is filtered as at home, and nobody else gets anything."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lab import House, Space
from lab.aims import datagram
from lab.away import roaming, tunnelled
from lab.house import LAN4, NUMBERS, ROUTER_OUTSIDE, command
from lab.internet import PEER4, PEER_NAME, UNNAMED4, address4

pytestmark = pytest.mark.root
OWN4, OWN6 = "10.87.214.1", "fd5e:3a81:c7d4:9b26::1"
TUNNEL = f"  timezone: UTC\n  tunnel: {{endpoint: {ROUTER_OUTSIDE}}}\n"
CHECK = """
import sys
from pathlib import Path
from hedgerow.features.away.checks import check_tunnel
from hedgerow.app.doctor.findings import Installation
print(*check_tunnel(Installation.of(Path(sys.argv[1]))))
"""
SCHOOL, ADULT = "www.school.example", "adult.example"


@pytest.fixture
def away(house: House) -> Iterator[House]:
    """The house with the gateway and a tunnel, which is taken away again."""
    before = house.policy.read_text()
    house.hedgerow("gateway", "apply", "--no-strict")
    house.meet("tablet")
    house.policy.write_text(before.replace("  timezone: UTC\n", TUNNEL))
    try:
        yield house
    finally:
        house.policy.write_text(before)
        house.hedgerow("gateway", "remove")
        until(
            lambda: house.router.run("ip", "link", "show", "hedgerow0").returncode != 0,
            "the tunnel ends with the gateway",
        )
        assert "Traceback" not in house.log


def until[T](condition: Callable[[], T | None], what: str) -> T:
    deadline = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


def asked(device: Space, server: str, name: str, *options: str) -> str:
    return device.run("kdig", "+short", "+time=1", "+retry=0", f"@{server}", *options, name).stdout.strip()


def page(device: Space, url: str, *options: str) -> str:
    return device.run("curl", "-s", "--max-time", "20", *options, url).stdout


def end_of(house: House, *options: str) -> str:
    return until(
        lambda: house.hedgerow("away", "add", "tablet", *options, must=False).stdout,
        "the policy with the tunnel is in force",
    )


def test_a_tablet_that_is_out_is_filtered_as_at_home(away: House) -> None:
    config = end_of(away, "--format", "wg-quick")
    with roaming(away, "tablet", NUMBERS["tablet"]) as tablet:
        assert asked(tablet, ROUTER_OUTSIDE, SCHOOL) == "", "strangers get no answer"
        assert asked(tablet, "9.9.9.9", ADULT) == address4(ADULT), "without the tunnel, nothing is filtered"
        with tunnelled(tablet, config, away.folder):
            until(lambda: asked(tablet, OWN4, SCHOOL) == address4(SCHOOL), "names come through the tunnel")
            for server in (OWN4, OWN6, "9.9.9.9", "2001:4860:4860::8888"):
                assert asked(tablet, server, ADULT) == "0.0.0.0", server
            assert "forcesafesearch.google.com." in asked(tablet, OWN4, "www.google.com")
            assert page(tablet, f"http://{SCHOOL}/") == f"page of {SCHOOL}\n"
            assert "Hedgerow" in page(tablet, f"http://{ADULT}/", "--resolve", f"{ADULT}:80:{address4(ADULT)}"), (
                "the block page"
            )
            assert page(tablet, f"https://{SCHOOL}/", "-k") == f"page of {SCHOOL}\n"
            assert page(tablet, f"https://{ADULT}/", "-k", "--resolve", f"{ADULT}:443:{address4(ADULT)}") == ""
            assert "mia" in page(tablet, f"http://{OWN4}:8053/device"), "its own page"
            assert asked(tablet, OWN4, PEER_NAME) == PEER4
            assert datagram(PEER4, 40000)(away, tablet), "a game at an address that a name led to"
            assert not datagram(UNNAMED4, 40000)(away, tablet), "but at no other"

            away.hedgerow("pause", "mia")
            until(lambda: asked(tablet, OWN4, SCHOOL) == "0.0.0.0", "a pause reaches it")
            assert page(tablet, f"https://{SCHOOL}/", "-k") == ""
            away.hedgerow("resume", "mia")
            until(lambda: page(tablet, f"https://{SCHOOL}/", "-k"), "and ends")

            seen = until(lambda: connected(away), "its handshake is known at home")
            assert seen["device"] == "tablet"
            assert min(seen["received"], seen["sent"]) > 0
            assert recorded(away)

            found = away.router.must(sys.executable, "-P", "-c", CHECK, str(away.state))
            assert "UDP port 51820; the line is behind carrier-grade NAT" in found

            file = away.folder / "tablet.conf"
            file.write_text(config)
            assert "home answers at UDP port 51820" in tablet.run(*command(), "away", "try", str(file)).stdout
            away.hedgerow("away", "remove", "tablet")
            until(lambda: asked(tablet, OWN4, SCHOOL) == "", "a tunnel that was taken away carries nothing")
            assert asked(tablet, ROUTER_OUTSIDE, SCHOOL) == ""
            silent = tablet.run(*command(), "away", "try", str(file), seconds=30)
            assert (silent.returncode, "no answer at UDP port 51820" in silent.stdout) == (1, True)
        assert "tunnel" not in away.policy.read_text().partition("devices:")[2]
    until(lambda: asked(tablet, f"{LAN4}.1", SCHOOL), "it is at home again")


def connected(house: House) -> dict[str, Any] | None:
    """Return the tablet's end of the tunnel once it has shaken hands, as far as is known at home."""
    (end,) = json.loads(house.hedgerow("away", "list", "--json").stdout)
    return end if end["handshake"] else None


def recorded(house: House) -> bool:
    """Return True once the journal has a decision about the tablet at its address inside the tunnel."""
    lines = [json.loads(line) for line in house.hedgerow("log", "--json").stdout.splitlines()]
    return any(each["device"] == "tablet" and each["host"] == ADULT for each in lines)


def test_names_alone_through_the_tunnel(away: House) -> None:
    config = end_of(away, "--only-dns")
    with roaming(away, "tablet", NUMBERS["tablet"]) as tablet, tunnelled(tablet, config, away.folder):
        until(lambda: asked(tablet, OWN4, ADULT) == "0.0.0.0", "names come through the tunnel")
        assert "mia" in page(tablet, f"http://{LAN4}.1:8053/device"), "its own page at the address that it has at home"
        route = tablet.must("ip", "route", "get", address4(SCHOOL))
        assert "mobile0" in route, "pages do not pass the tunnel"


def test_nobody_else_uses_an_address_of_the_tunnel(away: House) -> None:
    """A device at home that sends from the address of the tablet's end is nobody."""
    end_of(away)
    laptop = away.devices["laptop"]
    laptop.ip("address", "add", "10.87.214.2/32", "dev", "eth0")
    try:
        until(
            lambda: "hedgerow0" in away.router.must("nft", "list", "chain", "inet", "hedgerow", "origin"),
            "the table knows the tunnel",
        )
        assert asked(laptop, f"{LAN4}.1", SCHOOL, "-b", f"{LAN4}.{NUMBERS['laptop']}")
        assert asked(laptop, f"{LAN4}.1", SCHOOL, "-b", "10.87.214.2") == ""
    finally:
        laptop.ip("address", "delete", "10.87.214.2/32", "dev", "eth0")
