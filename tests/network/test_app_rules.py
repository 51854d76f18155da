"""Rules for apps that use addresses without names: which packets to a closed app's networks are refused."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from hedgerow.network.app_rules import closed_apps
from hedgerow.policies.network import Flow

SERVER, NEIGHBOUR, ELSEWHERE = "149.154.167.51", "149.154.167.50", "91.108.4.9"
"""Addresses in Telegram's networks, the first two in the same one."""


def closed(flow: Flow, protocol: str) -> set[str]:
    """Return which of the addresses are refused by a protocol."""
    networks = [
        ip_network((each["prefix"]["addr"], each["prefix"]["len"])) if isinstance(each, dict) else ip_network(each)
        for condition in closed_apps((flow,), (80, 443), by_destination=True)
        if protocol in str(condition[1])
        for each in condition[0]["match"]["right"]["set"]
    ]
    return {address for address in (SERVER, NEIGHBOUR, ELSEWHERE) if any(ip_address(address) in n for n in networks)}


@pytest.mark.parametrize(
    ("to", "stun", "left"),
    [
        ("203.0.113.7", False, {SERVER, NEIGHBOUR, ELSEWHERE}),
        ("2001:67c:4e8::/48", False, {SERVER, NEIGHBOUR, ELSEWHERE}),
        (SERVER, False, {SERVER, NEIGHBOUR, ELSEWHERE}),  # accepted before
        (SERVER, True, {NEIGHBOUR, ELSEWHERE}),
        ("149.154.167.51/32", True, {NEIGHBOUR, ELSEWHERE}),
        ("149.154.160.0/20", False, {ELSEWHERE}),
        ("149.0.0.0/8", False, {ELSEWHERE}),
        ("0.0.0.0/0", False, set()),
    ],
)
def test_a_flow_spares_the_part_of_a_closed_apps_networks_that_it_names(to: str, stun: bool, left: set[str]) -> None:
    """A flow to one server of Telegram's would keep running connections to all of them otherwise."""
    flow = Flow("udp", ((22, 22),), (ip_network(to),), begins_with_stun=stun)
    assert closed(flow, "udp") == left
    assert closed(flow, "tcp") == {SERVER, NEIGHBOUR, ELSEWHERE}
