"""Writes what happened, in batches, without ever holding up the one who tells it.

`Recorder.add` only appends to a bounded buffer; `flush` writes it in one transaction, and `run` does so twice a second in a thread.
On a full disk the oldest detail goes first, then the newest, then requests and events wait; `problem` says so until all is well again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import batched
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, Engine, Insert, and_, case, func, not_, or_, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError

from hedgerow.journal.access_store import file_request
from hedgerow.journal.messages import DeviceSeen, WorkerMessage, may_be_recorded
from hedgerow.journal.reader import reversed_labels
from hedgerow.journal.tables import access_requests, daily, decisions, devices_seen, events, grants, hourly, pauses
from hedgerow.policies.expiry import UpcomingEnd
from hedgerow.policies.model import AccessRequest, Observation

log = logging.getLogger("hedgerow.journal")

RESERVED_BYTES = 32 * 1024 * 1024
"""Enough for what SQLite writes beside the journal while rows are deleted, and for control's other small files."""

_DAY_S = 86400.0
_CHUNK = 1000  # rows written by a statement, and deleted by a transaction, so that pruning never keeps the writer waiting
_MAX_REPORT_DELAY_S = 600.0  # no worker keeps a report back for as long
_LINK_LOCAL = "fe80:"  # every device has such an address beside its others
_PAUSE_BETWEEN_CHUNKS_S = 0.05  # between two of them: a lock alone would be taken again before the writer wakes up


@dataclass(frozen=True, slots=True)
class Retention:
    """How long things are kept: days of decisions, and at most so many rows of them; days of everything else."""

    days: float = 30.0
    rows: int = 20_000_000
    summary_days: float = 400.0


@dataclass(frozen=True, slots=True)
class SystemEvent:
    """Something that happened to Hedgerow itself: `kind` such as restart, policy, list, journal; `subject` such as dns-1.

    `detail` is what the journal keeps. `about` is the same as data, where notices tell it in another language.
    """

    when: float
    kind: str
    subject: str
    detail: str = ""
    about: DeviceSeen | UpcomingEnd | None = None


