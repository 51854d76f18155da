"""Packets that are not of the device whose MAC address they have, as nftables' JSON. Pure.

A device can send packets with any source address. Queries and traffic with a sibling's would count as the sibling's, so
packets whose IP address belongs to another MAC address, by the neighbour table, are dropped before anything else sees
them. A device that takes an address over announces that by ARP or neighbour discovery, at the latest when it checks
that the router is still there, which changes the table.

An open device may forward what others send: a hotspot, or a computer that routes for containers and virtual machines.
Such packets have its MAC address. The IP address of a device that is not open shows them, or a TTL (hop limit) a
little below those that systems begin with. They are treated as those of a device without a name (`is_tethered`).
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
    NftExpression,
    add_base_chain,
    add_pair_set,
    add_rule,
    add_set,
    goto,
    match,
    meta,
    pair_in_set,
    payload,
    protocol,
    source_in,
)
from hedgerow.network.nft_sets import SetElement
from hedgerow.policies.identity import TETHERED
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
TETHER_CHAIN, TETHER_PRIORITY = "tether", -150  # after connections are tracked
TETHERED_CHAIN, TETHERED_PRIORITY = "tethered", 100
TETHERED_OTHERS_CHAIN: Final = "tethered_others"
TETHER_MARK: Final = 0x08000000
"""The bit of a connection's mark that says that an open device forwards it."""

TETHERING_SET, TETHER_SET = "tethering", "tether_macs"
"""Sets of MAC addresses: of open devices that forwarded something lately, and of those that may do so."""

TETHERING_TIMEOUT_S: Final = 40  # looked at every 30 seconds
_HOPS: Final = 16
_FORWARDED_TTLS: Final = {"set": [{"range": [first - _HOPS, first - 1]} for first in (64, 128, 255)]}
_CT_MARK: Final[NftExpression] = {"ct": {"key": "mark"}}
_IS_OPEN: Final = match(payload("ether", "saddr"), f"@{AccessState.OPEN}_macs")


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
    commands.append(add_rule(ORIGIN_CHAIN, _IS_OPEN, ACCEPT))
    for suffix, ip, _ in _FAMILIES.values():
        address = payload(ip, "saddr")
        is_owned, is_others = match(address, f"@owned_{suffix}"), pair_in_set(address, mac, f"owners_{suffix}", "!=")
        commands.append(add_rule(ORIGIN_CHAIN, is_owned, is_others, COUNTER, DROP, comment="forged source"))
    return commands


def render_tethered(lan: Sequence[str]) -> list[NftCommand]:
    """Return the commands that add the chains for what open devices forward.

    The first one marks connections, where no hop has been counted yet. Traceroute sends small TTLs, and devices in
    `TETHER_SET` forward for their own containers and virtual machines. No open device has the address of another one,
    while its own one is among `restricted` for some seconds after it was opened.

    The second one gives clients of this machine's services an address of `TETHERED`, by which DNS and the proxy tell
    them from the device that forwards.
    """
    mac = payload("ether", "saddr")
    is_elsewhere, may_not = meta("iifname", lan, "!="), match(mac, f"@{TETHER_SET}", "!=")
    fields = (("ip", "ttl", "v4"), ("ip6", "hoplimit", "v6"))
    found = [
        *(
            [match(address, f"@restricted_{suffix}"), pair_in_set(address, mac, f"owners_{suffix}", "!=")]
            for address, suffix in ((payload(ip, "saddr"), suffix) for ip, _, suffix in fields)
        ),
        *([may_not, match(payload(ip, ttl), _FORWARDED_TTLS)] for ip, ttl, _ in fields),
    ]
    note = {"set": {"op": "update", "elem": {"elem": {"val": mac, "timeout": TETHERING_TIMEOUT_S}}}}
    note["set"]["set"] = f"@{TETHERING_SET}"
    mark: NftExpression = {"mangle": {"key": _CT_MARK, "value": {"|": [_CT_MARK, TETHER_MARK]}}}
    return [
        add_set(TETHERING_SET, "ether_addr", interval=False, dynamic=True),
        add_pair_set(TETHER_SET, ["ether_addr"], _SET_SIZE),
        add_base_chain(TETHER_CHAIN, "filter", "prerouting", TETHER_PRIORITY),
        add_rule(TETHER_CHAIN, is_elsewhere, ACCEPT),
        *(add_rule(TETHER_CHAIN, _IS_OPEN, *condition, note, mark) for condition in found),
        add_base_chain(TETHERED_CHAIN, "nat", "input", TETHERED_PRIORITY),
        add_rule(TETHERED_CHAIN, is_elsewhere, ACCEPT),
        add_rule(TETHERED_CHAIN, *is_tethered(), goto(TETHERED_OTHERS_CHAIN)),
    ]


def is_tethered() -> list[NftExpression]:
    """Match packets of connections that an open device forwards for others."""
    return [_IS_OPEN, match({"&": [_CT_MARK, TETHER_MARK]}, TETHER_MARK)]


def tethered_sources() -> list[NftCommand]:
    """Return the rules of `TETHERED_OTHERS_CHAIN` where devices without a name are not open."""
    return [
        add_rule(
            TETHERED_OTHERS_CHAIN,
            meta("nfproto", [f"ipv{address.version}"]),
            protocol("tcp", "udp"),
            {"snat": {"addr": str(address), "family": ip}},
        )
        for ip, address in zip(("ip", "ip6"), TETHERED, strict=True)
    ]


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
