"""What devices call themselves, from leases and from reverse names."""

from __future__ import annotations

import asyncio
import threading

import pytest

from hedgerow.app.control.discovery import HostNameResolver, reverse_name
from hedgerow.network.discovery import Lease

A, B, C = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"


def test_a_lease_comes_before_the_reverse_name_which_is_asked_for_once() -> None:
    asked = []

    def reverse(address: str) -> str:
        asked.append(address)
        return {"192.168.1.11": "Old-Tv.lan"}.get(address, "")

    names = HostNameResolver(reverse)
    leases = [Lease(A, "192.168.1.10", "Mias-Tablet", None), Lease(C, "192.168.1.12", "gone", 50.0)]
    neighbours = {"192.168.1.10": A, "192.168.1.11": B, "192.168.1.12": C, "fe80::1": B}
    for _ in range(2):
        assert asyncio.run(names.find(leases, neighbours, 100.0)) == {A: "mias-tablet", B: "old-tv"}
    assert sorted(asked) == ["192.168.1.11", "192.168.1.12"]


@pytest.mark.parametrize("claim", ["tv\n2026-11-25 12:00:00 control[1] info: all is well", "tv\x1b[2J", "tv\u202egnp", "t" * 64])
def test_a_name_that_nobody_could_read_is_none(claim: str) -> None:
    """A device says by multicast DNS what it likes, and it goes into the log and onto the pages."""
    names = HostNameResolver(lambda _address: f"{claim}.lan")
    assert asyncio.run(names.find([], {"192.168.1.11": B}, 100.0)) == {}


def test_the_system_knows_this_machine() -> None:
    assert "localhost" in reverse_name("127.0.0.1")
    assert reverse_name("192.0.2.77") == ""


def test_a_device_does_not_wait_for_the_names_of_others() -> None:
    both = threading.Barrier(2, timeout=20)

    def reverse(address: str) -> str:
        both.wait()  # until the other one is asked as well
        return f"at-{address[-1]}.lan"

    found = asyncio.run(HostNameResolver(reverse).find((), {"192.168.1.5": "a", "192.168.1.6": "b"}, 0.0))
    assert found == {"a": "at-5", "b": "at-6"}
