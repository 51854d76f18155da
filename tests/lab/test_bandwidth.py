"""The bandwidth of seats by kind of session, with real downloads and uploads past the proxy and through it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
from lab import House
from lab import house as build_house
from lab.bandwidth import measured, start_peer
from lab.house import LAN4, MACS
from lab.internet import BIG_FILE

pytestmark = pytest.mark.root

LIMITS = "cafe: {bandwidth: {child: [6, 3], adult: [24, 12]}}\n"
POLICY = f"""
network: {{timezone: UTC, country: GB, lists: starter, lan: [{LAN4}.0/24], upstream: [9.9.9.9]}}
seats:
  seat-1: {{mac: "{MACS["tablet"]}"}}
  seat-2: {{mac: "{MACS["laptop"]}"}}
devices:
  counter: {{mac: "{MACS["parent"]}", profile: adult}}
"""


@pytest.fixture(scope="module")
def cafe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("cafe")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    with build_house(folder, policy=POLICY) as whole:
        whole.hedgerow("gateway", "apply", "--no-strict", "--any-destination")
        start_peer(whole)
        for who in ("tablet", "laptop"):
            whole.meet(who)
        yield whole


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def rules(cafe: House) -> str:
    return cafe.router.run("nft", "list", "table", "netdev", "hedgerow").stdout


def queueing(cafe: House) -> str:
    return cafe.router.must("tc", "qdisc", "show", "dev", "lan", "root")


def traffic(cafe: House) -> dict[str, dict[str, int]]:
    return {row["device"]: row["traffic"] for row in json.loads(cafe.hedgerow("seat", "list", "--json").stdout)}


@pytest.mark.timeout(300)
def test_seats_have_the_bandwidth_of_their_session(cafe: House) -> None:
    cafe.hedgerow("seat", "open", "seat-2", "--as", "adult", "--minutes", "60")
    default = queueing(cafe)
    assert "htb" not in default
    assert min(measured(cafe, "d")) > 50, "nothing limits them yet"

    cafe.policy.write_text(POLICY + LIMITS)
    until(lambda: "limit rate over" in rules(cafe), "the limits are in force")
    child, adult = measured(cafe, "d")
    assert 4 < child < 6.6
    assert 16 < adult < 26.4
    child, adult = measured(cafe, "u")
    # After a pause, such as one of TCP's own, nftables lets a second's worth pass at once.
    assert 1.5 < child < 3 * 1.5 + 0.5
    assert 6 < adult < 12 * 1.5 + 0.5

    # Through the proxy, which answers as this machine.
    site = f"http://www.school.example{BIG_FILE}"
    words = ("curl", "-s", "--max-time", "3", "-o", "/dev/null", "-w", "%{speed_download}", site)
    clients = [cafe.devices[who].start(*words) for who in ("tablet", "laptop")]
    until(lambda: (traffic(cafe)["seat-2"] or {}).get("down", 0) > 12_000_000, "the traffic is shown")
    assert traffic(cafe)["seat-2"]["down_limit"] == 24_000_000
    child, adult = (float(client.communicate(timeout=60)[0]) * 8 / 1e6 for client in clients)
    print(f"through the proxy: {child:.2f} and {adult:.2f} Mbit/s")
    assert 2 < child < 7
    assert 8 < adult < 28


@pytest.mark.timeout(300)
def test_the_limit_follows_the_session_and_the_policy(cafe: House) -> None:
    cafe.policy.write_text(POLICY + LIMITS)
    until(lambda: "limit rate over" in rules(cafe), "the limits are in force")
    if "seat-2" in traffic(cafe):
        cafe.hedgerow("seat", "end", "seat-2")
    until(lambda: rules(cafe).count("limit rate over 375000 bytes") == 2, "both seats have the limit of a child")

    cafe.router.must("nft", "delete", "table", "netdev", "hedgerow")
    cafe.router.must("tc", "qdisc", "del", "dev", "lan", "root")
    until(lambda: rules(cafe) and "htb 5ea7:" in queueing(cafe), "what somebody removed is made again")

    cafe.policy.write_text(POLICY)
    until(lambda: not rules(cafe) and "htb" not in queueing(cafe), "nothing is left without limits in the policy")

    own = "tc qdisc add dev lan root handle 7: tbf rate 900mbit burst 64kb latency 50ms"
    cafe.router.must(*own.split())
    cafe.policy.write_text(POLICY + LIMITS)
    until(
        lambda: "has a queueing discipline of somebody's own (tbf)" in cafe.log,
        "what somebody has chosen is left alone",
    )
    assert "tbf 7:" in queueing(cafe)
    cafe.router.must("tc", "qdisc", "del", "dev", "lan", "root")
    until(lambda: "htb 5ea7:" in queueing(cafe), "until it is gone")
    cafe.hedgerow("gateway", "remove")
    until(lambda: not rules(cafe) and "htb" not in queueing(cafe), "nothing is left without a gateway")
