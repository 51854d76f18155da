"""This machine's own addresses, as the kernel lists them."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import re
import socket
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from hedgerow.policies.network import NetworkSettings

_IPV6_ADDR_PREFERENCES, _IPV6_PREFER_SRC_PUBLIC = 72, 2  # linux/in6.h
_SIOCGIFHWADDR, _IFREQ, _HARDWARE, _NO_MAC = 0x8927, 40, 18, "00:00:00:00:00:00"  # netdevice(7): struct ifreq


def own_addresses(proc: Path = Path("/proc/self/net")) -> list[str]:
    """Return the addresses of this machine's interfaces, without link-local ones."""
    with contextlib.suppress(OSError):
        local = re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", (proc / "fib_trie").read_text(encoding="ascii"))
        six = [bytes.fromhex(line.split()[0]) for line in _read_lines(proc / "if_inet6")]
        addresses = {*map(ipaddress.ip_address, local), *map(ipaddress.ip_address, six)}
        return [str(address) for address in addresses if not address.is_link_local]
    return ["127.0.0.1"]


def addresses_on(interfaces: Collection[str], proc: Path = Path("/proc/self/net")) -> list[str]:
    """Return those of `own_addresses` that belong to interfaces, by the kernel's table of connected networks."""
    routes = [line.split() for line in _read_lines(proc / "route")[1:]]
    networks = [
        ipaddress.ip_network((bytes.fromhex(to)[::-1], _prefix_length(mask)))
        for name, to, _, _, _, _, _, mask, *_ in routes
        if name in interfaces and to != "00000000"
    ]
    six = [line.split() for line in _read_lines(proc / "if_inet6")]
    there = {ipaddress.ip_address(bytes.fromhex(fields[0])) for fields in six if fields[5] in interfaces}
    own = [ipaddress.ip_address(address) for address in own_addresses(proc)]
    return [str(each) for each in own if each in there or any(each in network for network in networks)]


def _prefix_length(mask: str) -> int:
    return int(mask, 16).bit_count()


def gateway_addresses(proc: Path = Path("/proc/self/net")) -> frozenset[str]:
    """Return the IPv4 addresses of the default gateways, and their MAC addresses as far as the kernel knows them."""
    routes = [line.split() for line in _read_lines(proc / "route")]
    defaults = [bytes.fromhex(gateway)[::-1] for _, to, gateway, *_ in routes if to == "00000000" != gateway]
    gateways = {str(ipaddress.IPv4Address(address)) for address in defaults}
    known = [line.split() for line in _read_lines(proc / "arp") if line.partition(" ")[0] in gateways]
    return frozenset(gateways | {fields[3] for fields in known})


def own_macs() -> frozenset[str]:
    """Return the MAC addresses of this machine's interfaces, or none if the kernel does not tell them."""
    macs: set[str] = set()
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            answer = fcntl.ioctl(any_socket, _SIOCGIFHWADDR, name.encode("ascii").ljust(_IFREQ, b"\0"))
            macs.add(answer[_HARDWARE : _HARDWARE + 6].hex(":"))
    return frozenset(macs - {_NO_MAC})


def outgoing_addresses() -> list[str]:
    """Return the addresses, one of each family, from which this machine asks the internet. Sends nothing.

    The IPv6 address is a lasting one, not one of those that privacy extensions change every day (RFC 5014).
    """
    found = []
    for family, somewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, _IPV6_ADDR_PREFERENCES, _IPV6_PREFER_SRC_PUBLIC)
            probe.connect((somewhere, 9))
            found.append(str(probe.getsockname()[0]))
    return found


class OwnAddresses:
    """The own addresses, looked up again after a few seconds, since a provider may change the prefix at any time."""

    def __init__(self, look_up: Callable[[], Sequence[str]] = own_addresses, seconds: float = 10.0) -> None:
        self._look_up = look_up
        self._seconds = seconds
        self._until = 0.0
        self._known: frozenset[str] = frozenset()

    def __call__(self) -> frozenset[str]:
        now = time.monotonic()
        if now >= self._until:
            self._known, self._until = frozenset(self._look_up()), now + self._seconds
        return self._known


def _read_lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines() if path.exists() else []


def lan_address(addresses: Sequence[str], network: NetworkSettings) -> str | None:
    """Return the address under which devices at home reach this machine, IPv4 if possible; None if there is none.

    >>> lan_address(["127.0.0.1", "203.0.113.5", "192.168.1.2"], NetworkSettings())
    '192.168.1.2'
    """
    known = [address for address in map(ipaddress.ip_address, addresses) if not address.is_loopback]
    near = sorted((address for address in known if network.is_at_home(address)), key=lambda each: (each.version, each))
    return str(near[0]) if near else None
