"""Discovery of devices: DHCP leases, names by multicast DNS, and vendors by MAC address.

The parsers skip what they cannot read, since the files belong to other programs and may be half written.
"""

from __future__ import annotations

import contextlib
import csv
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_address
from pathlib import Path

from dnslib import QTYPE, DNSError, DNSLabel, DNSRecord

from hedgerow.policies.text.addresses import parse_mac

_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_ISC_BLOCK = re.compile(r"^lease\s+([^\s{]++)\s*+\{(.*\n(?:(?!lease\s|\}).*\n)*)\}", re.MULTILINE)
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Lease:
    """A DHCP lease. `mac` is in lower case with colons; `until` is in seconds since the epoch, None for good.

    `name` is the device's own claim, or empty. People recognise devices by it; it can only restrict.
    """

    mac: str
    address: str
    name: str = ""
    until: float | None = None


def parse_dnsmasq(text: str) -> tuple[Lease, ...]:
    """Parse `dnsmasq.leases`, as dnsmasq, OpenWrt and Pi-hole write it: expiry, MAC, address, name, client id.

    >>> parse_dnsmasq("1700000000 aa:bb:cc:dd:ee:ff 192.168.1.5 mias-tablet 01:aa:bb:cc:dd:ee:ff")[0].name
    'mias-tablet'
    """
    return tuple(_dnsmasq_leases(text.split("\n")))


def _dnsmasq_leases(lines: Iterable[str]) -> Iterator[Lease]:
    for line in lines:
        fields = line.split()
        # DHCPv6 leases have an association id in place of the MAC address, and the device's DUID at the end.
        if len(fields) < 4 or not fields[0].isdecimal():
            continue
        mac = fields[1] if _MAC.fullmatch(fields[1].lower()) else _mac_of_duid(fields[-1])
        yield from _lease(mac, fields[2], "" if fields[3] == "*" else fields[3], float(fields[0]) or None)


def parse_isc(text: str) -> tuple[Lease, ...]:
    """Parse ISC dhcpd's leases (dhcpd.leases(5)), blocks of which the last one for an address counts."""
    newest: dict[str, Lease] = {}
    for found in _ISC_BLOCK.finditer(text):
        address, body = found.groups()
        state = re.search(r"^[ \t]*+binding state (\w+);", body, re.MULTILINE)
        mac = re.search(r"^[ \t]*+hardware ethernet ([0-9A-Fa-f:]+);", body, re.MULTILINE)
        name = re.search(r'^[ \t]*+client-hostname "([^"]*)";', body, re.MULTILINE)
        newest.pop(address, None)
        if mac and (state is None or state[1] == "active"):
            newest.update(
                (lease.address, lease) for lease in _lease(mac[1], address, name[1] if name else "", _isc_end(body))
            )
    return tuple(newest.values())


