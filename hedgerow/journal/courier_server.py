"""Control's side of the courier: the socket that workers connect to, and what they send, in the order in which it came."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from hedgerow.journal.courier import end
from hedgerow.journal.decoding import MalformedMessage, decode
from hedgerow.journal.messages import LINE_LIMIT, Hello, Message, may_be_remembered


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
            await end(writer)

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
