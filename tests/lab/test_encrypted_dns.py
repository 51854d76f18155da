"""Behind the gateway, a child's device reaches Hedgerow's encrypted DNS and no other."""

from __future__ import annotations

import pytest
from lab import House
from lab.house import LAN4, LAN6

pytestmark = pytest.mark.root
KINDS = ("+tls", "+https", "+quic")


def asked(house: House, how: str, server: str, name: str) -> str:
    return house.devices["tablet"].run("kdig", "+short", "+time=3", "+retry=0", how, f"@{server}", name).stdout.strip()


@pytest.mark.parametrize("how", KINDS)
def test_our_encrypted_dns_filters(house: House, how: str) -> None:
    house.hedgerow("gateway", "apply")
    house.meet("tablet")
    for server in (f"{LAN4}.1", f"{LAN6}:1"):
        assert asked(house, how, server, "adult.example") == "0.0.0.0"
        assert asked(house, how, server, "www.school.example")


@pytest.mark.parametrize("how", KINDS)
def test_other_encrypted_dns_is_refused(house: House, how: str) -> None:
    house.hedgerow("gateway", "apply")
    house.meet("tablet")
    assert asked(house, how, "9.9.9.9", "www.school.example") == ""