def _isc_end(body: str) -> float | None:
    """Parse `ends 4 2026/11/26 12:00:00;` in UTC, `ends epoch 1700000000;` or `ends never;`."""
    found = re.search(r"^[ \t]*+ends (?:epoch (\d+)|\d (\d{4}/\d\d/\d\d \d\d:\d\d:\d\d)|never);", body, re.MULTILINE)
    if found is None or not (found[1] or found[2]):
        return None
    if found[1]:
        return float(found[1])
    try:
        return datetime.strptime(found[2], "%Y/%m/%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def parse_kea(text: str) -> tuple[Lease, ...]:
    """Parse Kea's memfile (`kea-leases4.csv`, `kea-leases6.csv`), of which the last line for an address counts."""
    newest: dict[str, Lease] = {}
    # Kea quotes nothing: a quotation mark comes from a device and must not swallow the lines of others.
    for row in csv.DictReader(
        _without_long_lines(text.replace("\0", "").replace("\r", "").split("\n")), quoting=csv.QUOTE_NONE
    ):
        address, state, expire = row.get("address") or "", row.get("state") or "0", row.get("expire") or ""
        newest.pop(address, None)
        if state == "0" and expire.isdecimal():  # 1 is declined, 2 is expired and reclaimed
            mac = row.get("hwaddr") or _mac_of_duid(row.get("duid") or "")
            newest.update(
                (lease.address, lease) for lease in _lease(mac, address, row.get("hostname") or "", float(expire))
            )
    return tuple(newest.values())


LEASE_FILES: tuple[tuple[str, Callable[[str], tuple[Lease, ...]]], ...] = (
    ("/var/lib/misc/dnsmasq.leases", parse_dnsmasq),
    ("/run/hedgerow-wifi/leases", parse_dnsmasq),
    ("/tmp/dhcp.leases", parse_dnsmasq),  # noqa: S108  (OpenWrt)
    ("/etc/pihole/dhcp.leases", parse_dnsmasq),
    ("/var/lib/dhcp/dhcpd.leases", parse_isc),
    ("/var/lib/kea/kea-leases4.csv", parse_kea),
    ("/var/lib/kea/kea-leases6.csv", parse_kea),
)
"""The lease files of DHCP servers and their parsers."""


def _lease(mac: str, address: str, name: str, until: float | None) -> Iterator[Lease]:
    """Yield the lease if its addresses are valid, without a name that is not a host name."""
    try:
        ip_address(address)
    except ValueError:
        return
    if _MAC.fullmatch(mac.lower()):
        yield Lease(mac.lower(), address, name if _HOST_NAME.fullmatch(name.rstrip(".")) else "", until)


def _without_long_lines(lines: Iterable[str]) -> Iterator[str]:
    """Drop lines that no server writes and for which `csv` would raise an error."""
    return (line for line in lines if len(line) <= csv.field_size_limit())


def _mac_of_duid(duid: str) -> str:
    """Return the MAC address in a DUID of a kind that holds one (RFC 8415 §11.2, §11.4), or an empty string.

    >>> _mac_of_duid("00:01:00:01:2a:2b:2c:2d:aa:bb:cc:dd:ee:ff")
    'aa:bb:cc:dd:ee:ff'
    """
    parts = duid.lower().split(":")
    if (parts[:4] == ["00", "01", "00", "01"] and len(parts) == 14) or (
        parts[:4] == ["00", "03", "00", "01"] and len(parts) == 10
    ):
        return ":".join(parts[-6:])
    return ""


MDNS_PORT, MDNS_TIMEOUT_S = 5353, 0.5


def query_mdns_name(address: str) -> str:
    """Ask a device for its name by multicast DNS (RFC 6762), for half a second at most.

    Returns it without `.local`, or an empty string.
    """
    host = ip_address(address)
    query = DNSRecord.question(host.reverse_pointer, "PTR").pack()
    with socket.socket(socket.AF_INET6 if host.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(MDNS_TIMEOUT_S)
        try:
            client.connect((address, MDNS_PORT))
            client.send(query)
            return parse_mdns_name(client.recv(4096), query)
        except OSError:
            return ""


def parse_mdns_name(data: bytes, query: bytes) -> str:
    """Return the `.local` name in an answer to this query, without the ending; an empty string if there is none."""
    try:
        question, answer = DNSRecord.parse(query), DNSRecord.parse(data)
        names = [
            _text(record.rdata.label)
            for record in answer.rr
            if record.rtype == QTYPE.PTR and record.rname == question.q.qname
        ]
    except (DNSError, UnicodeDecodeError):
        return ""
    if answer.header.id != question.header.id:
        return ""
    return next((name.removesuffix(".local") for name in names if name.endswith(".local")), "")


def _text(name: DNSLabel) -> str:
    return b".".join(name.label).decode("utf-8").lower()


REGISTERS = (("oui36.csv", 9), ("mam.csv", 7), ("oui.csv", 6))
"""The IEEE's registers and the number of hexadecimal digits of their prefixes.

A longer prefix decides, since shorter ones are shared.
"""
_LONGEST, _BLOCK = 9, 6
IEEE_DATA = Path("/usr/share/ieee-data")
MAKERS = Path(__file__).with_name("makers.txt")


def is_randomised_mac(mac: str) -> bool:
    """Return True for an address that the device made up, as phones do per Wi-Fi network: the local bit is set (IEEE
    802, clause 8.4).

    >>> is_randomised_mac("da:a1:19:00:00:01"), is_randomised_mac("00:16:3e:00:00:01")
    (True, False)
    """
    return bool(int(mac[:2], 16) & 2)


class VendorLookup:
    """Look-up of vendors by MAC address, each block once. `vendor` may read some megabytes: call it from a thread."""

    def __init__(self, place: Path = IEEE_DATA) -> None:
        self._place = place
        self._found: dict[str, str] = {}
        self._divided: frozenset[str] | None = None

    def vendor(self, mac: str) -> str:
        """Return the vendor's name; an empty string for a random address and for no address, or if neither an installed
        register nor the small one of this package has it.
        """
        if parse_mac(mac) is None or is_randomised_mac(mac):
            return ""
        digits = mac.replace(":", "").upper()
        if self._divided is None:
            self._divided = self._divided_blocks()
        # Thousands of devices are of few vendors, and most of their blocks are not divided: one search serves all of a
        # block.
        key = digits[:_LONGEST] if digits[:_BLOCK] in self._divided else digits[:_BLOCK]
        if key not in self._found:
            if len(self._found) >= 4096:
                self._found.clear()
            self._found[key] = self._look_up(key)
        return self._found[key]

    def _divided_blocks(self) -> frozenset[str]:
        """Return the blocks of which parts are in the registers of smaller blocks."""
        blocks: set[str] = set()
        for name, length in REGISTERS:
            if length > _BLOCK:
                with (
                    contextlib.suppress(OSError),
                    (self._place / name).open(encoding="utf-8", errors="replace", newline="") as file,
                ):
                    blocks |= {row[1][:_BLOCK] for row in csv.reader(file) if len(row) > 2}
        return frozenset(blocks)

    def _look_up(self, digits: str) -> str:
        for name, length in REGISTERS:
            if length > len(digits):
                continue
            try:
                with (self._place / name).open(encoding="utf-8", errors="replace", newline="") as file:
                    found = _find_vendor(file, digits[:length])
            except OSError:
                continue
            # The owner of a part of such a block is in the register of smaller blocks.
            if found and found != "IEEE Registration Authority":
                return found
        return _small_register().get(digits[:_BLOCK], "")


@cache
def _small_register() -> dict[str, str]:
    """Return makers by prefix, from lines of a maker's name and its prefixes."""
    lines = MAKERS.read_text(encoding="ascii").splitlines()
    makers = (line.partition(": ") for line in lines if not line.startswith("#"))
    return {prefix: maker for maker, _, prefixes in makers for prefix in prefixes.split()}


def _find_vendor(lines: Iterable[str], prefix: str) -> str:
    """Find the organisation in a register with the columns Registry, Assignment, Organization Name, Organization
    Address.
    """
    for row in csv.reader(line for line in lines if prefix in line):
        if len(row) > 2 and row[1] == prefix:
            return " ".join(row[2].split())[:60]
    return ""
