"""Channels to upstreams: UDP with TCP on truncation, TCP and TLS with pipelining, HTTPS.

Spoofing is met with a fresh random port for every few questions, random ids, sockets that are connected (the kernel drops other senders)
and the question checked in every answer (RFC 5452).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from array import array
from collections.abc import Collection, Iterator, Sequence
from struct import pack
from typing import TYPE_CHECKING, Final

from hedgerow.dns import wire
from hedgerow.dns.upstream import (
    Ask,
    Bootstrap,
    Channel,
    Count,
    Resolve,
    UpstreamError,
    Upstreams,
    UpstreamSpec,
    parse_upstream,
    system_upstreams,
)

if TYPE_CHECKING:
    import httpx

_PORT_USES: Final = 64  # questions that share a source port before it is given up
_PORTS_OPEN: Final = 8
_DRAIN: Final = 64
_IDLE_SECONDS: Final = 20.0
_CONNECT_SECONDS: Final = 3.0


def open_channel(spec: UpstreamSpec, resolve: Resolve, tls: ssl.SSLContext | None = None) -> Channel:
    """The channel for an upstream; nothing is connected yet. `tls` verifies tls and https upstreams, by the system's CAs if None."""
    match spec.scheme:
        case "udp":
            return UdpChannel(spec, StreamChannel(spec, resolve))
        case "tcp":
            return StreamChannel(spec, resolve)
        case "tls":
            return StreamChannel(spec, resolve, tls or ssl.create_default_context())
        case "https":
            return HttpsChannel(spec, resolve, tls or ssl.create_default_context())
        case _:
            raise ValueError(f"unknown kind of upstream: {spec}")


def _random_numbers() -> Iterator[int]:
    """16 bits each from the system's random source, fetched many at a time: a system call for each would be felt."""
    while True:
        yield from array("H", os.urandom(128))


class _Waiting:
    """Who waits for which id on one socket or connection."""

    def __init__(self) -> None:
        self.futures: dict[int, tuple[bytes, asyncio.Future[bytes]]] = {}
        self._ids = _random_numbers()

    def add(self, question: bytes) -> tuple[int, asyncio.Future[bytes]]:
        number = next(self._ids)
        while number in self.futures:
            number = next(self._ids)
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.futures[number] = (question, future)
        return number, future

    def deliver(self, message: bytes) -> None:
        """Hand a message to whoever asked exactly this; anything else is dropped."""
        question, future = self.futures.get(int.from_bytes(message[:2]), (b"", None))
        if future is not None and not future.done() and wire.answers_question(message, question):
            future.set_result(message)

    def fail(self, fault: Exception) -> None:
        for _, future in self.futures.values():
            if not future.done():
                future.set_exception(fault)


class _Port:
    """One connected UDP socket with a source port that the kernel picked at random."""

    def __init__(self, spec: UpstreamSpec) -> None:
        family = socket.AF_INET6 if ":" in spec.host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.waiting = _Waiting()
        self.uses = 0
        try:
            self.socket.connect((spec.host, spec.port))
            asyncio.get_running_loop().add_reader(self.socket, self._drain)
        except OSError:
            self.socket.close()
            raise

    def _drain(self) -> None:
        for _ in range(_DRAIN):
            try:
                message = self.socket.recv(4096)
            except BlockingIOError:
                return
            except OSError as fault:  # an ICMP error: nobody listens there
                self.waiting.fail(UpstreamError(str(fault)))
                return
            self.waiting.deliver(message)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.socket)
        self.socket.close()
        self.waiting.fail(UpstreamError("closed"))


class UdpChannel:
    """Datagrams; a truncated answer is asked for again over the stream."""

    def __init__(self, spec: UpstreamSpec, stream: StreamChannel) -> None:
        self.name = str(spec)
        self._spec, self._stream = spec, stream
        self._ports: list[_Port] = []
        self._random = _random_numbers()

    async def exchange(self, ask: Ask) -> bytes:
        port = self._port()
        number, future = port.waiting.add(ask.question)
        try:
            port.socket.send(pack("!H", number) + ask.body)
            message = await future
        finally:
            del port.waiting.futures[number]
            if port.uses >= _PORT_USES and not port.waiting.futures:
                self._retire(port)
        if wire.is_truncated(message):
            return await self._stream.exchange(ask)
        return message

    async def close(self) -> None:
        for port in self._ports:
            port.close()
        self._ports.clear()
        await self._stream.close()

    def _port(self) -> _Port:
        usable = [port for port in self._ports if port.uses < _PORT_USES]
        if len(usable) < _PORTS_OPEN:
            port = _Port(self._spec)
            self._ports.append(port)
        else:
            port = usable[next(self._random) % len(usable)]
        port.uses += 1
        return port

    def _retire(self, port: _Port) -> None:
        if port in self._ports:
            self._ports.remove(port)
            port.close()


