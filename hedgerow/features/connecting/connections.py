"""The devices of a network, with whether each uses Hedgerow. Pure, except for reading the journal.

A device is connected once it has asked Hedgerow's DNS, connected to its proxy, or sent traffic through its gateway.
That it is on the network, or named in the policy, shows nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from hedgerow.dashboards.pages.device_cards import (
    RECENT_DEVICES,
    fold_brief,
    keys_of,
    rows_of_named,
    unnamed_devices,
)
from hedgerow.dashboards.pages.sign_in import next_step
from hedgerow.dashboards.policy_index import PolicyIndex, users_of
from hedgerow.dashboards.recognised_devices import DeviceRole, recognise, role_of
from hedgerow.journal.activity import ActivityReader
from hedgerow.journal.reader import DeviceRow, JournalReader
from hedgerow.network.discovery import VendorLookup
from hedgerow.policies.device_kinds import DeviceKind, guess_kind
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import Device, DeviceId

LATELY_S = 3 * 86_400.0
"""A device that has not used Hedgerow for longer counts as not connected any more."""

COUNTED_S = 3600.0
SILENT_S = 3600.0
"""A device that is on the network and has asked nothing for so long may be asking another DNS server."""

FEW_QUESTIONS = 5
MAX_DEVICES = 200

_WAYS = (Protection.DNS, Protection.GATEWAY, Protection.PROXY)


class ConnectionState(StrEnum):
    FILTERED = "filtered"
    WEBSITES = "websites"  # only what a browser or app sends to the proxy
    BEFORE = "before"  # not lately
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class DeviceConnection:
    """The connection of a device.

    `id` is its name in the policy, else what the journal calls it. `users` are empty for a device without a person.
    `role` is its part in the home, `name` its own name. `last` is its last use of Hedgerow, `seen` when it was last
    seen on the network (seconds since the epoch, or None). `questions` counts its decisions of the last hour or two.
    """

    id: str
    users: str
    is_childs: bool
    is_named: bool
    role: DeviceRole
    name: str
    kind: DeviceKind | None
    maker: str
    address: str
    mac: str
    state: ConnectionState
    last: float | None
    first_seen: float | None
    seen: float | None
    questions: int

    @property
    def is_connected(self) -> bool:
        return self.state in (ConnectionState.FILTERED, ConnectionState.WEBSITES)

    @property
    def is_missing(self) -> bool:
        """True if it never used Hedgerow, or was seen on the network long after it last did, and is not just off."""
        return self.last is None or (not self.is_connected and (self.seen or 0) - self.last > LATELY_S)


class Stage(StrEnum):
    """Progress of a home."""

    NONE = "none"  # no device of a child uses Hedgerow
    PART = "part"  # some do, or devices do that nobody has named, or a router that may ask for others
    ALL = "all"  # all devices of children, of whom each has one; without children, one device or seat


@dataclass(frozen=True, slots=True)
class Home:
    """The named devices, those of children first, the devices without a name, and the time at which that is so.

    `equipment` are this machine, routers, printers and the like. `has_children`: somebody in the policy is a child.
    `step` is where the guide goes on if it was left before a device got a name, else empty. `inspected` are the named
    devices of which pages were inspected lately, `deviceless` the children without a device.
    """

    named: list[DeviceConnection]
    unnamed: list[DeviceConnection]
    equipment: list[DeviceConnection]
    has_children: bool
    now: float
    step: str = ""
    inspected: frozenset[str] = frozenset()
    deviceless: tuple[str, ...] = ()

    @property
    def is_by_name(self) -> bool:
        """True if a device of a child, or one without a name, is filtered by the names of sites alone."""
        used = (each for each in (*self.named, *self.unnamed) if each.is_connected)
        return any(each.id not in self.inspected for each in used if each.is_childs or not each.is_named)

    @property
    def is_unused(self) -> bool:
        """True if no device that a filter is meant for has ever used Hedgerow."""
        return self.stage is Stage.NONE and all(each.last is None for each in (*self._meant, *self.unnamed))

    @property
    def _meant(self) -> list[DeviceConnection]:
        """The devices of children or, without children, all that have a name."""
        return [each for each in self.named if each.is_childs or not self.has_children]

    @property
    def waiting(self) -> list[DeviceConnection]:
        """The devices of children that do not use Hedgerow."""
        return [each for each in self.named if each.is_childs and not each.is_connected]

    @property
    def missing(self) -> list[DeviceConnection]:
        """The devices of children that somebody should connect."""
        return [each for each in self.named if each.is_childs and each.is_missing]

    @property
    def asking_routers(self) -> list[DeviceConnection]:
        """Routers and access points that use Hedgerow, maybe for other devices."""
        return [each for each in self._asking if each.role in (DeviceRole.ROUTER, DeviceRole.NETWORK)]

    @property
    def things_asking(self) -> list[DeviceConnection]:
        """This machine, printers and the like, as far as they use Hedgerow. They ask for themselves only."""
        return [each for each in self._asking if each not in self.asking_routers]

    @property
    def _asking(self) -> list[DeviceConnection]:
        return [each for each in self.equipment if each.is_connected]

    @property
    def stage(self) -> Stage:
        connected = [each for each in self._meant if each.is_connected]
        if connected and not self.waiting and not self.deviceless:
            return Stage.ALL
        is_some = connected or self.asking_routers or any(each.is_connected for each in self.unnamed)
        return Stage.PART if is_some else Stage.NONE

    def silent(self, present: set[str]) -> list[DeviceConnection]:
        """Return the devices that are on the network, and ask little or nothing: they may use another DNS server.

        `present` are MAC and IP addresses that answer now.
        """
        here = [each for each in self.named if {each.mac, each.address} & present - {""}]
        return [each for each in here if self._is_silent(each)]

    def _is_silent(self, device: DeviceConnection) -> bool:
        if device.last is None or self.now - device.last > SILENT_S:
            return True
        is_old = device.first_seen is not None and self.now - device.first_seen > 2 * COUNTED_S
        return is_old and 0 < device.questions < FEW_QUESTIONS


def read_home(
    index: PolicyIndex, reader: JournalReader, activity: ActivityReader, vendors: VendorLookup, now: float
) -> Home:
    """Read which devices use Hedgerow. Waits for the disk: call it from a thread.

    In a large network, devices beyond `MAX_DEVICES` are left out, those of children last.
    """
    named = sorted(index.by_owner, key=lambda device: not _is_childs(index, device))[:MAX_DEVICES]
    recent = reader.recent_devices(now - COUNTED_S, RECENT_DEVICES)
    rows = {row.device: row for row in (*reader.devices(now - COUNTED_S, keys_of(named)), *recent)}
    seen = rows_of_named(index, sorted(rows.values(), key=lambda row: -row.last_seen))
    uses: dict[str, dict[Protection, float]] = defaultdict(dict)
    for use in reader.protections([device.id for device in named]):
        uses[use.device][use.protection] = use.at
    strangers = fold_brief(unnamed_devices(index, recent))[0][:MAX_DEVICES]
    found = recognise(strangers, vendors, activity)

    def connection(row: DeviceRow | None, device: Device | None = None) -> DeviceConnection:
        name, mac = (row.name, row.mac or "") if row is not None else ("", "")
        mac = mac or (next(iter(device.macs), "") if device is not None else "")
        maker = vendors.vendor(mac) if mac else ""
        id = device.id if device is not None else row.device if row is not None else ""
        ways = {**uses[id], **(row.protections if row is not None else {})}
        used = {way: at for way, at in ways.items() if way in _WAYS}
        stranger = found.get(DeviceId(id)) if device is None else None
        kind = stranger.kind if stranger is not None else _kind(device, id, name, maker)
        return DeviceConnection(
            id=id,
            users=users_of(device) if device is not None else "",
            is_childs=device is not None and _is_childs(index, device),
            is_named=device is not None,
            role=stranger.role if stranger is not None else role_of(kind),
            name=name,
            kind=kind,
            maker=maker,
            address=row.address if row is not None else "",
            mac=mac,
            state=connection_state(used, now),
            last=max(used.values(), default=None),
            first_seen=row.first_seen if row is not None else None,
            seen=row.last_seen if row is not None else None,
            questions=row.allowed + row.blocked if row is not None else 0,
        )

    own = [connection(seen.get(device.id), device) for device in named]
    people = index.policy.people.values()
    children = [person.name for person in people if index.policy.profiles[person.profile].is_for_children]
    others = sorted(map(connection, strangers), key=lambda each: found[DeviceId(each.id)].place)
    unnamed = [each for each in others if not each.role.is_apart]
    equipment = [each for each in others if each.role.is_apart]
    step = "" if index.policy.devices else f"/start/{next_step(index.policy)}"
    inspected = {id for id, used in uses.items() if now - used.get(Protection.CERTIFICATE, 0) <= LATELY_S}
    users = {name for device in index.policy.devices.values() for name in (device.person, *device.sharers)}
    deviceless = tuple(name for name in children if name not in users)
    return Home(own, unnamed, equipment, bool(children), now, step, frozenset(inspected), deviceless)


def _kind(device: Device | None, id: str, name: str, maker: str) -> DeviceKind | None:
    return (device.kind if device is not None else None) or guess_kind(id, name, vendor=maker)


def connection_state(used: Mapping[Protection, float], now: float) -> ConnectionState:
    """Return the state of a device by the last use of each protection."""
    lately = {way for way, at in used.items() if now - at <= LATELY_S}
    if not lately:
        return ConnectionState.BEFORE if used else ConnectionState.NEVER
    return ConnectionState.WEBSITES if lately == {Protection.PROXY} else ConnectionState.FILTERED


def _is_childs(index: PolicyIndex, device: Device) -> bool:
    return bool(users_of(device)) and not device.is_seat and index.policy.profiles[device.profile].is_for_children
