"""The acceptor of HTTP and HTTPS connections on one port.

The first byte of a TCP connection tells the protocol (22 begins a TLS record, RFC 8446, section 5.1), so one address
works for both, and a page without TLS can test whether the device trusts our certificate.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any

from hedgerow.dashboards.deadlines import PLACE
from hedgerow.dashboards.web_places import WebPlace, WebPlaces

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S = 10.0
"""Maximum time until the first byte of a connection, and again for its TLS handshake."""

_TLS_HANDSHAKE_BYTE = b"\x16"
_ACCEPT_BATCH = 32
_RESOURCE_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

type ProtocolFactory = Callable[[dict[str, Any]], Callable[[], asyncio.Protocol]]
"""Returns the factory of HTTP protocols whose connections carry a state."""

type TlsContextProvider = Callable[[], ssl.SSLContext | None]


class DualProtocolListener:
    """The acceptor of HTTP and HTTPS connections on a listening socket, until `close`. Create it inside the event loop.

    `tls` returns the current TLS context, or None without TLS.
    """

    def __init__(
        self, listener: socket.socket, protocol: ProtocolFactory, tls: TlsContextProvider, places: WebPlaces
    ) -> None:
        self._listener, self._protocol, self._tls, self._places = listener, protocol, tls, places
        self._handshakes: set[asyncio.Task[None]] = set()
        self._resume_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    def close(self) -> None:
        self._loop.remove_reader(self._listener)
        if self._resume_timer is not None:
            self._resume_timer.cancel()
        for handshake in tuple(self._handshakes):
            handshake.cancel()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._handshakes, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(_ACCEPT_BATCH):
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _RESOURCE_ERRNOS:  # the socket stays readable: without a pause this would loop
                    self._loop.remove_reader(self._listener)
                    self._resume_timer = self._loop.call_later(1.0, self._loop.add_reader, self._listener, self._accept)
                log.error("Cannot accept a connection to the pages: %s", error)
                return
            if (place := self._places.admit(address[0], connection.close)) is None:
                connection.close()
                continue
            connection.setblocking(False)
            # Without it, a body waits 40 ms for the client's acknowledgement of its head.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handshake = self._loop.create_task(self._start_connection(connection, place))
            place.on_end = handshake.cancel
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _start_connection(self, connection: socket.socket, place: WebPlace) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                is_tls = await self._first_byte(connection) == _TLS_HANDSHAKE_BYTE
            context = self._tls() if is_tls else None
            if is_tls and context is None:
                raise ConnectionAbortedError
            timeout, protocol = HANDSHAKE_TIMEOUT_S if is_tls else None, self._protocol({PLACE: place})
            await self._loop.connect_accepted_socket(protocol, connection, ssl=context, ssl_handshake_timeout=timeout)
        except BaseException as error:
            connection.close()
            place.leave()
            if not isinstance(error, OSError):  # clients may disconnect, time out or reject our certificate
                raise

    async def _first_byte(self, connection: socket.socket) -> bytes:
        """Peek at the first byte: asyncio's start_tls cannot take bytes that were already read.

        Raises OSError if the client leaves.
        """
        readable = asyncio.Event()
        self._loop.add_reader(connection, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(connection)
        return connection.recv(1, socket.MSG_PEEK)
