"""What DHCP servers know of devices: which MAC address has which IP address, and the name that the device gave itself. Pure parsers.

A line that can't be read is passed over: these files are written by others, at any moment, and half a line is nothing unusual.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address

_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_ISC_BLOCK = re.compile(r"^lease\s+(\S+)\s*\{(.*\n(?:(?!lease\s|\}).*\n)*)\}", re.MULTILINE)
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Lease:
    """`name` is what the device calls itself, empty where it says nothing; `until` is in seconds since the epoch, None for good.

    `mac` is lower case with colons. Names are the devices' own claims: for people to recognise them by, never to decide by.
    """

    mac: str
    address: str
    name: str = ""
    until: float | None = None


def parse_dnsmasq(text: str) -> tuple[Lease, ...]:
    """dnsmasq's `dnsmasq.leases`, which OpenWrt (`/tmp/dhcp.leases`) and Pi-hole use too: expiry, MAC, address, name, client id.

    >>> parse_dnsmasq("1700000000 aa:bb:cc:dd:ee:ff 192.168.1.5 mias-tablet 01:aa:bb:cc:dd:ee:ff")[0].name
    'mias-tablet'
    """
    return tuple(_dnsmasq_leases(text.split("\n")))


def _dnsmasq_leases(lines: Iterable[str]) -> Iterator[Lease]:
    for line in lines:
        fields = line.split()
        # Leases of DHCPv6 have an id of the association in place of the MAC, and the device's DUID at the end.
        if len(fields) < 4 or not fields[0].isdecimal():
            continue
        mac = fields[1] if _MAC.fullmatch(fields[1].lower()) else _mac_of_duid(fields[-1])
        yield from _lease(mac, fields[2], "" if fields[3] == "*" else fields[3], float(fields[0]) or None)


def parse_isc(text: str) -> tuple[Lease, ...]:
    """ISC dhcpd's `dhcpd.leases` (dhcpd.leases(5)): blocks, of which a later one for the same address replaces an earlier one."""
    newest: dict[str, Lease] = {}
    for found in _ISC_BLOCK.finditer(text):
        address, body = found.groups()
        state = re.search(r"^\s*binding state (\w+);", body, re.MULTILINE)
        mac = re.search(r"^\s*hardware ethernet ([0-9A-Fa-f:]+);", body, re.MULTILINE)
        name = re.search(r'^\s*client-hostname "([^"]*)";', body, re.MULTILINE)
        newest.pop(address, None)
        if mac and (state is None or state[1] == "active"):
            newest.update((lease.address, lease) for lease in _lease(mac[1], address, name[1] if name else "", _isc_end(body)))
    return tuple(newest.values())


def _isc_end(body: str) -> float | None:
    """`ends 4 2026/11/26 12:00:00;` in UTC, `ends epoch 1700000000;` or `ends never;`."""
    found = re.search(r"^\s*ends (?:epoch (\d+)|\d (\d{4}/\d\d/\d\d \d\d:\d\d:\d\d)|never);", body, re.MULTILINE)
    if found is None or not (found[1] or found[2]):
        return None
    if found[1]:
        return float(found[1])
    try:
        return datetime.strptime(found[2], "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def parse_kea(text: str) -> tuple[Lease, ...]:
    """Kea's memfile (`kea-leases4.csv`, `kea-leases6.csv`): a later line for the same address replaces an earlier one."""
    newest: dict[str, Lease] = {}
    # Kea quotes nothing: a quotation mark is a device's own, and must not take the lines of others with it.
    for row in csv.DictReader(_short(text.replace("\0", "").replace("\r", "").split("\n")), quoting=csv.QUOTE_NONE):
        address, state, expire = row.get("address") or "", row.get("state") or "0", row.get("expire") or ""
        newest.pop(address, None)
        if state == "0" and expire.isdecimal():  # 1 is declined, 2 is expired and reclaimed
            mac = row.get("hwaddr") or _mac_of_duid(row.get("duid") or "")
            newest.update((lease.address, lease) for lease in _lease(mac, address, row.get("hostname") or "", float(expire)))
    return tuple(newest.values())


LEASE_FILES: tuple[tuple[str, Callable[[str], tuple[Lease, ...]]], ...] = (
    ("/var/lib/misc/dnsmasq.leases", parse_dnsmasq),
    ("/tmp/dhcp.leases", parse_dnsmasq),  # noqa: S108  (OpenWrt)
    ("/etc/pihole/dhcp.leases", parse_dnsmasq),
    ("/var/lib/dhcp/dhcpd.leases", parse_isc),
    ("/var/lib/kea/kea-leases4.csv", parse_kea),
    ("/var/lib/kea/kea-leases6.csv", parse_kea),
)
"""Where DHCP servers keep their leases, and how each is read."""


def _lease(mac: str, address: str, name: str, until: float | None) -> Iterator[Lease]:
    """The lease, if its addresses are addresses; a name that is no host name is left out."""
    try:
        ip_address(address)
    except ValueError:
        return
    if _MAC.fullmatch(mac.lower()):
        yield Lease(mac.lower(), address, name if _HOST_NAME.fullmatch(name.rstrip(".")) else "", until)


def _short(lines: Iterable[str]) -> Iterator[str]:
    """Without lines that no server writes, and that `csv` would raise an error for."""
    return (line for line in lines if len(line) <= csv.field_size_limit())


def _mac_of_duid(duid: str) -> str:
    """The MAC in a DUID of the kinds that hold one (RFC 8415 §11.2, §11.4); empty otherwise.

    >>> _mac_of_duid("00:01:00:01:2a:2b:2c:2d:aa:bb:cc:dd:ee:ff")
    'aa:bb:cc:dd:ee:ff'
    """
    parts = duid.lower().split(":")
    if (parts[:4] == ["00", "01", "00", "01"] and len(parts) == 14) or (parts[:4] == ["00", "03", "00", "01"] and len(parts) == 10):
        return ":".join(parts[-6:])
    return ""