class _Connection:
    """One TCP or TLS connection that carries many questions at once (RFC 7766)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.waiting = _Waiting()
        self.open = True
        self._reader, self._writer = reader, writer
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def exchange(self, ask: Ask) -> bytes:
        number, future = self.waiting.add(ask.question)
        try:
            self._writer.write(pack("!HH", 2 + len(ask.body), number) + ask.body)
            return await future
        finally:
            del self.waiting.futures[number]

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _read(self) -> None:
        try:
            while True:
                async with asyncio.timeout(_IDLE_SECONDS):
                    size = int.from_bytes(await self._reader.readexactly(2))
                    message = await self._reader.readexactly(size)
                self.waiting.deliver(message)
        except (OSError, EOFError, TimeoutError) as fault:
            self.waiting.fail(UpstreamError(str(fault) or "connection closed"))
        finally:
            self.open = False
            self.waiting.fail(UpstreamError("connection closed"))
            self._writer.transport.abort()


class StreamChannel:
    """TCP, or TLS when a context is given; the connection is kept while it is used."""

    def __init__(self, spec: UpstreamSpec, resolve: Resolve, tls: ssl.SSLContext | None = None) -> None:
        self.name = str(spec)
        self._spec, self._resolve, self._tls = spec, resolve, tls
        self._connection: _Connection | None = None
        self._opening: asyncio.Task[_Connection] | None = None

    async def exchange(self, ask: Ask) -> bytes:
        connection, fresh = await self._connected()
        try:
            return await connection.exchange(ask)
        except UpstreamError:
            if fresh:
                raise
        # A kept connection may have been closed under us: that says nothing about the upstream.
        connection, _ = await self._connected()
        return await connection.exchange(ask)

    async def close(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        if self._connection is not None:
            await self._connection.close()

    async def _connected(self) -> tuple[_Connection, bool]:
        """The connection, and whether it was opened just now."""
        if self._connection is not None and self._connection.open:
            return self._connection, False
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._opened)
        # A question that gives up must not take the handshake with it: on a slow line no connection would ever come about.
        return await asyncio.shield(self._opening), True

    def _opened(self, task: asyncio.Task[_Connection]) -> None:
        self._opening = None
        if not task.cancelled() and task.exception() is None:
            self._connection = task.result()

    async def _open(self) -> _Connection:
        fault: Exception = UpstreamError(f"{self.name}: no address")
        name = self._spec.host if self._tls else None
        for address in await self._resolve(self._spec.host):
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    return _Connection(*await asyncio.open_connection(address, self._spec.port, ssl=self._tls, server_hostname=name))
            except (OSError, TimeoutError) as error:
                fault = error
        raise UpstreamError(str(fault)) from fault


class HttpsChannel:
    """DNS over HTTPS (RFC 8484), POST over HTTP/2; the name is resolved by our own bootstrap, the certificate is checked for it."""

    def __init__(self, spec: UpstreamSpec, resolve: Resolve, tls: ssl.SSLContext) -> None:
        self.name = str(spec)
        self._spec, self._resolve, self._tls = spec, resolve, tls
        self._client: httpx.AsyncClient | None = None

    async def exchange(self, ask: Ask) -> bytes:
        import httpx  # only who has such an upstream pays for its memory

        if self._client is None:
            self._client = httpx.AsyncClient(http1=True, http2=True, verify=self._tls, trust_env=False, timeout=_CONNECT_SECONDS)
        address = (await self._resolve(self._spec.host))[0]
        literal = f"[{address}]" if ":" in address else address
        authority = self._spec.host if self._spec.port == 443 else f"{self._spec.host}:{self._spec.port}"
        headers = {"host": authority, "content-type": "application/dns-message", "accept": "application/dns-message"}
        try:
            # The id is 0, so that HTTP caches can work (RFC 8484, section 4.1).
            reply = await self._client.post(
                f"https://{literal}:{self._spec.port}{self._spec.path}",
                content=b"\0\0" + ask.body,
                headers=headers,
                extensions={"sni_hostname": self._spec.host},
            )
        except httpx.HTTPError as fault:
            raise UpstreamError(f"{self.name}: {fault}") from fault
        if reply.status_code != 200:
            raise UpstreamError(f"{self.name}: HTTP status {reply.status_code}")
        return reply.content

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()


def open_upstreams(
    names: Sequence[str],
    *,
    resolv_conf: str = "",
    own: Collection[tuple[str, int]] = (),
    count: Count | None = None,
    tls: ssl.SSLContext | None = None,
) -> Upstreams:
    """The upstreams of a policy: `system`, or nothing at all, stands for those of `resolv_conf` (its text) without `own`.

    Names of tls and https upstreams are found through the plain ones, or else through the system's. Raises ValueError for a name
    that is no upstream. Nothing is connected yet.
    """
    system = system_upstreams(resolv_conf, own)
    specs: list[UpstreamSpec] = []
    for name in names or ("system",):
        specs += system if name == "system" else (parse_upstream(name),)
    plain = [spec for spec in specs if spec.scheme in ("udp", "tcp")] or system
    bootstrap = Bootstrap(Upstreams([open_channel(spec, _literal) for spec in plain]))
    return Upstreams([open_channel(spec, bootstrap, tls) for spec in dict.fromkeys(specs)], count, bootstrap=bootstrap)


async def _literal(host: str) -> tuple[str, ...]:
    return (host,)
