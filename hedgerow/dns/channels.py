"""Channels to upstreams over connections: TCP and TLS with pipelining, HTTPS; and the upstreams of a policy put together."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Collection, Sequence
from ipaddress import ip_address
from struct import pack
from typing import TYPE_CHECKING, Final

from hedgerow.dns import wire
from hedgerow.dns.datagram_channel import UdpChannel
from hedgerow.dns.inquiries import Bootstrap, Count, Upstreams
from hedgerow.dns.upstream import Ask, Channel, Resolve, Told, UpstreamError, UpstreamSpec, is_own, parse_upstream, system_upstreams
from hedgerow.dns.waiting import Waiting
from hedgerow.policies.resolver_settings import Forward, Strategy

if TYPE_CHECKING:
    import httpx

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


class _Awaited:
    """A question on a connection, for a coroutine that waits for it."""

    __slots__ = ("answer", "question")

    def __init__(self, question: bytes) -> None:
        self.question = question
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def deliver(self, message: bytes) -> None:
        if not self.answer.done() and wire.answers_question(message, self.question):
            self.answer.set_result(message)

    def fail(self, fault: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(fault)


class _Asking:
    """Channels whose way of asking is a coroutine, `exchange`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[bytes]] = set()

    async def exchange(self, ask: Ask) -> bytes:
        raise NotImplementedError

    def send(self, ask: Ask, _written: bytes, told: Told) -> Callable[[], None]:
        task = asyncio.get_running_loop().create_task(self.exchange(ask))
        self._tasks.add(task)

        def done(task: asyncio.Task[bytes]) -> None:
            self._tasks.discard(task)
            if not task.cancelled():
                told(task.exception() or task.result())  # type: ignore[arg-type]  # what a task raises is an Exception

        task.add_done_callback(done)
        return lambda: _cancel(task)


def _cancel(task: asyncio.Task[bytes]) -> None:
    task.cancel()


class _Connection:
    """One TCP or TLS connection that carries many questions at once (RFC 7766)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.waiting: Waiting[_Awaited] = Waiting()
        self.open = True
        self._reader, self._writer = reader, writer
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def exchange(self, ask: Ask) -> bytes:
        asked = _Awaited(ask.question)
        number = self.waiting.add(asked)
        body = ask.body
        try:
            self._writer.write(pack("!HH", 2 + len(body), number) + body)
            return await asked.answer
        finally:
            del self.waiting.questions[number]

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
                asked = self.waiting.questions.get(int.from_bytes(message[:2]))
                if asked is not None:
                    asked.deliver(message)
        except (OSError, EOFError, TimeoutError) as fault:
            self.waiting.fail(UpstreamError(str(fault) or "connection closed"))
        finally:
            self.open = False
            self.waiting.fail(UpstreamError("connection closed"))
            self._writer.transport.abort()


class StreamChannel(_Asking):
    """TCP, or TLS when a context is given; the connection is kept while it is used."""

    def __init__(self, spec: UpstreamSpec, resolve: Resolve, tls: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self.name = str(spec)
        self.secure = tls is not None or (spec.is_address and ip_address(spec.host.partition("%")[0]).is_loopback)
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


class HttpsChannel(_Asking):
    """DNS over HTTPS (RFC 8484), POST over HTTP/2; the name is resolved by our own bootstrap, the certificate is checked for it."""

    def __init__(self, spec: UpstreamSpec, resolve: Resolve, tls: ssl.SSLContext) -> None:
        super().__init__()
        self.name = str(spec)
        self.secure = True
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
        if not wire.answers_question(reply.content, ask.question):
            raise UpstreamError(f"{self.name}: answers something else")
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
    strategy: Strategy = Strategy.STRICT,
    secure_only: bool = False,
    forward: Sequence[Forward] = (),
) -> Upstreams:
    """The upstreams of a policy: `system`, or nothing at all, stands for those of `resolv_conf` (its text).

    Those that are ourselves (`own`) are left out. Names of tls and https upstreams are found through the plain ones, or else through
    the system's. Raises ValueError for a name that is no upstream. Nothing is connected yet.
    """
    system = system_upstreams(resolv_conf, own)
    specs: list[UpstreamSpec] = []
    for name in names or ("system",):
        specs += system if name == "system" else (parse_upstream(name),)
    specs = [spec for spec in dict.fromkeys(specs) if not (is_own(spec, own) or _is_this_machine(spec, own))]
    plain = [spec for spec in specs if spec.scheme in ("udp", "tcp")] or system
    bootstrap = Bootstrap(Upstreams([open_channel(spec, _literal) for spec in plain]))
    channels = [open_channel(spec, bootstrap, tls) for spec in specs]
    zones = {zone.zone: open_upstreams(zone.upstreams, own=own, count=count, tls=tls) for zone in forward}
    return Upstreams(channels, count, bootstrap=bootstrap, strategy=strategy, secure_only=secure_only, zones=zones)


def _is_this_machine(spec: UpstreamSpec, own: Collection[tuple[str, int]]) -> bool:
    """Is it one of the addresses of this machine, while we listen on all of them at that port?"""
    if not spec.is_address or not any(port == spec.port and ip_address(host).is_unspecified for host, port in own):
        return False
    with socket.socket(socket.AF_INET6 if ":" in spec.host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((spec.host, 0))  # only an address of this machine can be taken
        except OSError:
            return False
    return True


async def _literal(host: str) -> tuple[str, ...]:
    return (host,)
