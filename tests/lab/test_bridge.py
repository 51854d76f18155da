"""Hedgerow on a bridge between the devices and the provider's router: no device needs new settings, and none bypasses
it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import House
from lab import house as build_house
from lab.aims import asks, datagram, pings, reached
from lab.attempts import ALLOWED, ATTEMPTS
from lab.bandwidth import measured, start_peer
from lab.house import LAN4, MACS
from lab.internet import PEER4, PEER6
from lab.trials import unexpected
from small_internet.running import wait_until

pytestmark = pytest.mark.root
SWITCHES = [f"net.bridge.bridge-nf-call-{name}" for name in ("iptables", "ip6tables")]
SKIPPED = (
    *(
        "WireGuard",
        "OpenVPN",
        "IP over DNS",
        "in the browser",
        "set by hand",
        "privacy address",
        "current IP address",
        "MAC address",
    ),
    *("router advertisement", "client identifier"),
)
"""Attempts that take seconds or change the router and the addresses. `test_ways_round` tries them."""


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("bridge")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    with build_house(folder, bridged=True) as whole:
        if not all(Path("/proc/sys", switch.replace(".", "/")).exists() for switch in SWITCHES):
            pytest.skip("the kernel has no br_netfilter")
        _set_filtering(whole, "1")
        yield whole


def _set_filtering(house: House, value: str) -> None:
    house.router.must("sysctl", "-qw", *(f"{switch}={value}" for switch in SWITCHES))


@pytest.mark.timeout(400)
def test_bypasses_are_closed_on_a_bridge(bridge: House) -> None:
    said = bridge.hedgerow("gateway", "apply", "--lan", "lan").stdout
    assert "warning" not in said
    tried = [attempt for attempt in ATTEMPTS if not any(words in attempt.what for words in SKIPPED)]
    assert len(tried) > 35
    for who in ("tablet", "parent"):
        bridge.meet(who)
        assert not unexpected(bridge, who, dict.fromkeys(ALLOWED, True)), who
    bridge.resolve("tablet")
    assert not unexpected(bridge, "tablet", {attempt: attempt.normally for attempt in tried})
    parent = bridge.devices["parent"]
    left = (asks("8.8.8.8"), asks("1.1.1.1", "+tls"), datagram(PEER6, 443), pings(PEER4, 1000))
    assert all(reached(aim, bridge, parent, hoped=True) for aim in left)


def test_a_pause_cuts_connections_through_the_bridge(bridge: House) -> None:
    bridge.hedgerow("gateway", "apply", "--lan", "lan")
    tablet, parent = bridge.devices["tablet"], bridge.devices["parent"]
    bridge.meet("tablet")
    assert reached(datagram(PEER4, 3074), bridge, tablet, hoped=True)
    bridge.hedgerow("pause", "mia")
    deadline = time.monotonic() + 60
    while datagram(PEER4, 3074)(bridge, tablet):
        assert time.monotonic() < deadline
    assert reached(datagram(PEER4, 3074), bridge, parent, hoped=True)
    bridge.hedgerow("resume", "mia")


def test_dhcp_crosses_the_bridge(bridge: House) -> None:
    """Also for a device that nobody has named, and during a pause: without an address, not even helplines
    are reached.
    """
    if shutil.which("dnsmasq", path="/usr/sbin:/usr/bin") is None or shutil.which("busybox") is None:
        pytest.skip("dnsmasq and busybox are not installed")
    bridge.hedgerow("gateway", "apply", "--lan", "lan")
    words = [
        "dnsmasq",
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--user=root",
        "--pid-file=",
        "--interface=eth0",
    ]
    words += [
        "--bind-interfaces",
        f"--dhcp-range={LAN4}.200,{LAN4}.209,2m",
        "--dhcp-leasefile=/dev/null",
        "--dhcp-authoritative",
    ]
    words += ["--no-ping"]
    server = bridge.net.space.start(*words, stderr=bridge.folder / "dnsmasq.log")
    bridge.hedgerow("pause", "mia")
    try:
        for who in ("phone", "tablet"):
            bridge.devices[who].must("busybox", "udhcpc", "-n", "-q", "-i", "eth0", "-s", "/bin/true", "-t", "10")
    finally:
        bridge.hedgerow("resume", "mia")
        server.terminate()
        server.wait(60)


def test_a_bridge_without_filtering_is_reported(bridge: House) -> None:
    _set_filtering(bridge, "0")
    try:
        assert (
            "crosses the bridge is not filtered: modprobe br_netfilter"
            in bridge.hedgerow("gateway", "apply", "--lan", "lan").stdout
        )
        doctor = json.loads(bridge.hedgerow("doctor", "--json", must=False).stdout)
        (gateway,) = [row for row in doctor if row["what"] == "gateway"]
        assert (gateway["health"], "br_netfilter" in gateway["mend"]) == ("bad", True)
        assert reached(asks("8.8.8.8"), bridge, bridge.devices["tablet"], hoped=True), "the warning is true"
    finally:
        _set_filtering(bridge, "1")
        bridge.hedgerow("gateway", "remove")


@pytest.mark.timeout(300)
def test_seats_on_a_bridge_have_their_bandwidth(bridge: House) -> None:
    """Packets that cross a bridge pass its ports only, where the limits are: each port has them, since a
    seat may move.
    """
    before = bridge.policy.read_text()
    network = before[: before.index("people:")]
    seats = "".join(f'  seat-{number}: {{mac: "{MACS[who]}"}}\n' for number, who in enumerate(("tablet", "laptop"), 1))
    bridge.policy.write_text(f"{network}seats:\n{seats}cafe: {{bandwidth: {{child: [6, 3], adult: [24, 12]}}}}\n")
    try:
        bridge.hedgerow("gateway", "apply", "--lan", "lan", "--no-strict", "--any-destination")
        wait_until(lambda: "375000 bytes" in _seat_rules(bridge), 20, "the limits of children")
        bridge.hedgerow("seat", "open", "seat-2", "--as", "adult", "--minutes", "60")
        wait_until(lambda: "1500000 bytes" in _seat_rules(bridge), 20, "the limit of an adult")
        start_peer(bridge)
        child, adult = measured(bridge, "d")
        assert 4 < child < 6.6
        assert 16 < adult < 26.4
        child, adult = measured(bridge, "u")
        assert 1.5 < child < 3 * 1.5 + 0.5
        assert 6 < adult < 12 * 1.5 + 0.5
    finally:
        bridge.policy.write_text(before)
    wait_until(
        lambda: not _seat_rules(bridge) and "htb" not in bridge.router.must("tc", "qdisc", "show"),
        20,
        "the end of the limits",
    )


def _seat_rules(bridge: House) -> str:
    return bridge.router.run("nft", "list", "table", "netdev", "hedgerow").stdout
