"""The gateway's rules as commands of nftables' JSON. Pure: a gateway and the devices' states in, commands out.

There is one table, `inet hedgerow`, so that the same rules apply to IPv4 and IPv6 and removing it leaves no trace. It
has three hooks:

- `steer` (nat, prerouting) redirects DNS and web traffic to Hedgerow.
- `fence` (filter, forward) refuses what must not pass. Redirected traffic never gets there, so a packet for another
  resolver or web server that does has bypassed `steer` or belongs to a connection older than the table.
- `account` (filter, forward) counts the bytes that pass (`traffic_rules`).

The table opens nothing that the machine's own firewall closes: `accept` ends the evaluation of this table's chain only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hedgerow.network import first_messages
from hedgerow.network.access_state import AccessState, DeviceStates
from hedgerow.network.app_rules import (
    APP_CHAINS,
    APPS_CHAIN,
    APPS_OTHERS_CHAIN,
    UNNAMED_APPS_CHAIN,
    app_sets,
    closed_apps,
    closed_flows,
    render_app_rules,
    render_open_apps,
)
from hedgerow.network.nft_expressions import (
    ACCEPT,
    COUNTER,
    DROP,
    NftCommand,
    NftExpression,
    add_base_chain,
    add_chain,
    add_elements,
    add_rule,
    add_set,
    add_source_to_set,
    connection_direction,
    destination_port,
    existing_connection,
    goto,
    jump,
    limit,
    match,
    meta,
    own,
    payload,
    protocol,
    redirect,
    reject,
)
from hedgerow.network.packet_rules import (
    ICMP,
    ICMP6,
    IP_VERSIONS,
    IPSEC_PROTOCOLS,
    NTP_PORT,
    TCP,
    UDP,
    admitted_destinations,
    encrypted_dns_addresses,
    ipsec,
    is_long_ping,
    limits_of_replies,
    local_destinations,
    other_messages,
    ping_limits,
    render_admitted_sets,
    server_conditions,
    time_and_errors,
    uninvited,
    whole_flow,
)
from hedgerow.network.source_rules import (
    TETHERED_OTHERS_CHAIN,
    TUNNEL_INTERFACE,
    is_tethered,
    render_origin,
    render_tethered,
    render_tunnel_exit,
    tethered_sources,
)
from hedgerow.network.traffic_rules import TRAFFIC_SETS, render_accounting
from hedgerow.policies.network import LOCAL_NETWORKS, Flow
from hedgerow.policies.text.addresses import IpNetwork

PREROUTING_PRIORITY = -105  # before dstnat (-100), so that the machine's own port forwards do not take DNS away
FORWARD_PRIORITY = -10  # before filter (0), where a firewall accepts established connections

PREROUTING_CHAIN, FORWARD_CHAIN, GUARDED_CHAIN, CLOSED_CHAIN, REJECT_CHAIN = (
    "steer",
    "fence",
    "guarded",
    "closed",
    "refuse",
)
HELD_CHAIN = "held"
REDIRECT_CHAIN, PREROUTING_OTHERS_CHAIN, FORWARD_OTHERS_CHAIN = "to_us", "steer_others", "fence_others"

ENCRYPTED_DNS_PORTS = (853, 784, 8853)  # RFC 7858, RFC 9250; the last two are from drafts and still in use
PLAIN_DNS_PORTS = (53, 5353)  # OpenDNS also answers at 5353
# OpenVPN, L2TP, WARP, Teredo, ZeroTier, WireGuard (twice), Tailscale
TUNNEL_UDP_PORTS = (1194, 1701, 2408, 3544, 9993, 51820, 51821, 41641)
TUNNEL_TCP_PORTS = (1080, 1194, 1723, 3128, 8118, 9001, 9030, 9050, 9150)  # SOCKS, OpenVPN, PPTP, HTTP proxies, Tor
SSH_PORT = 22
CUT_TIMEOUT_S = 10
CUT_RATE, CUT_BURST = 100, 200  # sources of closed devices per second: invented ones must not fill the set
_CHAINS_BY_STATE = {AccessState.CLOSED: CLOSED_CHAIN, AccessState.HELD: HELD_CHAIN, AccessState.GUARDED: GUARDED_CHAIN}
DYNAMIC_SETS = ("cut", "watched", "restricted", "admitted", "routed", "owned", "owners", "tethering", "tether")
"""Sets that change by themselves: addresses whose incoming packets are dropped, those whose NTP and echo replies are
limited, admitted destinations by MAC or IP address of the device, owners of addresses, and devices that forward.
"""


@dataclass(frozen=True, slots=True)
class RedirectPorts:
    """Hedgerow's own ports: `dns`, and `pages` for connections to `page_ports` if the proxy takes redirected ones."""

    dns: int
    pages: int | None = None
    page_ports: tuple[int, ...] = (80, 443)

    @property
    def redirected_ports(self) -> tuple[int, ...]:
        return self.page_ports if self.pages is not None else ()


