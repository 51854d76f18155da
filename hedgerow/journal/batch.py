"""A batch of events: what the recorder writes in one transaction, and what waits on the disk while a server is away.

A batch with a number is written once, however often it is sent: the store remembers the newest batch of each writer.

In the spool, each batch is a file of its own, which survives a restart of control and of the machine. They are written
in the order in which they came. The spool is bounded: the oldest make room.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, and_, case, func, not_, or_

from hedgerow.codec import decode, encode
from hedgerow.files import make_private_folder, write_atomically
from hedgerow.journal.access_store import file_request
from hedgerow.journal.messages import DeviceSeen, ProtectionSeen
from hedgerow.journal.sightings import is_stranger, limit_strangers
from hedgerow.journal.store import Dialect, Store
from hedgerow.journal.tables import (
    daily,
    decisions,
    devices_seen,
    events,
    hosts_seen,
    hourly,
    protections_seen,
    reversed_labels,
    writers,
)
from hedgerow.journal.usage import add_minutes
from hedgerow.policies.effective_users import ALL_UNNAMED
from hedgerow.policies.identity import is_link
from hedgerow.policies.model import AccessRequest, Observation
from hedgerow.policies.time_model import ActiveMinute

log = logging.getLogger("hedgerow.journal")

LINK_LOCAL = "fe80:"  # every device has such an address besides its others


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event in Hedgerow itself, as the journal stores it."""

    when: float
    kind: str
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows of one transaction. `number` grows with each batch of a writer; 0: not numbered.

    `counted` are observations that count in the sums, and are not rows of their own.
    """

    observations: list[Observation]
    requests: list[AccessRequest] = field(default_factory=list)
    events: list[LoggedEvent] = field(default_factory=list)
    seen: list[DeviceSeen] = field(default_factory=list)
    protected: list[ProtectionSeen] = field(default_factory=list)
    minutes: list[ActiveMinute] = field(default_factory=list)
    writer: str = ""
    number: int = 0
    counted: list[Observation] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.size > 0

    @property
    def size(self) -> int:
        """The number of events."""
        essential = len(self.requests) + len(self.events) + len(self.minutes)
        return len(self.observations) + len(self.counted) + essential + len(self.seen) + len(self.protected)

    def write(self, store: Store) -> int:
        """Write all rows or none, and return their number; 0 if the store has the batch already.

        Raises DatabaseError.
        """
        statements = _Statements.of(store.dialect)
        with store.begin() as connection:
            if not self.requests:  # the child was told that its parents were asked
                store.dialect.commit_soon(connection)
            if self.number and not self._is_new(store, connection):
                return 0
            if self.observations:
                store.insert_rows(connection, statements.decisions, map(_decision_row, self.observations))
                self._add_hosts(store, connection)
            if self.observations or self.counted:
                self._add_sums(store, connection)
            if self.seen or self.protected or self.observations:
                self._mark_seen(store, connection)
            for request in self.requests:
                file_request(store, connection, request)
            store.insert_rows(connection, statements.events, map(_event_row, self.events))
            if self.minutes:
                add_minutes(store, connection, self.minutes)
        return self.size

    def _is_new(self, store: Store, connection: Connection) -> bool:
        """Remember the number of this batch. Return False if the store has it already."""
        row = {"batch": self.number, "at": time.time()}
        newer = store.update(writers).where(writers.c.writer == self.writer, writers.c.batch < self.number)
        if connection.execute(newer.values(row)).rowcount:
            return True
        first = store.insert_missing(writers).values(writer=self.writer, **row)
        return connection.execute(first.execution_options(preserve_rowcount=True)).rowcount > 0

    def _add_sums(self, store: Store, connection: Connection) -> None:
        """Add to the sums by hour and by day."""
        statements = _Statements.of(store.dialect)
        for statement, period, seconds in ((statements.hourly, "hour", 3600), (statements.daily, "day", 86400)):
            sums: Counter[tuple[int, str, str, str, str]] = Counter()
            for item in (*self.observations, *self.counted):
                sums[int(item.when // seconds), item.device, item.verdict.value, item.reason.value, item.what] += (
                    item.count
                )
            # In order, so that two writers with the same keys wait for each other rather than for ever.
            names = (period, "device", "verdict", "reason", "what", "count")
            rows = (dict(zip(names, (*key, number), strict=True)) for key, number in sorted(sums.items()))
            store.insert_rows(connection, statement, rows)

    def _add_hosts(self, store: Store, connection: Connection) -> None:
        hosts = {item.host for item in self.observations if item.host}
        rows = ({"host_key": reversed_labels(host), "host": host} for host in sorted(hosts))
        store.insert_rows(connection, _Statements.of(store.dialect).hosts, rows)

    def _mark_seen(self, store: Store, connection: Connection) -> None:
        """Write sightings, and a sighting without an address for each device with a decision.

        Rows from two flushes are merged as `merge_sightings` merges those of one. `last_seen` never goes back.
        """
        # A link stands for devices whose MAC address was not known yet. One that the policy names is reported by the
        # workers.
        told_apart = (item for item in self.observations if item.device != ALL_UNNAMED)
        latest = {item.device: item for item in told_apart if not is_link(item.device)}
        seen = {
            item.device: DeviceSeen(item.when, item.device, "", None, item.person, item.profile)
            for item in latest.values()
        }
        rows = {device: _seen_row(item) for device, item in seen.items()}
        for item in self.seen:
            rows[item.device] = _seen_row(merge_sightings(item, seen.get(item.device)), seen.get(item.device))
        statements = _Statements.of(store.dialect)
        store.insert_rows(connection, statements.devices, (rows[device] for device in sorted(rows)))
        if any(map(is_stranger, rows)):
            limit_strangers(store, connection)
        protected = (
            {"at": each.when, "device": each.device, "protection": each.protection.value} for each in self.protected
        )
        store.insert_rows(connection, statements.protections, protected)


class _Statements:
    """The statements of a batch in a dialect. To make them takes longer than to write the rows of a quiet home."""

    def __init__(self, dialect: Dialect) -> None:
        self.decisions, self.events = dialect.insert_into(decisions), dialect.insert_into(events)
        self.hosts = dialect.insert_missing(hosts_seen)
        self.hourly = dialect.upsert(hourly, partial(_added, hourly))
        self.daily = dialect.upsert(daily, partial(_added, daily))
        self.devices = dialect.upsert(devices_seen, partial(_merged, dialect))
        self.protections = dialect.upsert(protections_seen, partial(_latest, dialect))

    @staticmethod
    @lru_cache(maxsize=2)
    def of(dialect: Dialect) -> _Statements:
        """Return those of a dialect, which are made once."""
        return _Statements(dialect)


def _latest(dialect: Dialect, new: Any) -> dict[str, Any]:
    return {"at": dialect.greatest(protections_seen.c.at, new.at)}


def _merged(dialect: Dialect, new: Any) -> dict[str, Any]:
    old = devices_seen.c
    is_ipv6_after_ipv4 = and_(new.address.contains(":"), not_(old.address.contains(":")))
    is_worse = or_(new.address == "", new.address.startswith(LINK_LOCAL), is_ipv6_after_ipv4)
    return {
        "address": case((and_(old.address != "", is_worse), old.address), else_=new.address),
        "mac": func.coalesce(new.mac, old.mac),
        "name": func.coalesce(func.nullif(new.name, ""), old.name),
        "person": new.person,
        "profile": func.coalesce(func.nullif(new.profile, ""), old.profile),
        "last_seen": dialect.greatest(old.last_seen, new.last_seen),
    }


def _added(table: Table, new: Any) -> dict[str, Any]:
    return {"count": table.c.count + new.count}


def _event_row(item: LoggedEvent) -> dict[str, object]:
    return {"at": item.when, "kind": item.kind, "subject": item.subject, "detail": item.detail}


def _decision_row(item: Observation) -> dict[str, object]:
    return {
        "at": item.when,
        "device": item.device,
        "person": item.person,
        "profile": item.profile,
        "kind": item.kind.value,
        "verdict": item.verdict.value,
        "reason": item.reason.value,
        "what": item.what,
        "host_key": reversed_labels(item.host),
        "url": item.url,
        "rule": item.rule,
        "count": item.count,
        "version": item.version or None,
    }


def merge_sightings(new: DeviceSeen, old: DeviceSeen | None) -> DeviceSeen:
    """Return the newer sighting with what only the older one knows: its name, and the address by which people find the
    device.
    """
    if old is None:
        return new
    is_ipv6_after_ipv4 = ":" in new.address and ":" not in old.address
    is_worse = not new.address or new.address.startswith(LINK_LOCAL) or is_ipv6_after_ipv4
    address = old.address if old.address and is_worse else new.address
    return replace(
        new, address=address, mac=new.mac or old.mac, profile=new.profile or old.profile, name=new.name or old.name
    )


def _seen_row(item: DeviceSeen, *others: DeviceSeen | None) -> dict[str, object]:
    row = asdict(item)
    instants = [row.pop("when"), *(each.when for each in others if each is not None)]
    return row | {"first_seen": min(instants), "last_seen": max(instants)}


SPOOL_BYTES = 256 << 20
"""Bytes of waiting batches: about a million decisions."""
UNSAVED_LIMIT = 50_000
"""Decisions that wait in memory while the disk is full."""


class Spool:
    """The files in `folder`, which is made when it is needed. Used by one thread at a time.

    What the disk does not take waits in memory, up to `UNSAVED_LIMIT` decisions.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = {path: path.stat().st_size for path in sorted(folder.glob("*.json"))}
        self._unsaved: list[Batch] = []
        self.dropped = 0
        """Decisions that had to make room."""
        self.problem = ""
        """The reason why the disk does not take batches."""

    def __len__(self) -> int:
        return len(self._files) + len(self._unsaved)

    def put(self, batch: Batch) -> None:
        """Add a batch behind the others."""
        self._unsaved.append(batch)
        try:
            while self._unsaved:
                self._save(self._unsaved[0])
                del self._unsaved[0]
            self.problem = ""
        except OSError as error:
            self.problem = error.strerror or str(error)
            self._make_room_in_memory()
        while sum(self._files.values()) > SPOOL_BYTES and len(self._files) > 1:
            oldest = next(iter(self._files))
            self.dropped += int(oldest.stem.partition("-")[2])
            self._remove(oldest)

    def oldest(self) -> Batch | None:
        """Return the batch that is next; None if none waits. A file that is not a batch is set aside."""
        for path in list(self._files):
            try:
                return decode(Batch, path.read_bytes())
            except (OSError, ValueError) as error:
                log.error("%s can't be read and is set aside: %s", path, error)
                del self._files[path]
                with contextlib.suppress(OSError):
                    path.rename(path.with_suffix(".damaged"))
        return self._unsaved[0] if self._unsaved else None

    def remove_oldest(self) -> None:
        """Remove the batch that is next, since it was written or refused."""
        if self._files:
            self._remove(next(iter(self._files)))
        else:
            del self._unsaved[0]

    def _save(self, batch: Batch) -> None:
        data = encode(batch)
        make_private_folder(self._folder)
        last = next((int(path.stem.partition("-")[0]) for path in reversed(self._files)), 0)
        path = self._folder / f"{max(time.time_ns(), last + 1):020}-{len(batch.observations)}.json"
        write_atomically(path, data)
        self._files[path] = len(data)

    def _make_room_in_memory(self) -> None:
        excess = sum(len(batch.observations) for batch in self._unsaved) - UNSAVED_LIMIT
        for index, batch in enumerate(self._unsaved):
            if excess > 0 and batch.observations:
                excess -= len(batch.observations)
                self.dropped += len(batch.observations)
                self._unsaved[index] = replace(batch, observations=[])

    def _remove(self, path: Path) -> None:
        del self._files[path]
        with contextlib.suppress(OSError):
            path.unlink()
