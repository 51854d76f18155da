"""Upstreams over HTTPS (RFC 8484): POST over HTTP/2, each question a stream of one connection."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from hedgerow.dns.upstreams.stream import IDLE_SECONDS, PendingAnswer, PersistentChannel
from hedgerow.dns.upstreams.upstream import Resolve, UpstreamError, UpstreamQuestion, UpstreamSpec
from hedgerow.frame_budget import FrameBudget

_MESSAGE: Final = "application/dns-message"
_MAX_ANSWER: Final = 65_535
_READ_OCTETS: Final = 16 << 10


class HttpsChannel(PersistentChannel):
    """A channel over HTTPS. Our own bootstrap resolves the name, for which the certificate is checked."""

    def __init__(self, spec: UpstreamSpec, resolve: Resolve, tls: ssl.SSLContext) -> None:
        super().__init__(spec, resolve, secure=True)
        self._tls = tls

    async def _dial(self, address: str) -> HttpsUpstreamConnection:
        reader, writer = await asyncio.open_connection(
            address, self.spec.port, ssl=self._tls, server_hostname=self.spec.host
        )
        if writer.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
            writer.transport.abort()
            raise UpstreamError(f"{self.name} does not speak HTTP/2")
        return HttpsUpstreamConnection(self.spec, reader, writer)


class _PendingResponse(PendingAnswer):
    """The part of an answer received so far."""

    __slots__ = ("body", "status")

    def __init__(self, question: bytes) -> None:
        super().__init__(question)
        self.status = ""
        self.body = bytearray()

    def finish(self) -> None:
        if self.status != "200":
            self.fail(UpstreamError(f"HTTP status {self.status or 'missing'}"))
            return
        self.deliver(bytes(self.body))
        self.fail(UpstreamError("answers something else"))  # unless it was delivered


class HttpsUpstreamConnection:
    """One connection."""

    def __init__(self, spec: UpstreamSpec, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open = True
        self._reader, self._writer = reader, writer
        self._loop = asyncio.get_running_loop()
        self.last_received_at = self._loop.time()
        self._headers = _headers(spec)
        self._replies: dict[int, _PendingResponse] = {}
        self._room = asyncio.Condition()
        self._budget = FrameBudget(preface=0)
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._http.initiate_connection()
        self._flush()
        self._task = self._loop.create_task(self._read())

    async def exchange(self, ask: UpstreamQuestion) -> bytes:
        async with self._room:
            await self._room.wait_for(lambda: not self.open or self._http.open_outbound_streams < self._most_streams)
        body = b"\0\0" + ask.padded_body  # the id is 0, so that HTTP caches can work (RFC 8484, section 4.1)
        reply = _PendingResponse(ask.question)
        try:
            if not self.open:
                raise UpstreamError("connection closed")
            stream = self._http.get_next_available_stream_id()
            self._http.send_headers(stream, [*self._headers, ("content-length", str(len(body)))])
            self._http.send_data(stream, body, end_stream=True)
        except h2.exceptions.ProtocolError as fault:  # no stream or no window left: the connection is used up
            self.open = False
            raise UpstreamError(str(fault) or "connection closed") from fault
        self._replies[stream] = reply
        self._flush()
        try:
            return await reply.answer
        finally:
            if self._replies.pop(stream, None) is not None:
                self._cancel(stream)

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    @property
    def _most_streams(self) -> int:
        return self._http.remote_settings.max_concurrent_streams

    def _cancel(self, stream: int) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._http.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        self._flush()

    async def _read(self) -> None:
        try:
            while self.open or self._replies:
                async with asyncio.timeout(IDLE_SECONDS):
                    data = await self._reader.read(_READ_OCTETS)
                if not data:
                    break
                self.last_received_at = self._loop.time()
                await self._process(bytearray(data))
                async with self._room:
                    self._room.notify_all()
        except (OSError, TimeoutError, h2.exceptions.ProtocolError):
            pass
        finally:
            self.open = False
            for reply in self._replies.values():
                reply.fail(UpstreamError("connection closed"))
            self._replies.clear()
            self._writer.transport.abort()
            async with self._room:
                self._room.notify_all()

    async def _process(self, data: bytearray) -> None:
        """Read frames, in portions. Raises OSError if there are far more of them than answers, or invalid ones."""
        while data:
            size = self._budget.take(data, self._loop.time())
            if self._budget.fault is not None:
                raise OSError("too many frames, or invalid ones")
            for event in self._http.receive_data(bytes(data[:size])):
                self._take(event)
            del data[:size]
            self._flush()
            if data:
                await asyncio.sleep(0)

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived() if event.stream_id in self._replies:
                headers = {str(name): str(value) for name, value in event.headers}
                self._replies[event.stream_id].status = headers.get(":status", "")
            case h2.events.DataReceived():
                self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                reply = self._replies.get(event.stream_id)
                if reply is not None:
                    reply.body += event.data
                    if len(reply.body) > _MAX_ANSWER:
                        reply.fail(UpstreamError("answers without end"))
            case h2.events.StreamEnded() if event.stream_id in self._replies:
                self._replies.pop(event.stream_id).finish()
                self._budget.answered()
            case h2.events.StreamReset() if event.stream_id in self._replies:
                self._replies.pop(event.stream_id).fail(UpstreamError("the upstream cancels"))
            case h2.events.ConnectionTerminated():
                self._end_after(event.last_stream_id or 0)
            case _:
                pass

    def _end_after(self, last: int) -> None:
        """Handle GOAWAY: the upstream finishes older streams and takes no new ones."""
        self.open = False
        for stream in [stream for stream in self._replies if stream > last]:
            self._replies.pop(stream).fail(UpstreamError("connection closed"))

    def _flush(self) -> None:
        if written := self._http.data_to_send():
            self._budget.sent(len(written))
            self._writer.write(written)


def _headers(spec: UpstreamSpec) -> list[tuple[str, str]]:
    host = f"[{spec.host}]" if ":" in spec.host else spec.host
    authority = host if spec.port == 443 else f"{host}:{spec.port}"
    pseudo = [(":method", "POST"), (":scheme", "https"), (":authority", authority), (":path", spec.path)]
    return [*pseudo, ("content-type", _MESSAGE), ("accept", _MESSAGE)]