class Recorder:
    """Buffers and writes. `add` may be called from any thread; one thread at a time flushes."""

    def __init__(
        self, engine: Engine, *, retention: Retention | None = None, limit: int = 50_000, clock: Callable[[], float] = time.time,
        reserve: int = RESERVED_BYTES, free: Callable[[], int] | None = None,
    ) -> None:  # fmt: skip
        """`limit`: observations buffered; more than that drops the oldest and counts them in `dropped`.

        `reserve`: octets that stay free on the disk: with less, the oldest decisions are deleted for newer ones. `free` tells how many are.
        """
        self._engine = engine
        self._retention = retention or Retention()
        self._limit = limit
        self._clock = clock
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._observations: list[Observation] = []
        self._kept: list[AccessRequest | SystemEvent] = []
        self._seen: dict[str, DeviceSeen] = {}
        self._reserve, self._free = reserve, free or self._free_octets
        self._erased: list[tuple[frozenset[str], float]] = []
        self.dropped = self.forgotten = 0
        self.problem = ""

    def add(self, messages: Iterable[WorkerMessage | SystemEvent]) -> None:
        """Takes what is to be written; counters are not the journal's and are passed over, lifelines are refused."""
        with self._guard:
            for message in messages:
                match message:
                    case Observation():
                        if may_be_recorded(message) and not self._is_erased(message):
                            self._observations.append(message)
                    case AccessRequest() | SystemEvent():
                        self._kept.append(message)
                    case DeviceSeen(device=device):
                        self._seen[device] = _merge_sightings(message, self._seen.get(device))
            self._shed(self._limit)
            del self._kept[: -self._limit]

    def flush(self) -> int:
        """Writes the buffer in one transaction and returns the number of rows. Never raises for the database's sake:

        on a full disk the oldest decisions make room for the newer ones; what cannot be written even so is kept (requests, events) or
        dropped (observations). `problem` says why in one sentence.
        """
        with self._writing:
            with self._guard:
                batch = _Batch(self._observations, self._kept, list(self._seen.values()))
                self._observations, self._kept, self._seen = [], [], {}
            if not batch:
                return 0
            try:
                made_room = self._free() < self._reserve and self._make_room(batch) > 0
                rows = self._write(batch)
            except DatabaseError as error:
                return self._write_less(batch, error)
            self._tell(made_room)
            return rows

    @contextlib.contextmanager
    def paused_for_erasure(self, erasing: frozenset[str]) -> Iterator[None]:
        """Writes what is buffered, and then nothing until the block ends. What workers tell later of the time before, about these
        people and devices, is not remembered any more."""
        with self._guard:
            now = self._clock()
            self._erased = [each for each in self._erased if each[1] > now - _MAX_REPORT_DELAY_S] + [(erasing, now)]
        self.flush()
        with self._writing:
            yield

    def prune(self) -> int:
        """Deletes what is older than the retention allows; returns the number of decisions deleted. Never raises for the disk's sake.

        In many small transactions, between which `flush` goes on.
        """
        try:
            deleted = self._prune_decisions()
            with self._writing, self._engine.begin() as connection:
                _prune_summaries(connection, self._clock() - self._retention.summary_days * _DAY_S)
        except DatabaseError as error:
            log.warning("The journal's old entries can't be deleted: %s", error.orig)
            return 0
        return deleted

    async def run(self, interval: float = 0.5) -> None:
        """Flushes every `interval` seconds and prunes every hour, in threads, until cancelled; flushes once more then."""
        pruning = asyncio.create_task(self._prune_in_time())
        try:
            while True:
                await asyncio.sleep(interval)
                await asyncio.to_thread(self.flush)
        finally:
            pruning.cancel()
            self.flush()

    async def _prune_in_time(self) -> None:
        await asyncio.sleep(60)
        while True:
            await asyncio.to_thread(self.prune)
            await asyncio.sleep(3600)

    def _prune_decisions(self) -> int:
        with self._engine.connect() as connection:
            newest = connection.scalar(select(func.max(decisions.c.id))) or 0
        too_old = self._clock() - self._retention.days * _DAY_S
        # One after the other: of the two at once SQLite would gather all rows before it deletes the first.
        return sum(self._delete_in_pieces(old) for old in (decisions.c.id <= newest - self._retention.rows, decisions.c.at < too_old))

    def _delete_in_pieces(self, old: ColumnElement[bool]) -> int:
        deleted = 0
        while True:
            with self._writing, self._engine.begin() as connection:
                chunk = select(decisions.c.id).where(old).limit(_CHUNK)
                gone = connection.execute(decisions.delete().where(decisions.c.id.in_(chunk))).rowcount
            deleted += gone
            if gone < _CHUNK:
                return deleted
            time.sleep(_PAUSE_BETWEEN_CHUNKS_S)

    def _write(self, batch: _Batch) -> int:
        with self._engine.begin() as connection:
            return batch.write(connection)

    def _make_room(self, batch: _Batch) -> int:
        """Deletes the oldest decisions, twice as many as are to be written: SQLite writes into their place. Returns how many.

        Raises DatabaseError.
        """
        oldest = select(decisions.c.id).order_by(decisions.c.id).limit(2 * len(batch.observations) + 100)
        with self._engine.begin() as connection:
            gone = connection.execute(decisions.delete().where(decisions.c.id.in_(oldest))).rowcount
        self.forgotten += gone
        return gone

    def _tell(self, made_room: bool) -> None:
        """After a batch was written."""
        if made_room:
            self.problem = f"the disk is full: the oldest decisions are deleted to keep the newer ones, {self.forgotten} so far"
        elif self.problem:
            self.problem = ""
            detail = f"writing again; {self.dropped} decisions were not kept, {self.forgotten} of the oldest were deleted to make room"
            self.add([SystemEvent(self._clock(), "journal", "recorder", detail)])

    def _write_less(self, batch: _Batch, error: DatabaseError) -> int:
        """On a full disk old detail goes before new. Else the detail is given up, so that the little that matters has a chance; if even
        that fails, it waits for the next time."""
        if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            with contextlib.suppress(DatabaseError):
                made_room = self._make_room(batch) > 0
                rows = self._write(batch)
                self._tell(made_room)
                return rows
        self.problem = f"the journal cannot be written: {error.orig}"
        self.dropped += len(batch.observations)
        essential = _Batch([], batch.kept, [])
        try:
            return self._write(essential)
        except DatabaseError:
            with self._guard:
                self._kept[:0] = batch.kept
            return 0

    def _free_octets(self) -> int:
        """What is left on the journal's disk."""
        try:
            status = os.statvfs(Path(self._engine.url.database or ".").parent)
        except OSError:
            return self._reserve
        return status.f_bavail * status.f_frsize

    def _is_erased(self, message: Observation) -> bool:
        return any(message.when < until and (message.device in names or message.person in names) for names, until in self._erased)

    def _shed(self, limit: int) -> None:
        excess = len(self._observations) - limit
        if excess > 0:
            del self._observations[:excess]
            self.dropped += excess


@dataclass(frozen=True, slots=True)
class _Batch:
    """One transaction's worth."""

    observations: list[Observation]
    kept: list[AccessRequest | SystemEvent]
    seen: list[DeviceSeen]

    def __bool__(self) -> bool:
        return bool(self.observations or self.kept or self.seen)

    def write(self, connection: Connection) -> int:
        if self.observations:
            _insert(connection, decisions.insert(), map(_decision_row, self.observations))
            _add_sums(connection, self.observations)
        if self.seen or self.observations:
            _mark_seen(connection, self.seen, self.observations)
        for item in self.kept:
            if isinstance(item, AccessRequest):
                file_request(connection, item)
            else:
                connection.execute(events.insert().values(at=item.when, kind=item.kind, subject=item.subject, detail=item.detail))
        return len(self.observations) + len(self.kept) + len(self.seen)


