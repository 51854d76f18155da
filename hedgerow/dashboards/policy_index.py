"""Look-ups in a policy with thousands of devices and people, made once per policy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property

from hedgerow.dashboards.words.labels import hues
from hedgerow.journal.accounts import WebSessionRow
from hedgerow.policies.identity import DeviceLookup
from hedgerow.policies.model import Device, Policy


class PolicyIndex:
    """Look-ups in one policy. Each is made when it is first needed."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @cached_property
    def lookup(self) -> DeviceLookup:
        """Devices by address."""
        return DeviceLookup(self.policy)

    @cached_property
    def hues(self) -> Mapping[str, int]:
        """Numbers of people's colours."""
        return hues(self.policy.people)

    @cached_property
    def has_seats(self) -> bool:
        return any(device.is_seat for device in self.policy.devices.values())

    @cached_property
    def devices_of(self) -> Mapping[str, Sequence[Device]]:
        """Devices that belong to one person alone, by the person."""
        found: dict[str, list[Device]] = defaultdict(list)
        for device in self.policy.devices.values():
            if device.person is not None:
                found[device.person].append(device)
        return found

    @cached_property
    def by_owner(self) -> Sequence[Device]:
        """All devices: those of people in the order of the policy, then shared ones, those without a
        person, and seats.
        """
        places = {name: place for place, name in enumerate(self.policy.people)}

        def order(device: Device) -> tuple[bool, bool, int, str, str]:
            owner = users_of(device)
            return device.is_seat, not owner, places.get(owner, len(places)), owner, device.id.lower()

        return sorted(self.policy.devices.values(), key=order)


class LatestIndex:
    """The index of the latest policy."""

    def __init__(self) -> None:
        self._index: PolicyIndex | None = None

    def of(self, policy: Policy) -> PolicyIndex:
        if self._index is None or self._index.policy is not policy:
            self._index = PolicyIndex(policy)
        return self._index


def users_of(device: Device) -> str:
    """Return the people who use a device, or an empty text for one without a person."""
    return device.person or ", ".join(device.sharers)


def address_key(device: str) -> str:
    """Return the key of sessions that began on a device of the policy which was recognised by its address."""
    return f"{device}@address"


def device_of(session: WebSessionRow, policy: Policy) -> str:
    """Return the device of the policy on which a session began, or an empty text."""
    keys = set(session.origin.split("\n"))
    known = ((device, {device, address_key(device), *found.macs}) for device, found in policy.devices.items())
    return next((device for device, own in known if not keys.isdisjoint(own)), "")
