"""Writing decisions and events in batches, without ever blocking their sender.

`Recorder.add` appends to a bounded buffer. `flush` writes the buffer in one transaction, and `run` calls it in a thread twice a second, or
earlier when many observations are waiting, since each takes a kilobyte of memory.
When the disk is full, the oldest decisions are deleted first, then the newest are dropped, and requests and events wait. `problem` says so
until the journal can be written again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import batched
from typing import Any

from sqlalchemy import Connection, Insert, Table, and_, case, func, not_, or_, select
from sqlalchemy.exc import DatabaseError

from hedgerow.journal.access_store import file_request
from hedgerow.journal.messages import DeviceSeen, ProtectionSeen, WorkerMessage, may_be_recorded
from hedgerow.journal.renaming import rename_devices
from hedgerow.journal.retention import Retention, prune
from hedgerow.journal.store import Store, cause_of
from hedgerow.journal.tables import daily, decisions, devices_seen, events, hosts_seen, hourly, protections_seen, reversed_labels
from hedgerow.policies.expiry import UpcomingEnd
from hedgerow.policies.identity import is_link
from hedgerow.policies.model import AccessRequest, DeviceId, Observation

RESERVED_BYTES = 32 * 1024 * 1024
"""Bytes kept free on the disk: enough for SQLite's files while rows are deleted, and for control's other small files."""

_CHUNK = 1000  # rows per statement
_MANY = 2000  # observations that do not wait for the end of the interval
_LOOKS = 10  # per interval
_MAX_REPORT_DELAY_S = 600.0  # longer than any worker holds a report back
_RENAME_DELAY_S = 10.0  # longer than any worker takes to apply a new policy
_LINK_LOCAL = "fe80:"  # every device has such an address besides its others


@dataclass(frozen=True, slots=True)
class SystemEvent:
    """An event in Hedgerow itself: `kind` such as restart, policy, list or journal, and `subject` such as dns-1.

    The journal stores `detail`. `about` is the same as data, for notices that tell it in another language.
    """

    when: float
    kind: str
    subject: str
    detail: str = ""
    about: DeviceSeen | UpcomingEnd | None = None


class Recorder:
    """Buffers messages and writes them. `add` may be called from any thread; only one thread at a time flushes."""

    def __init__(
        self, store: Store, *, retention: Retention | None = None, limit: int = 50_000, clock: Callable[[], float] = time.time,
        reserve: int = RESERVED_BYTES, free: Callable[[], int | None] | None = None,
    ) -> None:  # fmt: skip
        """Arguments:

        limit: observations buffered; beyond it the oldest is dropped and counted in `dropped`.
        reserve: bytes that stay free on the disk; with less, the oldest decisions are deleted for newer ones.
        free: returns the bytes free on the disk, None if unknown.
        """
        self._store = store
        self._retention = retention or Retention()
        self._limit = limit
        self._clock = clock
        self._reserve, self._free = reserve, free or store.dialect.free_bytes
        self._buffering, self._writing = threading.Lock(), threading.Lock()
        self._observations: list[Observation] = []
        self._essential: list[AccessRequest | SystemEvent] = []
        self._seen: dict[str, DeviceSeen] = {}
        self._protected: dict[tuple[str, str], ProtectionSeen] = {}
        self._erased: list[tuple[frozenset[str], float]] = []
        self._renamed: dict[DeviceId, tuple[DeviceId, float]] = {}
        self.dropped = self.forgotten = 0
        self.problem = ""
        self.is_damaged = False

    def add(self, messages: Iterable[WorkerMessage | SystemEvent]) -> None:
        """Buffer what the journal stores. Counters are ignored; decisions about lifelines are refused."""
        with self._buffering:
            for message in map(self._under_new_name, messages):
                match message:
                    case Observation():
                        if may_be_recorded(message) and not self._is_erased(message):
                            self._observations.append(message)
                    case AccessRequest() | SystemEvent():
                        self._essential.append(message)
                    case DeviceSeen(device=device):
                        self._seen[device] = _merge_sightings(message, self._seen.get(device))
                    case ProtectionSeen(device=device, protection=protection):
                        self._protected[device, protection] = message
            excess = max(0, len(self._observations) - self._limit)
            del self._observations[:excess]
            self.dropped += excess
            del self._essential[: -self._limit]

    def flush(self) -> int:
        """Write the buffer in one transaction and return the number of rows. Never raises on a database error.

        On a full disk the oldest decisions make room for the newer ones. What still cannot be written is kept (requests, events) or
        dropped (observations), and `problem` says why.
        """
        with self._writing:
            with self._buffering:
                sightings: list[DeviceSeen | ProtectionSeen] = [*self._seen.values(), *self._protected.values()]
                batch = _Batch(self._store, self._observations, self._essential, sightings)
                self._observations, self._essential, self._seen, self._protected = [], [], {}, {}
            if not batch:
                return 0
            try:
                free = self._free()
                made_room = free is not None and free < self._reserve and self._make_room(batch) > 0
                rows = batch.write()
            except DatabaseError as error:
                return self._write_less(batch, error)
            self._update_problem(made_room)
            return rows

    @contextlib.contextmanager
    def paused_for_erasure(self, erasing: frozenset[str]) -> Iterator[None]:
        """Flush, then write nothing until the block ends.

        Later reports about these people and devices from before this instant are refused.
        """
        with self._buffering:
            now = self._clock()
            self._erased = [each for each in self._erased if each[1] > now - _MAX_REPORT_DELAY_S] + [(erasing, now)]
        self.flush()
        with self._writing:
            yield

    def rename(self, names: Mapping[DeviceId, DeviceId]) -> None:
        """Give all that is recorded about devices to their new names, also what workers report under the old ones from before the change.

        Waits for the disk. Raises DatabaseError.
        """
        until = self._clock() + _RENAME_DELAY_S
        with self._buffering:
            recent = {old: pair for old, pair in self._renamed.items() if pair[1] > until - _MAX_REPORT_DELAY_S}
            self._renamed = {old: pair for old, pair in recent.items() if old not in names.values()}
            self._renamed |= {old: (new, until) for old, new in names.items()}
        self.flush()
        with self._writing:
            rename_devices(self._store, names)

    def prune(self) -> int:
        """Delete what is older than the retention allows; see `retention.prune`."""
        return prune(self._store, self._retention, self._clock(), self._writing)

    async def run(self, interval: float = 0.5) -> None:
        """Flush at least every `interval` seconds and prune every hour, in threads, until cancelled; then flush once more."""
        pruning = asyncio.create_task(self._prune_hourly())
        try:
            while True:
                for _ in range(_LOOKS):
                    await asyncio.sleep(interval / _LOOKS)
                    if len(self._observations) >= _MANY:
                        break
                await asyncio.to_thread(self.flush)
        finally:
            pruning.cancel()
            self.flush()

    async def _prune_hourly(self) -> None:
        await asyncio.sleep(60)
        while True:
            await asyncio.to_thread(self.prune)
            await asyncio.sleep(3600)

    def _make_room(self, batch: _Batch) -> int:
        """Delete the oldest decisions, twice as many as will be written, since SQLite reuses their space. Returns their number.

        Raises DatabaseError.
        """
        own = self._store.own(decisions)
        oldest = select(decisions.c.id).where(own).order_by(decisions.c.id).limit(2 * len(batch.observations) + 100)
        deleted = self._store.execute(decisions.delete().where(decisions.c.id.in_(oldest)))
        self.forgotten += deleted
        return deleted

    def _update_problem(self, made_room: bool) -> None:
        """Update `problem` after a batch was written."""
        if made_room:
            self.problem = f"the disk is full: the oldest decisions are deleted to keep the newer ones, {self.forgotten} so far"
        elif self.problem:
            self.problem = ""
            detail = f"writing again; {self.dropped} decisions were not kept, {self.forgotten} of the oldest were deleted to make room"
            self.add([SystemEvent(self._clock(), "journal", "recorder", detail)])

    def _write_less(self, batch: _Batch, error: DatabaseError) -> int:
        """Write a batch that was refused: on a full disk in place of the oldest decisions, else without its observations.

        If even that fails, requests and events wait for the next flush.
        """
        if self._store.dialect.is_full(error):
            with contextlib.suppress(DatabaseError):
                made_room = self._make_room(batch) > 0
                rows = batch.write()
                self._update_problem(made_room)
                return rows
        self.problem = f"the journal cannot be written: {cause_of(error)}"
        self.is_damaged = self.is_damaged or self._store.dialect.is_damaged(error)
        self.dropped += len(batch.observations)
        try:
            return replace(batch, observations=[], seen=[]).write()
        except DatabaseError:
            with self._buffering:
                self._essential[:0] = batch.essential
            return 0

    def _under_new_name[M: WorkerMessage | SystemEvent](self, message: M) -> M:
        if isinstance(message, Observation | AccessRequest | DeviceSeen | ProtectionSeen) and message.device in self._renamed:
            new, until = self._renamed[message.device]
            return replace(message, device=new) if message.when < until else message
        return message

    def _is_erased(self, message: Observation) -> bool:
        return any(message.when < until and (message.device in names or message.person in names) for names, until in self._erased)


@dataclass(frozen=True, slots=True)
class _Batch:
    """The rows of one transaction."""

    store: Store
    observations: list[Observation]
    essential: list[AccessRequest | SystemEvent]
    seen: list[DeviceSeen | ProtectionSeen]

    def __bool__(self) -> bool:
        return bool(self.observations or self.essential or self.seen)

    def write(self) -> int:
        """Write all rows or none, and return their number. Raises DatabaseError."""
        with self.store.begin() as connection:
            if self.observations:
                _insert(connection, self.store.insert(decisions), map(_decision_row, self.observations))
                self._add_sums(connection)
                self._add_hosts(connection)
            if self.seen or self.observations:
                self._mark_seen(connection)
            for item in self.essential:
                if isinstance(item, AccessRequest):
                    file_request(self.store, connection, item)
                else:
                    row = {"at": item.when, "kind": item.kind, "subject": item.subject, "detail": item.detail}
                    connection.execute(self.store.insert(events).values(row))
        return len(self.observations) + len(self.essential) + len(self.seen)

    def _add_sums(self, connection: Connection) -> None:
        """Add to the sums by hour and by day."""
        for table, period, seconds in ((hourly, "hour", 3600), (daily, "day", 86400)):
            sums: Counter[tuple[int, str, str, str, str]] = Counter()
            for item in self.observations:
                sums[int(item.when // seconds), item.device, item.verdict.value, item.reason.value, item.what] += item.count
            statement = self.store.upsert(table, partial(_added, table))
            names = (period, "device", "verdict", "reason", "what", "count")
            _insert(connection, statement, (dict(zip(names, (*key, number), strict=True)) for key, number in sums.items()))

    def _add_hosts(self, connection: Connection) -> None:
        hosts = {item.host for item in self.observations if item.host}
        if hosts:
            rows = [{"host_key": reversed_labels(host), "host": host} for host in sorted(hosts)]
            connection.execute(self.store.insert_missing(hosts_seen), rows)

    def _mark_seen(self, connection: Connection) -> None:
        """Write sightings, and a sighting without an address for each device with a decision.

        Rows from two flushes are merged as `_merge_sightings` merges those of one. `last_seen` never goes back.
        """
        # A link stands for devices whose MAC address was not known yet. One that the policy names is reported by the workers.
        latest = {item.device: item for item in self.observations if not is_link(item.device)}
        rows = [_seen_row(DeviceSeen(item.when, item.device, "", None, item.person, item.profile)) for item in latest.values()]
        rows += [_seen_row(item) for item in self.seen if isinstance(item, DeviceSeen)]
        if rows:
            connection.execute(self.store.upsert(devices_seen, self._merged), rows)
        protected = [{"at": each.when, "device": each.device, "protection": each.protection.value}
                     for each in self.seen if isinstance(each, ProtectionSeen)]  # fmt: skip
        if protected:
            connection.execute(self.store.upsert(protections_seen, self._latest), protected)

    def _latest(self, new: Any) -> dict[str, Any]:
        return {"at": self.store.dialect.greatest(protections_seen.c.at, new.at)}

    def _merged(self, new: Any) -> dict[str, Any]:
        old = devices_seen.c
        is_ipv6_after_ipv4 = and_(new.address.contains(":"), not_(old.address.contains(":")))
        is_worse = or_(new.address == "", new.address.startswith(_LINK_LOCAL), is_ipv6_after_ipv4)
        return {
            "address": case((and_(old.address != "", is_worse), old.address), else_=new.address),
            "mac": func.coalesce(new.mac, old.mac),
            "name": func.coalesce(func.nullif(new.name, ""), old.name),
            "person": new.person,
            "profile": func.coalesce(func.nullif(new.profile, ""), old.profile),
            "last_seen": self.store.dialect.greatest(old.last_seen, new.last_seen),
        }


def _added(table: Table, new: Any) -> dict[str, Any]:
    return {"count": table.c.count + new.count}


def _insert(connection: Connection, statement: Insert, rows: Iterable[dict[str, object]]) -> None:
    """Insert rows in chunks, since a row takes a kilobyte of memory until it is written."""
    for chunk in batched(rows, _CHUNK):
        connection.execute(statement, list(chunk))


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


def _merge_sightings(new: DeviceSeen, old: DeviceSeen | None) -> DeviceSeen:
    """Return the newer sighting with what only the older one knows: its name, and the address by which people find the device."""
    if old is None:
        return new
    is_ipv6_after_ipv4 = ":" in new.address and ":" not in old.address
    is_worse = not new.address or new.address.startswith(_LINK_LOCAL) or is_ipv6_after_ipv4
    address = old.address if old.address and is_worse else new.address
    return replace(new, address=address, mac=new.mac or old.mac, profile=new.profile or old.profile, name=new.name or old.name)


def _seen_row(item: DeviceSeen) -> dict[str, object]:
    row = asdict(item)
    when = row.pop("when")
    return row | {"first_seen": when, "last_seen": when}
