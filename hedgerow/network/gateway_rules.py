"""The gateway's rules, as commands of nftables' JSON (libnftables-json(5)). Pure: a gateway and a census in, commands out.

One table, `inet hedgerow`, so that both families obey the same rules and removing it leaves no trace. Two hooks:

- `steer` (nat, prerouting) carries names and pages to us;
- `fence` (filter, forward) refuses what must not pass. What `steer` has carried away never gets there, so a packet for another
  resolver or web server that does is one that went round, or one of a connection that is older than the table.

Nothing here opens what the machine's own firewall closes: `accept` ends this table's chain only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import yaml

from hedgerow.network.access_state import AccessState, DeviceStates, Subnet

type NftCommand = dict[str, Any]
type NftExpression = dict[str, Any]

FAMILY, TABLE = "inet", "hedgerow"
PREROUTING_PRIORITY = -105  # before dstnat (-100), so that a port forward of the machine's own does not lead names away
FORWARD_PRIORITY = -10  # before filter (0), where a firewall accepts what is established

PREROUTING_CHAIN, FORWARD_CHAIN, GUARDED, CLOSED, REJECT_CHAIN = "steer", "fence", "guarded", "closed", "refuse"
REDIRECT_CHAIN, PREROUTING_OTHERS_CHAIN, FORWARD_OTHERS_CHAIN = "to_us", "steer_others", "fence_others"

ENCRYPTED_DNS_PORTS = (853, 784, 8853)  # RFC 7858, RFC 9250; the last two from drafts, still served by some
PLAIN_DNS_PORTS = (53, 5353)  # OpenDNS answers at 5353 as well
TUNNEL_UDP_PORTS = (
    1194,
    1701,
    2408,
    3544,
    9993,
    51820,
    51821,
    41641,
)  # OpenVPN, L2TP, WARP, Teredo, ZeroTier, WireGuard (twice), Tailscale
TUNNEL_TCP_PORTS = (1080, 1194, 1723, 3128, 8118, 9001, 9030, 9050, 9150)  # SOCKS, OpenVPN, PPTP, HTTP proxies, Tor
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
IPSEC_PROTOCOLS, IPSEC_PORTS = (50, 51), (500, 4500)
MAX_PING_OCTETS = 128  # octets of the whole packet; what people and games send is 60 to 104
UDP_HEADER_OCTETS = 8
NTP_PORT, NTP_LENGTH = 123, "56-76"  # bytes of UDP: header and message, with or without authentication (RFC 5905)
NTP_RATE, NTP_BURST = 5, 60  # packets a second of the whole house: enough for clocks, little for a tunnel
CUT_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class ProtocolSignature:
    """How a protocol begins, at whatever port: what its first message says at some offsets, and how long that is, where it is a datagram.

    `octets` and the offsets of `says` count from the end of the header of UDP or TCP (`over`); each of `says` is (offset, octets, value),
    or the lowest and the highest value.
    """

    what: str
    fields: tuple[tuple[int, int, int | tuple[int, int]], ...]
    octets: int | None = None
    at_least: int = 0
    over: int = UDP


def _openvpn_signature(operation: int, at: int, octets: int | None = None, at_least: int = 0) -> ProtocolSignature:
    """A reset with protection against replays: at `at` a counter of few tries, and the time (of 2021 to 2038)."""
    return ProtocolSignature("tunnel", ((0, 1, operation), (at, 3, 0), (at + 4, 1, (0x60, 0x7F))), octets, at_least)


def _text_signature(what: str, start: str) -> ProtocolSignature:
    """What somebody says first over TCP, as text."""
    return ProtocolSignature(what, ((0, len(start), int.from_bytes(start.encode("ascii"))),), over=TCP)


_RESET_V2, _RESET_V3 = 0x38, 0x50  # P_CONTROL_HARD_RESET_CLIENT_V2 and _V3, with the id of key 0
PROTOCOL_SIGNATURES = (
    # The WireGuard paper, section 5.4.2: 148 octets, of which the first four are 1, 0, 0, 0.
    ProtocolSignature("tunnel", ((0, 4, 0x01000000),), octets=148),
    # OpenVPN (its document "Network protocol"): operation, session (8), no acknowledgements (1), packet 0 (4).
    ProtocolSignature("tunnel", ((0, 1, _RESET_V2), (9, 4, 0)), octets=14),
    # The same with tls-crypt, and with tls-auth by SHA-1, SHA-256 and SHA-512, whose digests stand before the counter.
    *(_openvpn_signature(_RESET_V2, at, octets) for at, octets in ((9, 54), (29, 42), (41, 54), (73, 86))),
    _openvpn_signature(_RESET_V3, 9, at_least=54),
    # QUIC's Initial of versions 1 and 2 (RFC 9000 §17.2.2, RFC 9369), which fills at least 1,200 octets.
    *(ProtocolSignature("quic", ((1, 4, version),), at_least=1200) for version in (0x00000001, 0x6B3343CF)),
    # What only a proxy is asked for: a connection, or a whole URL where a server is asked for a path (RFC 9110 §9.3.6, RFC 9112 §3.2.2).
    *(_text_signature("web proxy", start) for start in ("CONNECT ", "GET http", "HEAD htt", "POST htt")),
)
SSH_SIGNATURE = _text_signature("ssh", "SSH-2.0-")  # RFC 4253 §4.2


@dataclass(frozen=True, slots=True)
class RedirectPorts:
    """Our own ports: where names go and, if the proxy takes pages that were not sent to it, where what goes to `page_ports` goes."""

    dns: int
    pages: int | None = None
    page_ports: tuple[int, ...] = (80, 443)

    @property
    def redirected_ports(self) -> tuple[int, ...]:
        return self.page_ports if self.pages is not None else ()


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the table is made for. `lan` are the interfaces on which devices are.

    `one_armed`: the way to the internet leads out of one of them again. `strict`: guarded devices get names, pages and the time, nothing
    else. `allow_ipsec`: phones may call over Wi-Fi, which is IPsec, as some VPNs are. `allow_ssh`: guarded devices may use SSH, through
    which anything can be reached.
    """

    lan: tuple[str, ...]
    redirect_ports: RedirectPorts
    one_armed: bool = False
    strict: bool = False
    allow_ipsec: bool = False
    allow_ssh: bool = False


