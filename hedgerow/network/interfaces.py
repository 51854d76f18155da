"""The interfaces of this machine: which of them lead to the internet, and what passes between them.

Apart from the gateway's rules, since pyroute2 weighs ten megabytes, which control carries only where there is a gateway.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from pyroute2 import IPRoute

BRIDGE_FILTERING_COMMANDS = (
    "modprobe br_netfilter, and sysctl -w net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1"
)


def uplinks() -> frozenset[str]:
    """The interfaces that the default routes of both families lead out of; raises OSError."""
    with IPRoute() as netlink:
        names = {link["index"]: link.get("ifname") for link in netlink.get_links()}
        routes = [route for family in (2, 10) for route in netlink.get_default_routes(family=family)]
        return frozenset(names[index] for route in routes if (index := route.get("oif")) in names)


def names() -> tuple[str, ...]:
    """All interfaces but the loopback and those that are ports of a bridge, which packets come in by; raises OSError."""
    with IPRoute() as netlink:
        links = [link for link in netlink.get_links() if link.get("ifname") != "lo" and link.get("master") is None]
        return tuple(link.get("ifname") for link in links)


def uplink_bridges() -> frozenset[str]:
    """Bridges that lead to the internet: devices may be on one side of them and their router on the other. Raises OSError."""
    with IPRoute() as netlink:
        bridges = {link.get("ifname") for link in netlink.get_links() if link.get(("linkinfo", "kind")) == "bridge"}
    return uplinks() & bridges


def bridge_filtering() -> dict[str, bool]:
    """Whether nftables sees what crosses a bridge of this machine, by family (br_netfilter)."""
    files = {"IPv4": "/proc/sys/net/bridge/bridge-nf-call-iptables", "IPv6": "/proc/sys/net/bridge/bridge-nf-call-ip6tables"}
    return {family: _reads_one(Path(file)) for family, file in files.items()}


def ip_forwarding() -> dict[str, bool]:
    """Whether this machine passes packets on, by family: without that it is no gateway."""
    files = {"IPv4": "/proc/sys/net/ipv4/ip_forward", "IPv6": "/proc/sys/net/ipv6/conf/all/forwarding"}
    return {family: _reads_one(Path(file)) for family, file in files.items()}


def lan_addresses() -> list[str]:
    """This machine's addresses on interfaces that do not lead to the internet; raises OSError."""
    outer = uplinks()
    with IPRoute() as netlink:
        names = {link["index"]: link.get("ifname") for link in netlink.get_links()}
        found = [(names.get(entry["index"]), entry.get("address")) for entry in netlink.get_addr()]
    addresses = [ip_address(text) for name, text in found if text and name not in outer]
    return sorted(str(address) for address in addresses if not (address.is_loopback or address.is_link_local))


def _reads_one(path: Path) -> bool:
    try:
        return path.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False
