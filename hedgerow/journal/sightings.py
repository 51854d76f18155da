"""Sightings of devices: the protections that each of them uses."""

from __future__ import annotations

from dataclasses import dataclass

from hedgerow.journal.store import Store
from hedgerow.journal.tables import protections_seen
from hedgerow.policies.model import DeviceId
from hedgerow.policies.protection import Protection


@dataclass(frozen=True, slots=True)
class ProtectionRow:
    """The last use of a protection by a device, at the instant `at`."""

    device: DeviceId
    protection: Protection
    at: float


class SightingReader:
    """Queries of sightings. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def protections(self) -> tuple[ProtectionRow, ...]:
        """Return the last use of each protection by each device."""
        known = {each.value for each in Protection}
        rows = self.store.rows(self.store.select(protections_seen))
        return tuple(ProtectionRow(DeviceId(row.device), Protection(row.protection), row.at) for row in rows if row.protection in known)
