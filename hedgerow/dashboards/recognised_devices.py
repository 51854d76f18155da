"""Devices without a name, recognised by their place, their own name, their maker and what they ask for.

What is found changes how pages show and sort them, and no rule: a device can copy the name and the MAC address of a
printer.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from hedgerow.journal.activity import ActivityReader
from hedgerow.journal.reader import DeviceRow
from hedgerow.network.discovery import VendorLookup
from hedgerow.network.own_addresses import gateway_addresses, own_addresses, own_macs
from hedgerow.policies.device_kinds import DeviceKind, guess_kind, kind_by_hosts
from hedgerow.policies.host_facts import Services, is_background, subject_of
from hedgerow.policies.model import DeviceId, Verdict
from hedgerow.policies.text.addresses import parse_mac

_EQUIPMENT = re.compile(
    r"(?<![a-z])(fritz\W?(box|repeater)|speedport|livebox|freebox|router|gateway|modem|access\W?point|repeater|powerline|openwrt"
    r"|unifi|mikrotik|routerboard|avm|ubiquiti|zyxel|draytek|netgear|arris|sagemcom|technicolor|ruckus|aruba)(?![a-z])",
    re.IGNORECASE,
)
"""Names and makers of what a network is made of. A maker that also makes phones or computers is not among them."""

_THINGS = frozenset({DeviceKind.PRINTER, DeviceKind.CAMERA, DeviceKind.STORAGE, DeviceKind.APPLIANCE})
_SHARED = frozenset({DeviceKind.TELEVISION, DeviceKind.SPEAKER})

ASKED_DEVICES, _NEWEST, _SITES_SHOWN = 40, 60, 2
"""Devices of which the journal is asked, decisions of each that are read, and sites of each that are shown."""


class DeviceRole(StrEnum):
    """The role of a device in the home."""

    OWN = "own"  # the machine that runs Hedgerow
    ROUTER = "router"  # the default gateway
    NETWORK = "network"  # access points, repeaters and the like
    THING = "thing"  # printers, cameras, network storage and appliances
    SHARED = "shared"  # televisions and speakers
    PERSONAL = "personal"

    @property
    def is_apart(self) -> bool:
        """True if it needs no owner."""
        return self not in (DeviceRole.SHARED, DeviceRole.PERSONAL)


@dataclass(frozen=True, slots=True)
class RecognisedDevice:
    """A device without a name. `maker` and `name` are empty if unknown.

    `asks` are services and sites that it uses, the latest first: a few that are open to it.
    """

    role: DeviceRole
    kind: DeviceKind | None
    maker: str
    name: str
    first_seen: float
    asks: tuple[str, ...] = ()

    @property
    def place(self) -> int:
        """Its place among others: people's devices first, those of which something is known before; what is set apart
        last.
        """
        if self.role is not DeviceRole.PERSONAL:
            return 3 if self.role.is_apart else 2
        return 0 if self.kind or self.maker or self.name or self.asks else 1


@dataclass(frozen=True, slots=True)
class HomePlaces:
    """The addresses, IP and MAC, of this machine and of the router that it uses."""

    own: frozenset[str]
    router: frozenset[str]

    @classmethod
    def look_up(cls) -> HomePlaces:
        return cls(frozenset(own_addresses()) | own_macs(), gateway_addresses())


type AskedHosts = Mapping[str, Mapping[str, Verdict]]
"""The hosts that each device has asked for, with the latest verdict."""


def recognise(
    rows: Sequence[DeviceRow], vendors: VendorLookup, activity: ActivityReader | None = None
) -> dict[DeviceId, RecognisedDevice]:
    """Recognise devices without a name. With `activity`, also by what they ask for.

    Reads the registers of makers and the journal: call it from a thread.
    """
    places = HomePlaces.look_up()
    makers = {row.device: vendors.vendor(mac) if (mac := row.mac or parse_mac(row.device)) else "" for row in rows}
    asking = [row.device for row in rows if row.protections][:ASKED_DEVICES]
    asked: AskedHosts = activity.latest_hosts(asking, _NEWEST) if activity is not None else {}
    return {row.device: recognised(row, makers[row.device], places, asked.get(row.device, {})) for row in rows}


def recognised(
    row: DeviceRow, maker: str, places: HomePlaces, asked: Mapping[str, Verdict] | None = None
) -> RecognisedDevice:
    """Recognise one device. `asked` are hosts that it has asked for."""
    hosts = asked or {}
    kind = guess_kind(row.name, vendor=maker) or kind_by_hosts(hosts, is_background)
    role = _role({row.address, row.mac or "", str(row.device)}, f"{row.name} {maker}", kind, places)
    subjects = (subject_of(host) for host, verdict in hosts.items() if verdict is not Verdict.BLOCK)
    services = Services.load().by_id
    names = (services[each].title if each in services else each for each in dict.fromkeys(subjects) if each)
    return RecognisedDevice(role, kind, maker, row.name, row.first_seen, tuple(names)[:_SITES_SHOWN])


def role_of(kind: DeviceKind | None) -> DeviceRole:
    """Return the role of a device of this kind."""
    return DeviceRole.THING if kind in _THINGS else DeviceRole.SHARED if kind in _SHARED else DeviceRole.PERSONAL


def _role(here: Collection[str], words: str, kind: DeviceKind | None, places: HomePlaces) -> DeviceRole:
    if not places.own.isdisjoint(here):
        return DeviceRole.OWN
    if not places.router.isdisjoint(here):
        return DeviceRole.ROUTER
    is_network = kind not in _THINGS and _EQUIPMENT.search(words) is not None
    return DeviceRole.NETWORK if is_network else role_of(kind)
