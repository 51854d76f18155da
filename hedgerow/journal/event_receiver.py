"""Control's side of the workers' events: connections that the workers offer, with lines of JSON."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hedgerow.journal.event_sender import close_writer
from hedgerow.journal.messages import (
    LINE_LIMIT,
    DeviceSeen,
    MalformedMessage,
    ProtectionSeen,
    WorkerHello,
    WorkerMessage,
    decode,
    may_be_recorded,
)
from hedgerow.policies.model import AccessRequest, CodeEntered, Observation
from hedgerow.policies.seats import ConductAccepted
from hedgerow.policies.time_model import ActiveMinute
from hedgerow.policies.times.budget import minute_of
from hedgerow.sockets import SocketPath, bind_datagrams, take_connection
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.events")

_LOOK_EVERY_S = 1.0
_NEWS = b"."  # to a worker: there may be a new snapshot
_AHEAD_S = 60.0
_TIMED = (Observation, AccessRequest, CodeEntered, ConductAccepted, DeviceSeen, ProtectionSeen)
_WAITING_BATCHES = 64  # beyond it, reading stops, and the workers drop observations instead


@dataclass(frozen=True, slots=True)
class MessageBatch:
    """Messages of one worker.

    `left` is true for the last batch of a connection, after which the worker's gauges no longer count.
    """

    worker: str
    role: str
    messages: tuple[WorkerMessage, ...]
    malformed: int = 0
    left: bool = False


class EventReceiver:
    """The receiver of events. It listens at a socket of mode 0600 and yields batches in the order of their arrival.

    What a worker says of a time to come has happened now: a clock was ahead, or somebody has taken the worker over.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self._batches: asyncio.Queue[MessageBatch] = asyncio.Queue(_WAITING_BATCHES)
        self._listener: socket.socket | None = None
        self._place: SocketPath | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.malformed = 0

    async def start(self) -> None:
        """Bind the socket, replacing a stale one. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        listener = bind_datagrams(self._path)
        self._place = SocketPath.of(self._path)
        self._stop_listening()
        self._listener = listener
        asyncio.get_running_loop().add_reader(listener, self._take_connections, listener)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def keep_listening(self) -> None:
        """Bind the socket again if its path was removed or replaced, until cancelled. Raises OSError."""
        while True:
            await next_tick(_LOOK_EVERY_S)
            if self._place is not None and not self._place.is_in_place:
                await self.start()
                log.error("%s was removed or replaced: it is made again", self._path)

    def announce_snapshot(self) -> None:
        """Have all workers look for a new snapshot."""
        for writer in self._writers:
            if not writer.transport.get_write_buffer_size():  # otherwise it does not read, and has news already
                writer.write(_NEWS)

    async def batches(self) -> AsyncIterator[MessageBatch]:
        """Yield all batches, for ever. Decisions about lifelines are left out."""
        while True:
            yield await self._batches.get()

    async def close(self) -> None:
        """End all connections and remove the socket."""
        self._stop_listening()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def _take_connections(self, listener: socket.socket) -> None:
        while (connection := take_connection(listener)) is not None:
            task = asyncio.get_running_loop().create_task(self._serve(connection))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=LINE_LIMIT)
        except OSError:
            connection.close()
            return
        lines = _LineSplitter()
        sender = WorkerHello("", "")
        self._writers.add(writer)
        try:
            writer.write(_NEWS)  # of what was published before
            while data := await reader.read(LINE_LIMIT):
                sender, batch = self._unpack(sender, lines.feed(data), lines.take_overlong_count())
                if batch.messages or batch.malformed:
                    await self._batches.put(batch)
            await self._batches.put(MessageBatch(sender.worker, sender.role, (), left=True))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            await close_writer(writer)

    def _unpack(self, sender: WorkerHello, lines: list[bytes], malformed: int) -> tuple[WorkerHello, MessageBatch]:
        messages: list[WorkerMessage] = []
        for line in lines:
            try:
                message = decode(line)
            except MalformedMessage:
                malformed += 1
                continue
            if isinstance(message, WorkerHello):
                sender = message
            elif may_be_recorded(message):
                messages.append(_not_ahead(message, self._clock()))
        self.malformed += malformed
        return sender, MessageBatch(sender.worker, sender.role, tuple(messages), malformed)


def _not_ahead(message: WorkerMessage, now: float) -> WorkerMessage:
    if isinstance(message, ActiveMinute):
        return replace(message, minute=minute_of(now)) if message.minute > minute_of(now + _AHEAD_S) else message
    if isinstance(message, _TIMED) and message.when > now + _AHEAD_S:
        return replace(message, when=now)
    return message


class _LineSplitter:
    """Splitter of a stream into lines. A line that is too long is skipped to its end and counted."""

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

    def take_overlong_count(self) -> int:
        number, self._overlong = self._overlong, 0
        return number