@cache
def encrypted_dns_addresses() -> tuple[Subnet, ...]:
    """Addresses of public resolvers that serve encrypted DNS."""
    providers = yaml.safe_load(files("hedgerow.network").joinpath("encrypted_dns.yaml").read_bytes())
    return tuple(ip_network(address) for provider in providers for address in provider["addresses"])


def render_table(gateway: Gateway, device_states: DeviceStates) -> list[NftCommand]:
    """Commands that replace our table by what `gateway` and `census` ask for, in one transaction, whether or not it was there."""
    commands = [*render_removal(), {"add": {"table": _named()}}]
    commands += [_set(name, kind, interval=kind != "ether_addr") for name, kind in _state_sets()]
    commands += [_set(f"encrypted_dns_v{version}", f"ipv{version}_addr", interval=True) for version in (4, 6)]
    commands += [_set(f"cut_v{version}", f"ipv{version}_addr", interval=False, dynamic=True) for version in (4, 6)]
    for version in (4, 6):
        addresses = [network for network in encrypted_dns_addresses() if network.version == version]
        commands += _elements(f"encrypted_dns_v{version}", [_address(network) for network in addresses])
    commands += [_chain(name) for name in (REJECT_CHAIN, GUARDED, CLOSED, REDIRECT_CHAIN, PREROUTING_OTHERS_CHAIN, FORWARD_OTHERS_CHAIN)]
    commands += [
        _base_chain(PREROUTING_CHAIN, "nat", "prerouting", PREROUTING_PRIORITY),
        _base_chain(FORWARD_CHAIN, "filter", "forward", FORWARD_PRIORITY),
    ]
    commands += [*_prerouting_rules(gateway), *_forward_rules(gateway), *_guarded_rules(gateway), *_closed_rules(), *_reject_rules()]
    return commands + _set_contents(device_states)


def render_states(device_states: DeviceStates) -> list[NftCommand]:
    """Commands that make a table that is in place follow another census, in one transaction; its counters go on."""
    names = [name for name, _ in _state_sets()] + ["cut_v4", "cut_v6"]
    flush: list[NftCommand] = [{"flush": {"set": _named(name)}} for name in names]
    flush += [{"flush": {"chain": _named(name)}} for name in (PREROUTING_OTHERS_CHAIN, FORWARD_OTHERS_CHAIN)]
    return flush + _set_contents(device_states)


def render_removal() -> list[NftCommand]:
    """Commands after which nothing is left of us; they succeed as well where nothing was."""
    return [{"add": {"table": _named()}}, {"delete": {"table": _named()}}]


