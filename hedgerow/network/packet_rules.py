"""Rules and conditions on the packets of guarded devices, as nftables' JSON: ICMP and destinations. Pure.

Pings and error messages may hold anything behind their headers, so they are small and few in both directions, and no
other ICMP passes. An error message belongs to a connection by the packet that it quotes, which a device writes itself:
that it is `related` proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from ipaddress import ip_network
from pathlib import Path

from hedgerow.blocklists.yaml_files import read_yaml
from hedgerow.network.admissions import SET_SIZE
from hedgerow.network.nft_expressions import (
    ACCEPT,
    COUNTER,
    DROP,
    NftCommand,
    NftExpression,
    add_pair_set,
    add_rule,
    add_source_to_set,
    connection_direction,
    connection_state,
    destination_port,
    destination_ports,
    destinations_outside,
    existing_connection,
    limit,
    match,
    meta,
    networks,
    pair_in_set,
    payload,
    protocol,
    source_ports,
    sources_outside,
)
from hedgerow.policies.network import LOCAL_NETWORKS, Flow
from hedgerow.policies.text.addresses import IpNetwork

IPSEC_PROTOCOLS, IPSEC_PORTS = (50, 51), (500, 4500)
ICMP, ICMP6 = 1, 58
IP_VERSIONS = ((4, "ip"), (6, "ip6"))
WATCH_TIMEOUT_S = 60
MAX_PING_BYTES = 128  # the whole packet; people and games send 60 to 104
PING_RATE, PING_BURST = 20, 60  # packets per second for the whole network
ERROR_RATE, ERROR_BURST = 10, 20
MAX_ERROR_BYTES = 1280  # of the whole packet (RFC 4443, section 2.4)
DISCOVERY_TYPES = (133, 137)  # neighbour discovery, from router solicitation to redirect
_ECHOES = ((ICMP, "icmp"), (ICMP6, "icmpv6"))
TCP, UDP = 6, 17
NTP_PORT, NTP_UDP_LENGTHS = 123, (56, 76)  # header and message, without and with authentication (RFC 5905)
NTP_RATE, NTP_BURST = 5, 60  # packets per second for the whole network: enough for clocks, little for a tunnel
UDP_HEADER_BYTES = 8
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
    (
        "ip",
        (67, 68),
        [ip_network(text) for text in ("255.255.255.255", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")],
    ),
    ("ip6", (546, 547), [ip_network(text) for text in ("ff02::/16", "fe80::/10")]),
)
_NOT_INTERNET = (*LOCAL_NETWORKS, ip_network("100.64.0.0/10"))  # with shared addresses (RFC 6598)
_STUN_COOKIE, _STUN_HEADER_BYTES = 0x2112A442, 20  # RFC 8489 §5


def accept_watched(chain: str, *condition: NftExpression) -> list[NftCommand]:
    """Return the rules that let packets pass and limit the replies (`limits_of_replies`).

    Limit these packets before: with invented sources, a device could fill the set, and what came back to it would not
    be limited. A packet whose source finds no room does not pass.
    """
    return [
        add_rule(
            chain,
            meta("nfproto", [f"ipv{version}"]),
            *condition,
            add_source_to_set(f"watched_v{version}", ip, WATCH_TIMEOUT_S),
            ACCEPT,
        )
        for version, ip in IP_VERSIONS
    ]


def too_many(chain: str, rate: int, burst: int, *condition: NftExpression) -> NftCommand:
    """Return the rule that drops packets beyond a rate."""
    return add_rule(chain, *condition, limit(rate, burst, exceeded=True), COUNTER, DROP, comment="tunnel")


def limits_of_replies(chain: str) -> list[NftCommand]:
    """Limit what NTP and ICMP bring to devices that are not open: a server of somebody's own may send anything."""
    is_ntp = [protocol("udp"), match(payload("th", "sport"), NTP_PORT)]
    small_ntp = [match(payload("udp", "length"), {"range": list(NTP_UDP_LENGTHS)}), limit(NTP_RATE, NTP_BURST)]
    rules = []
    for version, ip in IP_VERSIONS:
        is_watched = match(payload(ip, "daddr"), f"@watched_v{version}")
        rules += [add_rule(chain, is_watched, *is_ntp, *small_ntp, ACCEPT)]
        rules += [add_rule(chain, is_watched, *is_ntp, COUNTER, DROP, comment="tunnel")]
    return [*rules, *_incoming_limits(chain)]


