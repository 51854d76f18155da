"""Discovery of an unknown phone by its DHCP name and by multicast DNS."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import pytest
from lab import House
from lab.aims import set_mac
from lab.house import MACS, NUMBERS

pytestmark = pytest.mark.root
UNKNOWN = "02:00:00:00:66:01"  # which no other test uses
ASK = (
    sys.executable,
    "-P",
    "-c",
    "import sys; from hedgerow.network.discovery import query_mdns_name; print(query_mdns_name(sys.argv[1]))",
)


@pytest.mark.timeout(200)
def test_a_new_phone_is_reported_by_its_dhcp_name(house: House) -> None:
    phone, leases = house.devices["phone"], house.folder / "dnsmasq.leases"
    leases.write_text(f"{int(time.time()) + 3600} {UNKNOWN} 192.168.50.12 lunas-phone *\n")
    set_mac(phone, UNKNOWN, NUMBERS["phone"])
    try:
        house.meet("phone")
        reported = f"new on the network: lunas-phone at 192.168.50.12, under the rules of child-8-12 ({UNKNOWN})"
        deadline = time.monotonic() + 90
        while reported not in house.log:
            assert time.monotonic() < deadline, house.log
            time.sleep(0.2)
        # It is in the journal a moment later.
        while (UNKNOWN, "lunas-phone", "child-8-12") not in (rows := shown(house)):
            assert time.monotonic() < deadline, rows
            time.sleep(0.2)
    finally:
        set_mac(phone, MACS["phone"], NUMBERS["phone"])


def shown(house: House) -> list[tuple[str, str, str]]:
    return [
        (row["device"], row["name"], row["profile"]) for row in json.loads(house.hedgerow("devices", "--json").stdout)
    ]


AVAHI = """[server]
host-name=lunas-phone
enable-dbus=no
use-ipv6=no
allow-interfaces=eth0
[publish]
publish-workstation=no
"""


def test_a_phone_without_a_lease_is_named_by_multicast_dns(house: House) -> None:
    """Avahi answers on the phone."""
    if shutil.which("avahi-daemon", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("not installed: avahi-daemon")
    phone, settings = house.devices["phone"], house.folder / "avahi.conf"
    settings.write_text(AVAHI)
    Path("/run/avahi-daemon").mkdir(exist_ok=True)  # for its number, which it keeps nowhere else
    words = ("avahi-daemon", "-f", str(settings), "--no-drop-root", "--no-rlimits", "--no-chroot")
    server = phone.start(*words, stderr=house.folder / "avahi.log")
    try:
        deadline = time.monotonic() + 60
        while house.router.run(*ASK, "192.168.50.12").stdout.strip() != "lunas-phone":
            assert time.monotonic() < deadline, (house.folder / "avahi.log").read_text()
            time.sleep(0.3)
    finally:
        server.terminate()
        server.wait(60)
    assert house.router.run(*ASK, "192.168.50.12").stdout.strip() == "", "Avahi has stopped"


def test_a_phone_keeps_the_rules_of_its_host_name_until_that_changes(house: House) -> None:
    leases = house.folder / "dnsmasq.leases"
    before = house.policy.read_text()
    named = "devices:\n  game-boy: {hostname: lunas-phone, block: [www.school.example]}\n"
    house.policy.write_text(
        before.replace("devices: [tablet]", "devices: [tablet, game-boy]").replace("devices:\n", named, 1)
    )
    try:
        for name, is_blocked in (("lunas-phone", True), ("something-else", False)):
            leases.write_text(f"{int(time.time()) + 3600} {MACS['phone']} 192.168.50.12 {name} *\n")
            deadline = time.monotonic() + 60
            while (_ask(house, "www.school.example") == "0.0.0.0") != is_blocked:
                assert time.monotonic() < deadline, name
                time.sleep(0.5)
    finally:
        house.policy.write_text(before)
        leases.write_text("")


def _ask(house: House, name: str) -> str:
    return house.devices["phone"].run("kdig", "+short", "+time=2", "@192.168.50.1", name).stdout.strip()
