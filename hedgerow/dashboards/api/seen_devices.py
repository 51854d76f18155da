"""Devices that were seen, each with its role in the home and whose it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from hedgerow.dashboards.recognised_devices import DeviceRole, recognise, role_of
from hedgerow.journal.sightings import DeviceRow
from hedgerow.network.discovery import VendorLookup
from hedgerow.policies.model import Device, Policy

_GUEST_PROFILE = "guest"


class DeviceOwner(StrEnum):
    """The people who use a device."""

    CHILD = "child"
    ADULT = "adult"
    SHARED = "shared"  # several people of the policy
    GUEST = "guest"
    SEAT = "seat"  # guests of a café, in turn
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class SeenDevice(DeviceRow):
    """A device that was seen. `role` is its part in the home, `whose` the people who use it, by the policy."""

    role: DeviceRole = DeviceRole.PERSONAL
    whose: DeviceOwner = DeviceOwner.NOBODY


def seen_devices(policy: Policy, rows: Sequence[DeviceRow], vendors: VendorLookup) -> tuple[SeenDevice, ...]:
    """Return the devices of the rows. Reads the registers of makers: call it from a thread."""
    found = recognise(rows, vendors)
    return tuple(_seen(policy, row, found[row.device].role) for row in rows)


def _seen(policy: Policy, row: DeviceRow, role: DeviceRole) -> SeenDevice:
    device = policy.devices.get(row.device)
    if device is not None and device.kind is not None and role not in (DeviceRole.OWN, DeviceRole.ROUTER):
        role = role_of(device.kind)
    values = {each.name: getattr(row, each.name) for each in fields(DeviceRow)}
    return SeenDevice(**values, role=role, whose=_owner(policy, device))


def _owner(policy: Policy, device: Device | None) -> DeviceOwner:
    if device is None:
        return DeviceOwner.NOBODY
    if device.is_seat:
        return DeviceOwner.SEAT
    if device.sharers:
        return DeviceOwner.SHARED
    person = policy.people.get(device.person or "")
    if person is None:
        return DeviceOwner.GUEST if device.profile == _GUEST_PROFILE else DeviceOwner.NOBODY
    return DeviceOwner.CHILD if policy.profiles[person.profile].is_for_children else DeviceOwner.ADULT
