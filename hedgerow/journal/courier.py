"""How workers tell control what happened: a bounded queue in the worker, lines of JSON over a unix stream socket, a server in control.

The courier never makes a worker wait. When control is slow or down, the oldest observations are dropped and counted; requests for
access have a queue of their own; counters are added up in place. What was in the socket when control died is lost: a batch at most.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hedgerow.journal.messages import (
    LINE_LIMIT,
    CounterDelta,
    GaugeLevel,
    Hello,
    MalformedMessage,
    Message,
    decode,
    encode,
    may_be_remembered,
)
from hedgerow.policies.model import AccessRequest, Activity

type Series = tuple[str, ...]
"""A metric's name, then the values of its labels."""

DROPPED = "hedgerow_events_dropped_total"

_COUNTER_ENDINGS = ("_total", "_bucket", "_sum", "_count")  # Prometheus' own naming; all other names are gauges


class Courier:
    """The worker's side. `send`, `count` and `report_totals` only append; `run` does the talking. All on one event loop."""

    def __init__(self, path: Path, worker: str, role: str, *, limit: int = 20_000, batch: int = 256, interval: float = 0.2) -> None:
        """`limit`: observations kept while control is away; `batch`: messages encoded at a time; `interval`: seconds between batches."""
        self._path = path
        self._hello = Hello(worker, role)
        self._observations: deque[Message] = deque()
        self._urgent: deque[Message] = deque(maxlen=1000)
        self._limit, self._batch, self._interval = limit, batch, interval
        self._pending: dict[Series, float] = {}
        self._levels: dict[Series, float] = {}
        self._changed_levels: set[Series] = set()
        self._reported: dict[Series, float] = {}
        self.dropped = 0
        self.connected = False

    def send(self, message: Message) -> None:
        """Hands a message over, or drops the oldest observation when the queue is full. Lifelines are refused without a word."""
        match message:
            case CounterDelta(name, labels, value):
                self.count((name, *labels), value)
            case GaugeLevel(name, labels, value):
                self._set_level((name, *labels), value)
            case AccessRequest() | Activity():
                self._urgent.append(message)
            case _ if may_be_remembered(message):
                self._observations.append(message)
                if len(self._observations) > self._limit:
                    self._observations.popleft()
                    self._drop(1)

    def count(self, series: Series, value: float = 1.0) -> None:
        """Adds to a counter."""
        self._pending[series] = self._pending.get(series, 0.0) + value

    def report_totals(self, totals: Mapping[Series, float]) -> None:
        """Takes a part's cumulative counters (and gauges) as they stand now, and remembers what is new since the last time."""
        for series, total in list(totals.items()):
            if not series[0].endswith(_COUNTER_ENDINGS):
                self._set_level(series, total)
                continue
            before = self._reported.get(series, 0.0)
            if total != before:
                self._reported[series] = total
                # A part that began again from zero has counted `total` since then.
                self.count(series, total - before if total > before else total)

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
            await _end(writer)

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

    def _take_batch(self) -> list[Message]:
        batch: list[Message] = []
        while self._urgent and len(batch) < self._batch:
            batch.append(self._urgent.popleft())
        batch.extend(CounterDelta(series[0], series[1:], value) for series, value in self._pending.items())
        self._pending.clear()
        batch.extend(GaugeLevel(series[0], series[1:], self._levels[series]) for series in self._changed_levels)
        self._changed_levels.clear()
        while self._observations and len(batch) < self._batch:
            batch.append(self._observations.popleft())
        return batch

    def _put_back(self, batch: list[Message]) -> None:
        """A batch whose fate is unknown is sent again: an event counted twice is better than a request for access lost."""
        for message in reversed(batch):
            match message:
                case CounterDelta(name, labels, value):
                    self.count((name, *labels), value)
                case AccessRequest() | Activity():
                    self._urgent.appendleft(message)
                case GaugeLevel():
                    pass  # every level is sent again on the next connection
                case _ if len(self._observations) < self._limit:
                    self._observations.appendleft(message)
                case _:
                    self._drop(1)

    def _set_level(self, series: Series, value: float) -> None:
        if self._levels.get(series) != value:
            self._levels[series] = value
            self._changed_levels.add(series)

    def _drop(self, number: int) -> None:
        self.dropped += number
        self.count((DROPPED, self._hello.role), number)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one worker sent in one piece. `left` is true for the last one of a connection: the worker's gauges count no more."""

    worker: str
    role: str
    messages: tuple[Message, ...]
    malformed: int = 0
    left: bool = False


class CourierServer:
    """Control's side: listens at a socket of mode 0600 and hands out deliveries in the order in which they came."""

    def __init__(self, path: Path, *, backlog: int = 64) -> None:
        """`backlog`: deliveries that may wait. When it is full, reading stops, and the workers' couriers do the dropping."""
        self._path = path
        self._deliveries: asyncio.Queue[Delivery] = asyncio.Queue(backlog)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.malformed = 0

    async def start(self) -> None:
        """Binds the socket, over a stale one if need be. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Bound under another name and renamed: at no moment can somebody else connect, nor a worker find nothing.
        fresh = self._path.with_name(self._path.name + ".new")
        fresh.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(fresh), limit=LINE_LIMIT)
        fresh.chmod(0o600)
        fresh.replace(self._path)

    async def deliveries(self) -> AsyncIterator[Delivery]:
        """Everything that the workers send, for ever. A message is yielded once; lifelines never."""
        while True:
            yield await self._deliveries.get()

    async def close(self) -> None:
        """Ends all connections and removes the socket."""
        if self._server is not None:
            self._server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        lines = _Lines()
        sender = Hello("", "")
        try:
            while data := await reader.read(LINE_LIMIT):
                sender, delivery = self._unpack(sender, lines.feed(data), lines.take_overlong())
                if delivery.messages or delivery.malformed:
                    await self._deliveries.put(delivery)
            await self._deliveries.put(Delivery(sender.worker, sender.role, (), left=True))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            await _end(writer)

    def _unpack(self, sender: Hello, lines: list[bytes], malformed: int) -> tuple[Hello, Delivery]:
        messages: list[Message] = []
        for line in lines:
            try:
                message = decode(line)
            except MalformedMessage:
                malformed += 1
                continue
            if isinstance(message, Hello):
                sender = message
            elif may_be_remembered(message):
                messages.append(message)
        self.malformed += malformed
        return sender, Delivery(sender.worker, sender.role, tuple(messages), malformed)


async def _end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError, asyncio.CancelledError):
        await writer.wait_closed()


class _Lines:
    """Cuts a stream into lines; one that is too long is skipped to its end and counted."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False
        self._overlong = 0

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines and self._skipping:
            self._skipping = False
            del lines[0]
        if len(self._rest) > LINE_LIMIT:
            self._overlong += not self._skipping
            self._skipping, self._rest = True, b""
        return [line for line in lines if line]

    def take_overlong(self) -> int:
        number, self._overlong = self._overlong, 0
        return number
