"""This machine's network interfaces, and the kernel's forwarding settings.

Imported only if there is a gateway, since pyroute2 takes ten megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from hedgerow.policies.text.addresses import IpNetwork

_MAIN_TABLE, _UNICAST = 254, 1  # of the kernel's linux/rtnetlink.h
_ANY = {2: "0.0.0.0", 10: "::"}  # noqa: S104 (the destination of default routes, by address family)
_SHORTEST_INNER_PREFIX = 8
"""Shortest prefix of a network inside. VPNs and tunnels take the internet as a few larger ones, such as 0.0.0.0/1."""
_WAYS_TO_IPV4 = tuple(ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16"))  # NAT64 and 6to4

BRIDGE_FILTERING_COMMANDS = (
    "modprobe br_netfilter, and sysctl -w net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1"
)


def uplinks() -> frozenset[str]:
    """Return the interfaces that lead to the internet: those of default routes of IPv4 and IPv6 and of other routes
    too large for one network, in any routing table. Raises OSError.
    """
    return frozenset(name for to, names, _ in _routes() if _is_outside(to) for name in names)


def _is_outside(to: IpNetwork) -> bool:
    return to.prefixlen < _SHORTEST_INNER_PREFIX or to in _WAYS_TO_IPV4


def _routes() -> list[tuple[IpNetwork, frozenset[str], bool]]:
    """Return the destination of each route, its interfaces, and whether it is in the main table. Raises OSError."""
    with IPRoute() as netlink:
        names = {link["index"]: link.get("ifname") for link in netlink.get_links()}
        routes = [each for each in netlink.get_routes() if each["type"] == _UNICAST and each["family"] in _ANY]
    return [
        (
            ip_network(f"{route.get('dst') or _ANY[route['family']]}/{route['dst_len']}"),
            frozenset(names[hop] for hop in _hops(route) if hop in names),
            route["table"] == _MAIN_TABLE,
        )
        for route in routes
    ]


def _hops(route: Any) -> list[int | None]:
    """Return the indexes of the interfaces that a route leads through: several, for example, with two providers."""
    return [route.get("oif"), *(hop["oif"] for hop in route.get("multipath") or ())]


def interface_names() -> tuple[str, ...]:
    """Return all interfaces at which packets come in: not the loopback, and a bridge instead of its ports.

    Raises OSError.
    """
    with IPRoute() as netlink:
        links = [link for link in netlink.get_links() if link.get("ifname") != "lo" and link.get("master") is None]
        return tuple(link.get("ifname") for link in links)


def uplink_bridges() -> frozenset[str]:
    """Return the bridges among `uplinks`, which may have devices on one side and their router on the other.

    Raises OSError.
    """
    with IPRoute() as netlink:
        bridges = {link.get("ifname") for link in netlink.get_links() if link.get(("linkinfo", "kind")) == "bridge"}
    return uplinks() & bridges


def inner_networks(lan: Sequence[str]) -> tuple[bool, tuple[IpNetwork, ...]]:
    """Return whether one of `uplinks` is an interface of `lan`, and the networks that the kernel reaches through
    interfaces of `lan` or those that are not uplinks.

    Raises OSError.
    """
    outer = uplinks()
    others = outer.difference(lan)
    found = {to for to, names, is_main in _routes() if is_main and not _is_outside(to) and names.isdisjoint(others)}
    return not outer.isdisjoint(lan), tuple(sorted(found, key=lambda each: (each.version, each)))


def device_ports(lan: Sequence[str]) -> tuple[str, ...]:
    """Return the present interfaces that packets of devices pass: the ports of `uplink_bridges` instead of these.

    Raises OSError.
    """
    crossed = uplink_bridges() & set(lan)
    with IPRoute() as netlink:
        links = [(link["index"], link.get("ifname"), link.get("master")) for link in netlink.get_links()]
    bridges = {index for index, name, _ in links if name in crossed}
    return tuple(name for _, name, bridge in links if bridge in bridges or (name in lan and name not in crossed))


def bridge_filtering() -> dict[str, bool]:
    """Return per IP version if nftables sees the packets that cross a bridge (br_netfilter)."""
    files = {
        "IPv4": "/proc/sys/net/bridge/bridge-nf-call-iptables",
        "IPv6": "/proc/sys/net/bridge/bridge-nf-call-ip6tables",
    }
    return {family: _reads_one(Path(file)) for family, file in files.items()}


def ip_forwarding() -> dict[str, bool]:
    """Return per IP version if this machine forwards packets, which a gateway must."""
    files = {"IPv4": "/proc/sys/net/ipv4/ip_forward", "IPv6": "/proc/sys/net/ipv6/conf/all/forwarding"}
    return {family: _reads_one(Path(file)) for family, file in files.items()}


def uplink_addresses() -> list[str]:
    """Return this machine's addresses on `uplinks`. Raises OSError."""
    outer = uplinks()
    return _addresses(lambda name: name in outer)


def lan_addresses() -> list[str]:
    """Return this machine's addresses on other interfaces than `uplinks`. Raises OSError."""
    outer = uplinks()
    return _addresses(lambda name: name not in outer)


def _addresses(is_wanted: Callable[[str | None], bool]) -> list[str]:
    with IPRoute() as netlink:
        names = {link["index"]: link.get("ifname") for link in netlink.get_links()}
        entries = [(names.get(entry["index"]), entry.get("address")) for entry in netlink.get_addr()]
    addresses = [ip_address(text) for name, text in entries if text and is_wanted(name)]
    return sorted(str(address) for address in addresses if not (address.is_loopback or address.is_link_local))


def _reads_one(path: Path) -> bool:
    try:
        return path.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False
