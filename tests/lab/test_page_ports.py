"""A port added to the policy's `ports` is redirected to the proxy at once."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from lab import House, Space
from lab.aims import CLOSED, OPEN_SITE, reads
from lab.internet import address4

pytestmark = pytest.mark.root


def at_8444(house: House, device: Space, host: str) -> bool:
    """Return True if a device with an edited hosts file reads the page there."""
    return reads("--resolve", f"{host}:8444:{address4(host)}", f"https://{host}:8444/", page=host)(house, device)


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


@pytest.mark.timeout(200)
def test_a_port_is_added_and_removed(house: House) -> None:
    house.hedgerow("gateway", "apply", "--no-strict", "--any-destination")
    house.meet("tablet")
    tablet, before = house.devices["tablet"], house.policy.read_text()
    until(lambda: at_8444(house, tablet, CLOSED), "the port is not redirected")
    house.policy.write_text(before.replace("  timezone: UTC\n", "  timezone: UTC\n  ports: [80, 443, 8443, 8444]\n"))
    try:
        until(lambda: not at_8444(house, tablet, CLOSED), "the blocked site is blocked there too")
        until(lambda: at_8444(house, tablet, OPEN_SITE), "an allowed site is allowed")
        assert not at_8444(house, tablet, CLOSED)
    finally:
        house.policy.write_text(before)
    until(lambda: at_8444(house, tablet, CLOSED), "the port is not redirected any more")
    house.hedgerow("gateway", "apply", "--named-destinations")
    until(lambda: not at_8444(house, tablet, CLOSED), "no answer gave the device this address")
