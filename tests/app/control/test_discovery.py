"""Trust in DHCP lease files, and host names from leases, DNS and mDNS."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from web_server import view_of

from hedgerow.app.control.devices.discovery import (
    MAX_LEASE_FILE_BYTES,
    MAX_NEW_PER_HOUR,
    DeviceDiscovery,
    HostNameResolver,
    read_leases,
    reverse_name,
    unreadable_lease_files,
)
from hedgerow.journal.messages import DeviceSeen
from hedgerow.journal.recorder import SystemEvent
from hedgerow.network.discovery import Lease, parse_dnsmasq
from hedgerow.policies.reading.load import load_policy

LEASE = Lease("02:00:00:00:00:01", "192.168.1.5", "dads-laptop", 9000000000.0)
TEXT = "9000000000 02:00:00:00:00:01 192.168.1.5 dads-laptop *\n"


def leases_in(folder: Path) -> list[Lease]:
    return read_leases([(str(folder / "dhcp.leases"), parse_dnsmasq)])


def problems_in(folder: Path) -> list[str]:
    return unreadable_lease_files([(str(folder / "dhcp.leases"), parse_dnsmasq)])


def test_a_lease_file_is_read(tmp_path: Path) -> None:
    assert leases_in(tmp_path) == []
    assert problems_in(tmp_path) == [], "not everybody has a DHCP server"
    (tmp_path / "dhcp.leases").write_text(TEXT)
    assert leases_in(tmp_path) == [LEASE]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to change the owner")
def test_a_foreign_file_in_a_world_writable_directory_is_refused(tmp_path: Path) -> None:
    """A café guest with an account on the machine could give their device the host name of an adult's."""
    (tmp_path / "dhcp.leases").write_text(TEXT)
    os.chown(tmp_path / "dhcp.leases", 65534, 65534)
    assert leases_in(tmp_path) == [LEASE], "dnsmasq's own folder"
    assert problems_in(tmp_path) == []
    tmp_path.chmod(0o1777)
    assert leases_in(tmp_path) == []
    assert problems_in(tmp_path) == [f"{tmp_path}/dhcp.leases: could be anybody's, in a world-writable directory"]


def test_a_fifo_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "dhcp.leases")
    assert leases_in(tmp_path) == []
    assert problems_in(tmp_path) == [f"{tmp_path}/dhcp.leases: is not a regular file"]


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dhcp.leases"
    path.write_text(TEXT + "#" * (MAX_LEASE_FILE_BYTES - len(TEXT)))
    assert (leases_in(tmp_path), problems_in(tmp_path)) == ([LEASE], [])
    path.write_text(path.read_text() + "#")
    assert (leases_in(tmp_path), problems_in(tmp_path)) == ([], [f"{path}: is larger than 4 MB"])


A, B, C = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"


def test_a_lease_wins_over_the_reverse_name_which_is_cached() -> None:
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


def test_a_made_up_identifier_names_no_other_device() -> None:
    """B leases an IPv6 address with an identifier that holds A's MAC address."""
    forged = parse_dnsmasq(f"9000000000 7 fd00::b mias-tablet 00:03:00:01:{A}\n")
    assert [(lease.mac, lease.name) for lease in forged] == [(A, "mias-tablet")]
    neighbours = {"192.168.1.10": A, "fd00::b": B}
    assert asyncio.run(HostNameResolver(lambda _address: "").find(forged, neighbours, 100.0)) == {}


class Neighbours:
    """Invented addresses, as many as are wanted."""

    def __init__(self, count: int) -> None:
        self._entries = {f"192.168.1.{number}": f"02:00:00:00:01:{number:02x}" for number in range(1, count + 1)}

    def entries(self) -> dict[str, str]:
        return self._entries


def test_new_devices_are_announced_one_by_one_up_to_a_number_per_hour(tmp_path: Path) -> None:
    (tmp_path / "hedgerow.yaml").write_text("network: {lan: [192.168.0.0/16]}\n")
    view, recorded = view_of(load_policy(tmp_path / "hedgerow.yaml")), list[DeviceSeen | SystemEvent]()
    neighbours: Any = Neighbours(200)
    reader: Any = None
    discovery = DeviceDiscovery(reader, recorded.extend, neighbours, lambda: view, lambda _names: None)
    discovery.report(view, [], set())
    events = [each for each in recorded if isinstance(each, SystemEvent)]
    assert [each.about is not None for each in events] == [True] * MAX_NEW_PER_HOUR + [False]
    assert "inventing addresses" in events[-1].detail
    assert len([each for each in recorded if isinstance(each, DeviceSeen)]) == 200


@pytest.mark.parametrize(
    "claim", ["tv\n2026-11-25 12:00:00 control[1] info: all is well", "tv\x1b[2J", "tv\u202egnp", "t" * 64]
)
def test_an_unprintable_name_is_ignored(claim: str) -> None:
    """A device chooses its mDNS name, which appears in the log and on the pages."""
    names = HostNameResolver(lambda _address: f"{claim}.lan")
    assert asyncio.run(names.find([], {"192.168.1.11": B}, 100.0)) == {}


def test_reverse_name_of_this_machine() -> None:
    assert "localhost" in reverse_name("127.0.0.1")
    assert reverse_name("192.0.2.77") == ""


def test_reverse_lookups_run_in_parallel() -> None:
    both = threading.Barrier(2, timeout=20)

    def reverse(address: str) -> str:
        both.wait()  # until the other one is asked as well
        return f"at-{address[-1]}.lan"

    found = asyncio.run(HostNameResolver(reverse).find((), {"192.168.1.5": "a", "192.168.1.6": "b"}, 0.0))
    assert found == {"a": "at-5", "b": "at-6"}
