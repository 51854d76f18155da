"""Devices keep their rules whatever addresses they get by DHCP and router advertisements."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial

import pytest
from lab import House, Space
from lab.aims import asks, reached
from lab.house import LAN4, LAN6, NUMBERS, give_address
from small_internet.running import wait_until

pytestmark = pytest.mark.root
CLIENT = """#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip address flush dev "$interface" scope global
ip address add "$ip/$mask" dev "$interface"
ip route replace default via "$router"
"""
"""The script that udhcpc calls with a lease."""


@pytest.fixture
def guarded(house: House) -> Iterator[House]:
    if shutil.which("dnsmasq", path="/usr/sbin:/usr/bin") is None or shutil.which("busybox") is None:
        pytest.skip("dnsmasq and busybox are not installed")
    house.hedgerow("gateway", "apply", "--no-strict")
    yield house
    house.hedgerow("gateway", "remove")
    for name, number in NUMBERS.items():
        give_address(house.devices[name], number)
    (house.folder / "dnsmasq.leases").write_text("")


def serve_addresses(house: House, first: int) -> subprocess.Popen[str]:
    """Run dnsmasq as the router's DHCP server and IPv6 router advertiser, with leases from `first` on."""
    words = [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--pid-file=",
        "--interface=lan",
        "--bind-interfaces",
        "--no-ping",
    ]
    words += [
        f"--dhcp-range={LAN4}.{first},{LAN4}.{first + 9},2m",
        f"--dhcp-range={LAN6}:,ra-only",
        "--enable-ra",
        "--dhcp-authoritative",
    ]
    return house.router.start(*words, stderr=house.folder / "dnsmasq.log")


def take_lease(device: Space, house: House, name: str) -> str:
    """Request an address as a device that was just switched on. Returns it."""
    script = house.folder / "udhcpc.sh"
    script.write_text(CLIENT)
    script.chmod(0o755)
    device.ip("address", "flush", "dev", "eth0", "scope", "global")
    done = device.run(
        "busybox",
        "udhcpc",
        "-n",
        "-q",
        "-i",
        "eth0",
        "-s",
        str(script),
        "-x",
        f"hostname:{name}",
        "-t",
        "20",
        seconds=70,
    )
    assert done.returncode == 0, done.stderr + (house.folder / "dnsmasq.log").read_text()
    return addresses(device, "-4")[0]


def addresses(device: Space, family: str) -> list[str]:
    shown = json.loads(device.must("ip", "-j", family, "address", "show", "dev", "eth0", "scope", "global"))
    return [
        each["local"]
        for interface in shown
        for each in interface.get("addr_info", [])
        if "local" in each and not each.get("tentative")
    ]


def known(house: House, device: str) -> tuple[str, str, str] | None:
    """Return the device's last address, its name and its person, as Hedgerow knows them."""
    rows = json.loads(house.hedgerow("devices", "--json").stdout)
    return next(((row["address"], row["name"], row["person"]) for row in rows if row["device"] == device), None)


def is_known(house: House, device: str, wanted: tuple[str, str, str]) -> bool:
    return known(house, device) == wanted


def test_rules_survive_a_new_lease(guarded: House) -> None:
    tablet, parent = guarded.devices["tablet"], guarded.devices["parent"]
    seen = set()
    for first in (100, 160):
        server = serve_addresses(guarded, first)
        try:
            address = take_lease(tablet, guarded, "mias-tablet")
            seen.add(address)
            assert address.startswith(f"{LAN4}.{first // 10}")
            take_lease(parent, guarded, "anas-phone")
            guarded.meet("tablet")
            guarded.meet("parent")
            assert not asks("8.8.8.8")(guarded, tablet), f"{address} is not recognised"
            assert reached(asks("8.8.8.8"), guarded, parent, hoped=True), "the parent is filtered"
            wait_until(partial(is_known, guarded, "tablet", (address, "mias-tablet", "mia")), 180)
        finally:
            server.terminate()
            server.wait(60)
    assert len(seen) == 2


def test_rules_hold_for_self_assigned_addresses(guarded: House) -> None:
    """Four IPv6 addresses: by MAC address and for privacy, from the advertised prefix (RFC 4862, RFC 8981), and two
    more.
    """
    tablet = guarded.devices["tablet"]
    tablet.must(
        "sysctl",
        "-qw",
        "net.ipv6.conf.eth0.use_tempaddr=2",
        "net.ipv6.conf.eth0.accept_ra=1",
        "net.ipv6.conf.eth0.autoconf=1",
    )
    server = serve_addresses(guarded, 100)
    try:
        tablet.ip("address", "flush", "dev", "eth0", "scope", "global")
        take_lease(tablet, guarded, "mias-tablet")
        tablet.ip("link", "set", "eth0", "down")
        tablet.set_up("eth0")
        take_lease(tablet, guarded, "mias-tablet")
        deadline = time.monotonic() + 60
        while len(addresses(tablet, "-6")) < 2:
            assert time.monotonic() < deadline, (
                tablet.must("ip", "address") + (guarded.folder / "dnsmasq.log").read_text()
            )
            time.sleep(0.2)
        for number in (0xB1, 0xB2):
            tablet.ip("address", "add", f"{LAN6}:{number:x}:1/64", "dev", "eth0", "nodad")
        own = addresses(tablet, "-6")
        assert len(own) >= 4
        for address in own:
            assert not asks("2001:4860:4860::8888", "-b", address)(guarded, tablet), f"{address} is not recognised"
            answer = tablet.run("kdig", "+short", "+time=3", f"@{LAN6}:1", "-b", address, "adult.example").stdout
            assert answer.strip() == "0.0.0.0"
    finally:
        server.terminate()
        server.wait(60)
        tablet.must("sysctl", "-qw", "net.ipv6.conf.eth0.use_tempaddr=0")
