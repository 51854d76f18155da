"""Aims by which a child's device uses the MAC address or the connection of the parent's."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from lab.aims import CLOSED, Aim, asks, at, datagram, reads
from lab.house import LAN4, LAN6, MACS, NUMBERS, House
from lab.internet import UNNAMED4, UNNAMED6
from lab.spaces import Space

PARENT4, PARENT6 = f"{LAN4}.{NUMBERS['parent']}", f"{LAN6}:{NUMBERS['parent']}"
MASQUERADE = """
table inet hotspot {
    chain out {
        type nat hook postrouting priority srcnat
        oifname "eth0" masquerade
    }
}
"""
PARENTS_MAC = f"""
table netdev copied {{
    chain out {{
        type filter hook egress device eth0 priority 0
        ether type {{ ip, ip6 }} icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
        ether type {{ ip, ip6 }} ether saddr set {MACS["parent"]}
    }}
}}
"""
"""Nothing but IP packets has the parent's address: ARP and neighbour discovery have the device's own."""

_SWITCH = tuple(f"net.bridge.bridge-nf-call-{name}" for name in ("iptables", "ip6tables"))
_FORWARDING = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
_REDIRECTS = ("net.ipv4.conf.all.send_redirects", "net.ipv4.conf.eth0.send_redirects")

OVER_IPV4: tuple[Aim, ...] = (
    asks("8.8.8.8"),
    asks(f"{LAN4}.1"),
    reads(*at(CLOSED), f"https://{CLOSED}/"),
    datagram(UNNAMED4, 40000),
    datagram(UNNAMED4, 51820),
)
OVER_IPV6: tuple[Aim, ...] = (
    asks("2001:4860:4860::8888"),
    asks(f"{LAN6}:1"),
    datagram(UNNAMED6, 40000),
    datagram(UNNAMED6, 51820),
)


@contextlib.contextmanager
def forwarding(parent: Space, *, masquerades: bool = False) -> Iterator[None]:
    """Let the parent's computer forward, as with Docker or libvirt, or as a hotspot, which has its own address for
    all.
    """
    parent.must("sysctl", "-qw", *(f"{name}=1" for name in _FORWARDING), *(f"{name}=0" for name in _REDIRECTS))
    if masquerades:
        done = parent.run("nft", "-f", "-", text=MASQUERADE)
        assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        parent.must("sysctl", "-qw", *(f"{name}=0" for name in _FORWARDING))
        parent.run("nft", "delete", "table", "inet", "hotspot")


@contextlib.contextmanager
def routed_through_the_parent(house: House, device: Space) -> Iterator[None]:
    """Make the parent's computer the device's router. The switch is another machine than the router, unless that is a
    bridge.
    """
    before = [house.router.must("sysctl", "-n", name).strip() for name in _SWITCH]
    if house.gateway == 1:
        house.router.must("sysctl", "-qw", *(f"{name}=0" for name in _SWITCH))
    device.must("sysctl", "-qw", *(f"net.ipv4.conf.{each}.accept_redirects=0" for each in ("all", "eth0")))
    device.must("sysctl", "-qw", "net.ipv6.conf.eth0.accept_redirects=0")
    places = (
        ("-4", PARENT4, f"{LAN4}.1", f"{LAN4}.{house.gateway}"),
        ("-6", PARENT6, f"{LAN6}:1", f"{LAN6}:{house.gateway}"),
    )
    for family, parent, own, _ in places:
        device.ip(family, "route", "replace", "default", "via", parent)
        device.ip(family, "route", "replace", own, "via", parent)  # Hedgerow's own address, too
    try:
        yield
    finally:
        for family, parent, own, router in places:
            device.ip(family, "route", "delete", own, "via", parent)
            device.ip(family, "route", "replace", "default", "via", router)
        house.router.must("sysctl", "-qw", *(f"{name}={value}" for name, value in zip(_SWITCH, before, strict=True)))


def through_the_parents_computer(*aims: Aim, masquerades: bool) -> Aim:
    """True if one of the aims is reached through the parent's computer, which forwards."""

    def aim(house: House, device: Space) -> bool:
        with forwarding(house.devices["parent"], masquerades=masquerades), routed_through_the_parent(house, device):
            return any(each(house, device) for each in aims)

    return aim


def with_the_parents_mac_on_packets(house: House, device: Space) -> bool:
    """True if anything is open with the parent's MAC address on IP packets only, while the parent is online.

    Before, the router has seen whose the device's own address is.
    """
    house.meet(next(name for name, each in house.devices.items() if each is device))
    done = device.run("nft", "-f", "-", text=PARENTS_MAC)
    assert done.returncode == 0, done.stderr
    try:
        return any(datagram(address, 40000)(house, device) for address in (UNNAMED4, UNNAMED6))
    finally:
        device.run("nft", "delete", "table", "netdev", "copied")
        house.devices["parent"].run("ping", "-c", "1", "-W", "1", f"{LAN4}.1")


def with_the_parents_session(house: House, device: Space) -> bool:
    """True if the cookie of the parent's session, as read on its way over HTTP, opens the parent's pages here."""
    parent, pages = house.devices["parent"], f"http://{LAN4}.1:8053"
    curl = ("curl", "-s", "--max-time", "30", "-H", f"Origin: {pages}")
    setup = house.hedgerow("setup", must=False).stdout
    code = re.search(r"setup code: +(\S+)", setup)
    form = f"name=ana&password=four words and more&code={code[1] if code is not None else ''}"
    for path in ("/start/password", "/sign-in"):
        head = parent.run(*curl, "-D", "-", "-o", "/dev/null", "-d", form, pages + path).stdout
        for cookie in re.findall(r"(?i)^set-cookie: (hedgerow_session=[^;]+)", head, re.MULTILINE):
            status = ("-o", "/dev/null", "-w", "%{http_code}", "-b", cookie, f"{pages}/people")
            assert parent.run(*curl, *status).stdout == "200"
            return device.run(*curl, *status).stdout == "200"
    raise AssertionError(f"no session: {setup}{head}")