def form(listed: Iterable[NftCommand]) -> str:
    """What `nft -j list table` says, without what changes by itself: handles, counters, and who is being cut."""
    told = []
    for item in listed:
        kind, thing = next(iter(item.items()))
        if kind == "metainfo":
            continue
        thing = {key: value for key, value in thing.items() if key != "handle"}
        if kind == "rule":
            thing["expr"] = [None if "counter" in expression else expression for expression in thing.get("expr", ())]
        if kind == "set":
            is_ours = not thing["name"].startswith("cut_")
            thing["elem"] = sorted(json.dumps(element) for element in thing.get("elem", ())) if is_ours else []
        told.append({kind: thing})
    return json.dumps(told, sort_keys=True)


def _set_contents(device_states: DeviceStates) -> list[NftCommand]:
    commands: list[NftCommand] = []
    for access in AccessState:
        commands += _elements(f"{access}_macs", list(device_states.macs_in(access)))
        for version in (4, 6):
            commands += _elements(f"{access}_v{version}", [_address(each) for each in device_states.networks_in(access, version)])
    if device_states.others is not AccessState.OPEN:
        commands.append(_rule(PREROUTING_OTHERS_CHAIN, [_goto(REDIRECT_CHAIN)]))
        commands.append(_rule(FORWARD_OTHERS_CHAIN, [_goto(CLOSED if device_states.others is AccessState.CLOSED else GUARDED)]))
    return commands


def _prerouting_rules(gateway: Gateway) -> list[NftCommand]:
    """Names to us from whoever is not open, pages too where the proxy takes them."""
    rules = [_rule(PREROUTING_CHAIN, [_meta("iifname", list(gateway.lan), "!="), _accept()])]
    rules += _dispatch_by_state(
        PREROUTING_CHAIN, {AccessState.CLOSED: REDIRECT_CHAIN, AccessState.GUARDED: REDIRECT_CHAIN}, PREROUTING_OTHERS_CHAIN
    )
    redirect_ports = gateway.redirect_ports
    rules.append(_rule(REDIRECT_CHAIN, [_tcp_or_udp(), _port(53), _counter(), {"redirect": {"port": redirect_ports.dns}}], "names"))
    # The machine's own pages, such as ours, and whatever else it serves.
    rules.append(_rule(REDIRECT_CHAIN, [_match({"fib": {"flags": ["daddr"], "result": "type"}}, "local"), _accept()]))
    # To be refused by the fence, not carried to the proxy: there is nothing but encrypted DNS to be had.
    rules += [_rule(REDIRECT_CHAIN, [_to_encrypted_dns(version), _accept()]) for version in (4, 6)]
    if redirect_ports.pages is not None:
        rules.append(
            _rule(
                REDIRECT_CHAIN,
                [_protocol("tcp"), _port(*redirect_ports.page_ports), _counter(), {"redirect": {"port": redirect_ports.pages}}],
                "pages",
            )
        )
    return rules


def _forward_rules(gateway: Gateway) -> list[NftCommand]:
    # What still comes in for a device that is closed: else a stream would go on until its sender gives up.
    rules = [
        _rule(FORWARD_CHAIN, [_match(_payload(ip, "daddr"), f"@cut_v{version}"), _not_ntp_answer(), _counter(), {"drop": None}], "cut")
        for version, ip in ((4, "ip"), (6, "ip6"))
    ]
    rules.append(_rule(FORWARD_CHAIN, [_meta("iifname", list(gateway.lan), "!="), _accept()]))
    if gateway.one_armed:
        # Answers from the internet come in by the same interface, from the router's MAC.
        rules.append(_rule(FORWARD_CHAIN, [_match({"ct": {"key": "direction"}}, "reply"), _accept()]))
    return rules + _dispatch_by_state(FORWARD_CHAIN, {AccessState.CLOSED: CLOSED, AccessState.GUARDED: GUARDED}, FORWARD_OTHERS_CHAIN)


def _dispatch_by_state(chain: str, targets: dict[AccessState, str], others: str) -> list[NftCommand]:
    """A MAC decides before an address, which a device may choose."""
    keys = [("macs", _payload("ether", "saddr")), ("v4", _payload("ip", "saddr")), ("v6", _payload("ip6", "saddr"))]
    rules = []
    for suffix, key in keys:
        for access in (AccessState.CLOSED, AccessState.GUARDED, AccessState.OPEN):
            then = _goto(targets[access]) if access in targets else _accept()
            rules.append(_rule(chain, [_match(key, f"@{access}_{suffix}"), then]))
    return [*rules, _rule(chain, [_goto(others)])]


