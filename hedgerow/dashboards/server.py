"""The web server: HTTP and HTTPS on one port, and HTTP on a Unix socket for the command line.

The first byte of a TCP connection tells the protocol (22 begins a TLS record, RFC 8446, section 5.1), so one address works for both, and
a page without TLS can test whether the device trusts our certificate. No device can exclude the others: connections per address are
limited, and each request has a deadline.

uvicorn serves HTTP. It is pinned to an exact version, because `WebServer` replaces its listeners; `check_uvicorn` verifies the names that
it relies on.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import Server, ServerState

from hedgerow.dashboards.accounts import LOCAL
from hedgerow.dashboards.relay import RelayedProtocol, RelayListener, with_relayed_client
from hedgerow.journal.lanes import Lane, current_lane
from hedgerow.sockets import bind_unix_socket

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S = 10.0
"""Maximum time until the first byte of a connection, and again for its TLS handshake."""

REQUEST_TIMEOUT_S = 20.0
"""Maximum time for a request to arrive with its body, from the connection or from its first byte."""

MAX_CONNECTIONS_PER_ADDRESS = 32
"""A browser opens six. This machine is not limited: a proxy in front of us connects from it."""

_LOOPBACK = frozenset({"127.0.0.1", "::1"})
_TLS_HANDSHAKE_BYTE = b"\x16"
_ACCEPT_BATCH = 32
_MAX_CONNECTIONS = 200
_RESOURCE_ERRNOS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_DEADLINE = "hedgerow.deadline"

type ProtocolFactory = Callable[[], asyncio.Protocol]
type TlsContextProvider = Callable[[], ssl.SSLContext | None]

_UVICORN_NAMES: dict[type, tuple[str, ...]] = {
    Server: ("serve", "startup", "capture_signals"),
    ServerState: ("__init__",),
    H11Protocol: ("connection_made", "data_received", "eof_received", "connection_lost", "pause_writing", "resume_writing", "shutdown"),
}


def check_uvicorn() -> None:
    """Raise RuntimeError if uvicorn lacks a name that `WebServer` or `DeadlineProtocol` relies on."""
    missing = [f"{owner.__name__}.{name}" for owner, names in _UVICORN_NAMES.items() for name in names if name not in vars(owner)]
    if not hasattr(ServerState(), "connections"):
        missing.append("ServerState.connections")
    if missing:
        raise RuntimeError(f"uvicorn {uvicorn.__version__} lacks {', '.join(missing)}: install the version in pyproject.toml")


class DualProtocolListener:
    """The acceptor of HTTP and HTTPS connections on a listening socket, until `close`. Create it inside the event loop.

    `tls` returns the current TLS context, or None without TLS.
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
            if len(self._handshakes) >= self._max_connections or not self._has_room(address[0]):
                connection.close()
                continue
            connection.setblocking(False)
            handshake = self._loop.create_task(self._start_connection(connection, address[0]))
            self._handshakes[handshake] = address[0]
            handshake.add_done_callback(self._handshakes.pop)

    def _has_room(self, address: str) -> bool:
        self._connections = [each for each in self._connections if not each[0].is_closing()]
        count = sum(each == address for each in self._handshakes.values()) + sum(each == address for _, each in self._connections)
        return count < MAX_CONNECTIONS_PER_ADDRESS or address.removeprefix("::ffff:") in _LOOPBACK

    async def _start_connection(self, connection: socket.socket, address: str) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                is_tls = await self._first_byte(connection) == _TLS_HANDSHAKE_BYTE
            context = self._tls() if is_tls else None
            if is_tls and context is None:
                connection.close()
                return
            timeout = HANDSHAKE_TIMEOUT_S if is_tls else None
            transport, _ = await self._loop.connect_accepted_socket(self._protocol, connection, ssl=context, ssl_handshake_timeout=timeout)
            self._connections.append((transport, address))
        except BaseException as error:
            connection.close()
            if not isinstance(error, OSError):  # clients may disconnect, time out or reject our certificate
                raise

    async def _first_byte(self, connection: socket.socket) -> bytes:
        """Peek at the first byte: asyncio's start_tls cannot take bytes that were already read. Raises OSError if the client leaves."""
        readable = asyncio.Event()
        self._loop.add_reader(connection, readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(connection)
        return connection.recv(1, socket.MSG_PEEK)


class DeadlineProtocol(asyncio.Protocol):
    """uvicorn's HTTP protocol with a deadline for each request, so that slow clients cannot hold connections.

    The time runs while the server waits for the client: until the head is complete, and while the application waits for the body. Inside
    the application, which finds this object in the scope's state, `limit_requests` stops it. Between two requests uvicorn's keep-alive
    timeout applies.
    """

    def __init__(
        self, timeout: float, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:  # fmt: skip
        self._timeout, self._left, self._is_idle = timeout, timeout, True
        self._timer: asyncio.TimerHandle | None = None
        self.owes_response = False
        self._http = H11Protocol(config, server_state, {**app_state, _DEADLINE: self}, _loop)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.begin_request()
        self._http.connection_made(self._transport)

    def data_received(self, data: bytes) -> None:
        if self._is_idle:
            self.begin_request()
        self._http.data_received(data)

    def eof_received(self) -> bool:
        """Finish a response that has not begun, to a client that has closed its side. asyncio's TLS has no half-closed connections."""
        self._http.eof_received()
        if not self.owes_response or self._transport.get_extra_info("ssl_object") is not None:
            return False
        self._http.shutdown()  # after the response
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop()
        self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()

    def begin_request(self) -> None:
        """Give the client the time of a whole request, unless one has begun."""
        if self._is_idle:
            self._is_idle, self._left = False, self._timeout
            self.wait()

    def wait(self) -> None:
        """Let the rest of the time run."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._left, self._transport.abort)

    def stop(self) -> None:
        """Keep the rest of the time: the server is at work, or the request is complete."""
        if self._timer is not None:
            self._left = max(0.0, self._timer.when() - asyncio.get_running_loop().time())
            self._timer.cancel()
            self._timer = None

    def end_response(self) -> None:
        """Wait for the next request."""
        self.stop()
        self._is_idle = True


def limit_requests(app: ASGIApp) -> ASGIApp:
    """Return the app with messages to the `DeadlineProtocol` of each connection."""

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        current_lane.set(Lane.PAGES)  # uvicorn runs each request in a task of its own
        deadline = scope.get("state", {}).pop(_DEADLINE, None)
        if scope["type"] != "http" or deadline is None:
            await app(scope, receive, send)
            return
        deadline.begin_request()  # a pipelined request came with the one before
        deadline.stop()  # the application may have to be loaded first
        deadline.owes_response = True
        headers = Headers(scope=scope)
        is_complete = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers

        async def receive_limited() -> Message:
            nonlocal is_complete
            if not is_complete:
                deadline.wait()
            message = await receive()
            deadline.stop()
            is_complete = is_complete or (message["type"] == "http.request" and not message.get("more_body", False))
            return message

        async def send_limited(message: Message) -> None:
            deadline.owes_response = False
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                deadline.end_response()

        await app(scope, receive_limited, send_limited)

    return limited


def listen_locally(path: Path) -> socket.socket:
    """Return a Unix socket that listens at `path` with mode 0600 and replaces a stale one. Raises OSError.

    The mode of the socket and of its folder admit root and the user that runs Hedgerow. `UnixSocketProtocol` checks the peer as well, in
    case somebody opens the folder to others.
    """
    return bind_unix_socket(path, socket.SOCK_STREAM, 128)


def is_allowed_user(uid: int) -> bool:
    """Return whether processes of a user may use the Unix socket."""
    return uid in {0, os.geteuid()}


class UnixSocketProtocol(asyncio.Protocol):
    """First protocol of a connection on the Unix socket. It checks the peer's user (SO_PEERCRED, unix(7)) and hands over to `protocol`."""

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
    """uvicorn's server as part of a process that handles its own signals. `local` configures the app on the Unix socket `unix_socket`."""

    def __init__(
        self, config: uvicorn.Config, local: uvicorn.Config, tls: TlsContextProvider, unix_socket: socket.socket | None,
        relayed: uvicorn.Config, relay_socket: socket.socket | None, on_listening: Callable[[], None],
    ) -> None:  # fmt: skip
        check_uvicorn()
        super().__init__(config)
        self._local, self._tls, self._unix_socket = local, tls, unix_socket
        self._relayed, self._relay_socket, self._on_listening = relayed, relay_socket, on_listening

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])
        max_connections = self.config.limit_concurrency or 200
        self.servers = []
        for listener in sockets or []:
            # Connections inherit it. Without it, a body waits 40 ms for the client's acknowledgement of its head.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.servers.append(DualProtocolListener(listener, self._protocol(self.config), self._tls, max_connections))  # type: ignore[arg-type]
        if self._unix_socket is not None:
            self._local.load()
            protocol = functools.partial(UnixSocketProtocol, self._protocol(self._local))
            self.servers.append(await asyncio.get_running_loop().create_unix_server(protocol, sock=self._unix_socket))
        if self._relay_socket is not None:
            self._relayed.load()
            introduced = functools.partial(RelayedProtocol, functools.partial(self._protocol, self._relayed))
            self.servers.append(RelayListener(self._relay_socket, introduced))  # type: ignore[arg-type]
        self._on_listening()

    def _protocol(self, config: uvicorn.Config, state: dict[str, Any] | None = None) -> ProtocolFactory:
        http_class: Any = config.http_protocol_class
        return functools.partial(http_class, config=config, server_state=self.server_state, app_state=state or {})


