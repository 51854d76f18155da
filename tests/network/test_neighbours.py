"""The kernel's neighbour table, in a network namespace."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.network.neighbours import Neighbour, Neighbours, parse_dump, read_neighbours

MAC = "02:00:00:00:00:2a"
MEET = """
import subprocess
from hedgerow.network.neighbours import Neighbours
changes = []
neighbours = Neighbours(lambda: changes.append(1), soonest_s=0.0)
assert neighbours.mac_of("192.0.2.7") is None
subprocess.run("ip neigh add 192.0.2.7 lladdr 02:00:00:00:00:2a dev lan0 nud permanent".split(), check=True)
assert neighbours.mac_of("192.0.2.9") is None
print(neighbours.mac_of("192.0.2.7"), len(changes))
"""
SHOW = "import json; from hedgerow.network.neighbours import read_neighbours; print(json.dumps(read_neighbours()))"


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


@contextmanager
def a_network() -> Iterator[tuple[str, ...]]:
    """Create a network namespace with the interface `lan0`. Yields the words that run a command in it."""
    space = f"hedgerow-{os.getpid()}"
    run("ip", "netns", "add", space)
    try:
        inside = ("ip", "netns", "exec", space)
        run(*inside, "ip", "link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
        run(*inside, "ip", "link", "set", "lan0", "up")
        yield inside
    finally:
        run("ip", "netns", "delete", space)


WATCH = """
import asyncio, subprocess, uvloop
from hedgerow.network.neighbours import Neighbours

async def change(neighbours, changed, words):
    changed.clear()
    subprocess.run(f"ip neigh replace 192.0.2.7 {words} dev lan0".split(), check=True)
    await asyncio.wait_for(changed.wait(), 20)
    return neighbours.mac_of("192.0.2.7")

