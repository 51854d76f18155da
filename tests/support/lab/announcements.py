"""Aims of bypasses by which a device tells the network about itself: router advertisements, and another device's DHCP
identity.
"""

from __future__ import annotations

import json

from small_internet.running import wait_until

from lab.aims import asks, wears_the_parents_address
from lab.house import LAN4, LAN6, NUMBERS, House
from lab.spaces import PYTHON, Space

ANNOUNCED = "2600:9000:6600:"
"""A network that nobody at home has."""

ADVERTISE = """
import socket, struct, sys
router, network, interface = sys.argv[1], sys.argv[2], socket.if_nametoindex("eth0")
peer = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
peer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 255)
message = struct.pack("!BBHBBHII", 134, 0, 0, 64, 8, 1800, 0, 0)  # a router of high preference (RFC 4861 §4.2, RFC 4191 §2.2)
message += struct.pack("!BBBBIII16s", 3, 4, 64, 0xC0, 7200, 7200, 0, socket.inet_pton(socket.AF_INET6, network))
for _ in range(3): peer.sendto(message, (router, 0, 0, interface))
"""  # noqa: E501

CLIENT_ID = "ana-phone"
SHOW_ADDRESS = '#!/bin/sh\n[ "$1" != bound ] || echo "$ip"\n'


def announces_a_network(house: House, device: Space) -> bool:
    """Announce an IPv6 network to the router, and use it. True if the router takes it for its own, or answers there."""
    links = json.loads(house.router.must("ip", "-j", "-6", "address", "show", "dev", "lan", "scope", "link"))
    own = next(info["local"] for link in links for info in link.get("addr_info", ()) if "local" in info)
    words = (*PYTHON, ADVERTISE, own, f"{ANNOUNCED}:")
    # the kernel refuses to send while the device's routes change
    wait_until(lambda: device.run(*words).returncode == 0, 60, "the announcement is sent")
    own = f"{ANNOUNCED}:66"
    device.ip("address", "add", f"{own}/64", "dev", "eth0", "nodad")
    try:
        taken = house.router.must("ip", "-6", "route") + house.router.must("ip", "-6", "address")
        return ANNOUNCED in taken or any(
            asks(server, "-b", own)(house, device) for server in ("2001:4860:4860::8888", f"{LAN6}:1")
        )
    finally:
        device.ip("address", "delete", f"{own}/64", "dev", "eth0")


def leases_the_parents_address(house: House, device: Space) -> bool:
    """Get the address that a DHCP server keeps for the parent's device, by its client identifier and host name, and use
    it.
    """
    parents, script = f"{LAN4}.{NUMBERS['parent']}", house.folder / "lease.sh"
    script.write_text(SHOW_ADDRESS)
    script.chmod(0o755)
    words = (
        "dnsmasq",
        "-k",
        "--port=0",
        "--conf-file=/dev/null",
        "--user=root",
        "--pid-file",
        "--interface=lan",
        "--no-ping",
    )
    kept = (f"--dhcp-range={LAN4}.100,{LAN4}.150,1h", f"--dhcp-host=id:{CLIENT_ID},{parents},{CLIENT_ID}")
    server = house.router.start(
        *words, *kept, "--dhcp-leasefile=/var/lib/misc/dnsmasq.leases", stderr=house.folder / "dnsmasq.log"
    )
    try:
        options = ("-C", "-x", f"0x3d:{CLIENT_ID.encode().hex()}", "-x", f"hostname:{CLIENT_ID}")
        given = device.run(
            "busybox", "udhcpc", "-f", "-n", "-q", "-t", "5", "-T", "1", "-i", "eth0", "-s", str(script), *options
        )
        assert parents in given.stdout, f"{given.stdout}{given.stderr}{(house.folder / 'dnsmasq.log').read_text()}"
        return wears_the_parents_address(house, device)
    finally:
        server.terminate()
        server.wait(60)
        (house.folder / "dnsmasq.leases").write_text("")