def web_server(
    app: ASGIApp, *, tls: TlsContextProvider = lambda: None, request_timeout: float = REQUEST_TIMEOUT_S,
    unix_socket: socket.socket | None = None, relay_socket: socket.socket | None = None, on_listening: Callable[[], None] = lambda: None,
) -> WebServer:  # fmt: skip
    """Return a server for `create_app`'s application; run `await server.serve(sockets=[...])` with listening sockets.

    It calls `on_listening` once it accepts connections. Their limit does not count for `unix_socket`, which `listen_locally` returns. On
    `relay_socket`, of `bind_datagrams`, the proxy relays requests of devices.
    """
    remote, local = _config(app, _MAX_CONNECTIONS, request_timeout), _config(mark_local(app), None, request_timeout)
    relayed = _config(with_relayed_client(app), _MAX_CONNECTIONS, request_timeout)
    return WebServer(remote, local, tls, unix_socket, relayed, relay_socket, on_listening)


def _config(app: ASGIApp, connections: int | None, request_timeout: float) -> uvicorn.Config:
    return uvicorn.Config(
        limit_requests(app),
        http=cast(type[asyncio.Protocol], functools.partial(DeadlineProtocol, request_timeout)),
        proxy_headers=False,  # a device could write any address into forwarded headers
        server_header=False,
        date_header=True,
        access_log=False,
        log_config=None,
        lifespan="off",
        ws="none",
        limit_concurrency=connections,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=16 * 1024,
    )
