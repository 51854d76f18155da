"""The gateway's rules, loaded by the kernel's nftables in a network namespace and compared with golden files."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from hedgerow.network.access_state import AccessState, DeviceStates, OpenApp
from hedgerow.network.gateway import TETHERING_LEVEL, InstalledTable
from hedgerow.network.gateway_rules import (
    Gateway,
    RedirectPorts,
    packet_counters,
    render_removal,
    render_states,
    render_table,
    table_fingerprint,
)
from hedgerow.network.packet_rules import encrypted_dns_addresses
from hedgerow.policies.network import LOCAL_NETWORKS, Flow

GOLDEN = Path(__file__).parent / "golden"
STATES = DeviceStates(
    (
        ("02:00:00:00:00:01", AccessState.GUARDED),
        ("02:00:00:00:00:0a", AccessState.OPEN),
        ("02:00:00:00:00:0c", AccessState.CLOSED),
    ),
    (
        (ip_network("192.168.1.64/28"), AccessState.GUARDED),
        (ip_network("192.168.1.80"), AccessState.OPEN),
        (ip_network("fd00::/64"), AccessState.CLOSED),
    ),
    apps=(
        OpenApp("telegram", networks=(ip_network("192.168.1.64/28"),)),
        OpenApp("flows-xbox-1", ("02:00:00:00:00:01",), others=True),
    ),
)
FLOWS = (
    Flow("udp", ((3478, 3481),), begins_with_stun=True),
    Flow(
        "tcp",
        ((25565, 25565), (25000, 25600)),
        (ip_network("203.0.113.0/24"), ip_network("203.0.113.7"), ip_network("2001:db8::/32")),
    ),
    Flow("tcp", ((22, 22),), (ip_network("203.0.113.9"),)),
    Flow("udp", ((3074, 3074),), services=("xbox",)),
    Flow("udp", ((8801, 8810),), (ip_network("170.114.0.0/16"),), begins_with_stun=True, services=("zoom",)),
)
LOCAL = (*LOCAL_NETWORKS, ip_network("192.168.1.0/24"), ip_network("2001:db8:1::/64"))
GATEWAYS = {
    "router": Gateway(("br-lan",), RedirectPorts(53, 3129, (80, 443, 8443)), allow_ssh=True, flows=FLOWS, local=LOCAL),
    "names-only": Gateway(("br-lan", "wlan0"), RedirectPorts(5300), any_destination=True, flows=FLOWS),
    "strict": Gateway(("br-lan",), RedirectPorts(53, 3129), strict=True),
    "tunnel": Gateway(
        ("lan",), RedirectPorts(53, 3129), tunnel=(ip_network("10.87.214.0/24"), ip_network("fd5e:3a81:c7d4:9b26::/64"))
    ),
    "one-armed": Gateway(("eth0",), RedirectPorts(53), one_armed=True, strict=True, allow_ipsec=True),
}


@pytest.fixture
def space() -> Iterator[list[str]]:
    name = f"hedgerow-{os.getpid()}-rules"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield ["ip", "netns", "exec", name, "nft"]
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def nft(space: list[str], *words: str, commands: object = None) -> str:
    text = None if commands is None else json.dumps({"nftables": commands})
    return subprocess.run([*space, *words], input=text, check=True, capture_output=True, text=True).stdout


@pytest.mark.root
@pytest.mark.parametrize("name", GATEWAYS)
def test_golden(name: str, space: list[str]) -> None:
    """The golden files hold the listing of nftables itself; HEDGEROW_WRITE_GOLDEN=1 writes them."""
    nft(space, "-j", "-f", "-", commands=render_table(GATEWAYS[name], STATES))
    listed = nft(space, "list", "ruleset")
    place = GOLDEN / f"{name}.nft"
    if os.environ.get("HEDGEROW_WRITE_GOLDEN"):
        place.write_text(listed, encoding="utf-8")
    assert listed == place.read_text(encoding="utf-8")


@pytest.mark.root
def test_updated_states_give_the_same_table_as_a_new_one(space: list[str]) -> None:
    gateway = GATEWAYS["router"]
    other = DeviceStates((("02:00:00:00:00:01", AccessState.CLOSED),), (), AccessState.CLOSED)
    nft(space, "-j", "-f", "-", commands=render_table(gateway, other))
    wanted = nft(space, "list", "ruleset")
    for commands in (render_table(gateway, STATES), render_states(other), render_states(other)):
        nft(space, "-j", "-f", "-", commands=commands)
    assert nft(space, "list", "ruleset") == wanted


@pytest.mark.root
def test_removal_leaves_no_trace_and_can_be_repeated(space: list[str]) -> None:
    nft(space, "add", "table", "inet", "another")
    before = nft(space, "list", "ruleset")
    for commands in (render_removal(), render_table(GATEWAYS["strict"], STATES), render_removal(), render_removal()):
        nft(space, "-j", "-f", "-", commands=commands)
    assert nft(space, "list", "ruleset") == before


def test_commands_name_only_our_table() -> None:
    for command in [*render_table(GATEWAYS["one-armed"], STATES), *render_states(STATES), *render_removal()]:
        (body,) = command.values()
        ((kind, named),) = body.items()
        assert (named["family"], named["name" if kind == "table" else "table"]) == ("inet", "hedgerow")


def test_encrypted_dns_addresses_are_public_and_unique() -> None:
    addresses = encrypted_dns_addresses()
    assert len(addresses) == len(set(addresses)) > 100
    assert all(address.is_global for address in addresses)
    assert {ip_network("9.9.9.9"), ip_network("2606:4700:4700::1111")} < set(addresses)


def test_counters_are_summed_by_comment() -> None:
    rule = {"rule": {"comment": "quic", "expr": [{"counter": {"packets": 2, "bytes": 80}}]}}
    assert packet_counters(
        [{"table": {}}, rule, rule, {"rule": {"expr": [{"counter": {"packets": 9, "bytes": 9}}]}}]
    ) == {"quic": 4}


@pytest.mark.root
@pytest.mark.parametrize(
    ("hand", "is_same"),
    [
        ("list ruleset", True),
        ("reset counters table inet hedgerow", True),
        ("add element inet hedgerow cut_v4 { 192.0.2.1 }", True),
        ("add element inet hedgerow admitted_v4 { 02:00:00:00:00:01 . 192.0.2.1 timeout 1h }", True),
        ("flush chain inet hedgerow fence", False),
        ("insert rule inet hedgerow fence accept", False),
        ("flush set inet hedgerow encrypted_dns_v4", False),
        ("delete chain inet hedgerow steer", False),
        ("add element inet hedgerow open_macs { 02:00:00:00:00:99 }", False),
    ],
)
def test_the_fingerprint_shows_changes_by_others(space: list[str], hand: str, is_same: bool) -> None:
    def seen() -> str:
        return table_fingerprint(json.loads(nft(space, "-j", "list", "table", "inet", "hedgerow"))["nftables"])

    nft(space, "-j", "-f", "-", commands=render_table(GATEWAYS["strict"], STATES))
    before = seen()
    nft(space, hand)
    assert (seen() == before) is is_same
    nft(space, "-j", "-f", "-", commands=render_table(GATEWAYS["strict"], STATES))
    assert seen() == before, "new handles and reset counters"


@pytest.mark.root
def test_a_listing_names_the_devices_that_forward(space: list[str]) -> None:
    nft(space, "-j", "-f", "-", commands=render_table(GATEWAYS["strict"], STATES))
    nft(space, "add element inet hedgerow tethering { 02:00:00:00:00:0a timeout 40s }")
    items = json.loads(nft(space, "-j", "list", "table", "inet", "hedgerow"))["nftables"]
    sets = {item["set"]["name"]: item["set"].get("elem", []) for item in items if "set" in item}
    assert InstalledTable({"quic": 2}, sets, "").levels(7.0) == {
        ("hedgerow_gateway_packets_total", "quic"): 2.0,
        (TETHERING_LEVEL, "02:00:00:00:00:0a"): 7.0,
    }


@pytest.mark.root
def test_a_closed_apps_connections_end_at_web_ports_too(space: list[str]) -> None:
    """Where no proxy takes web pages, those that began while the app was open would go on: Telegram's are at port 443.
    Addresses that DNS gave the device stay open.
    """
    by_name, any_destination = (Gateway(("lan",), RedirectPorts(53), any_destination=each) for each in (False, True))
    nft(space, "-j", "-f", "-", commands=render_table(by_name, STATES))
    closed = [rule for rule in nft(space, "list", "ruleset").splitlines() if "closed service" in rule]
    for ip, version in (("ip", 4), ("ip6", 6)):
        unnamed = f"ether saddr . {ip} daddr != @admitted_v{version} {ip} saddr . {ip} daddr != @routed_v{version}"
        assert sum(f"tcp dport {{ 80, 443 }} {unnamed} counter" in rule for rule in closed) == 1
    for gateway in (any_destination, GATEWAYS["router"]):
        nft(space, "-j", "-f", "-", commands=render_table(gateway, STATES))
        rules = nft(space, "list", "ruleset").splitlines()
        assert not [rule for rule in rules if "tcp dport" in rule and "daddr != @admitted" in rule]
