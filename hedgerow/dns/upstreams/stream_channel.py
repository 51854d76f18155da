"""The channel to an upstream over TCP, or over TLS (RFC 7766, 7858): many questions at once on one connection."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from ipaddress import ip_address
from struct import pack

from hedgerow.dns.upstreams.kept_channel import IDLE_SECONDS, Awaited, KeptChannel
from hedgerow.dns.upstreams.upstream import Ask, Resolve, UpstreamError, UpstreamSpec
from hedgerow.dns.upstreams.waiting import Waiting


class StreamChannel(KeptChannel):
    """TCP, or TLS when a context is given."""

    def __init__(self, spec: UpstreamSpec, resolve: Resolve, tls: ssl.SSLContext | None = None) -> None:
        is_loopback = spec.is_address and ip_address(spec.host.partition("%")[0]).is_loopback
        super().__init__(spec, resolve, secure=tls is not None or is_loopback)
        self._tls = tls

    async def _dial(self, address: str) -> StreamConnection:
        name = self.spec.host if self._tls else None
        streams = await asyncio.open_connection(address, self.spec.port, ssl=self._tls, server_hostname=name)
        return StreamConnection(*streams, padded=self._tls is not None)


class StreamConnection:
    """One connection; `padded` hides how long a question is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, padded: bool) -> None:
        self.waiting: Waiting[Awaited] = Waiting()
        self.open = True
        self._reader, self._writer, self._padded = reader, writer, padded
        self._loop = asyncio.get_running_loop()
        self.heard_at = self._loop.time()
        self._task = self._loop.create_task(self._read())

    async def exchange(self, ask: Ask) -> bytes:
        if not self.open:
            raise UpstreamError("connection closed")
        asked = Awaited(ask.question)
        number = self.waiting.add(asked)
        body = ask.padded_body if self._padded else ask.body
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
                async with asyncio.timeout(IDLE_SECONDS):
                    size = int.from_bytes(await self._reader.readexactly(2))
                    message = await self._reader.readexactly(size)
                self.heard_at = self._loop.time()
                asked = self.waiting.questions.get(int.from_bytes(message[:2]))
                if asked is not None:
                    asked.deliver(message)
        except (OSError, EOFError, TimeoutError) as fault:
            self.waiting.fail(UpstreamError(str(fault) or "connection closed"))
        finally:
            self.open = False
            self.waiting.fail(UpstreamError("connection closed"))
            self._writer.transport.abort()