def _insert(connection: Connection, statement: Insert, rows: Iterable[dict[str, object]]) -> None:
    """Some at a time: a row weighs a kilobyte until SQLite has it."""
    for some in batched(rows, _CHUNK):
        connection.execute(statement, list(some))


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
    }


def _add_sums(connection: Connection, observations: list[Observation]) -> None:
    """To the sums by hour and by day."""
    for table, seconds in ((hourly, 3600), (daily, 86400)):
        sums: Counter[tuple[int, str, str, str, str]] = Counter()
        for item in observations:
            sums[int(item.when // seconds), item.device, item.verdict.value, item.reason.value, item.what] += item.count
        statement = insert(table)
        statement = statement.on_conflict_do_update(
            index_elements=list(table.primary_key), set_={"count": table.c.count + statement.excluded.count}
        )
        names = [column.name for column in table.primary_key]
        _insert(connection, statement, (dict(zip(names, key, strict=True)) | {"count": number} for key, number in sums.items()))


def _mark_seen(connection: Connection, seen: list[DeviceSeen], observations: list[Observation]) -> None:
    """A sighting says where the device is; a decision only that it is there. Neither moves `last_seen` back when the clock goes back.

    Of two flushes the rows are put together as two sightings of one flush are by `_merge_sightings`.
    """
    latest = {item.device: item for item in observations}
    rows = [_seen_row(DeviceSeen(item.when, item.device, "", None, item.person, item.profile)) for item in latest.values()]
    rows += [_seen_row(item) for item in seen]
    statement = insert(devices_seen)
    new, old = statement.excluded, devices_seen.c
    is_ipv6_after_ipv4 = and_(new.address.contains(":"), not_(old.address.contains(":")))
    statement = statement.on_conflict_do_update(
        index_elements=[devices_seen.c.device],
        set_={
            "address": case(
                (and_(old.address != "", or_(new.address == "", new.address.startswith(_LINK_LOCAL), is_ipv6_after_ipv4)), old.address),
                else_=new.address,
            ),
            "mac": func.coalesce(new.mac, old.mac),
            "name": func.coalesce(func.nullif(new.name, ""), old.name),
            "person": new.person,
            "profile": func.coalesce(func.nullif(new.profile, ""), old.profile),
            "last_seen": func.max(old.last_seen, new.last_seen),
        },
    )
    connection.execute(statement, rows)


def _merge_sightings(new: DeviceSeen, old: DeviceSeen | None) -> DeviceSeen:
    """The newer sighting, with what only the older one tells: its name, and an address by which people find the device."""
    if old is None:
        return new
    is_ipv6_after_ipv4 = ":" in new.address and ":" not in old.address
    stays = old.address and (not new.address or new.address.startswith(_LINK_LOCAL) or is_ipv6_after_ipv4)
    address = old.address if stays else new.address
    return replace(new, address=address, mac=new.mac or old.mac, profile=new.profile or old.profile, name=new.name or old.name)


def _seen_row(item: DeviceSeen) -> dict[str, object]:
    return {
        "device": item.device,
        "address": item.address,
        "mac": item.mac,
        "name": item.name,
        "person": item.person,
        "profile": item.profile,
        "first_seen": item.when,
        "last_seen": item.when,
    }


def _prune_summaries(connection: Connection, before: float) -> None:
    connection.execute(hourly.delete().where(hourly.c.hour < before / 3600))
    connection.execute(daily.delete().where(daily.c.day < before // 86400))
    connection.execute(events.delete().where(events.c.at < before))
    connection.execute(devices_seen.delete().where(devices_seen.c.last_seen < before))
    connection.execute(access_requests.delete().where(access_requests.c.last_at < before, access_requests.c.state != "open"))
    connection.execute(grants.delete().where(func.coalesce(grants.c.revoked_at, grants.c.ends) < before))
    connection.execute(pauses.delete().where(func.coalesce(pauses.c.ended_at, pauses.c.ends) < before))


_SECONDS_PER_DAY = 86400.0
_FORGET_CHUNK = 5000  # rows a transaction, so that forgetting never keeps the recorder waiting


def forget_decisions(engine: Engine, people: Mapping[str, int], profiles: Mapping[str, int], now: float) -> int:
    """Deletes the decisions of `people` (days by name) that are older than their days, and those of nobody's devices by profile.

    Returns how many. Waits for the disk: call it from a thread.
    """
    column = decisions.c
    old = [(column.person == name) & (column.at < now - days * _SECONDS_PER_DAY) for name, days in people.items()]
    old += [
        column.person.is_(None) & (column.profile == name) & (column.at < now - days * _SECONDS_PER_DAY) for name, days in profiles.items()
    ]
    return sum(_delete_in_chunks(engine, condition) for condition in old)


def _delete_in_chunks(engine: Engine, condition: ColumnElement[bool]) -> int:
    deleted = 0
    while True:
        with engine.begin() as connection:
            chunk = select(decisions.c.id).where(condition).limit(_FORGET_CHUNK)
            gone = connection.execute(decisions.delete().where(decisions.c.id.in_(chunk))).rowcount
        deleted += gone
        if gone < _FORGET_CHUNK:
            return deleted
