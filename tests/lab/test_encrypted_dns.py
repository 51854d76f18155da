"""With the gateway in place, a child's device reaches our own encrypted DNS, and nobody else's."""

from __future__ import annotations

import pytest
from lab import House
from lab.house import LAN4, LAN6

pytestmark = pytest.mark.root
KINDS = ("+tls", "+https", "+quic")


def asked(house: House, how: str, server: str, name: str) -> str:
    return house.devices["tablet"].run("kdig", "+short", "+time=3", "+retry=0", how, f"@{server}", name).stdout.strip()


@pytest.mark.parametrize("how", KINDS)
def test_ours_is_reached_and_filters(house: House, how: str) -> None:
    house.hedgerow("gateway", "apply")
    house.meet("tablet")
    for server in (f"{LAN4}.1", f"{LAN6}:1"):
        assert asked(house, how, server, "adult.example") == "0.0.0.0"
        assert asked(house, how, server, "www.school.example")


@pytest.mark.parametrize("how", KINDS)
def test_others_are_not(house: House, how: str) -> None:
    house.hedgerow("gateway", "apply")
    house.meet("tablet")
    assert asked(house, how, "9.9.9.9", "www.school.example") == ""
