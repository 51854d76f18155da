"""What control makes of a worker's line. Apart from `messages`, because workers never read, and the validation weighs megabytes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from hedgerow.journal.event_sender import close_writer
from hedgerow.journal.messages import KIND_OF, LINE_LIMIT, CounterDelta, WorkerHello, WorkerMessage, may_be_recorded

_ADAPTERS: dict[str, TypeAdapter[WorkerMessage | WorkerHello]] = {kind: TypeAdapter(noun) for noun, kind in KIND_OF.items()}


class MalformedMessage(ValueError):
    """A line that is not a message. The sender's fault; the receiver counts it and goes on."""


def decode(line: bytes) -> WorkerMessage | WorkerHello:
    """The message of one line (with or without its newline).

    Raises `MalformedMessage` for everything that is not one: bad JSON, an unknown kind, a missing or extra field, a wrong type.
    """
    if len(line) > LINE_LIMIT:
        raise MalformedMessage("the line is too long")
    try:
        parsed = from_json(line, allow_inf_nan=False)
    except ValueError as error:
        raise MalformedMessage(f"not JSON: {error}") from None
    if not isinstance(parsed, dict) or len(parsed) != 1:
        raise MalformedMessage("not an object with one key")
    ((kind, body),) = parsed.items()
    adapter = _ADAPTERS.get(kind)
    if adapter is None:
        raise MalformedMessage("unknown kind of message")
    try:
        message = adapter.validate_python(body)
    except (ValidationError, RecursionError) as error:
        raise MalformedMessage(f"not a {kind}: {type(error).__name__}") from None
    if not _has_valid_numbers(message):
        raise MalformedMessage(f"a {kind} with an impossible number")
    return message


def _has_valid_numbers(message: WorkerMessage | WorkerHello) -> bool:
    """Numbers that SQLite and a calendar can hold, and that a metric can be."""
    value = getattr(message, "value", 0.0)
    if not math.isfinite(value) or (isinstance(message, CounterDelta) and value < 0):
        return False
    when = getattr(message, "when", 0.0)
    count = getattr(message, "count", 1)
    minute = getattr(message, "minute", 0)
    return math.isfinite(when) and 0 <= when < 2**40 and 0 < count < 2**40 and 0 <= minute < 2**34


@dataclass(frozen=True, slots=True)
class MessageBatch:
    """What one worker sent in one piece. `left` is true for the last one of a connection: the worker's gauges count no more."""

    worker: str
    role: str
    messages: tuple[WorkerMessage, ...]
    malformed: int = 0
    left: bool = False


class EventReceiver:
    """Control's side: listens at a socket of mode 0600 and hands out deliveries in the order in which they came."""

    def __init__(self, path: Path, *, backlog: int = 64) -> None:
        """`backlog`: deliveries that may wait. When it is full, reading stops, and the workers' couriers do the dropping."""
        self._path = path
        self._deliveries: asyncio.Queue[MessageBatch] = asyncio.Queue(backlog)
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

    async def deliveries(self) -> AsyncIterator[MessageBatch]:
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
        lines = _LineSplitter()
        sender = WorkerHello("", "")
        try:
            while data := await reader.read(LINE_LIMIT):
                sender, delivery = self._unpack(sender, lines.feed(data), lines.take_overlong())
                if delivery.messages or delivery.malformed:
                    await self._deliveries.put(delivery)
            await self._deliveries.put(MessageBatch(sender.worker, sender.role, (), left=True))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
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
                messages.append(message)
        self.malformed += malformed
        return sender, MessageBatch(sender.worker, sender.role, tuple(messages), malformed)


class _LineSplitter:
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