def time_and_errors(chain: str) -> list[NftCommand]:
    """Let NTP pass, the ICMP errors of allowed connections, without which path MTU discovery fails, and what a bridge
    must forward.
    """
    is_ntp = (protocol("udp"), destination_port(NTP_PORT))
    lengths = match(payload("udp", "length"), {"range": list(NTP_UDP_LENGTHS)})
    return [
        too_many(chain, NTP_RATE, NTP_BURST, *is_ntp),
        *accept_watched(chain, *is_ntp, lengths),
        *error_rules(chain),
        *(add_rule(chain, *condition, ACCEPT) for condition in bridged_services()),
    ]


def _incoming_limits(chain: str) -> list[NftCommand]:
    """Return the rules for packets to watched devices."""
    rules = []
    for (number, _), (version, ip) in zip(_ECHOES, IP_VERSIONS, strict=True):
        is_watched = [protocol(number), match(payload(ip, "daddr"), f"@watched_v{version}")]
        if number == ICMP6:
            is_watched.append(match(payload("icmpv6", "type"), {"range": list(DISCOVERY_TYPES)}, "!="))
        rules += [
            add_rule(chain, *is_watched, connection_state("related"), *_limited_errors(), ACCEPT),
            add_rule(
                chain,
                *is_watched,
                connection_state("related", "!="),
                _at_most(MAX_PING_BYTES),
                limit(PING_RATE, PING_BURST),
                ACCEPT,
            ),
            add_rule(chain, *is_watched, COUNTER, DROP, comment="tunnel"),
        ]
    return rules


def error_rules(chain: str) -> list[NftCommand]:
    """Return the rules on error messages of a device about allowed connections."""
    is_error = (protocol(ICMP, ICMP6), connection_state("related"))
    return [
        too_many(chain, ERROR_RATE, ERROR_BURST, *is_error),
        *accept_watched(chain, *is_error, _at_most(MAX_ERROR_BYTES)),
        add_rule(chain, *is_error, COUNTER, DROP, comment="tunnel"),
    ]


def is_long_ping() -> list[NftExpression]:
    """Return the conditions that match an ICMP message longer than any ping that is not an error."""
    return [
        protocol(ICMP, ICMP6),
        match({"meta": {"key": "length"}}, MAX_PING_BYTES, ">"),
        connection_state("related", "!="),
    ]


def ping_limits(chain: str) -> list[NftCommand]:
    """Return the rules that limit the pings of a device."""
    rules = []
    for (number, icmp), (version, ip) in zip(_ECHOES, IP_VERSIONS, strict=True):
        is_request = [protocol(number), match(payload(icmp, "type"), "echo-request")]
        rules.append(too_many(chain, PING_RATE, PING_BURST, *is_request))  # before: see `accept_watched`
        rules.append(add_rule(chain, *is_request, add_source_to_set(f"watched_v{version}", ip, WATCH_TIMEOUT_S)))
    return rules


def other_messages() -> list[list[NftExpression]]:
    """Return the conditions of all messages but pings."""
    return [[protocol(number), match(payload(icmp, "type"), "echo-request", "!=")] for number, icmp in _ECHOES]


def _at_most(octets: int) -> NftExpression:
    return match({"meta": {"key": "length"}}, octets, "<=")


def _limited_errors() -> list[NftExpression]:
    return [_at_most(MAX_ERROR_BYTES), limit(ERROR_RATE, ERROR_BURST)]


def render_admitted_sets() -> list[NftCommand]:
    """Return the commands that add the sets of admitted destinations to the table."""
    return [
        add_pair_set(name, [_ADDRESS_TYPES[header] for header, _ in fields], SET_SIZE)
        for name, fields in PAIR_FIELDS.items()
    ]


def admitted_destinations() -> list[list[NftExpression]]:
    """Return the conditions of packets to an address that was admitted for the device."""
    return [
        [pair_in_set(payload(*source), payload(*destination), name)]
        for name, (source, destination) in PAIR_FIELDS.items()
    ]


def not_admitted(ip: str) -> list[NftExpression]:
    """Return the conditions of packets of a family to an address that was not admitted for the device."""
    return [
        pair_in_set(payload(*source), payload(*destination), name, "!=")
        for name, (source, destination) in PAIR_FIELDS.items()
        if destination[0] == ip
    ]


@cache
def encrypted_dns_addresses() -> tuple[IpNetwork, ...]:
    """Return the addresses of public resolvers that serve encrypted DNS."""
    providers = read_yaml(Path(__file__).with_name("encrypted_dns.yaml"))
    return tuple(ip_network(address) for provider in providers for address in provider["addresses"])


def local_destinations(local: Sequence[IpNetwork]) -> list[list[NftExpression]]:
    """Return the conditions of packets to these networks and to multicast groups."""
    by_family = {ip: [network for network in local if network.version == version] for ip, version in _VERSIONS.items()}
    return [[networks(ip, [*found, _MULTICAST[ip]])] for ip, found in by_family.items()]


