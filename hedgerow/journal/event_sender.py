"""How workers tell control what happened: a bounded queue in the worker, and lines of JSON over a unix stream socket.

The courier never makes a worker wait. When control is slow or down, the oldest observations are dropped and counted; requests for
access have a queue of their own; counters are added up in place. What was in the socket when control died is lost: a batch at most.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from pathlib import Path

from hedgerow.journal.messages import CounterDelta, GaugeLevel, WorkerHello, WorkerMessage, encode, may_be_recorded
from hedgerow.policies.model import AccessRequest
from hedgerow.policies.time_model import ActiveMinute

type MetricSeries = tuple[str, ...]
"""A metric's name, then the values of its labels."""

DROPPED_METRIC = "hedgerow_events_dropped_total"

_COUNTER_ENDINGS = ("_total", "_bucket", "_sum", "_count")  # Prometheus' own naming; all other names are gauges


class EventSender:
    """The worker's side. `send`, `count` and `report_totals` only append; `run` does the talking. All on one event loop."""

    def __init__(self, path: Path, worker: str, role: str, *, limit: int = 20_000, batch: int = 8, interval: float = 0.2) -> None:
        """`limit`: observations kept while control is away; `batch`: messages encoded at a time; `interval`: seconds between batches."""
        self._path = path
        self._hello = WorkerHello(worker, role)
        self._observations: deque[WorkerMessage] = deque()
        self._urgent: deque[WorkerMessage] = deque(maxlen=1000)
        self._limit, self._batch, self._interval = limit, batch, interval
        self._pending: dict[MetricSeries, float] = {}
        self._levels: dict[MetricSeries, float] = {}
        self._changed_levels: set[MetricSeries] = set()
        self._reported: dict[MetricSeries, float] = {}
        self.dropped = 0
        self.connected = False

    def send(self, message: WorkerMessage) -> None:
        """Hands a message over, or drops the oldest observation when the queue is full. Lifelines are refused without a word."""
        match message:
            case CounterDelta(name, labels, value):
                self.count((name, *labels), value)
            case GaugeLevel(name, labels, value):
                self._set_level((name, *labels), value)
            case AccessRequest() | ActiveMinute():
                self._urgent.append(message)
            case _ if may_be_recorded(message):
                self._observations.append(message)
                if len(self._observations) > self._limit:
                    self._observations.popleft()
                    self._drop(1)

    def count(self, series: MetricSeries, value: float = 1.0) -> None:
        """Adds to a counter."""
        self._pending[series] = self._pending.get(series, 0.0) + value

    def report_totals(self, totals: Mapping[MetricSeries, float]) -> None:
        """Takes a part's cumulative counters (and gauges) as they stand now, and remembers what is new since the last time."""
        for series, total in list(totals.items()):
            if not series[0].endswith(_COUNTER_ENDINGS):
                self._set_level(series, total)
                continue
            before = self._reported.get(series)  # None: told for the first time, also if it is zero, so that histograms are whole
            if total != before:
                self._reported[series] = total
                # A part that began again from zero has counted `total` since then.
                self.count(series, total - before if before is not None and total > before else total)

    async def run(self) -> None:
        """Connects, sends and reconnects until cancelled; what is left is sent once more on the way out if that takes no time."""
        wait = 0.05
        while True:
            try:
                await self._talk()
            except OSError:
                pass
            finally:
                self.connected = False
            await asyncio.sleep(wait)
            wait = 0.05 if self._was_welcome else min(wait * 2, 1.0)

    _was_welcome = False

    async def _talk(self) -> None:
        self._was_welcome = False
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            self.connected = self._was_welcome = True
            # Control may have started anew and know no levels.
            self._changed_levels = set(self._levels)
            writer.write(encode(self._hello))
            # Control never answers, so the end of what it says is the end of the connection, told also to a worker with nothing to say.
            while not reader.at_eof():
                await self._send_all(writer)
                await asyncio.sleep(self._interval)
        except asyncio.CancelledError:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(0.5):
                    await self._send_all(writer)
            raise
        finally:
            # Not close(): that would wait for a control that does not read.
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            await close_writer(writer)

    async def _send_all(self, writer: asyncio.StreamWriter) -> None:
        """Sends what is queued, a batch at a time; between batches the worker's own work goes on."""
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
        while self._observations and len(batch) < self._batch:
            batch.append(self._observations.popleft())
        return batch

    def _put_back(self, batch: list[WorkerMessage]) -> None:
        """A batch whose fate is unknown is sent again: an event counted twice is better than a request for access lost."""
        for message in reversed(batch):
            match message:
                case CounterDelta(name, labels, value):
                    self.count((name, *labels), value)
                case AccessRequest() | ActiveMinute():
                    self._urgent.appendleft(message)
                case GaugeLevel():
                    pass  # every level is sent again on the next connection
                case _ if len(self._observations) < self._limit:
                    self._observations.appendleft(message)
                case _:
                    self._drop(1)

    def _set_level(self, series: MetricSeries, value: float) -> None:
        if self._levels.get(series) != value:
            self._levels[series] = value
            self._changed_levels.add(series)

    def _drop(self, number: int) -> None:
        self.dropped += number
        self.count((DROPPED_METRIC, self._hello.role), number)


async def close_writer(writer: asyncio.StreamWriter) -> None:
    """Close a connection, whatever has become of it."""
    writer.close()
    with contextlib.suppress(OSError):  # and not its own cancellation: whoever is told to end must
        await writer.wait_closed()
