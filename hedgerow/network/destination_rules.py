"""Conditions on the destinations of guarded devices' new connections, as nftables' JSON. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network

from hedgerow.network.admissions import SET_SIZE
from hedgerow.network.icmp_rules import DISCOVERY_TYPES
from hedgerow.network.nft_expressions import (
    NftCommand,
    NftExpression,
    add_pair_set,
    connection_direction,
    destination_port,
    destination_ports,
    match,
    networks,
    pair_in_set,
    payload,
    protocol,
    source_ports,
)  # fmt: skip
from hedgerow.network.protocol_signatures import UDP_HEADER_BYTES
from hedgerow.policies.network import Flow
from hedgerow.policies.text.addresses import IpNetwork

PAIR_FIELDS = {
    "admitted_v4": (("ether", "saddr"), ("ip", "daddr")),
    "admitted_v6": (("ether", "saddr"), ("ip6", "daddr")),
    "routed_v4": (("ip", "saddr"), ("ip", "daddr")),
    "routed_v6": (("ip6", "saddr"), ("ip6", "daddr")),
}
"""The fields of a packet that are compared with each of `admissions.ADMITTED_SETS`."""
_ADDRESS_TYPES = {"ether": "ether_addr", "ip": "ipv4_addr", "ip6": "ipv6_addr"}
_MULTICAST = {"ip": ip_network("224.0.0.0/4"), "ip6": ip_network("ff00::/8")}
_VERSIONS = {"ip": 4, "ip6": 6}
_DHCP = (
    ("ip", (67, 68), [ip_network(text) for text in ("255.255.255.255", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]),
    ("ip6", (546, 547), [ip_network(text) for text in ("ff02::/16", "fe80::/10")]),
)
_STUN_COOKIE, _STUN_HEADER_BYTES = 0x2112A442, 20  # RFC 8489 §5


def render_admitted_sets() -> list[NftCommand]:
    """Return the commands that add the sets of admitted destinations to the table."""
    return [add_pair_set(name, [_ADDRESS_TYPES[header] for header, _ in fields], SET_SIZE) for name, fields in PAIR_FIELDS.items()]


def admitted_destinations() -> list[list[NftExpression]]:
    """Return the conditions of packets to an address that was admitted for the device."""
    return [[pair_in_set(payload(*source), payload(*destination), name)] for name, (source, destination) in PAIR_FIELDS.items()]


def local_destinations(local: Sequence[IpNetwork]) -> list[list[NftExpression]]:
    """Return the conditions of packets to these networks and to multicast groups."""
    by_family = {ip: [network for network in local if network.version == version] for ip, version in _VERSIONS.items()}
    return [[networks(ip, [*found, _MULTICAST[ip]])] for ip, found in by_family.items()]


def bridged_services() -> list[list[NftExpression]]:
    """Return the conditions of packets that a bridge must forward for every device: DHCP, and neighbour discovery of IPv6.

    The hop limit tells neighbour discovery from a tunnel through a router, which lowers it (RFC 4861 §3.1).
    """
    discovery = [match(payload("icmpv6", "type"), {"range": list(DISCOVERY_TYPES)}), match(payload("ip6", "hoplimit"), 255)]
    return [discovery, *([protocol("udp"), destination_port(*ports), networks(ip, places)] for ip, ports, places in _DHCP)]


def flow_replies(flow: Flow) -> list[list[NftExpression]]:
    """Return the conditions of answers to connections that others begin to a flow's ports on the device, as players of a game do."""
    if flow.begins_with_stun:
        return []
    condition = [protocol(flow.protocol), connection_direction("reply"), source_ports(flow.ports)]
    return [[networks(ip, found), *condition] for ip, found in _by_family(flow.to)] if flow.to else [condition]


def flow_conditions(flow: Flow) -> list[list[NftExpression]]:
    """Return the conditions of packets that belong to a flow."""
    condition = [protocol(flow.protocol), destination_ports(flow.ports)]
    if flow.begins_with_stun:
        condition.append(match(payload("udp", "length"), UDP_HEADER_BYTES + _STUN_HEADER_BYTES, ">="))
        condition.append(match({"payload": {"base": "ih", "offset": 32, "len": 32}}, _STUN_COOKIE))
    if not flow.to:
        return [condition]
    return [[networks(ip, found), *condition] for ip, found in _by_family(flow.to)]


def _by_family(wanted: Sequence[IpNetwork]) -> list[tuple[str, list[IpNetwork]]]:
    by_family = {ip: [network for network in wanted if network.version == version] for ip, version in _VERSIONS.items()}
    return [(ip, found) for ip, found in by_family.items() if found]
