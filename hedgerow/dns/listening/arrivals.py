"""Connections over TLS before they are any: handshakes, bounded in number, in all and for each address, and in time.

A handshake takes memory and computing before anybody has said who they are, so it must not be had for the asking.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Final

MAX_HANDSHAKES: Final = 128
MAX_HANDSHAKES_OF_ONE: Final = 16
HANDSHAKE_SECONDS: Final = 5.0
_BREATHER_SECONDS: Final = 0.1  # where the system has no room for another connection


class Arrivals:
    """Those of one worker. `turned_away` is told of each connection that is not taken."""

    def __init__(self, turned_away: Callable[[], None]) -> None:
        self._turned_away = turned_away
        self._by_address: Counter[str] = Counter()
        self._handshakes: set[asyncio.Task[None]] = set()
        self._listening: dict[asyncio.Task[None], socket.socket] = {}

    def listen(self, sock: socket.socket, tls: ssl.SSLContext, made: Callable[[], asyncio.Protocol]) -> None:
        """Accept connections on a socket that listens; `made` makes the protocol of one that is secure. The socket is closed by `close`."""
        self._listening[asyncio.get_running_loop().create_task(self._accept(sock, tls, made))] = sock

    async def close(self) -> None:
        """Take no more, and end the handshakes under way."""
        tasks = (*self._listening, *self._handshakes)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sock in self._listening.values():
            sock.close()
        self._listening.clear()

    async def _accept(self, sock: socket.socket, tls: ssl.SSLContext, made: Callable[[], asyncio.Protocol]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, peer = await loop.sock_accept(sock)
            except OSError:
                await asyncio.sleep(_BREATHER_SECONDS)
                continue
            address = peer[0]
            if len(self._handshakes) >= MAX_HANDSHAKES or self._by_address[address] >= MAX_HANDSHAKES_OF_ONE:
                self._turned_away()
                connection.close()
                continue
            self._by_address[address] += 1
            task = loop.create_task(self._secure(connection, address, tls, made))
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _secure(self, connection: socket.socket, address: str, tls: ssl.SSLContext, made: Callable[[], asyncio.Protocol]) -> None:
        loop = asyncio.get_running_loop()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with contextlib.suppress(OSError):  # ssl.SSLError and ConnectionError are such: the client's fault, and the end of it
                await loop.connect_accepted_socket(made, connection, ssl=tls, ssl_handshake_timeout=HANDSHAKE_SECONDS)
        finally:
            self._by_address[address] -= 1
            if self._by_address[address] <= 0:
                del self._by_address[address]
