"""Which addresses may be dialled."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from hedgerow.proxy.policy import DestinationGuard

LAN = (ip_network("192.168.1.0/24"), ip_network("2a00:1450:4001::/64"))


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("127.0.0.1", False),
        ("127.9.9.9", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("172.16.5.4", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("198.18.0.1", False),
        ("224.0.0.251", False),
        ("239.255.255.250", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd12:3456::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d70e", True),
        ("2002:7f00:1::", False),
        ("2002:c0a8:101::1", False),
        ("203.0.113.9", False),
        ("8.8.8.8", False),  # stands for our own public address here
        ("::ffff:8.8.8.8", False),
        ("64:ff9b::808:808", False),
        ("2a00:1450:4001::5", False),  # stands for a machine of the house with an address of the whole internet
        ("2a00:1450:4002::5", True),
        ("fec0::1", False),
        ("::127.0.0.1", False),
        ("::93.184.215.14", False),
        ("64:ff9b:1::7f00:1", False),
        ("2001:0:7f00:1::", False),
    ],
)
def test_addresses(address: str, allowed: bool) -> None:
    guard = DestinationGuard(house=LAN, own=lambda: frozenset({"8.8.8.8"}))
    assert guard.allows(address) is allowed
    assert guard.allows(address) is allowed  # the second time from memory


def test_reachable_opens_what_it_names_and_no_more() -> None:
    guard = DestinationGuard(reachable=(ip_network("192.168.1.20/32"), ip_network("fd12::/64")))
    found = guard.allowed(["192.168.1.20", "192.168.1.21", "fd12::7", "fd12:1::7", "1.1.1.1"])
    assert found == ("192.168.1.20", "fd12::7", "1.1.1.1")


def test_memory_is_bounded() -> None:
    guard = DestinationGuard()
    for number in range(10_000):
        guard.allows(f"10.0.{number // 256}.{number % 256}")
    assert len(guard._known) <= 4096


def test_what_is_reachable_of_the_house_is_open_in_every_spelling() -> None:
    guard = DestinationGuard((ip_network("192.168.1.20/32"), ip_network("2a00:1450:4001::5/128")), house=LAN)
    for address, allowed in (("192.168.1.20", True), ("::ffff:192.168.1.20", True), ("192.168.1.21", False), ("2a00:1450:4001::5", True)):
        assert guard.allows(address) is allowed
    assert not guard.allows("2002:c0a8:114::"), "6to4 leads elsewhere first"