@dataclass(frozen=True, slots=True)
class Gateway:
    """The network and the choices that the table is made for. `lan` are the interfaces with devices.

    one_armed: one of them also leads to the internet.
    strict: guarded devices get DNS, web pages and the time only.
    allow_ipsec: guarded devices may use IPsec, which Wi-Fi calling and some VPNs need.
    allow_ssh: guarded devices may use SSH, which can tunnel anything.
    any_destination: guarded devices may open connections to addresses that no DNS answer gave them; otherwise only
    `flows` and `local`. tunnel: the addresses inside the tunnel home, by which devices that are away come in.
    """

    lan: tuple[str, ...]
    redirect_ports: RedirectPorts
    one_armed: bool = False
    strict: bool = False
    allow_ipsec: bool = False
    allow_ssh: bool = False
    any_destination: bool = False
    flows: tuple[Flow, ...] = ()
    local: tuple[IpNetwork, ...] = LOCAL_NETWORKS
    tunnel: tuple[IpNetwork, ...] = ()

    @property
    def guarded(self) -> tuple[str, ...]:
        """The interfaces at which devices' packets come in."""
        return (*self.lan, TUNNEL_INTERFACE) if self.tunnel else self.lan


def render_table(
    gateway: Gateway, device_states: DeviceStates, admitted: Mapping[str, Sequence[Any]] | None = None
) -> list[NftCommand]:
    """Return the commands that create or replace the table, in one transaction.

    `admitted` are elements of `ADMITTED_SETS` to keep.
    """
    chains = (
        REJECT_CHAIN,
        GUARDED_CHAIN,
        first_messages.CHAIN,
        HELD_CHAIN,
        CLOSED_CHAIN,
        REDIRECT_CHAIN,
        PREROUTING_OTHERS_CHAIN,
        FORWARD_OTHERS_CHAIN,
        TETHERED_OTHERS_CHAIN,
        *APP_CHAINS,
    )
    return [
        *render_removal(),
        {"add": {"table": own()}},
        *_sets(),
        *(add_chain(name) for name in chains),
        add_base_chain(PREROUTING_CHAIN, "nat", "prerouting", PREROUTING_PRIORITY),
        add_base_chain(FORWARD_CHAIN, "filter", "forward", FORWARD_PRIORITY),
        *render_origin(gateway.guarded, gateway.tunnel),
        *render_tethered(gateway.guarded),
        *render_tunnel_exit(gateway.tunnel),
        *render_app_rules(gateway.flows),
        *_prerouting_rules(gateway),
        *_forward_rules(gateway),
        *_guarded_rules(gateway),
        *_held_rules(gateway),
        *_closed_rules(),
        *_reject_rules(),
        *render_accounting(gateway.guarded, gateway.redirect_ports.page_ports, one_armed=gateway.one_armed),
        *_state_contents(device_states),
        *(command for name, elements in (admitted or {}).items() for command in add_elements(name, elements)),
    ]


def render_states(device_states: DeviceStates) -> list[NftCommand]:
    """Return the commands that give an installed table other device states, in one transaction. Its counters go on."""
    sets = [name for name, _ in _state_sets()] + ["cut_v4", "cut_v6"]
    flush: list[NftCommand] = [{"flush": {"set": own(name)}} for name in sets]
    others = (PREROUTING_OTHERS_CHAIN, FORWARD_OTHERS_CHAIN, TETHERED_OTHERS_CHAIN, APPS_OTHERS_CHAIN)
    flush += [{"flush": {"chain": own(name)}} for name in others]
    return flush + _state_contents(device_states)


def render_removal() -> list[NftCommand]:
    """Return the commands that remove the table. They also succeed if there is none."""
    return [{"add": {"table": own()}}, {"delete": {"table": own()}}]


