"""Builders for nftables' JSON (libnftables-json(5)). Everything they name is in the table `inet hedgerow`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hedgerow.policies.text.addresses import IpNetwork

type NftCommand = dict[str, Any]
type NftExpression = dict[str, Any]

FAMILY, TABLE = "inet", "hedgerow"

DYNAMIC_SET_SIZE = 8192
"""Elements of a set that packets fill. More than the limits of all rules that do so add within an element's time."""

ACCEPT: NftExpression = {"accept": None}
DROP: NftExpression = {"drop": None}
COUNTER: NftExpression = {"counter": {"packets": 0, "bytes": 0}}


def own(name: str | None = None) -> dict[str, str]:
    """Return the keys that name an object of our table, or the table itself."""
    return {"family": FAMILY, "name": TABLE} if name is None else {"family": FAMILY, "table": TABLE, "name": name}


def add_set(name: str, kind: str, *, interval: bool, dynamic: bool = False) -> NftCommand:
    flags = (["interval"] if interval else []) + (["dynamic", "timeout"] if dynamic else [])
    return {
        "add": {
            "set": {**own(name), "type": kind}
            | ({"flags": flags} if flags else {})
            | ({"size": DYNAMIC_SET_SIZE} if dynamic else {})
        }
    }


def add_pair_set(name: str, kinds: Sequence[str], size: int) -> NftCommand:
    """Return the command that adds a set of addresses, or of pairs of them, each with a timeout of its own."""
    return {
        "add": {
            "set": {
                **own(name),
                "type": list(kinds) if len(kinds) > 1 else kinds[0],
                "flags": ["timeout"],
                "size": size,
            }
        }
    }


def add_elements(name: str, elements: Sequence[str | IpNetwork | dict[str, Any]]) -> list[NftCommand]:
    """Return the command that adds elements to a set, or nothing if there are none."""
    return [{"add": {"element": {**own(name), "elem": [_element(each) for each in elements]}}}] if elements else []


def _element(value: str | IpNetwork | dict[str, Any]) -> Any:
    if isinstance(value, (str, dict)):
        return value
    address = str(value.network_address)
    return address if value.prefixlen == value.max_prefixlen else {"prefix": {"addr": address, "len": value.prefixlen}}


def add_chain(name: str) -> NftCommand:
    return {"add": {"chain": own(name)}}


def add_base_chain(name: str, kind: str, hook: str, priority: int) -> NftCommand:
    return {"add": {"chain": {**own(name), "type": kind, "hook": hook, "prio": priority, "policy": "accept"}}}


def add_rule(chain: str, *expressions: NftExpression, comment: str = "") -> NftCommand:
    rule = {"family": FAMILY, "table": TABLE, "chain": chain, "expr": list(expressions)}
    return {"add": {"rule": rule | ({"comment": comment} if comment else {})}}


def match(left: NftExpression, right: Any, operator: str = "==") -> NftExpression:
    return {"match": {"op": operator, "left": left, "right": right}}


def meta(key: str, values: Sequence[str | int], operator: str = "==") -> NftExpression:
    return match({"meta": {"key": key}}, _any_of(values), operator)


def payload(protocol: str, field: str) -> NftExpression:
    return {"payload": {"protocol": protocol, "field": field}}


def protocol(*protocols: str | int) -> NftExpression:
    return meta("l4proto", protocols)


def destination_port(*ports: int) -> NftExpression:
    return match(payload("th", "dport"), _any_of(ports))


def destination_ports(ports: Sequence[tuple[int, int]]) -> NftExpression:
    """Match ranges of ports, of which first and last are given. They may overlap, which a set would refuse."""
    return _port_ranges("dport", ports)


def source_ports(ports: Sequence[tuple[int, int]]) -> NftExpression:
    """Match ranges of ports, as `destination_ports` does."""
    return _port_ranges("sport", ports)


def _port_ranges(field: str, ports: Sequence[tuple[int, int]]) -> NftExpression:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ports):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    values = [first if first == last else {"range": [first, last]} for first, last in merged]
    return match(payload("th", field), values[0] if len(values) == 1 else {"set": values})


def networks(ip: str, values: Sequence[IpNetwork]) -> NftExpression:
    """Match destinations in networks of the family `ip` or `ip6`. They may overlap, which a set would refuse."""
    return match(payload(ip, "daddr"), _without_overlaps(values))


def destinations_outside(ip: str, values: Sequence[IpNetwork]) -> NftExpression:
    """Match destinations outside of networks, of which there is one at least, as `networks` does."""
    return match(payload(ip, "daddr"), _without_overlaps(values), "!=")


def sources_outside(ip: str, values: Sequence[IpNetwork]) -> NftExpression:
    """Match sources outside of networks, of which there is one at least, as `networks` does."""
    return match(payload(ip, "saddr"), _without_overlaps(values), "!=")


def _without_overlaps(values: Sequence[IpNetwork]) -> Any:
    outer: list[IpNetwork] = []
    for each in sorted(values, key=lambda each: each.prefixlen):
        if not any(each.network_address in network for network in outer):
            outer.append(each)
    return {"set": [_element(each) for each in outer]}


def source_in(network: IpNetwork) -> NftExpression:
    return match(payload("ip" if network.version == 4 else "ip6", "saddr"), _element(network))


def pair_in_set(first: NftExpression, second: NftExpression, name: str, operator: str = "==") -> NftExpression:
    return match({"concat": [first, second]}, f"@{name}", operator)


def connection_state(name: str, operator: str = "in") -> NftExpression:
    return match({"ct": {"key": "state"}}, name, operator)


def connection_direction(direction: str) -> NftExpression:
    """Match packets in the `original` direction of their connection, or in that of its `reply`."""
    return match({"ct": {"key": "direction"}}, direction)


def existing_connection() -> NftExpression:
    return match({"ct": {"key": "state"}}, ["established", "related"], "in")


def limit(rate: int, burst: int, *, exceeded: bool = False) -> NftExpression:
    """Match packets that come no faster than this, or faster if `exceeded`. All packets of a rule count together."""
    return {"limit": {"rate": rate, "burst": burst, "per": "second"} | ({"inv": True} if exceeded else {})}


def add_source_to_set(name: str, ip: str, timeout: int) -> NftExpression:
    """Add a packet's source to a dynamic set for `timeout` seconds, or prolong its stay."""
    element = {"elem": {"val": payload(ip, "saddr"), "timeout": timeout}}
    return {"set": {"op": "update", "elem": element, "set": f"@{name}"}}


def goto(chain: str) -> NftExpression:
    return {"goto": {"target": chain}}


def jump(chain: str) -> NftExpression:
    return {"jump": {"target": chain}}


def redirect(port: int) -> NftExpression:
    return {"redirect": {"port": port}}


def reject(kind: str, reason: str | None = None) -> NftExpression:
    return {"reject": {"type": kind} | ({"expr": reason} if reason else {})}


def _any_of(values: Sequence[str | int]) -> Any:
    return values[0] if len(values) == 1 else {"set": list(values)}
