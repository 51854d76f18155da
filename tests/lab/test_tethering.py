"""What an adult's computer forwards for others has the rules of a device without a name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import House
from lab.aims import OPEN_SITE, reached, reads
from lab.house import LAN4, LAN6, MACS
from lab.spaces import Space
from lab.tethering import (
    OVER_IPV4,
    OVER_IPV6,
    PARENT4,
    PARENT6,
    forwarding,
    routed_through_the_parent,
    with_the_parents_mac_on_packets,
    with_the_parents_session,
)
from small_internet.running import wait_until

pytestmark = pytest.mark.root
EVERYTHING = (*OVER_IPV4, *OVER_IPV6)
ALLOWED = (reads(f"http://{OPEN_SITE}/", page=OPEN_SITE), reads("-6", f"https://{OPEN_SITE}/", page=OPEN_SITE))


@pytest.fixture
def gateway(house: House) -> Iterator[House]:
    house.hedgerow("gateway", "apply", "--no-strict")
    for who in ("tablet", "parent"):
        house.meet(who)
    wait_until(lambda: f"{LAN4}.10" in listed(house, "restricted_v4"), 30, "the tablet's address is known")
    yield house
    house.hedgerow("gateway", "remove")


def listed(house: House, name: str) -> str:
    return house.router.must("nft", "list", "set", "inet", "hedgerow", name)


def open_ones(house: House, device: Space) -> list[int]:
    return [number for number, aim in enumerate(EVERYTHING) if aim(house, device)]


@pytest.mark.parametrize("masquerades", [False, True])
def test_a_parents_computer_that_forwards_opens_nothing(gateway: House, masquerades: bool) -> None:
    """The parent's own connections stay open, and the child gets what any child gets."""
    tablet, parent = gateway.devices["tablet"], gateway.devices["parent"]
    with forwarding(parent, masquerades=masquerades), routed_through_the_parent(gateway, tablet):
        assert open_ones(gateway, tablet) == []
        assert MACS["parent"] in listed(gateway, "tethering")
        for server in (f"{LAN4}.1", f"{LAN6}:1", "8.8.8.8"):
            assert tablet.run("kdig", "+short", f"@{server}", "adult.example").stdout.strip() == "0.0.0.0"
        for aim in ALLOWED:
            assert reached(aim, gateway, tablet, hoped=True)
        for aim in EVERYTHING:
            assert reached(aim, gateway, parent, hoped=True)


def test_the_parents_mac_on_packets_opens_nothing(gateway: House) -> None:
    assert not with_the_parents_mac_on_packets(gateway, gateway.devices["tablet"])


def test_a_device_that_was_just_opened_is_open(gateway: House) -> None:
    """Its addresses are among those of restricted devices until they expire, such as those of a seat where an adult
    begins a session.
    """
    parent = gateway.devices["parent"]
    for suffix, address in (("v4", PARENT4), ("v6", PARENT6)):
        element = f"{{ {address} timeout 30s }}"
        gateway.router.must("nft", "add", "element", "inet", "hedgerow", f"restricted_{suffix}", element)
    assert len(open_ones(gateway, parent)) == len(EVERYTHING)
    assert f"{PARENT4} " in listed(gateway, "restricted_v4")
    assert MACS["parent"] not in listed(gateway, "tethering"), "nobody is told that it forwards"


@pytest.mark.parametrize("ttl", [64, 128, 255])
def test_hop_limits_of_all_systems_are_open(gateway: House, ttl: int) -> None:
    parent = gateway.devices["parent"]
    names = ("net.ipv4.ip_default_ttl", "net.ipv6.conf.eth0.hop_limit")
    parent.must("sysctl", "-qw", *(f"{name}={ttl}" for name in names))
    try:
        for aim in EVERYTHING:
            assert reached(aim, gateway, parent, hoped=True)
    finally:
        parent.must("sysctl", "-qw", *(f"{name}=64" for name in names))


def test_containers_of_a_parents_computer_are_open_once_it_may_forward(gateway: House) -> None:
    """Its kernel counts their hops, and gives them its address."""
    parent, policy = gateway.devices["parent"], gateway.policy.read_text()
    names = ("net.ipv4.ip_default_ttl", "net.ipv6.conf.eth0.hop_limit")
    parent.must("sysctl", "-qw", *(f"{name}=63" for name in names))
    try:
        assert open_ones(gateway, parent) == []
        gateway.policy.write_text(policy.replace("  parent: {mac", "  parent: {tethers: true, mac"))
        for aim in EVERYTHING:
            assert reached(aim, gateway, parent, hoped=True)
    finally:
        parent.must("sysctl", "-qw", *(f"{name}=64" for name in names))
        gateway.policy.write_text(policy)


def test_a_parents_session_opens_nothing_on_another_device(gateway: House) -> None:
    assert not with_the_parents_session(gateway, gateway.devices["tablet"])
