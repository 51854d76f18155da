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

PATIENCE_S = 10.0
"""How long a client may take for its first byte, and again for its handshake."""

PATIENCE_FOR_REQUEST_S = 20.0
"""How long a request may take from the moment it is waited for until it is there with its body."""

MOST_OF_AN_ADDRESS = 32
"""Connections of one address at a time; a browser has six. This machine itself may have more: a proxy in front of us comes from there."""

_HERE = frozenset({"127.0.0.1", "::1"})
_TLS = b"\x16"
_AT_ONCE = 32
_FULL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

type Protocol = Callable[[], asyncio.Protocol]
type Tls = Callable[[], ssl.SSLContext | None]


class FrontDoor:
    """Accepts at a listening socket until `close`; what `asyncio.Server` is for one kind of connection.

    `tls` gives the context in force, None where TLS cannot be spoken. Create it inside the event loop.
    """

    def __init__(self, listener: socket.socket, protocol: Protocol, tls: Tls, most: int) -> None:
        self._listener, self._protocol, self._tls, self._most = listener, protocol, tls, most
        self._greetings: dict[asyncio.Task[None], str] = {}
        self._greeted: list[tuple[asyncio.BaseTransport, str]] = []
        self._again: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        self._loop.remove_reader(self._listener)
        if self._again is not None:
            self._again.cancel()
        for greeting in tuple(self._greetings):
            greeting.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._greetings, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _FULL:  # it stays readable: without a pause this would go round and round
                    self._loop.remove_reader(self._listener)
                    self._again = self._loop.call_later(1.0, self._loop.add_reader, self._listener, self._accept)
                log.error("a connection to the pages could not be accepted: %s", error)
                return
            if len(self._greetings) >= self._most or not self._has_room(address[0]):
                connection.close()
                continue
            connection.setblocking(False)
            greeting = self._loop.create_task(self._greet(connection, address[0]))
            self._greetings[greeting] = address[0]
            greeting.add_done_callback(self._greetings.pop)

    def _has_room(self, address: str) -> bool:
        self._greeted = [each for each in self._greeted if not each[0].is_closing()]
        taken = sum(each == address for each in self._greetings.values()) + sum(each == address for _, each in self._greeted)
        return taken < MOST_OF_AN_ADDRESS or address.removeprefix("::ffff:") in _HERE

    async def _greet(self, connection: socket.socket, address: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                is_tls = await self._first_byte(connection) == _TLS
            context = self._tls() if is_tls else None
            if is_tls and context is None:
                connection.close()
                return
            patience = PATIENCE_S if is_tls else None
            made = await self._loop.connect_accepted_socket(self._protocol, connection, ssl=context, ssl_handshake_timeout=patience)
            self._greeted.append((made[0], address))
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


class Stragglers:
    """Ends connections whose request does not come: whoever says a byte now and then would hold them for good."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._waiting: dict[Any, tuple[object, float]] = {}

    def look(self, connections: Iterable[Any], now: float) -> None:
        """One look at uvicorn's connections, `now` in seconds of any clock that goes on. Call it every second or so."""
        before, self._waiting = self._waiting, {}
        for each in connections:
            if not _is_waited_for(each):
                continue
            last, since = before.get(each, (each.cycle, now))
            if last is not each.cycle:  # one came meanwhile, and this is the next
                since = now
            self._waiting[each] = each.cycle, since
            if now - since > self._patience:
                each.transport.abort()


def _is_waited_for(connection: Any) -> bool:
    """Whether a request is under way to us. Between two requests uvicorn keeps the time itself."""
    cycle = connection.cycle
    if cycle is None or cycle.response_complete:
        return connection.timeout_keep_alive_task is None
    return bool(cycle.more_body)
