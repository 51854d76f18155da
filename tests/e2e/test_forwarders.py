"""A forwarder that adds the MAC addresses of its clients (EDNS option 65001)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from small_internet import SmallInternet
from small_internet.clients import kdig
from small_internet.family import LISTS, OWN_LISTS, TABLET
from small_internet.running import Hedgerow, network_section, running_hedgerow, wait_until

FORWARDER, OTHER = "127.0.0.5", "127.0.0.6"
CHILD, ADULT, NOBODY = "02:00:5e:00:53:01", "02:00:5e:00:53:02", "02:00:5e:00:53:99"
PEOPLE = f"""
people:
  mia: {{age: 9, devices: [mia-tablet]}}
  ann: {{profile: adult, devices: [ann-phone]}}
devices:
  mia-tablet: {{mac: "{CHILD}"}}
  ann-phone: {{mac: "{ADULT}"}}
"""


@pytest.fixture(scope="module")
def house(whole_internet: SmallInternet) -> Iterator[Hedgerow]:
    policy = network_section(whole_internet) + f"  forwarders: [{FORWARDER}]\n" + PEOPLE + OWN_LISTS
    with running_hedgerow(policy, lists=LISTS, upstream_authority=whole_internet.authority.root) as running:
        yield running


def asked(house: Hedgerow, source: str, mac: str = "", *, tcp: bool = False) -> list[str]:
    option = (f"+ednsopt=65001:{mac.replace(':', '')}",) if mac else ()
    found = kdig(house.dns, "adult.example", source=source, options=(*option, *(("+tcp",) if tcp else ())))
    assert found is not None, house.stderr
    return found.data("A")


@pytest.mark.parametrize("tcp", [False, True])
def test_each_device_has_its_own_answers_behind_a_forwarder(
    house: Hedgerow, whole_internet: SmallInternet, tcp: bool
) -> None:
    opened, blocked = [whole_internet.address_of("adult.example")], ["0.0.0.0"]
    for _ in range(2):  # found, and then remembered
        assert asked(house, FORWARDER, ADULT, tcp=tcp) == opened
        assert asked(house, FORWARDER, CHILD, tcp=tcp) == blocked
        assert asked(house, FORWARDER, NOBODY, tcp=tcp) == blocked
        assert asked(house, FORWARDER, tcp=tcp) == blocked  # for itself, whom nobody has named
    wait_until(
        lambda: (
            {CHILD, ADULT, NOBODY} <= {device["mac"] for device in json.loads(house.run("devices", "--json").stdout)}
        ),
        60,
    )


@pytest.mark.parametrize("tcp", [False, True])
def test_other_devices_cannot_claim_a_mac_address(house: Hedgerow, tcp: bool) -> None:
    for source in (OTHER, TABLET):
        assert asked(house, source, ADULT, tcp=tcp) == ["0.0.0.0"]
        assert asked(house, source, "02", tcp=tcp) == ["0.0.0.0"]
    assert asked(house, FORWARDER, "02", tcp=tcp) == ["0.0.0.0"]  # what is no MAC address counts for nothing
