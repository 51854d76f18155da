"""Counting of forwarded bytes per device, as commands of nftables' JSON. Pure.

The chain `account` comes after every firewall's filter, so it sees only what passes. What devices send is counted by
MAC address, what they receive by IP address, because a forwarded packet does not show the MAC address that it goes to.
Packets fill the sets of counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hedgerow.network.app_rules import app_destinations
from hedgerow.network.nft_expressions import (
    ACCEPT,
    NftCommand,
    NftExpression,
    add_base_chain,
    add_rule,
    add_set,
    connection_direction,
    match,
    meta,
    payload,
    protocol,
)

ACCOUNT_CHAIN, ACCOUNT_PRIORITY = "account", 300
SENT_SET, RECEIVED_SETS = "sent", ("received_v4", "received_v6")
TRAFFIC_SETS = (SENT_SET, *RECEIVED_SETS)
COUNTER_TIMEOUT_S = 120
QUIC_PORTS = (80, 443)

_PRIVATE_NETWORKS = {
    "ip": (("10.0.0.0", 8), ("172.16.0.0", 12), ("192.168.0.0", 16), ("169.254.0.0", 16)),
    "ip6": (("fc00::", 7), ("fe80::", 10)),
}


@dataclass(frozen=True, slots=True)
class TrafficCounters:
    """Forwarded bytes: sent by MAC address, received by IP address. A counter starts again after two silent minutes."""

    sent: Mapping[str, int] = field(default_factory=dict)
    received: Mapping[str, int] = field(default_factory=dict)


def render_accounting(lan: Sequence[str], page_ports: Sequence[int], *, one_armed: bool) -> list[NftCommand]:
    """Return the commands that add the sets and the chain to the table.

    Connections to web ports are left out, because DNS and the proxy count their names, but not those of apps to
    addresses without names. So is traffic inside the local network.
    """
    commands = [add_set(SENT_SET, "ether_addr", interval=False, dynamic=True)]
    commands += [add_set(name, f"ip{name[-2:]}_addr", interval=False, dynamic=True) for name in RECEIVED_SETS]
    commands.append(add_base_chain(ACCOUNT_CHAIN, "filter", "forward", ACCOUNT_PRIORITY))
    skipped: list[list[NftExpression]] = [
        [meta("l4proto", ["tcp", "udp"], "!=")],
        *(
            [protocol("tcp"), _original("proto-dst", list(page_ports)), _original(f"{ip} daddr", elsewhere, "!=")]
            for ip, elsewhere in app_destinations().items()
        ),
        [protocol("udp"), _original("proto-dst", list(QUIC_PORTS))],
        *(
            [_original(f"{ip} daddr", [_prefix(*network) for network in networks])]
            for ip, networks in _PRIVATE_NETWORKS.items()
        ),
    ]
    if not one_armed:
        skipped.append([meta("iifname", lan), meta("oifname", lan)])
    commands += [add_rule(ACCOUNT_CHAIN, *condition, ACCEPT) for condition in skipped]
    commands.append(
        add_rule(
            ACCOUNT_CHAIN,
            meta("iifname", lan),
            connection_direction("original"),
            _count(SENT_SET, payload("ether", "saddr")),
        )
    )
    for name, ip in zip(RECEIVED_SETS, ("ip", "ip6"), strict=True):
        commands.append(
            add_rule(
                ACCOUNT_CHAIN, meta("oifname", lan), connection_direction("reply"), _count(name, payload(ip, "daddr"))
            )
        )
    return commands


def parse_counters(listing: Iterable[NftCommand]) -> dict[str, int]:
    """Return the bytes by element, from the output of `nft -j list set`."""
    elements = (element["elem"] for item in listing for element in item.get("set", {}).get("elem", ()))
    return {element["val"]: element["counter"]["bytes"] for element in elements if "counter" in element}


def _original(key: str, values: list[Any], operator: str = "==") -> NftExpression:
    """Return the condition on the connection's first packet, which is also true of the packets in reply."""
    return match({"ct": {"key": key, "dir": "original"}}, {"set": values}, operator)


def _prefix(address: str, length: int) -> NftExpression:
    return {"prefix": {"addr": address, "len": length}}


def _count(name: str, key: NftExpression) -> NftExpression:
    element = {"elem": {"val": key, "timeout": COUNTER_TIMEOUT_S}}
    return {
        "set": {"op": "update", "elem": element, "set": f"@{name}", "stmt": [{"counter": {"packets": 0, "bytes": 0}}]}
    }