async def main():
    changed = asyncio.Event()
    neighbours = Neighbours(changed.set, every_s=3600.0, soonest_s=3600.0)
    task = asyncio.create_task(neighbours.keep_fresh())
    await asyncio.sleep(0)  # the table was read; from now on only events update it
    first = await change(neighbours, changed, "lladdr 02:00:00:00:00:2a nud stale")
    second = await change(neighbours, changed, "lladdr 02:00:00:00:00:2b nud reachable")
    flood = "".join(f"neigh replace 192.0.2.9 lladdr 02:00:00:00:01:{number % 256:02x} dev lan0 nud stale\\n" for number in range(5000))
    subprocess.run(["ip", "-batch", "-"], input=flood, text=True, check=True)
    await asyncio.sleep(0.1)  # the events that fit the socket are read
    print(first, second, await change(neighbours, changed, "lladdr 02:00:00:00:00:2c nud reachable"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

uvloop.run(main())
"""  # noqa: E501


@pytest.mark.root
def test_the_kernel_reports_changed_neighbours() -> None:
    """Also after an overflow of the socket, which libuv would stop watching."""
    with a_network() as inside:
        assert run(*inside, sys.executable, "-c", WATCH).split() == [MAC, "02:00:00:00:00:2b", "02:00:00:00:00:2c"]


@pytest.mark.root
def test_ipv4_and_ipv6_addresses_of_a_device_have_its_mac() -> None:
    with a_network() as inside:
        for address in ("192.0.2.7", "2001:db8::7"):
            run(*inside, "ip", "neigh", "add", address, "lladdr", MAC, "dev", "lan0", "nud", "permanent")
        table = json.loads(run(*inside, sys.executable, "-c", SHOW))
    assert table == {"192.0.2.7": MAC, "2001:db8::7": MAC}


@pytest.mark.root
def test_a_new_device_is_found_at_once() -> None:
    with a_network() as inside:
        assert run(*inside, sys.executable, "-c", MEET).split() == [MAC, "1"]


def test_an_absent_address_is_looked_up_once() -> None:
    async def main() -> tuple[int, str | None]:
        neighbours = Neighbours(lambda: None, every_s=60, soonest_s=0.01)
        task = asyncio.create_task(neighbours.keep_fresh())
        await asyncio.sleep(0.2)
        assert neighbours.mac_of("203.0.113.250") is None
        await asyncio.sleep(0.2)
        mac = neighbours.mac_of("203.0.113.250")
        wanted = neighbours._wanted.is_set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return wanted, mac

    assert asyncio.run(main()) == (False, None)


def test_the_table_can_be_read_without_privileges() -> None:
    assert isinstance(read_neighbours(), dict)


def entry(family: int, address: bytes, link: bytes, state: int) -> bytes:
    attributes = b"".join(
        pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4) for kind, value in ((1, address), (2, link))
    )
    return pack("=IHHII", 28 + len(attributes), 28, 2, 1, 0) + pack("=BxxxiHBB", family, 3, state, 0, 1) + attributes


def test_parse_dump() -> None:
    link = bytes.fromhex("02000000002a")
    four, six = bytes((192, 0, 2, 7)), socket.inet_pton(socket.AF_INET6, "2001:db8::7")
    entries = (
        entry(socket.AF_INET, four, link, 2),
        entry(socket.AF_INET6, six, link, 4),
        entry(socket.AF_INET, four, b"", 0x40),
    )
    assert parse_dump(b"".join(entries)) == ([Neighbour("192.0.2.7", MAC, 2), Neighbour("2001:db8::7", MAC, 4)], False)
    assert parse_dump(entries[0] + pack("=IHHIIi", 20, 3, 2, 1, 0, 0)) == ([Neighbour("192.0.2.7", MAC, 2)], True)


def test_errors_of_the_kernel_are_raised() -> None:
    with pytest.raises(PermissionError):
        parse_dump(pack("=IHHIIi", 20, 2, 0, 1, 0, -1))


@given(st.binary(max_size=120))
def test_malformed_datagrams_raise_oserror_at_most(datagram: bytes) -> None:
    try:
        parse_dump(datagram)
    except OSError:
        pass


ANSWERING = """
import asyncio
from hedgerow.network.neighbours import answering
print(*sorted(asyncio.run(answering({"02:00:00:00:00:2a", "02:00:00:00:00:2b"}, {"192.0.2.9"}))))
"""


@pytest.mark.root
def test_a_device_that_has_left_does_not_answer() -> None:
    """The kernel keeps the entry of a device for as long as there are few: only asking shows that it has left."""
    with a_network() as inside:
        other = f"hedgerow-{os.getpid()}-other"
        run("ip", "netns", "add", other)
        try:
            run(*inside, "ip", "link", "set", "lan1", "netns", other)
            run(*inside, "ip", "address", "add", "192.0.2.1/24", "dev", "lan0")
            run("ip", "-n", other, "link", "set", "lan1", "address", "02:00:00:00:00:2a", "up")
            run("ip", "-n", other, "address", "add", "192.0.2.7/24", "dev", "lan1")
            run(
                *inside,
                "sysctl",
                "-qw",
                "net.ipv4.neigh.lan0.delay_first_probe_time=0",
                "net.ipv4.neigh.lan0.retrans_time_ms=100",
            )
            run(
                *inside,
                "ip",
                "neigh",
                "replace",
                "192.0.2.7",
                "lladdr",
                "02:00:00:00:00:2a",
                "dev",
                "lan0",
                "nud",
                "stale",
            )
            run(
                *inside,
                "ip",
                "neigh",
                "replace",
                "192.0.2.8",
                "lladdr",
                "02:00:00:00:00:2b",
                "dev",
                "lan0",
                "nud",
                "stale",
            )
            found = run(*inside, sys.executable, "-P", "-c", ANSWERING).split()
        finally:
            run("ip", "netns", "delete", other)
    assert found == ["02:00:00:00:00:2a", "192.0.2.7"]
