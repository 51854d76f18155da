"""A worker's side of its events to control: a bounded queue, and lines of JSON over a connection that it offers to
control.

The sender never makes the worker wait. When control is slow or down, the oldest observations are dropped and counted,
requests for access have a queue of their own, and counters are added up in place. What was in the socket when control
died is lost: at most one batch.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from hedgerow.backoff import pause_after
from hedgerow.journal.messages import CounterDelta, GaugeLevel, WorkerHello, WorkerMessage, encode, may_be_recorded
from hedgerow.policies.model import AccessRequest
from hedgerow.policies.time_model import ActiveMinute
from hedgerow.sockets import offer_connection
from hedgerow.task_state import TaskState

type MetricSeries = tuple[str, ...]
"""A metric's name and the values of its labels."""

DROPPED_METRIC, UNEXPECTED_METRIC = "hedgerow_events_dropped_total", "hedgerow_unexpected_errors_total"

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0  # between attempts to reach control
_COUNTER_ENDINGS = ("_total", "_bucket", "_sum", "_count")  # Prometheus' own naming; all other names are gauges


class EventSender:
    """A queue of messages, and its sender.

    `send`, `count` and `report_totals` only queue; `run` sends. All on one event loop.
    """

    def __init__(
        self,
        path: Path,
        worker: str,
        role: str,
        *,
        limit: int = 20_000,
        batch: int = 32,
        interval: float = 0.2,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        """Arguments:

        limit: observations queued while control is away.
        batch: messages encoded at a time.
        interval: the least seconds between two sendings.
        on_news: called when control has published a snapshot, and once it has taken a connection, since it may have
            before.
        """
        self._path = path
        self._hello = WorkerHello(worker, role)
        self._observations: deque[WorkerMessage] = deque()
        self._urgent: deque[WorkerMessage] = deque(maxlen=1000)
        self._limit, self._batch, self._interval, self._on_news = limit, batch, interval, on_news
        self._has_more = asyncio.Event()
        self._pending: dict[MetricSeries, float] = {}
        self._levels: dict[MetricSeries, float] = {}
        self._changed_levels: set[MetricSeries] = set()
        self._tasks: dict[str, TaskState] = {}
        self._changed_tasks: set[str] = set()
        self._reported: dict[MetricSeries, float] = {}
        self.dropped = 0
        self.connected = False

    def send(self, message: WorkerMessage) -> None:
        """Queue a message.

        A full queue drops its oldest observation. Decisions about lifelines are silently refused.
        """
        match message:
            case CounterDelta(name, labels, value):
                self.count((name, *labels), value)
            case GaugeLevel(name, labels, value):
                self._set_level((name, *labels), value)
            case TaskState(name=name):
                self._tasks[name] = message
                self._changed_tasks.add(name)
            case AccessRequest() | ActiveMinute():
                self._urgent.append(message)
            case _ if may_be_recorded(message):
                self._observations.append(message)
                if len(self._observations) > self._limit:
                    self._observations.popleft()
                    self._drop(1)
        self._has_more.set()

    def count(self, series: MetricSeries, value: float = 1.0) -> None:
        """Add to a counter."""
        self._pending[series] = self._pending.get(series, 0.0) + value
        self._has_more.set()

    def report_totals(self, totals: Mapping[MetricSeries, float]) -> None:
        """Take a component's cumulative counters and gauges, and queue what changed since the last call."""
        for series, total in list(totals.items()):
            if not series[0].endswith(_COUNTER_ENDINGS):
                self._set_level(series, total)
                continue
            # None: the first report, sent even if it is zero, so that histograms are complete
            before = self._reported.get(series)
            if total != before:
                self._reported[series] = total
                # A component that started again from zero has counted `total` since then.
                self.count(series, total - before if before is not None and total > before else total)

    async def run(self) -> None:
        """Connect, send and reconnect until cancelled. What is left is then sent if control takes it at once."""
        failures = 0
        while True:
            try:
                await self._connect_and_send()
            except OSError:
                pass
            finally:
                self.connected = False
            failures = 1 if self._was_connected else failures + 1
            await asyncio.sleep(pause_after(failures, first=_FIRST_PAUSE_S, longest=_LONGEST_PAUSE_S))

    _was_connected = False

    async def _connect_and_send(self) -> None:
        self._was_connected = False
        reader, writer = await asyncio.open_unix_connection(sock=offer_connection(str(self._path)))
        listening = asyncio.create_task(self._listen(reader))
        try:
            self.connected = self._was_connected = True
            # A restarted control knows no levels and no tasks.
            self._changed_levels, self._changed_tasks = set(self._levels), set(self._tasks)
            writer.write(encode(self._hello))
            while not listening.done():
                self._has_more.clear()
                await self._send_all(writer)
                await asyncio.sleep(self._interval)
                await self._has_more.wait()
        except asyncio.CancelledError:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(0.5):
                    await self._send_all(writer)
            raise
        finally:
            listening.cancel()
            # close() would wait for a control that does not read.
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            await close_writer(writer)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Take control's news, an octet each, until the connection is gone."""
        with contextlib.suppress(OSError):
            while await reader.read(64):
                self._on_news()
        self._has_more.set()

    async def _send_all(self, writer: asyncio.StreamWriter) -> None:
        """Send what is queued, one batch at a time. Between batches the worker's own work goes on."""
        while batch := self._take_batch():
            try:
                if writer.is_closing():
                    raise ConnectionResetError
                writer.write(b"".join(map(encode, batch)))
                await writer.drain()
            except OSError:
                self._put_back(batch)
                raise
            await asyncio.sleep(0)

    def _take_batch(self) -> list[WorkerMessage]:
        batch: list[WorkerMessage] = []
        while self._urgent and len(batch) < self._batch:
            batch.append(self._urgent.popleft())
        batch.extend(CounterDelta(series[0], series[1:], value) for series, value in self._pending.items())
        self._pending.clear()
        batch.extend(GaugeLevel(series[0], series[1:], self._levels[series]) for series in self._changed_levels)
        self._changed_levels.clear()
        batch.extend(self._tasks[name] for name in self._changed_tasks)
        self._changed_tasks.clear()
        while self._observations and len(batch) < self._batch:
            batch.append(self._observations.popleft())
        return batch

    def _put_back(self, batch: list[WorkerMessage]) -> None:
        """Queue a batch again whose arrival is unknown: an event counted twice is better than a lost request for
        access.
        """
        for message in reversed(batch):
            match message:
                case CounterDelta(name, labels, value):
                    self.count((name, *labels), value)
                case AccessRequest() | ActiveMinute():
                    self._urgent.appendleft(message)
                case GaugeLevel() | TaskState():
                    pass  # every one is sent on the next connection
                case _ if len(self._observations) < self._limit:
                    self._observations.appendleft(message)
                case _:
                    self._drop(1)

    def _set_level(self, series: MetricSeries, value: float) -> None:
        if self._levels.get(series) != value:
            self._levels[series] = value
            self._changed_levels.add(series)
            self._has_more.set()

    def _drop(self, number: int) -> None:
        self.dropped += number
        self.count((DROPPED_METRIC, self._hello.role), number)


async def close_writer(writer: asyncio.StreamWriter) -> None:
    """Close a connection in any state."""
    writer.close()
    with contextlib.suppress(OSError):  # but not CancelledError: a cancelled task must end
        await writer.wait_closed()
