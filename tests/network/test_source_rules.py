"""Owners of addresses, from the neighbour table to the kernel's sets."""

from __future__ import annotations

from hedgerow.network.nft_sets import SetElement
from hedgerow.network.source_rules import MAX_OWNERS, OWNER_TIMEOUT_S, Owner, owner_elements, owners_of


def test_elements_of_both_families() -> None:
    mac = bytes.fromhex("02000000000a")
    owners = owners_of({"192.0.2.1": "02:00:00:00:00:0a", "2001:db8::1": "02:00:00:00:00:0a"})
    four, six = bytes((192, 0, 2, 1)), bytes.fromhex("20010db8" + "0" * 23 + "1")
    assert owners == {Owner(four, mac), Owner(six, mac)}
    assert owner_elements(sorted(owners)) == {
        "owned_v4": [SetElement(four, OWNER_TIMEOUT_S - 5)],
        "owners_v4": [SetElement(four + mac + bytes(2), OWNER_TIMEOUT_S)],
        "owned_v6": [SetElement(six, OWNER_TIMEOUT_S - 5)],
        "owners_v6": [SetElement(six + mac + bytes(2), OWNER_TIMEOUT_S)],
    }


def test_invented_neighbours_are_bounded() -> None:
    table = {
        f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}": "02:00:00:00:00:0a" for number in range(2 * MAX_OWNERS)
    }
    assert len(owners_of(table)) == MAX_OWNERS
