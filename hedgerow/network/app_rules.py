"""Rules for apps that use addresses without names, as nftables' JSON. Pure.

Such an app, of a service in `app_networks`, has no name that DNS or the proxy could judge, and at web ports it does not
speak TLS. While the service is open to a guarded device, the device may use the operator's networks at any port, and
its flows of `network.flows`. An address that DNS gave the device has a name: its web pages go through the proxy as all
others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from hedgerow.network.access_state import AccessState, OpenApp, app_networks, flow_id, openings, without_part
from hedgerow.network.nft_expressions import (
    ACCEPT,
    NftCommand,
    NftExpression,
    add_elements,
    add_rule,
    destination_port,
    goto,
    jump,
    match,
    networks,
    payload,
    protocol,
)
from hedgerow.network.packet_rules import IP_VERSIONS, admitted_destinations, not_admitted, port_conditions, whole_flow
from hedgerow.policies.network import Flow
from hedgerow.policies.text.addresses import IpNetwork

APPS_CHAIN, APPS_BY_MAC_CHAIN, APPS_OTHERS_CHAIN, UNNAMED_APPS_CHAIN = "apps", "apps_mac", "apps_others", "apps_unnamed"
APP_CHAINS: Final = (
    APPS_CHAIN,
    APPS_BY_MAC_CHAIN,
    APPS_OTHERS_CHAIN,
    UNNAMED_APPS_CHAIN,
    *(f"opens_{id.replace('-', '_')}" for id in openings()),
)
_RETURN: Final[NftExpression] = {"return": None}


def app_sets() -> list[str]:
    """Return the names of the sets of devices to which something is open, without their contents."""
    return [_set_of(id) for id in openings()]


def render_app_rules(flows: Sequence[Flow]) -> list[NftCommand]:
    """Return the commands that fill the chains, of which others jump to `APPS_CHAIN` and `UNNAMED_APPS_CHAIN`.

    A MAC address decides before an IP address, as for states.
    """
    opened = [(id, condition) for id in app_networks() for condition in _destinations(id)]
    opened += [(flow_id(flow), condition) for flow in flows if flow.services for condition in whole_flow(flow)]
    by_mac, by_address = [], []
    for access in AccessState:
        by_mac.append(add_rule(APPS_CHAIN, _source("ether", f"{access}_macs"), goto(APPS_BY_MAC_CHAIN)))
        by_address += [
            add_rule(APPS_CHAIN, _source(ip, f"{access}_v{version}"), _RETURN) for version, ip in IP_VERSIONS
        ]
    own = [
        add_rule(APPS_CHAIN, _source(ip, f"{_set_of(id)}_v{version}"), jump(_chain_of(id)))
        for id in openings()
        for version, ip in IP_VERSIONS
    ]
    return [
        *by_mac,
        *own,
        *by_address,
        add_rule(APPS_CHAIN, goto(APPS_OTHERS_CHAIN)),
        *(
            add_rule(APPS_BY_MAC_CHAIN, _source("ether", f"{_set_of(id)}_macs"), jump(_chain_of(id)))
            for id in openings()
        ),
        *(add_rule(_chain_of(id), *condition, ACCEPT) for id, condition in opened),
        *(add_rule(UNNAMED_APPS_CHAIN, *condition, _RETURN) for condition in admitted_destinations()),
        add_rule(UNNAMED_APPS_CHAIN, jump(APPS_CHAIN)),
    ]


def render_open_apps(apps: Iterable[OpenApp]) -> list[NftCommand]:
    """Return the commands that add the devices of these apps to empty sets, and those without a name."""
    commands: list[NftCommand] = []
    for app in apps:
        commands += add_elements(f"{_set_of(app.id)}_macs", app.macs)
        for version, _ in IP_VERSIONS:
            found = [each for each in app.networks if each.version == version]
            commands += add_elements(f"{_set_of(app.id)}_v{version}", found)
        if app.others:
            commands.append(add_rule(APPS_OTHERS_CHAIN, jump(_chain_of(app.id))))
    return commands


def closed_apps(flows: Sequence[Flow], page_ports: Sequence[int], *, by_destination: bool) -> list[list[NftExpression]]:
    """Return the conditions of packets to an app's networks, which end connections that began while it was open.

    What the policy's own flows to networks lead to over the same protocol is left out, since their rules come later.
    Those to single servers come before. The names of web pages are judged elsewhere: by the proxy, or,
    `by_destination`, where DNS gave the device their address.
    """
    later = [flow for flow in flows if flow.begins_with_stun or not flow.is_to_servers]
    no_page = [match(payload("th", "dport"), {"set": list(page_ports)}, "!=")]
    closed = []
    for own in app_networks().values():
        for version, ip in IP_VERSIONS:
            page = [destination_port(*page_ports), *not_admitted(ip)]
            for over, conditions in (("udp", [[]]), ("tcp", [no_page, *([page] if by_destination else [])])):
                stated = [network for flow in later if flow.protocol == over for network in flow.to]
                left = _outside([each for each in own if each.version == version], stated)
                closed += [[networks(ip, left), protocol(over), *each] for each in conditions if left]
    return closed


def closed_flows(flows: Iterable[Flow]) -> list[list[NftExpression]]:
    """Return the conditions of packets to addresses without a name that belong to flows of services, where no open
    service has let them pass: they end connections that began while one was open.
    """
    return [
        [*condition, *not_admitted(ip)]
        for flow in flows
        if flow.services
        for version, ip in IP_VERSIONS
        for condition in port_conditions(flow, version)
    ]


def app_destinations() -> dict[str, list[Any]]:
    """Return the networks of all apps by the family `ip` or `ip6`, as elements of a set."""
    return {
        ip: [
            {"prefix": {"addr": str(each.network_address), "len": each.prefixlen}}
            for own in app_networks().values()
            for each in own
            if each.version == version
        ]
        for version, ip in IP_VERSIONS
    }


def _outside(own: Iterable[IpNetwork], stated: Iterable[IpNetwork]) -> list[IpNetwork]:
    """Return what is left of networks without others."""
    left = list(own)
    for other in stated:
        left = [rest for each in left if not _is_within(each, other) for rest in without_part(each, other)]
    return left


def _is_within(network: IpNetwork, other: IpNetwork) -> bool:
    return network.version == other.version and network.overlaps(other) and network.prefixlen >= other.prefixlen


def _destinations(id: str) -> list[list[NftExpression]]:
    return [[networks(ip, found), protocol("tcp", "udp")] for ip, _, found in _by_family(id)]


def _by_family(id: str) -> list[tuple[str, str, list[IpNetwork]]]:
    own = app_networks()[id]
    by_family = [(ip, f"v{version}", [each for each in own if each.version == version]) for version, ip in IP_VERSIONS]
    return [each for each in by_family if each[2]]


def _source(header: str, name: str) -> NftExpression:
    return match(payload(header, "saddr"), f"@{name}")


def _set_of(id: str) -> str:
    return f"app_{id.replace('-', '_')}"


def _chain_of(id: str) -> str:
    return f"opens_{id.replace('-', '_')}"
