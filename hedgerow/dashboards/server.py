"""The web server: HTTP and HTTPS on one port, and HTTP on a Unix socket for the command line.

No client can exclude the others: connections and work are shared by class of client, and requests and responses have
deadlines.

uvicorn serves HTTP. `WebServer` is a subclass of its `Server` with other listeners. The version is pinned, since the
overridden methods are not documented as hooks. `check_uvicorn` verifies the names.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import Server, ServerState

from hedgerow.client_classes import unnamed_client
from hedgerow.dashboards.accounts import LOCAL
from hedgerow.dashboards.compression import CompressedResponses
from hedgerow.dashboards.deadlines import READING_TIMEOUT_S, REQUEST_TIMEOUT_S, DeadlineProtocol
from hedgerow.dashboards.fair_requests import FairRequests, PersonFinder
from hedgerow.dashboards.listener import DualProtocolListener, TlsContextProvider
from hedgerow.dashboards.relay import RelayedProtocol, RelayListener, with_relayed_client
from hedgerow.dashboards.web_places import ClientFinder, WebPlaces
from hedgerow.sockets import bind_unix_socket
from hedgerow.ticks import next_tick

_BACKLOG = 128
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid

type ProtocolFactory = Callable[[], asyncio.Protocol]

_UVICORN_NAMES: dict[type, tuple[str, ...]] = {
    Server: ("serve", "startup", "capture_signals", "main_loop", "on_tick"),
    ServerState: ("__init__",),
    H11Protocol: (
        "connection_made",
        "data_received",
        "eof_received",
        "connection_lost",
        "pause_writing",
        "resume_writing",
        "shutdown",
    ),
}


def check_uvicorn() -> None:
    """Raise RuntimeError if uvicorn lacks a name that `WebServer` or `DeadlineProtocol` relies on."""
    missing = [
        f"{owner.__name__}.{name}"
        for owner, names in _UVICORN_NAMES.items()
        for name in names
        if name not in vars(owner)
    ]
    if not hasattr(ServerState(), "connections"):
        missing.append("ServerState.connections")
    if missing:
        raise RuntimeError(
            f"uvicorn {uvicorn.__version__} lacks {', '.join(missing)}: install the version in pyproject.toml"
        )


def listen_locally(path: Path) -> socket.socket:
    """Return a Unix socket that listens at `path` with mode 0600 and replaces a stale one. Raises OSError.

    The mode of the socket and of its folder admit root and the user that runs Hedgerow. `UnixSocketProtocol` checks the
    peer as well, in case somebody opens the folder to others.
    """
    return bind_unix_socket(path, socket.SOCK_STREAM, 128)


def is_allowed_user(uid: int) -> bool:
    """Return whether processes of a user may use the Unix socket."""
    return uid in {0, os.geteuid()}


class UnixSocketProtocol(asyncio.Protocol):
    """First protocol of a connection on the Unix socket.

    It checks the peer's user (SO_PEERCRED, unix(7)) and hands over to `protocol`.
    """

    def __init__(self, protocol: ProtocolFactory) -> None:
        self._protocol = protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's class does not derive from it
        raw = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        if not is_allowed_user(_CREDENTIALS.unpack(raw)[1]):
            transport.abort()
            return
        protocol = self._protocol()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)


def mark_local(app: ASGIApp) -> ASGIApp:
    """Return the app for requests over the Unix socket. The mark is in the scope, which no client can write."""

    async def marked(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, LOCAL: True}, receive, send)

    return marked


class WebServer(Server):
    """uvicorn's server as part of a process that handles its own signals.

    `local` configures the app on the Unix socket `unix_socket`.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        local: uvicorn.Config,
        relayed: uvicorn.Config,
        places: WebPlaces,
        tls: TlsContextProvider,
        unix_socket: socket.socket | None,
        relay_socket: socket.socket | None,
        on_listening: Callable[[], None],
    ) -> None:
        check_uvicorn()
        super().__init__(config)
        self._local, self._relayed, self._places, self._tls = local, relayed, places, tls
        self._unix_socket, self._relay_socket, self._on_listening = unix_socket, relay_socket, on_listening
        self.servers = []

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        self.servers = []
        for listener in sockets or []:
            listener.listen(_BACKLOG)
            factory = functools.partial(self._protocol, self.config)
            self.servers.append(DualProtocolListener(listener, factory, self._tls, self._places))  # type: ignore[arg-type]
        if self._unix_socket is not None:
            self._local.load()
            protocol = functools.partial(UnixSocketProtocol, self._protocol(self._local))
            self.servers.append(await asyncio.get_running_loop().create_unix_server(protocol, sock=self._unix_socket))
        if self._relay_socket is not None:
            self._relayed.load()
            introduced = functools.partial(
                RelayedProtocol, functools.partial(self._protocol, self._relayed), self._places
            )
            self.servers.append(RelayListener(self._relay_socket, introduced))  # type: ignore[arg-type]
        self._on_listening()

    async def main_loop(self) -> None:
        """Renew the date of responses once a second until the server ends.

        uvicorn's own loop runs ten times as often.
        """
        while not await self.on_tick(0):
            await next_tick(1.0)

    def stop_listening(self) -> None:
        """Release the listening sockets, whether or not the server was shut down."""
        for each in self.servers:
            each.close()

    def _protocol(self, config: uvicorn.Config, state: dict[str, Any] | None = None) -> ProtocolFactory:
        http_class: Any = config.http_protocol_class
        return functools.partial(http_class, config=config, server_state=self.server_state, app_state=state or {})


def web_server(
    app: ASGIApp,
    *,
    tls: TlsContextProvider = lambda: None,
    client_of: ClientFinder = unnamed_client,
    person_of: PersonFinder = lambda _head: "",
    request_timeout: float = REQUEST_TIMEOUT_S,
    reading_timeout: float = READING_TIMEOUT_S,
    unix_socket: socket.socket | None = None,
    relay_socket: socket.socket | None = None,
    on_listening: Callable[[], None] = lambda: None,
) -> WebServer:
    """Return a server for `create_app`'s application; run `await server.serve(sockets=[...])` with listening sockets.

    It calls `on_listening` once it accepts connections. Their limit does not count for `unix_socket`, which
    `listen_locally` returns. On `relay_socket`, of `bind_datagrams`, the proxy relays requests of devices. `client_of`
    and `person_of` tell clients apart.
    """
    places = WebPlaces(client_of)
    limited = FairRequests(places, person_of).wrap(CompressedResponses(app))
    protocol = functools.partial(DeadlineProtocol, request_timeout, reading_timeout)
    return WebServer(
        config=_config(limited, protocol),
        local=_config(mark_local(limited), protocol),
        relayed=_config(with_relayed_client(limited), protocol),
        places=places,
        tls=tls,
        unix_socket=unix_socket,
        relay_socket=relay_socket,
        on_listening=on_listening,
    )


def _config(app: ASGIApp, protocol: Callable[..., asyncio.Protocol]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], protocol),
        proxy_headers=False,  # a device could write any address into forwarded headers
        server_header=False,
        date_header=True,
        access_log=False,
        log_config=None,
        lifespan="off",
        ws="none",
        timeout_keep_alive=15,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=16 * 1024,
    )