def table_fingerprint(listing: Iterable[NftCommand]) -> str:
    """Return the output of `nft -j list table` without what changes by itself: handles, counters, and the sets of cut
    addresses.
    """
    stable = []
    for item in listing:
        kind, body = next(iter(item.items()))
        if kind == "metainfo":
            continue
        body = {key: value for key, value in body.items() if key != "handle"}
        if kind == "rule":
            body["expr"] = [None if "counter" in expression else expression for expression in body.get("expr", ())]
        if kind == "set":
            is_dynamic = body["name"] in TRAFFIC_SETS or body["name"].partition("_")[0] in DYNAMIC_SETS
            body["elem"] = [] if is_dynamic else sorted(json.dumps(element) for element in body.get("elem", ()))
        stable.append({kind: body})
    return json.dumps(stable, sort_keys=True)


def packet_counters(listing: Iterable[NftCommand]) -> dict[str, int]:
    """Return the packets per rule comment, from the output of `nft -j list table`."""
    packets: dict[str, int] = {}
    for item in listing:
        rule = item.get("rule", {})
        for expression in rule.get("expr", ()):
            if "counter" in expression and rule.get("comment"):
                packets[rule["comment"]] = packets.get(rule["comment"], 0) + expression["counter"]["packets"]
    return packets


def _state_sets() -> list[tuple[str, str]]:
    kinds = (("macs", "ether_addr"), ("v4", "ipv4_addr"), ("v6", "ipv6_addr"))
    return [(f"{name}_{suffix}", kind) for name in (*AccessState, *app_sets()) for suffix, kind in kinds]


def _sets() -> list[NftCommand]:
    commands = [add_set(name, kind, interval=kind != "ether_addr") for name, kind in _state_sets()]
    commands += [
        add_set(f"encrypted_dns_v{version}", f"ipv{version}_addr", interval=True) for version, _ in IP_VERSIONS
    ]
    for name in DYNAMIC_SETS[:3]:
        commands += [
            add_set(f"{name}_v{version}", f"ipv{version}_addr", interval=False, dynamic=True)
            for version, _ in IP_VERSIONS
        ]
    commands += render_admitted_sets()
    for version, _ in IP_VERSIONS:
        addresses = [network for network in encrypted_dns_addresses() if network.version == version]
        commands += add_elements(f"encrypted_dns_v{version}", addresses)
    return commands


def _state_contents(device_states: DeviceStates) -> list[NftCommand]:
    commands: list[NftCommand] = []
    for access in AccessState:
        commands += add_elements(f"{access}_macs", device_states.macs_in(access))
        for version, _ in IP_VERSIONS:
            commands += add_elements(f"{access}_v{version}", device_states.networks_in(access, version))
    if device_states.others is not AccessState.OPEN:
        chain = _CHAINS_BY_STATE[device_states.others]
        commands += [
            add_rule(PREROUTING_OTHERS_CHAIN, goto(REDIRECT_CHAIN)),
            add_rule(FORWARD_OTHERS_CHAIN, goto(chain)),
            *tethered_sources(),
        ]
    return commands + render_open_apps(device_states.apps)


def _prerouting_rules(gateway: Gateway) -> list[NftCommand]:
    """Redirect the DNS of devices that are not open, and their web traffic if the proxy takes it."""
    ports = gateway.redirect_ports
    targets = dict.fromkeys(_CHAINS_BY_STATE, REDIRECT_CHAIN)
    rules = [
        add_rule(PREROUTING_CHAIN, meta("iifname", gateway.guarded, "!="), ACCEPT),
        *_dispatch_by_state(PREROUTING_CHAIN, targets, PREROUTING_OTHERS_CHAIN),
        add_rule(REDIRECT_CHAIN, _tcp_or_udp(), destination_port(53), COUNTER, redirect(ports.dns), comment="names"),
        # The machine's own web pages, Hedgerow's and others.
        add_rule(REDIRECT_CHAIN, match({"fib": {"flags": ["daddr"], "result": "type"}}, "local"), ACCEPT),
        # Refused by the fence rather than proxied: these addresses serve nothing but encrypted DNS.
        *(add_rule(REDIRECT_CHAIN, _to_encrypted_dns(version, ip), ACCEPT) for version, ip in IP_VERSIONS),
    ]
    if ports.pages is not None:
        to_proxy = (protocol("tcp"), destination_port(*ports.page_ports), COUNTER, redirect(ports.pages))
        rules += [] if gateway.strict else [add_rule(REDIRECT_CHAIN, jump(UNNAMED_APPS_CHAIN))]
        rules.append(add_rule(REDIRECT_CHAIN, *to_proxy, comment="pages"))
    return rules


