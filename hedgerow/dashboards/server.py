"""One port for HTTP and HTTPS: the first byte of a connection says which (22 begins a TLS record, RFC 8446, section 5.1).

So one address leads everywhere, and a page that came without TLS can ask whether the device trusts our certificate. No device can keep the
others out: each has a share of the connections, and a request has to arrive whole in time.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from typing import Any

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S = 10.0
"""How long a client may take for its first byte, and again for its handshake."""

REQUEST_TIMEOUT_S = 20.0
"""How long a request may take from the moment it is waited for until it is there with its body."""

MAX_CONNECTIONS_PER_ADDRESS = 32
"""Connections of one address at a time; a browser has six. This machine itself may have more: a proxy in front of us comes from there."""

_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_TLS_HANDSHAKE_BYTE = b"\x16"
_ACCEPT_BATCH = 32
_RESOURCE_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

type ProtocolFactory = Callable[[], asyncio.Protocol]
type TlsContextProvider = Callable[[], ssl.SSLContext | None]


class DualProtocolListener:
    """Accepts at a listening socket until `close`; what `asyncio.Server` is for one kind of connection.

    `tls` gives the context in force, None where TLS cannot be spoken. Create it inside the event loop.
    """

    def __init__(self, listener: socket.socket, protocol: ProtocolFactory, tls: TlsContextProvider, max_connections: int) -> None:
        self._listener, self._protocol, self._tls, self._max_connections = listener, protocol, tls, max_connections
        self._handshakes: dict[asyncio.Task[None], str] = {}
        self._connections: list[tuple[asyncio.BaseTransport, str]] = []
        self._resume_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        self._loop.remove_reader(self._listener)
        if self._resume_timer is not None:
            self._resume_timer.cancel()
        for greeting in tuple(self._handshakes):
            greeting.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(_ACCEPT_BATCH):
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _RESOURCE_ERRNOS:  # it stays readable: without a pause this would go round and round
                    self._loop.remove_reader(self._listener)
                    self._resume_timer = self._loop.call_later(1.0, self._loop.add_reader, self._listener, self._accept)
                log.error("a connection to the pages could not be accepted: %s", error)
                return
            if len(self._handshakes) >= self._max_connections or not self._has_room(address[0]):
                connection.close()
                continue
            connection.setblocking(False)
            greeting = self._loop.create_task(self._start_connection(connection, address[0]))
            self._handshakes[greeting] = address[0]
            greeting.add_done_callback(self._handshakes.pop)

    def _has_room(self, address: str) -> bool:
        self._connections = [each for each in self._connections if not each[0].is_closing()]
        taken = sum(each == address for each in self._handshakes.values()) + sum(each == address for _, each in self._connections)
        return taken < MAX_CONNECTIONS_PER_ADDRESS or address.removeprefix("::ffff:") in _LOOPBACK

    async def _start_connection(self, connection: socket.socket, address: str) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                is_tls = await self._first_byte(connection) == _TLS_HANDSHAKE_BYTE
            context = self._tls() if is_tls else None
            if is_tls and context is None:
                connection.close()
                return
            patience = HANDSHAKE_TIMEOUT_S if is_tls else None
            made = await self._loop.connect_accepted_socket(self._protocol, connection, ssl=context, ssl_handshake_timeout=patience)
            self._connections.append((made[0], address))
        except BaseException as error:
            connection.close()
            if not isinstance(error, OSError):  # a client that left, waited or did not want our certificate is nobody's fault
                raise

    async def _first_byte(self, connection: socket.socket) -> bytes:
        """Looked at, not taken. Raises OSError where the client leaves instead."""
        readable = asyncio.Event()
        self._loop.add_reader(connection, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(connection)
        return connection.recv(1, socket.MSG_PEEK)


class SlowRequestCloser:
    """Ends connections whose request does not come: whoever says a byte now and then would hold them for good."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._waiting: dict[Any, tuple[object, float]] = {}

    def close_overdue(self, connections: Iterable[Any], now: float) -> None:
        """One look at uvicorn's connections, `now` in seconds of any clock that goes on. Call it every second or so."""
        before, self._waiting = self._waiting, {}
        for each in connections:
            if not _is_incomplete(each):
                continue
            last, since = before.get(each, (each.cycle, now))
            if last is not each.cycle:  # one came meanwhile, and this is the next
                since = now
            self._waiting[each] = each.cycle, since
            if now - since > self._patience:
                each.transport.abort()


def _is_incomplete(connection: Any) -> bool:
    """Whether a request is under way to us. Between two requests uvicorn keeps the time itself."""
    cycle = connection.cycle
    if cycle is None or cycle.response_complete:
        return connection.timeout_keep_alive_task is None
    return bool(cycle.more_body)
