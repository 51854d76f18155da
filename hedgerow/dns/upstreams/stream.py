"""Upstreams over persistent TCP or TLS connections, opened to the first address that answers and again when
they end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from ipaddress import ip_address
from struct import pack
from typing import Final, Protocol

from hedgerow.dns.upstreams import responses
from hedgerow.dns.upstreams.in_flight import PendingIds
from hedgerow.dns.upstreams.upstream import MessageCallback, Resolve, UpstreamError, UpstreamQuestion, UpstreamSpec
from hedgerow.sockets import connect_first, interleave_families

IDLE_SECONDS: Final = 20.0
_CONNECT_SECONDS: Final = 3.0
_UNRESPONSIVE_SECONDS: Final = 0.9  # without any answer to a question, after which a connection may be dead


class PendingAnswer:
    """A question on a connection, for a coroutine that waits for the answer."""

    __slots__ = ("answer", "question")

    def __init__(self, question: bytes) -> None:
        self.question = question
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def deliver(self, message: bytes) -> None:
        if not self.answer.done() and responses.answers_question(message, self.question):
            self.answer.set_result(message)

    def fail(self, fault: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(fault)


class UpstreamConnection(Protocol):
    """A connection. `open`: it takes another question. `last_received_at` is on the loop's clock."""

    open: bool
    last_received_at: float

    async def exchange(self, ask: UpstreamQuestion) -> bytes:
        """Return a message that answers the question. Raises UpstreamError."""

    async def close(self) -> None: ...


class PersistentChannel(ABC):
    """A channel with one connection at a time, which `_dial` opens."""

    accepts_late_answers = False

    def __init__(self, spec: UpstreamSpec, resolve: Resolve, *, secure: bool) -> None:
        self.name = str(spec)
        self.secure = secure
        self.spec = spec
        self._resolve = resolve
        self._connection: UpstreamConnection | None = None
        self._opening: asyncio.Task[UpstreamConnection] | None = None
        self._tasks: set[asyncio.Task[bytes]] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @abstractmethod
    async def _dial(self, address: str) -> UpstreamConnection:
        """Connect to one address of the upstream. Raises OSError or UpstreamError."""

    def send(self, ask: UpstreamQuestion, _written: bytes, callback: MessageCallback) -> Callable[[], None]:
        task = asyncio.get_running_loop().create_task(self._exchange(ask))
        self._tasks.add(task)
        is_wanted = True

        def done(task: asyncio.Task[bytes]) -> None:
            self._tasks.discard(task)
            if is_wanted and not task.cancelled():
                callback(task.exception() or task.result())  # type: ignore[arg-type]  # what a task raises is an Exception

        def cancel() -> None:
            nonlocal is_wanted
            is_wanted = False  # the task may have ended in this turn of the loop, and `done` be called in the next
            task.cancel()

        task.add_done_callback(done)
        return cancel

    async def connect(self) -> None:
        """Connect and check the certificate, without asking anything. Raises UpstreamError."""
        await self._connected()

    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()
        await asyncio.gather(*self._closing)

    async def _exchange(self, ask: UpstreamQuestion) -> bytes:
        connection, fresh = await self._connected()
        try:
            return await self._ask_over(connection, ask)
        except UpstreamError:
            if fresh or connection.open:
                raise
        # The upstream may have closed the idle connection, which is not its fault.
        connection, _ = await self._connected()
        return await self._ask_over(connection, ask)

    async def _ask_over(self, connection: UpstreamConnection, ask: UpstreamQuestion) -> bytes:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            return await connection.exchange(ask)
        except asyncio.CancelledError:
            if connection.open and connection.last_received_at < began < loop.time() - _UNRESPONSIVE_SECONDS:
                self._leave(connection)
            raise

    def _leave(self, connection: UpstreamConnection) -> None:
        """Give up a connection that may be dead: the next question opens another."""
        connection.open = False
        task = asyncio.get_running_loop().create_task(connection.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _connected(self) -> tuple[UpstreamConnection, bool]:
        """Return the connection, and whether it was opened just now."""
        if self._connection is not None and self._connection.open:
            return self._connection, False
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._opened)
        # A question that times out must not cancel the handshake, or a slow line would never get a connection.
        return await asyncio.shield(self._opening), True

    def _opened(self, task: asyncio.Task[UpstreamConnection]) -> None:
        self._opening = None
        if not task.cancelled() and task.exception() is None:
            self._connection = task.result()

    async def _connect(self, address: str) -> UpstreamConnection:
        async with asyncio.timeout(_CONNECT_SECONDS):
            return await self._dial(address)

    async def _open(self) -> UpstreamConnection:
        addresses = sorted(await self._resolve(self.spec.host), key=lambda address: ":" in address)
        try:
            return await connect_first(
                interleave_families(addresses), self._connect, lambda connection: connection.close()
            )
        except (OSError, TimeoutError) as fault:
            raise UpstreamError(f"{self.name}: {str(fault) or 'no connection'}") from fault


class StreamChannel(PersistentChannel):
    """A channel over TCP, or over TLS if a context is given."""

    def __init__(self, spec: UpstreamSpec, resolve: Resolve, tls: ssl.SSLContext | None = None) -> None:
        is_loopback = spec.is_address and ip_address(spec.host.partition("%")[0]).is_loopback
        super().__init__(spec, resolve, secure=tls is not None or is_loopback)
        self._tls = tls

    async def _dial(self, address: str) -> StreamUpstreamConnection:
        name = self.spec.host if self._tls else None
        streams = await asyncio.open_connection(address, self.spec.port, ssl=self._tls, server_hostname=name)
        return StreamUpstreamConnection(*streams, padded=self._tls is not None)


class StreamUpstreamConnection:
    """One connection. `padded` hides the length of questions."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, padded: bool) -> None:
        self.waiting: PendingIds[PendingAnswer] = PendingIds()
        self.open = True
        self._reader, self._writer, self._padded = reader, writer, padded
        self._loop = asyncio.get_running_loop()
        self.last_received_at = self._loop.time()
        self._task = self._loop.create_task(self._read())

    async def exchange(self, ask: UpstreamQuestion) -> bytes:
        if not self.open:
            raise UpstreamError("connection closed")
        pending = PendingAnswer(ask.question)
        number = self.waiting.add(pending)
        body = ask.padded_body if self._padded else ask.body
        try:
            self._writer.write(pack("!HH", 2 + len(body), number) + body)
            return await pending.answer
        finally:
            del self.waiting.questions[number]

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _read(self) -> None:
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    size = int.from_bytes(await self._reader.readexactly(2))
                    message = await self._reader.readexactly(size)
                self.last_received_at = self._loop.time()
                pending = self.waiting.questions.get(int.from_bytes(message[:2]))
                if pending is not None:
                    pending.deliver(message)
        except (OSError, EOFError, TimeoutError) as fault:
            self.waiting.fail(UpstreamError(str(fault) or "connection closed"))
        finally:
            self.open = False
            self.waiting.fail(UpstreamError("connection closed"))
            self._writer.transport.abort()