def _forward_rules(gateway: Gateway) -> list[NftCommand]:
    # Packets that still come in for a closed device; otherwise a stream would go on until its sender gives up.
    not_ntp = match(payload("th", "sport"), NTP_PORT, "!=")
    rules = [
        add_rule(FORWARD_CHAIN, match(payload(ip, "daddr"), f"@cut_v{version}"), not_ntp, COUNTER, DROP, comment="cut")
        for version, ip in IP_VERSIONS
    ]
    rules += limits_of_replies(FORWARD_CHAIN)
    if not gateway.any_destination:
        rules += uninvited(FORWARD_CHAIN, gateway.guarded, gateway.local, () if gateway.strict else gateway.flows)
    rules.append(add_rule(FORWARD_CHAIN, meta("iifname", gateway.guarded, "!="), ACCEPT))
    if gateway.one_armed:
        # Answers from the internet come in by the same interface, from the router's MAC address.
        rules.append(add_rule(FORWARD_CHAIN, match({"ct": {"key": "direction"}}, "reply"), ACCEPT))
    return rules + _dispatch_by_state(FORWARD_CHAIN, _CHAINS_BY_STATE, FORWARD_OTHERS_CHAIN)


def _dispatch_by_state(chain: str, targets: dict[AccessState, str], others: str) -> list[NftCommand]:
    """Send packets to the chain of their device's state.

    A MAC address decides before an IP address, which a device may choose. What an open device forwards is nobody's.
    """
    keys = (("macs", payload("ether", "saddr")), ("v4", payload("ip", "saddr")), ("v6", payload("ip6", "saddr")))
    rules = [
        add_rule(chain, match(key, f"@{access}_{suffix}"), goto(targets[access]) if access in targets else ACCEPT)
        for suffix, key in keys
        for access in (AccessState.CLOSED, AccessState.HELD, AccessState.GUARDED, AccessState.OPEN)
    ]
    return [add_rule(chain, *is_tethered(), goto(others)), *rules, add_rule(chain, goto(others))]


def _guarded_rules(gateway: Gateway) -> list[NftCommand]:
    refused: list[tuple[str, list[NftExpression]]] = [
        *(("encrypted dns address", [_to_encrypted_dns(version, ip)]) for version, ip in IP_VERSIONS),
        ("other resolver", [_tcp_or_udp(), destination_port(*PLAIN_DNS_PORTS)]),
        ("encrypted dns", [_tcp_or_udp(), destination_port(*ENCRYPTED_DNS_PORTS)]),
        ("quic", [protocol("udp"), destination_port(80, 443)]),
    ]
    rules = [_refusal(GUARDED_CHAIN, what, *condition) for what, condition in refused]
    stated = () if gateway.strict else gateway.flows
    rules += [add_rule(GUARDED_CHAIN, *condition, ACCEPT) for condition in server_conditions(stated)]
    refused = [
        ("tunnel", [meta("l4proto", [TCP, UDP, ICMP, ICMP6, *IPSEC_PROTOCOLS], "!=")]),
        ("tunnel", is_long_ping()),
        ("tunnel", [protocol("udp"), destination_port(*TUNNEL_UDP_PORTS)]),
        ("tunnel", [protocol("tcp"), destination_port(*TUNNEL_TCP_PORTS)]),
        *((each.what, each.expressions()) for each in first_messages.PROTOCOL_SIGNATURES if each.over == UDP),
    ]
    if not gateway.allow_ipsec:
        refused += [("ipsec", condition) for condition in ipsec()]
    rules += [_refusal(GUARDED_CHAIN, what, *condition) for what, condition in refused]
    rules += [] if gateway.strict else [add_rule(GUARDED_CHAIN, jump(APPS_CHAIN))]
    if gateway.redirect_ports.redirected_ports:
        is_page = (protocol("tcp"), destination_port(*gateway.redirect_ports.redirected_ports))
        rules.append(_refusal(GUARDED_CHAIN, "page round the proxy", *is_page))
    if not gateway.strict:
        ports, by_destination = gateway.redirect_ports, not gateway.any_destination
        closed = closed_apps(
            gateway.flows, ports.page_ports, by_destination=by_destination and not ports.redirected_ports
        )
        rules += [_refusal(GUARDED_CHAIN, "closed service", *condition) for condition in closed]
    rules += first_messages.first_messages(GUARDED_CHAIN, _refusal, allow_ssh=gateway.allow_ssh)
    rules += ping_limits(GUARDED_CHAIN)
    rules += time_and_errors(GUARDED_CHAIN)
    rules.append(_refusal(GUARDED_CHAIN, "tunnel", protocol("udp"), destination_port(NTP_PORT)))
    if gateway.strict:
        return rules + _strict_rules(gateway)
    rules += [
        add_rule(GUARDED_CHAIN, protocol(ICMP, ICMP6), *condition, ACCEPT)
        for condition in local_destinations(gateway.local)
    ]
    rules += [_refusal(GUARDED_CHAIN, "tunnel", *condition) for condition in other_messages()]
    return rules if gateway.any_destination else rules + _named_rules(gateway)


