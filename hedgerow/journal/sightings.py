"""Sightings of devices: when each was seen last, with counts of its decisions, and the protections that it uses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Delete, Select, Table, func, or_, select, true

from hedgerow.journal.store import Store
from hedgerow.journal.tables import devices_seen, hourly, protections_seen
from hedgerow.policies.identity import Protection
from hedgerow.policies.model import DeviceId, Verdict

BRIEF_S = 600.0
"""A device that was seen for less than this has passed by, or its address was made up."""

MAX_STRANGERS = 2000
"""Devices without a name that are kept. More are made up."""


@dataclass(frozen=True, slots=True)
class ProtectionRow:
    """The last use of a protection by a device, at the instant `at`."""

    device: DeviceId
    protection: Protection
    at: float


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device seen on the network.

    `allowed` and `blocked` count its decisions since the instant that was asked for. `protections` has the last use of
    each protection. Without any, it is on the network, but nothing of it is filtered.
    """

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
    protections: Mapping[Protection, float] = field(default_factory=dict)


class SightingReader:
    """Queries of sightings. Every method waits for the disk: call it from a thread."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def protections(self, among: Collection[str] | None) -> tuple[ProtectionRow, ...]:
        """Return the last use of each protection by some devices, or by all."""
        return tuple(
            ProtectionRow(DeviceId(row.device), Protection(row.protection), row.at)
            for row in self.store.rows(
                self.store.select(protections_seen).where(
                    true() if among is None else protections_seen.c.device.in_(among)
                )
            )
            if row.protection in Protection
        )

    def devices(
        self, since: float, among: Collection[str] | None = None, *, limit: int | None = None, offset: int = 0
    ) -> tuple[DeviceRow, ...]:
        """Return devices that were seen, the latest first, with their counts from the hour of `since` on.

        All of them, or those of `among`, at most `limit` of these after the first `offset`.
        """
        query = self.store.select(devices_seen).order_by(devices_seen.c.last_seen.desc(), devices_seen.c.device)
        query = query if among is None else query.where(devices_seen.c.device.in_(among))
        return self._device_rows(
            since, query.limit(limit).offset(offset or None), is_part=among is not None or limit is not None
        )

    def recent_devices(self, since: float, limit: int) -> tuple[DeviceRow, ...]:
        """Return the `limit` devices that were seen last, and as many strangers, rather those that stayed, the latest
        first.
        """
        newest = self.devices(since, limit=limit)
        if len(newest) < limit:
            return newest
        order = (_is_brief(), devices_seen.c.last_seen.desc())
        query = self.store.select(devices_seen).where(_is_stranger(devices_seen)).order_by(*order).limit(limit)
        found = {row.device: row for row in (*newest, *self._device_rows(since, query, is_part=True))}
        return tuple(sorted(found.values(), key=lambda row: -row.last_seen))

    def count_devices(self, since: float) -> int:
        """Count the devices that were seen from an instant on."""
        own = self.store.own(devices_seen)
        return int(
            self.store.scalar(
                select(func.count()).select_from(devices_seen).where(own, devices_seen.c.last_seen >= since)
            )
            or 0
        )

    def _device_rows(self, since: float, query: Select[Any], *, is_part: bool) -> tuple[DeviceRow, ...]:
        rows = self.store.rows(query)
        is_block = (hourly.c.verdict == Verdict.BLOCK.value).label("is_block")
        sums = select(hourly.c.device, is_block, func.sum(hourly.c.count).label("total")).where(
            since_hour(self.store, hourly, since)
        )
        sums = sums.where(hourly.c.device.in_([row.device for row in rows])) if is_part else sums
        counts = {
            (row.device, bool(row.is_block)): int(row.total)
            for row in self.store.rows(sums.group_by(hourly.c.device, is_block))
        }
        used: dict[str, dict[Protection, float]] = defaultdict(dict)
        for use in self.protections([row.device for row in rows] if is_part else None):
            used[use.device][use.protection] = use.at
        return tuple(
            DeviceRow(
                **row._mapping,
                blocked=counts.get((row.device, True), 0),
                allowed=counts.get((row.device, False), 0),
                protections=used.get(row.device, {}),
            )
            for row in rows
        )


def since_hour(store: Store, table: Table, since: float) -> ColumnElement[bool]:
    """The condition for this site's rows from the hour of `since` on."""
    return store.own(table) & (table.c.hour >= int(since // 3600))


def is_stranger(device: str) -> bool:
    """Return whether a device is known by its address only.

    >>> is_stranger("02:00:00:00:50:0a"), is_stranger("192.168.1.7"), is_stranger("tablet")
    (True, True, False)
    """
    return ":" in device or device.count(".") >= 3


def _is_stranger(table: Table) -> ColumnElement[bool]:
    """`is_stranger` as a condition."""
    return or_(table.c.device.like("%:%"), table.c.device.like("%.%.%.%"))


def _is_brief() -> ColumnElement[bool]:
    return devices_seen.c.last_seen - devices_seen.c.first_seen < BRIEF_S


def limit_strangers(store: Store, connection: Connection) -> int:
    """Forget the sightings of strangers beyond their number, with their protections: first those that were seen briefly
    and longest ago.

    Returns their number.
    """
    if excess := connection.execute(_forget_excess(store)).rowcount:
        connection.execute(_forget_orphans(store))
    return excess


@lru_cache(maxsize=2)
def _forget_excess(store: Store) -> Delete:
    c = devices_seen.c
    strangers = select(c.device).where(store.own(devices_seen), _is_stranger(devices_seen))
    excess = strangers.order_by(_is_brief(), c.last_seen.desc()).offset(MAX_STRANGERS)
    return store.delete(devices_seen).where(c.device.in_(excess))


@lru_cache(maxsize=2)
def _forget_orphans(store: Store) -> Delete:
    c = protections_seen.c
    known = select(devices_seen.c.device).where(store.own(devices_seen))
    return store.delete(protections_seen).where(_is_stranger(protections_seen), c.device.not_in(known))


def forget_brief_strangers(store: Store, connection: Connection, before: float) -> None:
    """Forget the strangers that were seen briefly, and not since `before`, with their protections."""
    c, protected = devices_seen.c, protections_seen.c
    connection.execute(store.delete(devices_seen).where(_is_stranger(devices_seen), _is_brief(), c.last_seen < before))
    known = select(c.device).where(store.own(devices_seen))
    forgotten = _is_stranger(protections_seen) & (protected.at < before) & protected.device.not_in(known)
    connection.execute(store.delete(protections_seen).where(forgotten))
