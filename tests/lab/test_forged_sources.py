"""A packet with another device's IP address and one's own MAC address counts for nobody."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from lab import House
from lab.aims import datagram, reached
from lab.house import LAN4, LAN6, MACS, NUMBERS, give_address
from lab.internet import PEER4

pytestmark = pytest.mark.root
FORGE = """
import socket, struct, sys
source, destination, port, payload = sys.argv[1], sys.argv[2], int(sys.argv[3]), bytes.fromhex(sys.argv[4])
family = socket.AF_INET6 if ":" in source else socket.AF_INET
ours, theirs = (socket.inet_pton(family, each) for each in (source, destination))
size = 8 + len(payload)
def checksum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16: total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF or 0xFFFF
head = struct.pack("!HHHH", 40123, port, size, 0)
udp = struct.pack("!HHHH", 40123, port, size, checksum(ours + theirs + struct.pack("!HH", 17, size) + head + payload)) + payload
if family == socket.AF_INET:
    packet = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + size, 7, 0, 64, 17, 0, ours, theirs) + udp
else:
    packet = struct.pack("!IHBB16s16s", 6 << 28, size, 17, 64, ours, theirs) + udp
raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
for _ in range(int(sys.argv[5])): raw.sendto(packet, (destination, 0))
"""  # noqa: E501
"""Send UDP datagrams with another source address."""


@pytest.fixture
def gateway(house: House) -> Iterator[House]:
    house.hedgerow("gateway", "apply", "--no-strict")
    for who in ("tablet", "laptop"):
        house.meet(who)
    until((house.state / "run" / "gateway.sock").exists, "the gateway's process serves")
    until(lambda: f"{LAN4}.10 . {MACS['tablet']}" in owners(house), "the tablet's address is known")
    yield house
    house.hedgerow("gateway", "remove")


def owners(house: House) -> str:
    return house.router.must("nft", "list", "set", "inet", "hedgerow", "owners_v4")


def forge(house: House, source: str, destination: str, port: int, payload: bytes, count: int = 1) -> None:
    house.devices["laptop"].must(sys.executable, "-c", FORGE, source, destination, str(port), payload.hex(), str(count))


def query(name: str) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return b"\0\7\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1"


def dropped(house: House) -> int:
    return int(json.loads(house.hedgerow("gateway", "status", "--json").stdout)["packets"]["forged source"])


def logged(house: House) -> set[tuple[str, str]]:
    """Return hosts and devices in the journal."""
    rows = map(json.loads, house.hedgerow("log", "--json").stdout.splitlines())
    return {(row["host"], row["device"]) for row in rows}


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


@pytest.mark.parametrize(
    ("sibling", "router", "what"), [(f"{LAN4}.10", f"{LAN4}.1", "four"), (f"{LAN6}:10", f"{LAN6}:1", "six")]
)
def test_a_query_in_a_siblings_name_is_not_the_siblings(gateway: House, sibling: str, router: str, what: str) -> None:
    before = dropped(gateway)
    forge(gateway, sibling, router, 53, query(f"forged-{what}.adult.example"))
    assert dropped(gateway) == before + 1
    for _ in range(2):
        gateway.devices["tablet"].run("kdig", "+short", f"@{router}", f"own-{what}.adult.example")
    until(
        lambda: (f"own-{what}.adult.example", "tablet") in logged(gateway), "the tablet's own query is in the journal"
    )
    assert not any(host == f"forged-{what}.adult.example" for host, _ in logged(gateway))


def test_traffic_in_a_siblings_name_does_not_pass(gateway: House) -> None:
    before = dropped(gateway)
    forge(gateway, f"{LAN4}.10", PEER4, 3074, b"bytes", 20)
    assert dropped(gateway) == before + 20


def test_an_address_may_change_hands(gateway: House) -> None:
    """As by DHCP: the tablet leaves, and the laptop takes its address."""
    tablet, laptop = gateway.devices["tablet"], gateway.devices["laptop"]
    give_address(tablet, 40)
    try:
        give_address(laptop, NUMBERS["tablet"])
        assert reached(datagram(PEER4, 3074), gateway, laptop, hoped=True)
        assert reached(datagram(PEER4, 3074), gateway, tablet, hoped=True)
    finally:
        give_address(laptop, NUMBERS["laptop"])
        give_address(tablet, NUMBERS["tablet"])
    for who in ("tablet", "laptop"):
        gateway.meet(who)