def _named_rules(gateway: Gateway) -> list[NftCommand]:
    """Let connections pass that the device began, or that begin as the gateway's options or the destinations allow;
    refuse the rest.

    A connection that begins outside passes as far as its answers may: else a server without a name could call a device,
    and not be called.
    """
    ssh = [[protocol("tcp"), destination_port(SSH_PORT)]] if gateway.allow_ssh else []
    always = [condition for flow in gateway.flows if not flow.services for condition in whole_flow(flow)]
    named = (*local_destinations(gateway.local), *admitted_destinations())
    allowed = [*named, [protocol(ICMP, ICMP6)], *(ipsec() if gateway.allow_ipsec else ()), *ssh, *always]
    running = [connection_direction("original"), existing_connection()]
    return [
        add_rule(GUARDED_CHAIN, protocol(TCP), *running, ACCEPT),
        *(add_rule(GUARDED_CHAIN, *condition, ACCEPT) for condition in allowed),
        *(_refusal(GUARDED_CHAIN, "closed service", *condition) for condition in closed_flows(gateway.flows)),
        add_rule(GUARDED_CHAIN, *running, ACCEPT),
        _refusal(GUARDED_CHAIN, "no name"),
    ]


def _strict_rules(gateway: Gateway) -> list[NftCommand]:
    rules: list[NftCommand] = []
    if gateway.allow_ipsec:
        rules += [add_rule(GUARDED_CHAIN, *condition, ACCEPT) for condition in ipsec()]
    if not gateway.redirect_ports.redirected_ports:
        rules.append(
            add_rule(GUARDED_CHAIN, protocol("tcp"), destination_port(*gateway.redirect_ports.page_ports), ACCEPT)
        )
    return [*rules, _refusal(GUARDED_CHAIN, "anything else")]


def _held_rules(gateway: Gateway) -> list[NftCommand]:
    """Let NTP pass, and web pages if the proxy does not take them. DNS has been redirected before."""
    rules = time_and_errors(HELD_CHAIN)
    if not gateway.redirect_ports.redirected_ports:
        rules += [
            _refusal(HELD_CHAIN, "encrypted dns address", _to_encrypted_dns(version, ip)) for version, ip in IP_VERSIONS
        ]
        rules.append(
            add_rule(HELD_CHAIN, protocol("tcp"), destination_port(*gateway.redirect_ports.page_ports), ACCEPT)
        )
    return [*rules, _refusal(HELD_CHAIN, "held")]


def _closed_rules() -> list[NftCommand]:
    """Let only NTP pass. DNS and web traffic has been redirected before, so helplines are open.

    What comes in for the device is dropped too, unless an open device forwards it under its own address. The gateway's
    process does the same for devices that only listen (`addresses_to_cut`).
    """
    is_its_own = match(payload("ether", "saddr"), f"@{AccessState.OPEN}_macs", "!=")
    few = limit(CUT_RATE, CUT_BURST)
    cut = [
        add_rule(
            CLOSED_CHAIN,
            meta("nfproto", [f"ipv{version}"]),
            is_its_own,
            few,
            add_source_to_set(f"cut_v{version}", ip, CUT_TIMEOUT_S),
        )
        for version, ip in IP_VERSIONS
    ]
    return [*time_and_errors(CLOSED_CHAIN), *cut, _refusal(CLOSED_CHAIN, "closed")]


def _reject_rules() -> list[NftCommand]:
    """Reject rather than drop, so that browsers fall back to TCP and apps do not hang."""
    return [
        add_rule(REJECT_CHAIN, protocol("tcp"), reject("tcp reset")),
        add_rule(REJECT_CHAIN, reject("icmpx", "admin-prohibited")),
    ]


def _refusal(chain: str, what: str, *condition: NftExpression) -> NftCommand:
    return add_rule(chain, *condition, COUNTER, goto(REJECT_CHAIN), comment=what)


def _tcp_or_udp() -> NftExpression:
    return protocol("tcp", "udp")


def _to_encrypted_dns(version: int, ip: str) -> NftExpression:
    return match(payload(ip, "daddr"), f"@encrypted_dns_v{version}")