def bridged_services() -> list[list[NftExpression]]:
    """Return the conditions of packets that a bridge must forward for every device:

    DHCP, and neighbour discovery of IPv6.

    The hop limit tells neighbour discovery from a tunnel through a router, which lowers it (RFC 4861 §3.1).
    """
    discovery = [
        match(payload("icmpv6", "type"), {"range": list(DISCOVERY_TYPES)}),
        match(payload("ip6", "hoplimit"), 255),
    ]
    return [
        discovery,
        *([protocol("udp"), destination_port(*ports), networks(ip, places)] for ip, ports, places in _DHCP),
    ]


def uninvited(
    chain: str, guarded: Sequence[str], local: Sequence[IpNetwork], flows: Sequence[Flow]
) -> list[NftCommand]:
    """Return the rules that drop datagrams to devices that are not open, if others began the connection outside: a
    stream needs no answer.

    Those of flows pass, to which devices may answer.
    """
    begun_outside = [meta("iifname", guarded, "!="), protocol("udp"), connection_direction("original")]
    served = [flow.ports for flow in flows if flow.protocol == "udp" and not flow.begins_with_stun]
    rules = [add_rule(chain, *begun_outside, destination_ports(ports), ACCEPT) for ports in served]
    for version, ip in IP_VERSIONS:
        from_elsewhere = [sources_outside(ip, [network for network in local if network.version == version])]
        is_restricted = match(payload(ip, "daddr"), f"@restricted_v{version}")
        rules.append(add_rule(chain, *begun_outside, is_restricted, *from_elsewhere, COUNTER, DROP, comment="no name"))
    return rules


def flow_replies(flow: Flow) -> list[list[NftExpression]]:
    """Return the conditions of answers to connections that others begin to a flow's ports on the device, as players of
    a game do.
    """
    if flow.begins_with_stun:
        return []
    condition = [protocol(flow.protocol), connection_direction("reply"), source_ports(flow.ports)]
    return [[where, *condition] for where in _places_of(flow)]


def flow_conditions(flow: Flow) -> list[list[NftExpression]]:
    """Return the conditions of packets that belong to a flow."""
    condition = [protocol(flow.protocol), destination_ports(flow.ports)]
    if flow.begins_with_stun:
        condition.append(match(payload("udp", "length"), UDP_HEADER_BYTES + _STUN_HEADER_BYTES, ">="))
        condition.append(match({"payload": {"base": "ih", "offset": 32, "len": 32}}, _STUN_COOKIE))
    return [[where, *condition] for where in _places_of(flow)]


def whole_flow(flow: Flow) -> list[list[NftExpression]]:
    """Return the conditions of all packets of a flow, with what follows a STUN message, and with answers to others."""
    follows = [connection_direction("original"), existing_connection()]
    begun = [[*condition, *follows] for condition in flow_conditions(replace(flow, begins_with_stun=False))]
    return [*(begun if flow.begins_with_stun else ()), *flow_conditions(flow), *flow_replies(flow)]


def port_conditions(flow: Flow, version: int) -> list[list[NftExpression]]:
    """Return the conditions of packets to the ports and networks of a flow in an IP version, whatever they begin
    with.
    """
    condition = [protocol(flow.protocol), destination_ports(flow.ports)]
    if not flow.to:
        return [condition]
    return [[networks(ip, found), *condition] for ip, found in _by_family(flow.to) if _VERSIONS[ip] == version]


def _places_of(flow: Flow) -> list[NftExpression]:
    """Return a condition for each family in which a flow leads somewhere: to its networks, or else to any address of
    the internet, which those of the provider's router and of its other customers are not.
    """
    if flow.to:
        return [networks(ip, found) for ip, found in _by_family(flow.to)]
    return [
        destinations_outside(ip, [network for network in _NOT_INTERNET if network.version == version])
        for version, ip in IP_VERSIONS
    ]


def server_conditions(flows: Iterable[Flow]) -> list[list[NftExpression]]:
    """Return the conditions of packets that belong to flows to single addresses, at which any protocol passes.

    Whoever names a server means what it serves: SSH for a repository, a school's VPN.
    """
    return [condition for flow in flows if flow.is_to_servers for condition in flow_conditions(flow)]


def _by_family(wanted: Sequence[IpNetwork]) -> list[tuple[str, list[IpNetwork]]]:
    by_family = {ip: [network for network in wanted if network.version == version] for ip, version in _VERSIONS.items()}
    return [(ip, found) for ip, found in by_family.items() if found]


def ipsec() -> list[list[NftExpression]]:
    """Return the conditions of IPsec, in UDP too."""
    return [[protocol(*IPSEC_PROTOCOLS)], [protocol("udp"), destination_port(*IPSEC_PORTS)]]
