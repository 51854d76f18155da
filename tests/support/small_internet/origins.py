"""HTTP and HTTPS origins on loopback addresses, one pair of ports for all of them, with every connection recorded.

The certificate follows the name the client asks for (SNI): a valid one from the test's authority, except for
`self-signed.example`, `expired.example` and `wrong-name.example`. HTTP/2 is offered by the hosts of `HTTP2_HOSTS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence

from small_internet.authority import Authority, Leaf, server_context
from small_internet.background import BackgroundLoop, background_loop
from small_internet.exchange import ConnectionRecord, serve_http1
from small_internet.http2 import Http2Server
from small_internet.pages import respond

HTTP2_HOSTS = frozenset({"h2.example", "www.google.com", "forcesafesearch.google.com", "www.youtube.com"})
HEAD_LIMIT = 1 << 18
BACKLOG = 512
HANDSHAKE_SECONDS = 10.0


class Origins:
    """The handle of running origins. Made by `origins(...)`; its methods are safe to call from the test's thread."""

    def __init__(
        self, authority: Authority, http_ports: Sequence[int], https_ports: Sequence[int], loop: BackgroundLoop
    ) -> None:
        self.authority = authority
        self.http_ports, self.https_ports = tuple(http_ports), tuple(https_ports)
        self._loop = loop
        self._connections: list[ConnectionRecord] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._contexts: dict[str, ssl.SSLContext] = {}

    @property
    def http_port(self) -> int:
        """The port for URLs: 80 where the test may bind it, else a free high one."""
        return self.http_ports[0]

    @property
    def https_port(self) -> int:
        return self.https_ports[0]

    @property
    def ports(self) -> list[int]:
        return [*self.http_ports, *self.https_ports]

    def url(self, host: str, path: str = "/", scheme: str = "https") -> str:
        """A URL of these origins, without the port where it is the scheme's own."""
        port = self.https_port if scheme == "https" else self.http_port
        shown = "" if (scheme, port) in {("http", 80), ("https", 443)} else f":{port}"
        return f"{scheme}://{host}{shown}{path}"

    def connections(self, address: str | None = None) -> list[ConnectionRecord]:
        """All connections accepted so far, or those to one address, oldest first."""
        return self._loop.call(lambda: [each for each in self._connections if address in (None, each.address)])

    def requests(self, host: str | None = None) -> list[tuple[str, str]]:
        """(host, target) of all requests so far, or of those for one host; ports are cut off the host."""
        asked = [request for connection in self.connections() for request in connection.requests]
        found = [(request.host.rpartition(":")[0] or request.host, request.target) for request in asked]
        return [pair for pair in found if host in (None, pair[0])]

    def bytes_sent(self, address: str | None = None) -> int:
        return sum(connection.sent for connection in self.connections(address))

    def bytes_received(self, address: str | None = None) -> int:
        return sum(connection.received for connection in self.connections(address))

    def forget_connections(self) -> None:
        """End those that are open, which proxies keep for their next request, and count from nothing."""
        self._loop.run(self._forget())

    async def _forget(self) -> None:
        writers, self._writers, self._connections = self._writers, [], []
        for writer in writers:
            writer.close()
        if closing := [asyncio.create_task(writer.wait_closed()) for writer in writers]:
            await asyncio.wait(closing, timeout=1.0)
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)

    def context_for(self, name: str | None) -> ssl.SSLContext:
        """The TLS context for one server name; called on the servers' loop."""
        wanted = name or "localhost"
        if wanted not in self._contexts:
            alpn = ("h2", "http/1.1") if wanted in HTTP2_HOSTS else ("http/1.1",)
            self._contexts[wanted] = server_context(self._leaf_for(wanted), alpn)
        return self._contexts[wanted]

    def _leaf_for(self, name: str) -> Leaf:
        match name:
            case "self-signed.example" | "two-addresses.example":
                return self.authority.self_signed_leaf(name)
            case "expired.example":
                return self.authority.expired_leaf(name)
            case "wrong-name.example":
                return self.authority.leaf("another-name.example")
            case _:
                return self.authority.leaf(name)

    def accept(self, writer: asyncio.StreamWriter, *, is_tls: bool) -> ConnectionRecord:
        """Records a connection the moment it is accepted, before any byte of it is read."""
        address, port = writer.get_extra_info("sockname")[:2]
        record = ConnectionRecord(address, port, writer.get_extra_info("peername")[:2], is_tls)
        self._connections.append(record)
        self._writers.append(writer)
        return record

    def left(self, writer: asyncio.StreamWriter) -> None:
        """The connection is over."""
        if writer in self._writers:
            self._writers.remove(writer)


