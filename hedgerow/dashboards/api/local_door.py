"""The command line's way to the pages and the API: a Unix socket in the state directory, without any password or token.

The mode of the socket and of its folder lets in the user that runs Hedgerow, and root. The kernel's word on the peer is checked as well
(SO_PEERCRED, unix(7)), in case that somebody opens the folder to others.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import cast

from starlette.types import ASGIApp, Receive, Scope, Send

from hedgerow.dashboards.guard import LOCAL

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def listen_locally(path: Path) -> socket.socket:
    """A listening Unix socket at `path`, of mode 0600, over a stale one if need be. Raises OSError."""
    # Bound under another name and renamed: at no moment can another user connect, nor a command find nothing.
    fresh = path.with_name(path.name + ".new")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(fresh))
        fresh.chmod(0o600)
        listener.listen(128)
        fresh.replace(path)
    except OSError:
        listener.close()
        raise
    return listener


def mark_local(app: ASGIApp) -> ASGIApp:
    """The same app, told that its requests came over the Unix socket. No client can write that into a request."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, LOCAL: True}, receive, send)

    return marked


def may_enter(uid: int) -> bool:
    """Whether a process of this user may give orders: our own user, and root."""
    return uid in {0, os.geteuid()}


class LocalDoor(asyncio.Protocol):
    """The first protocol of a connection over the Unix socket: hands it to the one that `protocol` makes, or ends it."""

    def __init__(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._protocol = protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        raw = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if not may_enter(_CREDENTIALS.unpack(raw)[1]):
            transport.abort()
            return
        protocol = self._protocol()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
