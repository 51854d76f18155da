"""Requests to the pages that the proxy relays: over a Unix socket, each introduced by a line with the address of its client.

Only this program's own processes can connect there, so the line can be trusted; a header field of the client could not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send

CLIENT = "hedgerow.client"
_MAX_LINE = 100

type ProtocolFactory = Callable[[dict[str, Any]], Callable[[], asyncio.Protocol]]
"""Returns the factory of HTTP protocols whose scopes carry a state."""


class RelayedProtocol(asyncio.Protocol):
    """First protocol of a relayed connection. It reads the client's address and hands over to the HTTP protocol."""

    def __init__(self, protocol: ProtocolFactory) -> None:
        self._protocol = protocol
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
        protocol = self._protocol({CLIENT: line.decode("ascii", "replace")})()
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
