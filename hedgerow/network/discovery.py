"""What DHCP servers know of devices: which MAC address has which IP address, and the name that the device gave itself. Pure parsers.

A line that can't be read is passed over: these files are written by others, at any moment, and half a line is nothing unusual.
"""

from __future__ import annotations

import csv
import re
import secrets
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

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
    for row in csv.DictReader(_without_long_lines(text.replace("\0", "").replace("\r", "").split("\n")), quoting=csv.QUOTE_NONE):
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


def _without_long_lines(lines: Iterable[str]) -> Iterator[str]:
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


MDNS_PORT, MDNS_TIMEOUT_S = 5353, 0.5
_PTR, _IN = 12, 1
_MAX_LABELS = 128  # a name has no more (RFC 1035 §2.3.4), and pointers that go round in circles end


def query_mdns_name(address: str) -> str:
    """The device's name without `.local`, empty where it says none. Waits half a second at most."""
    host = ip_address(address)
    question = (
        struct.pack("!6H", secrets.randbelow(1 << 16), 0, 1, 0, 0, 0) + _encode_name(host.reverse_pointer) + struct.pack("!2H", _PTR, _IN)
    )
    with socket.socket(socket.AF_INET6 if host.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(MDNS_TIMEOUT_S)
        try:
            client.connect((address, MDNS_PORT))
            client.send(question)
            data = client.recv(4096)
        except OSError:
            return ""
    return parse_mdns_name(data, question)


def parse_mdns_name(data: bytes, question: bytes) -> str:
    """The name in an answer to this question; empty where it is none."""
    if data[:2] != question[:2]:
        return ""
    try:
        names = list(_ptr_records(data, _read_name(question, 12)[0]))
    except (IndexError, struct.error, UnicodeDecodeError):
        return ""
    return next((name.removesuffix(".local") for name in names if name.endswith(".local")), "")


def _ptr_records(data: bytes, asked: str) -> Iterator[str]:
    """What the PTR records about `asked` say (RFC 1035 §4.1). Raises IndexError, struct.error,
    UnicodeDecodeError for what is no message.
    """
    questions, answers = struct.unpack_from("!2H", data, 4)
    at = 12
    for _ in range(questions):
        at = _read_name(data, at)[1] + 4
    for _ in range(answers):
        name, at = _read_name(data, at)
        kind, _class, _ttl, length = struct.unpack_from("!2HIH", data, at)
        if kind == _PTR and name == asked:
            yield _read_name(data, at + 10)[0]
        at += 10 + length


def _read_name(data: bytes, at: int) -> tuple[str, int]:
    """The name that begins at `at`, in small letters, and where what follows it begins."""
    labels: list[str] = []
    end = 0
    for _ in range(_MAX_LABELS):
        length = data[at]
        if length >= 0xC0:  # the rest of it stands elsewhere
            end = end or at + 2
            at = (length & 0x3F) << 8 | data[at + 1]
        elif length:
            labels.append(data[at + 1 : at + 1 + length].decode("utf-8").lower())
            at += 1 + length
        else:
            return ".".join(labels), end or at + 1
    raise IndexError("a name without an end")


def _encode_name(name: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode("ascii") for label in name.split(".")) + b"\0"


REGISTERS = (("oui36.csv", 9), ("mam.csv", 7), ("oui.csv", 6))
"""The files with the hexadecimal digits that name a maker there; the longer decide, since they share a shorter one."""
IEEE_DATA = Path("/usr/share/ieee-data")


def is_randomised_mac(mac: str) -> bool:
    """Whether a device has made its address up, as phones do for each Wi-Fi: the bit for local administration (IEEE 802, clause 8.4).

    >>> is_randomised_mac("da:a1:19:00:00:01"), is_randomised_mac("00:16:3e:00:00:01")
    (True, False)
    """
    return bool(int(mac[:2], 16) & 2)


class VendorLookup:
    """Looks makers up, each device once. `vendor` may read some megabytes: call it from a thread."""

    def __init__(self, place: Path = IEEE_DATA) -> None:
        self._place = place
        self._found: dict[str, str] = {}

    def vendor(self, mac: str) -> str:
        """The maker's name; empty for a random address, and where the registers do not have it or are not installed."""
        if is_randomised_mac(mac):
            return ""
        if mac not in self._found:
            if len(self._found) >= 4096:
                self._found.clear()
            self._found[mac] = self._look_up(mac.replace(":", "").upper())
        return self._found[mac]

    def _look_up(self, digits: str) -> str:
        for name, length in REGISTERS:
            try:
                with (self._place / name).open(encoding="utf-8", errors="replace", newline="") as file:
                    found = _find_vendor(file, digits[:length])
            except OSError:
                continue
            # Whoever has a part only of such a block stands in the register of the parts.
            if found and found != "IEEE Registration Authority":
                return found
        return ""


def _find_vendor(lines: Iterable[str], prefix: str) -> str:
    """The organisation in a register with the columns Registry, Assignment, Organization Name, Organization Address."""
    for row in csv.reader(line for line in lines if prefix in line):
        if len(row) > 2 and row[1] == prefix:
            return " ".join(row[2].split())[:60]
    return ""