def _guarded_rules(gateway: Gateway) -> list[NftCommand]:
    refused: list[tuple[str, list[NftExpression]]] = [
        ("encrypted dns address", [_to_encrypted_dns(4)]),
        ("encrypted dns address", [_to_encrypted_dns(6)]),
        ("other resolver", [_tcp_or_udp(), _port(*PLAIN_DNS_PORTS)]),
        ("encrypted dns", [_tcp_or_udp(), _port(*ENCRYPTED_DNS_PORTS)]),
        ("quic", [_protocol("udp"), _port(80, 443)]),
        ("tunnel", [_meta("l4proto", [TCP, UDP, ICMP, ICMP6, *IPSEC_PROTOCOLS], "!=")]),
        ("tunnel", [_protocol(ICMP, ICMP6), _match({"meta": {"key": "length"}}, MAX_PING_OCTETS, ">"), _is_not_icmp_error()]),
        ("tunnel", [_protocol("udp"), _port(*TUNNEL_UDP_PORTS)]),
        ("tunnel", [_protocol("tcp"), _port(*TUNNEL_TCP_PORTS)]),
        *((first.what, _matches_signature(first)) for first in PROTOCOL_SIGNATURES),
    ]
    if not gateway.allow_ipsec:
        refused += [("ipsec", [_protocol(*IPSEC_PROTOCOLS)]), ("ipsec", [_protocol("udp"), _port(*IPSEC_PORTS)])]
    if not gateway.allow_ssh:
        refused.append((SSH_SIGNATURE.what, _matches_signature(SSH_SIGNATURE)))
    if gateway.redirect_ports.redirected_ports:
        refused.append(("page round the proxy", [_protocol("tcp"), _port(*gateway.redirect_ports.redirected_ports)]))
    rules = [_refusal(GUARDED, match, what) for what, match in refused]
    return rules + (_strict_rules(gateway) if gateway.strict else [])


def _strict_rules(gateway: Gateway) -> list[NftCommand]:
    rules = [_rule(GUARDED, [*_ntp(), _accept()]), *_allow_icmp_errors(GUARDED)]
    if gateway.allow_ipsec:
        rules.append(_rule(GUARDED, [_protocol(*IPSEC_PROTOCOLS), _accept()]))
        rules.append(_rule(GUARDED, [_protocol("udp"), _port(*IPSEC_PORTS), _accept()]))
    if not gateway.redirect_ports.redirected_ports:
        rules.append(_rule(GUARDED, [_protocol("tcp"), _port(*gateway.redirect_ports.page_ports), _accept()]))
    return [*rules, _refusal(GUARDED, [], "anything else")]


def _closed_rules() -> list[NftCommand]:
    """Nothing leaves but the question for the time; names and pages are with us already, where helplines are open."""
    rules = [_rule(CLOSED, [*_ntp(), _accept()]), *_allow_icmp_errors(CLOSED)]
    rules += [
        _rule(CLOSED, [_meta("nfproto", [f"ipv{version}"]), _add_to_set(f"cut_v{version}", ip)]) for version, ip in ((4, "ip"), (6, "ip6"))
    ]
    return [*rules, _refusal(CLOSED, [], "closed")]


def _reject_rules() -> list[NftCommand]:
    """Refused at once rather than dropped, so that browsers go on by TCP and apps do not hang."""
    reset = _rule(REJECT_CHAIN, [_protocol("tcp"), {"reject": {"type": "tcp reset"}}])
    return [reset, _rule(REJECT_CHAIN, [{"reject": {"type": "icmpx", "expr": "admin-prohibited"}}])]


def _allow_icmp_errors(chain: str) -> list[NftCommand]:
    """Without them connections that we do allow would hang (path MTU discovery). Those about no connection are no such thing."""
    return [_rule(chain, [_protocol(ICMP, ICMP6), _state("related"), _accept()])]


def _ntp() -> list[NftExpression]:
    low, high = (int(text) for text in NTP_LENGTH.split("-"))
    length = _match(_payload("udp", "length"), {"range": [low, high]})
    return [_protocol("udp"), _port(NTP_PORT), length, {"limit": {"rate": NTP_RATE, "burst": NTP_BURST, "per": "second"}}]


def _matches_signature(first: ProtocolSignature) -> list[NftExpression]:
    length = _payload("udp", "length")
    lengths = [_match(length, UDP_HEADER_OCTETS + first.octets)] if first.octets is not None else []
    lengths += [_match(length, UDP_HEADER_OCTETS + first.at_least, ">=")] if first.at_least else []
    fields = [
        _match(
            {"payload": {"base": "ih", "offset": 8 * offset, "len": 8 * octets}},
            value if isinstance(value, int) else {"range": list(value)},
        )
        for offset, octets, value in first.fields
    ]
    return [_protocol(first.over), *lengths, *fields]


