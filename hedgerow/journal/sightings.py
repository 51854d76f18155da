"""Sightings of devices: when each was seen last, with counts of its decisions, and the protections that it uses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, func, or_, select

from hedgerow.journal.store import Store
from hedgerow.journal.tables import devices_seen, hourly, protections_seen
from hedgerow.policies.evidence import Protection
from hedgerow.policies.model import DeviceId, Verdict


@dataclass(frozen=True, slots=True)
class ProtectionRow:
    """The last use of a protection by a device, at the instant `at`."""

    device: DeviceId
    protection: Protection
    at: float


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device seen on the network. `allowed` and `blocked` count its decisions since the instant that was asked for."""

    device: DeviceId
    address: str
    mac: str | None
    name: str
    person: str | None
    profile: str
    first_seen: float
    last_seen: float
    allowed: int = 0
    blocked: int = 0


class SightingReader:
    """Queries of sightings. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def protections(self, among: Collection[str]) -> tuple[ProtectionRow, ...]:
        """Return the last use of each protection by some devices."""
        known = {each.value for each in Protection}
        rows = self.store.rows(self.store.select(protections_seen).where(protections_seen.c.device.in_(among)))
        return tuple(ProtectionRow(DeviceId(row.device), Protection(row.protection), row.at) for row in rows if row.protection in known)

    def devices(
        self, since: float, among: Collection[str] | None = None, *, limit: int | None = None, offset: int = 0
    ) -> tuple[DeviceRow, ...]:
        """Return devices that were seen, the latest first, with their counts from the hour of `since` on.

        All of them, or those of `among`, at most `limit` of these after the first `offset`.
        """
        query = self.store.select(devices_seen).order_by(devices_seen.c.last_seen.desc(), devices_seen.c.device)
        query = query if among is None else query.where(devices_seen.c.device.in_(among))
        return self._device_rows(since, query.limit(limit).offset(offset or None), is_part=among is not None or limit is not None)

    def recent_devices(self, since: float, limit: int) -> tuple[DeviceRow, ...]:
        """Return the `limit` devices that were seen last, and as many of those with an address for a name, the latest first."""
        newest = self.devices(since, limit=limit)
        if len(newest) < limit:
            return newest
        by_address = or_(devices_seen.c.device.like("%:%"), devices_seen.c.device.like("%.%.%.%"))
        query = self.store.select(devices_seen).where(by_address).order_by(devices_seen.c.last_seen.desc()).limit(limit)
        found = {row.device: row for row in (*newest, *self._device_rows(since, query, is_part=True))}
        return tuple(sorted(found.values(), key=lambda row: -row.last_seen))

    def count_devices(self, since: float) -> int:
        """Count the devices that were seen from an instant on."""
        own = self.store.own(devices_seen)
        return int(self.store.scalar(select(func.count()).select_from(devices_seen).where(own, devices_seen.c.last_seen >= since)) or 0)

    def _device_rows(self, since: float, query: Select[Any], *, is_part: bool) -> tuple[DeviceRow, ...]:
        rows = self.store.rows(query)
        is_block = (hourly.c.verdict == Verdict.BLOCK.value).label("is_block")
        sums = select(hourly.c.device, is_block, func.sum(hourly.c.count).label("total")).where(since_hour(self.store, hourly, since))
        sums = sums.where(hourly.c.device.in_([row.device for row in rows])) if is_part else sums
        counts = {(row.device, bool(row.is_block)): int(row.total) for row in self.store.rows(sums.group_by(hourly.c.device, is_block))}
        return tuple(
            DeviceRow(**row._mapping, blocked=counts.get((row.device, True), 0), allowed=counts.get((row.device, False), 0)) for row in rows
        )


def since_hour(store: Store, table: Table, since: float) -> ColumnElement[bool]:
    """The condition for this site's rows from the hour of `since` on."""
    return store.own(table) & (table.c.hour >= int(since // 3600))
