"""IP over DNS with iodine: it is blocked above the allowed rate, and everything else goes on."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable

import pytest
from lab import House, Space
from lab.aims import reads
from lab.house import LAN4

pytestmark = pytest.mark.root
DOMAIN, FAR_END = "t.tunnel.example", "10.98.0.1"
PATIENCE_S = 150


def is_blocked(device: Space, number: int) -> bool:
    """Return True if a new name in the tunnel's domain is blocked."""
    return device.run("kdig", "+short", "+time=3", f"@{LAN4}.1", f"fresh-{number}.{DOMAIN}").stdout.strip() == "0.0.0.0"


@pytest.mark.timeout(400)
def test_a_dns_tunnel_above_the_allowed_rate_is_blocked(house: House) -> None:
    house.hedgerow("gateway", "apply", "--no-strict")
    laptop, parent = house.devices["laptop"], house.devices["parent"]
    for name in ("laptop", "parent"):
        house.meet(name)
    words = ("iodine", "-f", "-r", "-I", "1", "-P", "secret", "-d", "names0", f"{LAN4}.1", DOMAIN)
    process = laptop.start(*words, stderr=house.folder / "iodine-laptop.log")
    deadline = time.monotonic() + PATIENCE_S
    try:
        while laptop.run("ping", "-I", "names0", "-c", "1", "-W", "2", FAR_END).returncode:
            assert time.monotonic() < deadline, (house.folder / "iodine-laptop.log").read_text()
        for number in itertools.count():
            laptop.run("ping", "-I", "names0", "-i", "0.02", "-c", "40", "-s", "1000", "-W", "1", FAR_END)
            if is_blocked(laptop, number):
                break
            assert time.monotonic() < deadline, "the tunnel goes on"
        assert laptop.run("ping", "-I", "names0", "-c", "3", "-W", "3", FAR_END).returncode, "the tunnel is blocked"
    finally:
        process.terminate()
        process.wait(60)
    until(
        lambda: reads("https://www.school.example/", page="www.school.example")(house, laptop),
        "everything else goes on",
    )
    hello = ("kdig", "+short", f"@{LAN4}.1", "data.tunnel.example", "TXT")
    until(lambda: "hello" in parent.run(*hello).stdout, "an adult's device is not limited")
    until(lambda: _is_told(house), "the log tells")


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def _is_told(house: House) -> bool:
    rows = map(json.loads, house.hedgerow("log", "--json").stdout.splitlines())
    return any(row["device"] == "laptop" and row["reason"] == "bypass" and row["what"] == "tunnel" for row in rows)
