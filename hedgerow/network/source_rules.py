"""Source addresses that belong to another device, as nftables' JSON. Pure.

A device can send packets with any source address. Queries and traffic with a sibling's would count as the sibling's, so
packets whose IP address belongs to another MAC address, by the neighbour table, are dropped before anything else sees
them. A device that takes an address over announces that by ARP or neighbour discovery, at the latest when it checks
that the router is still there, which changes the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

from hedgerow.network.access_state import AccessState
from hedgerow.network.nft_expressions import (
    ACCEPT,
    COUNTER,
    DROP,
    NftCommand,
    add_base_chain,
    add_pair_set,
    add_rule,
    match,
    meta,
    pair_in_set,
    payload,
    source_in,
)
from hedgerow.network.nft_sets import SetElement
from hedgerow.policies.text.addresses import IpNetwork

ORIGIN_CHAIN, ORIGIN_PRIORITY = "origin", -310  # before connections are tracked (-200), and before raw (-300)
TUNNEL_INTERFACE: Final = "hedgerow0"
EXIT_CHAIN, EXIT_PRIORITY = "tunnel_exit", 99  # before srcnat (100), whose rules may name interfaces
OWNER_TIMEOUT_S: Final = 60
"""Seconds for which an address belongs to a device without renewal, so that a stopped Hedgerow blocks nobody."""
_SET_SIZE: Final = 8192
MAX_OWNERS: Final = 4000
_FAMILIES: Final = {4: ("v4", "ip", "ipv4_addr"), 16: ("v6", "ip6", "ipv6_addr")}
OWNED_SETS: Final = frozenset(f"owned_{suffix}" for suffix, _, _ in _FAMILIES.values())


class Owner(NamedTuple):
    """An IP address, packed, and the MAC address of the device that has it."""

    address: bytes
    mac: bytes


def render_origin(lan: Sequence[str], tunnel: Sequence[IpNetwork] = ()) -> list[NftCommand]:
    """Return the commands that add the sets and the chain to the table. Open devices are left alone.

    WireGuard checks the addresses of packets that come through the tunnel. Nobody else may send from one of these.
    """
    commands: list[NftCommand] = []
    for suffix, _, kind in _FAMILIES.values():
        commands.append(add_pair_set(f"owned_{suffix}", [kind], _SET_SIZE))
        commands.append(add_pair_set(f"owners_{suffix}", [kind, "ether_addr"], _SET_SIZE))
    commands.append(add_base_chain(ORIGIN_CHAIN, "filter", "prerouting", ORIGIN_PRIORITY))
    for network in tunnel:
        is_elsewhere = meta("iifname", (TUNNEL_INTERFACE, "lo"), "!=")
        commands.append(
            add_rule(ORIGIN_CHAIN, source_in(network), is_elsewhere, COUNTER, DROP, comment="forged source")
        )
    mac = payload("ether", "saddr")
    commands.append(add_rule(ORIGIN_CHAIN, meta("iifname", lan, "!="), ACCEPT))
    commands.append(add_rule(ORIGIN_CHAIN, match(mac, f"@{AccessState.OPEN}_macs"), ACCEPT))
    for suffix, ip, _ in _FAMILIES.values():
        address = payload(ip, "saddr")
        is_owned, is_others = match(address, f"@owned_{suffix}"), pair_in_set(address, mac, f"owners_{suffix}", "!=")
        commands.append(add_rule(ORIGIN_CHAIN, is_owned, is_others, COUNTER, DROP, comment="forged source"))
    return commands


def render_tunnel_exit(tunnel: Sequence[IpNetwork]) -> list[NftCommand]:
    """Return the commands that give packets from the tunnel this machine's address, since no other router knows those
    inside.
    """
    if not tunnel:
        return []
    outside = meta("oifname", (TUNNEL_INTERFACE,), "!=")
    return [
        add_base_chain(EXIT_CHAIN, "nat", "postrouting", EXIT_PRIORITY),
        *(add_rule(EXIT_CHAIN, source_in(network), outside, {"masquerade": None}) for network in tunnel),
    ]


def owners_of(neighbours: Mapping[str, str]) -> frozenset[Owner]:
    """Return the owners in a neighbour table, which maps IP to MAC addresses as text."""
    pairs = list(neighbours.items())[:MAX_OWNERS]
    return frozenset(Owner(ip_address(address).packed, bytes.fromhex(mac.replace(":", ""))) for address, mac in pairs)


def owner_elements(owners: Iterable[Owner]) -> dict[str, list[SetElement]]:
    """Return the elements of the sets for these owners."""
    found: dict[str, list[SetElement]] = {}
    for address, mac in owners:
        suffix = _FAMILIES[len(address)][0]
        # First the address without an owner expires: in between, every packet of it would be dropped.
        found.setdefault(f"owned_{suffix}", []).append(SetElement(address, OWNER_TIMEOUT_S - 5))
        found.setdefault(f"owners_{suffix}", []).append(SetElement(address + mac + b"\0\0", OWNER_TIMEOUT_S))
    return found
