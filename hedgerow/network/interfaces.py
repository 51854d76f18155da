"""This machine's network interfaces, and the kernel's forwarding settings.

Imported only if there is a gateway, since pyroute2 takes ten megabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

from pyroute2 import IPRoute

from hedgerow.policies.text.addresses import IpNetwork

_MAIN_TABLE, _UNICAST = 254, 1  # of the kernel's linux/rtnetlink.h

BRIDGE_FILTERING_COMMANDS = (
    "modprobe br_netfilter, and sysctl -w net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1"
)


def uplinks() -> frozenset[str]:
    """Return the interfaces of the default routes of IPv4 and IPv6. Raises OSError."""
    with IPRoute() as netlink:
        names = {link["index"]: link.get("ifname") for link in netlink.get_links()}
        routes = [route for family in (2, 10) for route in netlink.get_default_routes(family=family)]
        return frozenset(names[index] for route in routes if (index := route.get("oif")) in names)


def interface_names() -> tuple[str, ...]:
    """Return all interfaces at which packets come in: not the loopback, and a bridge instead of its ports.

    Raises OSError.
    """
    with IPRoute() as netlink:
        links = [link for link in netlink.get_links() if link.get("ifname") != "lo" and link.get("master") is None]
        return tuple(link.get("ifname") for link in links)


def uplink_bridges() -> frozenset[str]:
    """Return the bridges of default routes, which may have devices on one side and their router on the other.

    Raises OSError.
    """
    with IPRoute() as netlink:
        bridges = {link.get("ifname") for link in netlink.get_links() if link.get(("linkinfo", "kind")) == "bridge"}
    return uplinks() & bridges


def inner_networks(lan: Sequence[str]) -> tuple[bool, tuple[IpNetwork, ...]]:
    """Return whether a default route leads through an interface of `lan`, and the networks that the kernel reaches
    through these or others without a default route.

    Raises OSError.
    """
    outer = uplinks()
    with IPRoute() as netlink:
        names = {link["index"]: link.get("ifname") for link in netlink.get_links()}
        routes = [
            (route.get("dst"), route["dst_len"], names.get(route.get("oif")))
            for route in netlink.get_routes(table=_MAIN_TABLE)
            if route["type"] == _UNICAST
        ]
    found = {ip_network(f"{to}/{length}") for to, length, name in routes if to and name not in outer.difference(lan)}
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
    """Return this machine's addresses on interfaces with a default route. Raises OSError."""
    outer = uplinks()
    return _addresses(lambda name: name in outer)


def lan_addresses() -> list[str]:
    """Return this machine's addresses on interfaces without a default route. Raises OSError."""
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
