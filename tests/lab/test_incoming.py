"""What comes in for devices: streams to those that send nothing, and replies after a flood of packets with invented
sources.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest
from lab import House
from lab.house import LAN4, LAN6, NUMBERS
from lab.internet import PEER4, PEER_NAME, UNNAMED6
from small_internet.running import wait_until

pytestmark = pytest.mark.root

STREAM_PORT = 40077
SEND = """
import socket, sys, time
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], int(sys.argv[2])))
print("ready", flush=True)
_, client = server.recvfrom(100)
while True:
    server.sendto(bytes(1000), client)
    time.sleep(0.01)
"""
LISTEN = """
import socket, sys, time
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(0.1)
client.sendto(b"go", (sys.argv[1], int(sys.argv[2])))
while True:
    octets, ends = 0, time.monotonic() + 0.5
    while time.monotonic() < ends:
        try:
            octets += len(client.recv(2000))
        except TimeoutError:
            pass
    print(octets, flush=True)
"""
"""Sends one datagram, then prints twice per second how many octets came."""
INVENT = """
import socket, struct, sys
destination, count = sys.argv[1], int(sys.argv[2])
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for number in range(count):
    source = struct.pack("!I", (10 << 24) + number + 1)
    udp = struct.pack("!HHHH", 40123, 123, 56, 0) + bytes(48)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 7, 0, 64, 17, 0, source, socket.inet_aton(destination))
    raw.sendto(head + udp, (destination, 0))
"""
"""Sends NTP requests, each with a source address of its own."""
WANT_MORE = """
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.bind((sys.argv[2], 0))
client.settimeout(1)
octets = 0
for _ in range(5):
    client.sendto(b"more" + bytes(44), (sys.argv[1], 123))
    try:
        while True:
            octets += len(client.recv(65536))
    except OSError:
        pass
print(octets)
"""
"""Asks for what no time server sends, and prints how many octets came."""
MORE_THAN_ANY_SET = 20_000
POUR = """
import contextlib, socket, sys, time
server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 40078))
for _ in range(100):
    with contextlib.suppress(OSError):  # the way there may be known a little later
        server.sendto(bytes(1000), (sys.argv[2], int(sys.argv[3])))
    time.sleep(0.01)
"""
TAKE = """
import socket, sys
client = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
client.bind(("::", int(sys.argv[1])))
client.settimeout(3)
print("ready", flush=True)
octets = 0
try:
    while True:
        octets += len(client.recv(2000))
except TimeoutError:
    print(octets, flush=True)
"""
"""A stream over IPv6 to a device that neither asks for it nor answers, and the device."""


@pytest.fixture
def gateway(house: House) -> Iterator[House]:
    house.hedgerow("gateway", "apply", "--no-strict")
    house.meet("tablet")
    house.resolve("tablet", PEER_NAME)
    yield house
    house.hedgerow("gateway", "remove")


def test_a_pause_cuts_a_stream_to_a_device_that_only_listens(gateway: House) -> None:
    server = gateway.net.space.start(sys.executable, "-P", "-c", SEND, PEER4, str(STREAM_PORT))
    assert server.stdout
    server.stdout.readline()
    listener = gateway.devices["tablet"].start(sys.executable, "-P", "-c", LISTEN, PEER4, str(STREAM_PORT))
    assert listener.stdout
    try:
        assert any(int(listener.stdout.readline()) > 10_000 for _ in range(20)), "the stream comes"
        gateway.hedgerow("pause", "mia")
        deadline = time.monotonic() + 60
        while int(listener.stdout.readline()):
            assert time.monotonic() < deadline, "the stream goes on"
    finally:
        gateway.hedgerow("resume", "mia")
        for process in (server, listener):
            process.terminate()


def test_replies_stay_limited_after_a_flood_of_invented_sources(gateway: House) -> None:
    tablet, own = gateway.devices["tablet"], f"{LAN4}.79"
    tablet.ip("address", "add", f"{own}/24", "dev", "eth0")
    try:
        tablet.must(sys.executable, "-c", INVENT, PEER4, str(MORE_THAN_ANY_SET))
        assert int(tablet.must(sys.executable, "-c", WANT_MORE, PEER4, own)) == 0
    finally:
        tablet.ip("address", "delete", f"{own}/24", "dev", "eth0")


def poured(house: House, who: str, port: int) -> int:
    """Return the octets of a stream from outside that a device gets."""
    device = house.devices[who]
    taking = device.start(sys.executable, "-P", "-c", TAKE, str(port))
    assert taking.stdout
    taking.stdout.readline()
    house.net.space.must(sys.executable, "-P", "-c", POUR, UNNAMED6, f"{LAN6}:{NUMBERS[who]}", str(port))
    return int(taking.stdout.readline())


def test_a_stream_that_a_server_begins_reaches_open_devices_and_ports_of_games_only(gateway: House) -> None:
    """On a router that lets connections in, as this one does."""
    gateway.meet("parent")
    wait_until(lambda: poured(gateway, "tablet", 40079) == 0, 60, "the tablet's address is known")
    for who, port in (("parent", 40079), ("tablet", 3074)):  # a busy machine may lose some of a hundred datagrams
        wait_until(lambda: poured(gateway, who, port) == 100_000, 60, f"the {who} gets it")  # noqa: B023
    assert poured(gateway, "tablet", 40079) == 0
