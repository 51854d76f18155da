"""Reception of what workers send: one table says which service takes which kind of message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from hedgerow.app.control.health import SnapshotRepair, TaskMonitor
from hedgerow.app.control.snapshots.publisher import SnapshotPublisher
from hedgerow.dashboards.metrics import Metrics
from hedgerow.features.contract import ControlService, Handler
from hedgerow.journal.event_receiver import EventReceiver, MessageBatch
from hedgerow.journal.messages import (
    SNAPSHOT_LEVEL,
    CounterDelta,
    DeviceSeen,
    GaugeLevel,
    ProtectionSeen,
    WorkerMessage,
)
from hedgerow.policies.model import AccessRequest, Observation
from hedgerow.policies.time_model import ActiveMinute
from hedgerow.task_state import TaskState
from hedgerow.watched_tasks import WatchedTasks

RECORDED = (Observation, AccessRequest, DeviceSeen, ProtectionSeen)
"""The kinds of messages that the journal stores. Services may take them too."""


class WorkerMessages:
    """The loop that takes messages, batch by batch. It waits while the disk is full.

    `services` returns those that run now. `record` takes what is to be recorded of a batch, and `end` is awaited after
    it. An error of a handler counts as one of its service in `tasks`.
    """

    def __init__(
        self,
        events: EventReceiver,
        *,
        services: Callable[[], Iterable[ControlService]],
        record: Callable[[Sequence[WorkerMessage]], None],
        end: Callable[[MessageBatch], Awaitable[None]],
        tasks: WatchedTasks,
    ) -> None:
        self._events, self._services, self._record, self._end, self._tasks = events, services, record, end, tasks

    async def run(self) -> None:
        """Take messages until cancelled."""
        async for batch in self._events.batches():
            await self.take(batch)

    async def take(self, batch: MessageBatch) -> None:
        """Give each message of a batch to its handlers, in its order. One that fails costs its own message only."""
        table = handlers_of(self._services())
        for message in batch.messages:
            for service, handle in _handlers(table, message):
                with self._tasks.going_on(service.name, service.area):
                    waiting = handle(batch, message)
                    if waiting is not None:
                        await waiting
        self._record([message for message in batch.messages if isinstance(message, RECORDED)])
        await self._end(batch)


type Table = dict[type | str, list[tuple[ControlService, Handler]]]
"""Handlers with their services, by the type of a message and by the name of a gauge."""


def handlers_of(services: Iterable[ControlService]) -> Table:
    """Return the table of the handlers of services."""
    table: Table = {}
    for service in services:
        for key, handler in service.handles.items():
            table.setdefault(key, []).append((service, handler))
    return table


def _handlers(table: Table, message: WorkerMessage) -> Sequence[tuple[ControlService, Handler]]:
    """Return the handlers of a message. A gauge that has one by its name is nobody else's."""
    if isinstance(message, GaugeLevel) and message.name in table:
        return table[message.name]
    return table.get(type(message), ())


class ProcessReports:
    """The messages of workers about themselves, and about the minutes that people use."""

    def __init__(
        self, publisher: SnapshotPublisher, repair: SnapshotRepair, metrics: Metrics, tasks: TaskMonitor
    ) -> None:
        self._publisher, self._repair, self._metrics, self._tasks = publisher, repair, metrics, tasks
        self._minutes: list[ActiveMinute] = []
        self.handles: Mapping[type | str, Handler] = MappingProxyType(
            {
                CounterDelta: self._count,
                GaugeLevel: self._set_gauge,
                SNAPSHOT_LEVEL: self._note_snapshot,
                TaskState: self._note_task,
                ActiveMinute: self._note_minute,
            }
        )

    def _count(self, _batch: MessageBatch, delta: CounterDelta) -> None:
        self._metrics.add(delta.name, delta.labels, delta.value)

    def _set_gauge(self, batch: MessageBatch, level: GaugeLevel) -> None:
        self._metrics.set(level.name, level.labels, level.value, batch.worker)

    def _note_snapshot(self, batch: MessageBatch, level: GaugeLevel) -> None:
        self._publisher.applied.note(batch.worker, int(level.value))
        if not level.value:  # the snapshot of last resort
            self._repair.suspect()

    def _note_task(self, batch: MessageBatch, state: TaskState) -> None:
        self._tasks.note(batch.worker, batch.role, state)

    def _note_minute(self, _batch: MessageBatch, minute: ActiveMinute) -> None:
        self._minutes.append(minute)

    async def end(self, batch: MessageBatch) -> None:
        """Count the minutes of a batch together, and forget a worker that has left."""
        minutes, self._minutes = self._minutes, []
        await self._publisher.count(minutes)
        if batch.left:
            self._metrics.worker_left(batch.worker)
            self._tasks.forget(batch.worker)
