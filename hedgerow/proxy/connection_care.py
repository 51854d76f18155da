"""mitmproxy's way of handling sockets, where it leaks or hoards: closed for certain, not read while nothing can be passed on, hooks
called directly.

As with `http_engine`, mitmproxy has no place to give it a better class; `install` changes its own, once a process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from mitmproxy.proxy.commands import StartHook
from mitmproxy.proxy.mode_servers import ProxyConnectionHandler
from mitmproxy.proxy.server import ConnectionHandler

log = logging.getLogger(__name__)

_POLL = 0.02

_handle_connection = ConnectionHandler.handle_connection
_drain_writers: Any = ConnectionHandler.drain_writers


async def _handle_and_close(self: ConnectionHandler, connection: Any) -> None:
    """A task that is cancelled twice, as when client and origin end at once, would leave its socket open for good."""
    writer: Any = self.transports[connection].writer
    try:
        await _handle_connection(self, connection)
    finally:
        writer.close()


async def _drain_and_wait(self: ConnectionHandler) -> None:
    """While an origin is being dialled, its client is not read: mitmproxy would keep whatever it sends in memory."""
    await _drain_writers(self)
    while any(io.writer is None for io in self.transports.values()) and not _is_eof(self):  # noqa: ASYNC110  nothing tells
        await asyncio.sleep(_POLL)


def _is_eof(handler: ConnectionHandler) -> bool:
    """Whether the client is done: that must be noticed while dialling too."""
    io = handler.transports.get(handler.client)
    reader = io.reader if io is not None else None
    return reader is None or bool(getattr(reader, "_eof", True))


def abort_servers(handler: ConnectionHandler) -> None:
    """End a client's connections to origins at once, with what was still to be sent there."""
    for connection, io in tuple(handler.transports.items()):
        if connection is not handler.client and isinstance(io.writer, asyncio.StreamWriter):
            io.writer.transport.abort()


def _dispatching(addons: Sequence[object]) -> Callable[[ProxyConnectionHandler, StartHook], Awaitable[None]]:
    """mitmproxy walks through all addons, and those within them, for every hook; which of ours listen to what never changes."""
    listeners: dict[str, list[Callable[..., Any]]] = {}

    async def handle_hook(self: ProxyConnectionHandler, hook: StartHook) -> None:
        found = listeners.get(hook.name)
        if found is None:
            found = listeners[hook.name] = [getattr(addon, hook.name) for addon in addons if hasattr(addon, hook.name)]
        with self.timeout_watchdog.disarm():
            for listen in found:
                try:
                    result = listen(*hook.args())
                    if result is not None:
                        await result
                except Exception:
                    log.exception("%s failed", hook.name)

    return handle_hook


def install(addons: Sequence[object]) -> None:
    """`addons` are told of what happens on connections, in their order."""
    ProxyConnectionHandler.handle_hook = _dispatching(addons)  # type: ignore[method-assign, assignment]
    ConnectionHandler.handle_connection = _handle_and_close  # type: ignore[method-assign]
    ConnectionHandler.drain_writers = _drain_and_wait  # type: ignore[method-assign]
