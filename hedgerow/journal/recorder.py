"""Writing decisions and events in batches, without ever blocking their sender.

`Recorder.add` appends to a bounded buffer. `flush` writes the buffer in one transaction, and `run` calls it in a thread
twice a second, or earlier when many observations are waiting, since each takes a kilobyte of memory, and later while
the store takes long. When the disk is full, the oldest decisions are deleted first, then the newest are dropped, and
requests and events wait. While the server of the store is away, all batches wait in the spool. `problem` says so until
the journal can be written again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import select
from sqlalchemy.exc import DatabaseError, OperationalError

from hedgerow.journal.batch import Batch, LoggedEvent, Spool, merge_sightings
from hedgerow.journal.messages import DeviceSeen, ProtectionSeen, WorkerMessage, may_be_recorded
from hedgerow.journal.name_quotas import NameQuotas
from hedgerow.journal.personal_data import rename_devices
from hedgerow.journal.retention import Retention, prune
from hedgerow.journal.store import Store, cause_of
from hedgerow.journal.tables import decisions
from hedgerow.policies.expiry import UpcomingEnd
from hedgerow.policies.model import AccessRequest, DeviceId, Observation
from hedgerow.policies.time_model import ActiveMinute
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.journal")

RESERVED_BYTES = 32 * 1024 * 1024
"""Bytes kept free on the disk: enough for SQLite's files while rows are deleted, and for control's other
small files.
"""

_MANY = 2000  # observations that do not wait for the end of the interval
_LOOKS = 5  # per interval
_MAX_INTERVAL_S = 5.0
_REST = 4  # a flush is followed by a rest of so many times its own length: a slow store gets fewer and larger batches
_MAX_REPORT_DELAY_S = 600.0  # longer than any worker holds a report back
_RENAME_DELAY_S = 10.0  # longer than any worker takes to apply a new policy
_SPOOL_EVERY_S = 5.0  # while the server is away: fewer files, and no more is lost when control is killed


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


type RecordedMessage = Observation | AccessRequest | SystemEvent


class _Buffer:
    """Messages that wait to be written, at most `limit` of each kind.

    Its length is the number of observations. Any thread may use it.
    """

    def __init__(
        self, limit: int, *, numbers_batches: bool, clock: Callable[[], float], is_named: Callable[[DeviceId], bool]
    ) -> None:
        self._limit, self._numbers_batches, self._clock = limit, numbers_batches, clock
        self._lock = threading.Lock()
        self._observations: list[Observation] = []
        self._quotas = NameQuotas(is_named)
        self._bounded: dict[Observation, int] = {}  # the places of domains that stand for other names
        self._counted: dict[Observation, int] = {}  # those beyond the octets of a day, with their numbers
        self._requests: list[AccessRequest] = []
        self._events: list[LoggedEvent] = []
        self._minutes: list[ActiveMinute] = []
        self._seen: dict[str, DeviceSeen] = {}
        self._protected: dict[tuple[str, str], ProtectionSeen] = {}
        self._erased: list[tuple[frozenset[str], float]] = []
        self._renamed: dict[DeviceId, tuple[DeviceId, float]] = {}
        self._writer, self._number = secrets.token_hex(8), 0

    def __len__(self) -> int:
        return len(self._observations)

    @property
    def is_empty(self) -> bool:
        essential = (self._requests, self._events, self._minutes)
        return not any((self._observations, self._counted, *essential, self._seen, self._protected))

    def add(self, messages: Iterable[WorkerMessage | SystemEvent]) -> tuple[list[RecordedMessage], int]:
        """Buffer messages.

        Returns those that collectors get too, and the number of the oldest observations that were dropped.
        """
        copied: list[RecordedMessage] = []
        with self._lock:
            for message in map(self._under_new_name, messages):
                match message:
                    case Observation():
                        if may_be_recorded(message) and not self._is_erased(message):
                            copied.append(self._add(message))
                    case AccessRequest():
                        self._requests.append(message)
                        copied.append(message)
                    case SystemEvent():
                        copied.append(message)
                        self._events.append(LoggedEvent(message.when, message.kind, message.subject, message.detail))
                    case ActiveMinute():
                        self._minutes.append(message)
                    case DeviceSeen(device=device):
                        self._seen[device] = merge_sightings(message, self._seen.get(device))
                    case ProtectionSeen(device=device, protection=protection):
                        self._protected[device, protection] = message
            excess = max(0, len(self._observations) - self._limit)
            del self._observations[:excess]
            if excess:
                self._bounded.clear()
            for essential in (self._requests, self._events, self._minutes):
                del essential[: -self._limit]
        return copied, excess

    def _add(self, message: Observation) -> Observation:
        """Add an observation, or count it with others. Return it as it is stored."""
        stored = self._quotas.bounded(message, self._clock())
        if stored is not message:
            key = replace(stored, when=0.0, count=0)
            if (place := self._bounded.setdefault(key, len(self._observations))) < len(self._observations):
                known = self._observations[place]
                self._observations[place] = replace(known, when=stored.when, count=known.count + stored.count)
                return stored
        if self._quotas.may_store(stored):
            self._observations.append(stored)
        else:
            key = replace(stored, when=stored.when // 3600 * 3600, host="", url="", rule="", count=1, version=0)
            self._counted[key] = self._counted.get(key, 0) + stored.count
        return stored

    def take(self) -> Batch:
        """Take all messages."""
        with self._lock:
            self._number += self._numbers_batches
            batch = Batch(
                self._observations,
                self._requests,
                self._events,
                list(self._seen.values()),
                list(self._protected.values()),
                self._minutes,
                self._writer,
                self._number,
                [replace(each, count=count) for each, count in self._counted.items()],
            )
            self._observations, self._requests, self._events, self._minutes = [], [], [], []
            self._seen, self._protected, self._bounded, self._counted = {}, {}, {}, {}
        return batch

    def put_back(self, batch: Batch) -> None:
        """Buffer the requests and events of a batch again, in front of what came since."""
        with self._lock:
            self._requests[:0], self._events[:0], self._minutes[:0] = batch.requests, batch.events, batch.minutes

    def refuse(self, names: frozenset[str], now: float) -> None:
        """Refuse later observations of these people and devices from before `now`."""
        with self._lock:
            self._erased = [each for each in self._erased if each[1] > now - _MAX_REPORT_DELAY_S] + [(names, now)]

    def rename(self, names: Mapping[DeviceId, DeviceId], until: float) -> None:
        """Give messages from before `until` about devices with old names their new ones."""
        with self._lock:
            recent = {old: pair for old, pair in self._renamed.items() if pair[1] > until - _MAX_REPORT_DELAY_S}
            self._renamed = {old: pair for old, pair in recent.items() if old not in names.values()}
            self._renamed |= {old: (new, until) for old, new in names.items()}

    def _under_new_name[M: WorkerMessage | SystemEvent](self, message: M) -> M:
        if (
            isinstance(message, Observation | AccessRequest | DeviceSeen | ProtectionSeen)
            and message.device in self._renamed
        ):
            new, until = self._renamed[message.device]
            return replace(message, device=new) if message.when < until else message
        return message

    def _is_erased(self, message: Observation) -> bool:
        return any(
            message.when < until and (message.device in names or message.person in names)
            for names, until in self._erased
        )


class Recorder:
    """A buffer of messages, and its writer. `add` may be called from any thread; only one thread at a time flushes."""

    def __init__(
        self,
        store: Store,
        *,
        retention: Retention | None = None,
        limit: int = 50_000,
        clock: Callable[[], float] = time.time,
        reserve: int = RESERVED_BYTES,
        free: Callable[[], int | None] | None = None,
        spool: Spool | None = None,
        copy_to: Callable[[list[RecordedMessage]], None] | None = None,
        is_named: Callable[[DeviceId], bool] = lambda _device: True,
    ) -> None:
        """Arguments:

        limit: observations buffered; beyond it the oldest is dropped and counted in `dropped`.
        reserve: bytes that stay free on the disk; with less, the oldest decisions are deleted for newer ones.
        free: returns the bytes free on the disk, None if unknown.
        spool: batches that wait for a server; they are numbered then, so that none is written twice.
        copy_to: gets what was buffered.
        is_named: returns whether a device is one of the policy. The others share their part of the names of a day.
        """
        self._store = store
        self._retention = retention or Retention()
        self._clock = clock
        self._reserve, self._free = reserve, free or store.dialect.free_bytes
        self._writing = threading.Lock()
        self._buffer = _Buffer(limit, numbers_batches=spool is not None, clock=clock, is_named=is_named)
        self._spool, self._spooled_at = spool, 0.0
        self._copy_to = copy_to
        self.dropped = self.forgotten = 0
        self.problem = ""
        self.is_damaged = False

    def add(self, messages: Iterable[WorkerMessage | SystemEvent]) -> None:
        """Buffer what the journal stores. Counters are ignored; decisions about lifelines are refused."""
        copied, lost = self._buffer.add(messages)
        self.dropped += lost
        if copied and self._copy_to is not None:
            self._copy_to(copied)

    def flush(self) -> int:
        """Write the buffer in one transaction and return the number of rows. Never raises on a database error.

        On a full disk the oldest decisions make room for the newer ones. What still cannot be written is kept
        (requests, events) or dropped (observations), and `problem` says why.
        """
        with self._writing:
            if self._spool is not None:
                return self._flush_to_server(self._spool)
            batch = self._buffer.take()
            if not batch:
                return 0
            try:
                free = self._free()
                made_room = free is not None and free < self._reserve and self._make_room(batch) > 0
                rows = batch.write(self._store)
            except DatabaseError as error:
                return self._write_less(batch, error)
            self._update_problem(made_room)
            return rows

    def put_aside(self) -> None:
        """Put what is buffered into the spool, if there is one, without a look at the store."""
        with self._writing:
            if self._spool is not None:
                self._put_aside(self._spool)

    def _flush_to_server(self, spool: Spool) -> int:
        """Write the batches of the spool, the oldest first, then what is buffered.

        Returns the number of rows of the latter.
        """
        while (waiting := spool.oldest()) is not None:
            if self._try(waiting) is None:
                if len(self._buffer) >= _MANY or time.monotonic() - self._spooled_at > _SPOOL_EVERY_S:
                    self._put_aside(spool)
                return 0
            spool.remove_oldest()
            if not len(spool):
                self._note_return()
        if not (batch := self._buffer.take()):
            return 0
        rows = self._try(batch)
        if rows is None:
            self._put_aside(spool, batch)
            return 0
        return rows

    def _note_return(self) -> None:
        """Record that all that waited for the store is written."""
        self.problem = ""
        lost = f"; {self.dropped} decisions were not kept" if self.dropped else ""
        self.add(
            [
                SystemEvent(
                    self._clock(),
                    "journal",
                    "recorder",
                    f"the store answers again, and all that waited is written{lost}",
                )
            ]
        )

    def _try(self, batch: Batch) -> int | None:
        """Write a batch, and return its number of rows; None if it has to wait.

        A batch that would always be refused is dropped.
        """
        try:
            rows = batch.write(self._store)
            self.problem = self.problem if self._spool else ""
            return rows
        except DatabaseError as error:
            cause = " ".join(cause_of(error).split())
            if self._store.dialect.may_pass(error):
                self.problem = _waiting(self._spool, cause)
                return None
            self.dropped += len(batch.observations)
            self.problem = f"the store refused {batch.size} events: {cause}"
            log.error("%s", self.problem)
            return 0

    def _put_aside(self, spool: Spool, batch: Batch | None = None) -> None:
        """Put a batch, or else what is buffered, into the spool."""
        if not (batch := batch or self._buffer.take()):
            return
        self._spooled_at, before = time.monotonic(), spool.dropped
        spool.put(batch)
        self.dropped += spool.dropped - before
        if spool.problem:
            self.problem = _waiting(spool)

    @contextlib.contextmanager
    def paused_for_erasure(self, erasing: frozenset[str]) -> Iterator[None]:
        """Flush, then write nothing until the block ends.

        Later reports about these people and devices from before this instant are refused. Raises DatabaseError while
        events wait for a server: they would be written after the erasure.
        """
        self._buffer.refuse(erasing, self._clock())
        self.flush()
        with self._writing:
            if self._spool:
                raise OperationalError(
                    None, None, Exception("events still wait for the store, and would be written later")
                )
            yield

    def rename(self, names: Mapping[DeviceId, DeviceId]) -> None:
        """Give all that is recorded about devices to their new names, also what workers report under the old ones from
        before the change.

        Waits for the disk. Raises DatabaseError.
        """
        self._buffer.rename(names, self._clock() + _RENAME_DELAY_S)
        self.flush()
        with self._writing:
            rename_devices(self._store, names)

    def prune(self) -> int:
        """Delete what is older than the retention allows; see `retention.prune`."""
        return prune(self._store, self._retention, self._clock(), self._writing)

    async def run(self, interval: float = 0.5) -> None:
        """Flush as `flush_regularly` does and prune every hour, in a thread, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_prune_hourly(self))
            await flush_regularly(self, interval)

    def _make_room(self, batch: Batch) -> int:
        """Delete the oldest decisions, twice as many as will be written, since SQLite reuses their space.

        Returns their number.

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
            self.problem = (
                f"the disk is full: the oldest decisions are deleted to keep the newer ones, {self.forgotten} so far"
            )
        elif self.problem:
            self.problem = ""
            detail = (
                f"writing again; {self.dropped} decisions were not kept, {self.forgotten} of the oldest were "
                f"deleted to make room"
            )
            self.add([SystemEvent(self._clock(), "journal", "recorder", detail)])

    def _write_less(self, batch: Batch, error: DatabaseError) -> int:
        """Write a batch that was refused: on a full disk in place of the oldest decisions, else without its
        observations.

        If even that fails, requests and events wait for the next flush.
        """
        if self._store.dialect.is_full(error):
            with contextlib.suppress(DatabaseError):
                made_room = self._make_room(batch) > 0
                rows = batch.write(self._store)
                self._update_problem(made_room)
                return rows
        self.problem = f"the journal cannot be written: {cause_of(error)}"
        self.is_damaged = self.is_damaged or self._store.dialect.is_damaged(error)
        self.dropped += len(batch.observations)
        try:
            return replace(batch, observations=[], counted=[], seen=[], protected=[]).write(self._store)
        except DatabaseError:
            self._buffer.put_back(replace(batch, observations=[], counted=[], seen=[], protected=[]))
            return 0


async def flush_regularly(recorder: Recorder, interval: float) -> None:
    """Flush every `interval` seconds, and less often while the store is slow, in a thread, until cancelled; then flush
    once more.
    """
    try:
        while True:
            while recorder._buffer.is_empty and not recorder._spool:
                await next_tick(interval)
            began = time.monotonic()
            await asyncio.to_thread(recorder.flush)
            rest = min(max(interval, _REST * (time.monotonic() - began)), _MAX_INTERVAL_S)
            for _ in range(_LOOKS):
                await asyncio.sleep(rest / _LOOKS)
                if len(recorder._buffer) >= _MANY:
                    break
    finally:
        recorder.flush()


def _waiting(spool: Spool | None, cause: str = "") -> str:
    """Say where events wait for the store, which can't be written because of `cause`."""
    if spool is not None and spool.problem:
        return f"neither the store nor the disk can be written: {spool.problem}"
    return f"the store can't be written, so events wait on the disk ({len(spool or ())} files): {cause}"


async def _prune_hourly(recorder: Recorder) -> None:
    await asyncio.sleep(60)
    while True:
        await asyncio.to_thread(recorder.prune)
        await asyncio.sleep(3600)
