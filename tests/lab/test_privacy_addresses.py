"""A thousand IPv6 addresses of one device: limits hold for all of them together, and none becomes a device."""

from __future__ import annotations

import json
import sys
import time

import pytest
from lab import House
from lab.house import LAN6

pytestmark = pytest.mark.root

ADDRESSES = 1000
ASK = """
import secrets, socket, sys
server, prefix, count, domain = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4].encode()
answers = 0
for number in range(count):
    labels = [secrets.token_hex(31).encode() for _ in range(3)] + domain.split(b".")
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\\0"
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.settimeout(0.3)
        client.bind((f"{prefix}:ffff:{number:x}", 0))
        client.sendto(secrets.token_bytes(2) + bytes.fromhex("01000001000000000000") + name + bytes.fromhex("00010001"), (server, 53))
        try:
            data = client.recv(4096)
        except OSError:
            continue
        answers += 1
        last = (data[3] & 15, int.from_bytes(data[6:8]))
print(answers, *last)
"""  # noqa: E501
"""One query with 200 octets of random letters from each address.

Prints the number of answers, and the last rcode and count of records.
"""


def test_a_thousand_addresses_share_the_limits_and_are_no_devices(house: House) -> None:
    tablet = house.devices["tablet"]
    house.meet("tablet")
    before = {row["device"] for row in json.loads(house.hedgerow("devices", "--json").stdout)}
    words = [("add", number) for number in range(ADDRESSES)]
    text = "".join(f"address {word} {LAN6}:ffff:{number:x}/64 dev eth0 nodad\n" for word, number in words)
    assert tablet.run("ip", "-6", "-batch", "-", text=text).returncode == 0
    try:
        asked = tablet.run(sys.executable, "-c", ASK, f"{LAN6}:1", LAN6, str(ADDRESSES), "nobody.example", seconds=120)
        answers, *last = map(int, asked.stdout.split())
        assert answers > ADDRESSES // 2, asked
        assert last == [0, 1], "the domain is blocked for all of its addresses, as if one had asked"
        time.sleep(1.5)  # reports of sightings
        now = {row["device"] for row in json.loads(house.hedgerow("devices", "--json").stdout)}
        assert not [name for name in now - before if name.startswith(LAN6)]
    finally:
        tablet.run("ip", "-6", "-batch", "-", text=text.replace("address add", "address delete"))