def _is_not_icmp_error() -> NftExpression:
    """Error messages are as long as what they are about."""
    return _state("related", "!=")


def _state(name: str, operator: str = "in") -> NftExpression:
    return _match({"ct": {"key": "state"}}, name, operator)


def _not_ntp_answer() -> NftExpression:
    return _match(_payload("th", "sport"), NTP_PORT, "!=")


def _add_to_set(name: str, ip: str) -> NftExpression:
    element = {"elem": {"val": _payload(ip, "saddr"), "timeout": CUT_TIMEOUT_S}}
    return {"set": {"op": "update", "elem": element, "set": f"@{name}"}}


def _refusal(chain: str, match: Sequence[NftExpression], what: str) -> NftCommand:
    return _rule(chain, [*match, _counter(), _goto(REJECT_CHAIN)], what)


def _state_sets() -> list[tuple[str, str]]:
    kinds = (("macs", "ether_addr"), ("v4", "ipv4_addr"), ("v6", "ipv6_addr"))
    return [(f"{access}_{suffix}", kind) for access in AccessState for suffix, kind in kinds]


def _named(name: str | None = None) -> NftCommand:
    return {"family": FAMILY, "name": TABLE} if name is None else {"family": FAMILY, "table": TABLE, "name": name}


def _set(name: str, kind: str, *, interval: bool, dynamic: bool = False) -> NftCommand:
    flags = (["interval"] if interval else []) + (["dynamic", "timeout"] if dynamic else [])
    return {"add": {"set": {**_named(name), "type": kind} | ({"flags": flags} if flags else {}) | ({"size": 4096} if dynamic else {})}}


def _elements(name: str, elements: list[Any]) -> list[NftCommand]:
    return [{"add": {"element": {**_named(name), "elem": elements}}}] if elements else []


def _address(network: IPv4Network | IPv6Network) -> Any:
    address = str(network.network_address)
    single = network.prefixlen == network.max_prefixlen
    return address if single else {"prefix": {"addr": address, "len": network.prefixlen}}


def _chain(name: str) -> NftCommand:
    return {"add": {"chain": _named(name)}}


def _base_chain(name: str, kind: str, hook: str, priority: int) -> NftCommand:
    return {"add": {"chain": {**_named(name), "type": kind, "hook": hook, "prio": priority, "policy": "accept"}}}


def _rule(chain: str, expressions: Sequence[NftExpression], comment: str = "") -> NftCommand:
    rule = {"family": FAMILY, "table": TABLE, "chain": chain, "expr": list(expressions)}
    return {"add": {"rule": rule | ({"comment": comment} if comment else {})}}


def _match(left: NftExpression, right: Any, operator: str = "==") -> NftExpression:
    return {"match": {"op": operator, "left": left, "right": right}}


def _meta(key: str, values: Sequence[str | int], operator: str = "==") -> NftExpression:
    return _match({"meta": {"key": key}}, values[0] if len(values) == 1 else {"set": list(values)}, operator)


def _payload(protocol: str, field: str) -> NftExpression:
    return {"payload": {"protocol": protocol, "field": field}}


def _protocol(*protocols: str | int) -> NftExpression:
    return _meta("l4proto", protocols)


def _tcp_or_udp() -> NftExpression:
    return _protocol("tcp", "udp")


def _port(*ports: int) -> NftExpression:
    return _match(_payload("th", "dport"), ports[0] if len(ports) == 1 else {"set": list(ports)})


def _to_encrypted_dns(version: int) -> NftExpression:
    return _match(_payload("ip" if version == 4 else "ip6", "daddr"), f"@encrypted_dns_v{version}")


def _goto(chain: str) -> NftExpression:
    return {"goto": {"target": chain}}


def _accept() -> NftExpression:
    return {"accept": None}


def _counter() -> NftExpression:
    return {"counter": {"packets": 0, "bytes": 0}}


def counters(listed: Iterable[NftCommand]) -> dict[str, int]:
    """Packets by what was done with them, out of what `nft -j list table` says."""
    found: dict[str, int] = {}
    for item in listed:
        rule = item.get("rule", {})
        for expression in rule.get("expr", ()):
            if "counter" in expression and rule.get("comment"):
                found[rule["comment"]] = found.get(rule["comment"], 0) + expression["counter"]["packets"]
    return found
