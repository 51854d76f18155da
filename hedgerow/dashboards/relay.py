"""Requests to the pages that the proxy relays: over connections that it offers, each introduced by a line with its
client's address.

Only this program's own processes can connect there, so the line can be trusted; a header field of the client could not.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send

from hedgerow.dashboards.deadlines import PLACE
from hedgerow.dashboards.web_places import WebPlaces
from hedgerow.sockets import take_connection

CLIENT = "hedgerow.client"
_MAX_LINE = 100

type ProtocolFactory = Callable[[dict[str, Any]], Callable[[], asyncio.Protocol]]
"""Returns the factory of HTTP protocols whose scopes carry a state."""


class RelayListener:
    """The acceptor of connections that are offered on a socket of `bind_datagrams`, until `close`.

    Create it inside the event loop.
    """

    def __init__(self, listener: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._listener, self._protocol = listener, protocol
        self._starting: set[asyncio.Task[object]] = set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(listener, self._take)

    def close(self) -> None:
        self._loop.remove_reader(self._listener)
        self._listener.close()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self._starting, return_exceptions=True)

    def _take(self) -> None:
        while (connection := take_connection(self._listener)) is not None:
            task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, connection))
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)


class RelayedProtocol(asyncio.Protocol):
    """First protocol of a relayed connection.

    It reads the client's address and hands over to the HTTP protocol if that may connect.
    """

    def __init__(self, protocol: ProtocolFactory, places: WebPlaces) -> None:
        self._protocol, self._places = protocol, places
        self._begun = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._begun += data
        line, end, rest = self._begun.partition(b"\r\n")
        if not end:
            if len(self._begun) > _MAX_LINE:
                self._transport.abort()
            return
        introduction = line.decode("ascii", "replace")
        if (place := self._places.admit(introduction.partition(" ")[0], self._transport.abort)) is None:
            self._transport.abort()
            return
        protocol = self._protocol({CLIENT: introduction, PLACE: place})()
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if rest:
            protocol.data_received(rest)


def with_relayed_client(app: ASGIApp) -> ASGIApp:
    """Return the app for relayed requests, whose scopes have the address that introduced their connection."""

    async def relayed(scope: Scope, receive: Receive, send: Send) -> None:
        client, own, port = scope.get("state", {}).pop(CLIENT, "- - 0").split(" ")
        await app({**scope, "client": (client, 0), "server": (own, int(port))}, receive, send)

    return relayed