async def _serve(
    origins: Origins, record: ConnectionRecord, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        if record.is_tls:
            await _start_tls(origins, record, writer)
        if record.alpn == "h2":
            await Http2Server(reader, writer, record, respond).serve()
        else:
            await serve_http1(reader, writer, record, respond)
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, TimeoutError) as error:
        record.tls_error = str(error) if isinstance(error, ssl.SSLError) else ""
    finally:
        record.is_open = False
        origins.left(writer)
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
            await writer.wait_closed()


async def _start_tls(origins: Origins, record: ConnectionRecord, writer: asyncio.StreamWriter) -> None:
    # The name is known only inside the handshake, so it starts with a context of no site and changes to the site's.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        record.sni = name or ""
        connection.context = origins.context_for(name)

    context.sni_callback = choose
    plain = writer.transport
    await writer.start_tls(context, ssl_handshake_timeout=HANDSHAKE_SECONDS, ssl_shutdown_timeout=1.0)
    if writer.transport is None:  # asyncio leaves none where the client hung up on the last byte of the handshake
        writer._transport = plain
        raise ConnectionResetError
    record.alpn = writer.get_extra_info("ssl_object").selected_alpn_protocol() or ""


def bind_to(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Listening sockets on all addresses with one port; 0 stands for one that is free on the first. Raises OSError."""
    sockets: list[socket.socket] = []
    try:
        for address in addresses:
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            sockets.append(made)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setblocking(False)
            made.bind((address, port))
            # Two sockets with SO_REUSEADDR may both be bound as long as neither listens: only this claims the port.
            made.listen(BACKLOG)
            port = made.getsockname()[1]
    except OSError:
        for taken in sockets:
            taken.close()
        raise
    return sockets


def bind_free(addresses: Sequence[str], tries: int = 50) -> list[socket.socket]:
    """Sockets on one high port that is free on every address."""
    for _ in range(tries - 1):
        with contextlib.suppress(OSError):
            return bind_to(addresses, 0)
    return bind_to(addresses, 0)


@contextlib.contextmanager
def origins(
    authority: Authority, addresses: Sequence[str], well_known: Sequence[socket.socket] = ()
) -> Iterator[Origins]:
    """Running origins on `addresses` (and on ::1): HTTP on one free port, HTTPS on another.

    `well_known` are further sockets that were bound to ports 80 and 443 already; those ports then come first in URLs.
    """
    everywhere = [*addresses, "::1"]
    plain, secure = bind_free(everywhere), bind_free(everywhere)
    http = [sock for sock in well_known if sock.getsockname()[1] == 80] + plain
    https = [sock for sock in well_known if sock.getsockname()[1] == 443] + secure
    with background_loop("origins") as loop:
        handle = Origins(authority, _ports(http), _ports(https), loop)
        closing = loop.run(_listen(handle, http, https))
        try:
            yield handle
        finally:
            loop.run(closing.aclose())


def _ports(sockets: Sequence[socket.socket]) -> list[int]:
    return list(dict.fromkeys(sock.getsockname()[1] for sock in sockets))


async def _listen(
    handle: Origins, http: Sequence[socket.socket], https: Sequence[socket.socket]
) -> contextlib.AsyncExitStack:
    closing = contextlib.AsyncExitStack()
    tasks: set[asyncio.Task[None]] = set()
    for is_tls, sockets in ((False, http), (True, https)):

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_tls: bool = is_tls) -> None:
            # Reading must wait, or a ClientHello that comes at once would be read before TLS has begun.
            if is_tls:
                assert isinstance(writer.transport, asyncio.Transport)
                writer.transport.pause_reading()
            task = asyncio.create_task(_serve(handle, handle.accept(writer, is_tls=is_tls), reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        for sock in sockets:
            listener = await asyncio.start_server(accept, sock=sock, limit=HEAD_LIMIT, backlog=BACKLOG)
            closing.callback(listener.close)
    return closing
