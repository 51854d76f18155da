"""The start of an inspected connection: after the gate's header the client begins with TLS or HTTP.

Then an `InspectedConnection` owns the client's stream. Any failure closes it.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from itertools import count
from time import perf_counter

from mitmproxy.connection import ConnectionState

from hedgerow.proxy.client_hello import NO_PROTOCOL_ALERT, ClientHello, HelloError, HelloReader, looks_like_tls
from hedgerow.proxy.handover import HandoverHeader
from hedgerow.proxy.http_head import CONNECTION_ESTABLISHED
from hedgerow.proxy.inspection.connection import InspectedConnection
from hedgerow.proxy.inspection.context import InspectorContext, InspectorSession
from hedgerow.proxy.inspection.engine.flows import InspectedClient, LayerContext, OriginServer
from hedgerow.proxy.inspection.engine.http_layer import OPTIONS, HTTPMode
from hedgerow.proxy.inspection.parallel_handshakes import GoOn, Key
from hedgerow.proxy.inspection.shares import DeviceShare
from hedgerow.proxy.inspection.streams import Stream, TlsSession

HTTP2 = "h2"  # in ALPN; clients that offer it get it
_PROTOCOLS = frozenset({HTTP2, "http/1.1", "http/1.0"})

_numbers = count(1)
_MAX_EARLY = 64 * 1024
"""Bytes kept of a client until there is a certificate."""


class ClientHandshake(InspectorSession):
    """The owner of a client's stream until its protocol is known.

    `first` is what the gate has read after the CONNECT, if any.
    """

    stream: _HandshakeStream

    def __init__(self, inspector: InspectorContext, header: HandoverHeader, first: bytes, share: DeviceShare) -> None:
        id = f"c{next(_numbers)}"
        client = InspectedClient.make(
            id=id,
            peername=(header.address, 0),
            sockname=("", 0),
            state=ConnectionState.OPEN,
            timestamp_start=inspector.clock(),
        )
        context = LayerContext(client, OPTIONS, OriginServer.make(id=f"{id}s", address=None))
        super().__init__(inspector, context, _HandshakeStream(self))
        self.share, self.shares = share, inspector.shares
        self._began = asyncio.get_running_loop().time()
        self._header = header
        self._first = first
        self._hello = HelloReader()
        self._has_hello = False
        self._offers: tuple[str, ...] = ()
        self._can_resume = False
        self._parallel: tuple[Key, GoOn] | None = None  # its place among those that wait for one another

    def begin(self) -> None:
        """Begin once the stream is connected."""
        self._inspector.register(self)
        self.stream.bytes_received = len(self._first)
        if self._header.awaits_reply:
            self.stream.send(CONNECTION_ESTABLISHED)
            # the client's ClientHello is still on its way, and will most likely name this host
            if self._header.target is not None:
                self._inspector.leaf_certificates.prepare(self._header.target.host)
        first, self._first = self._first, b""
        if self._header.target is None:
            self._hand_over(HTTPMode.regular, first)
            return
        self._context.server.address = (self._header.target.host, self._header.target.port)
        if first:
            self.received(self.stream, first)

    def idle_seconds(self, now: float) -> float:
        """Return the seconds since the start, in the loop's time. What the client sends does not extend its limit."""
        return now - self._began

    # Events of the stream.

    def received(self, stream: Stream, data: bytes) -> None:  # noqa: ARG002
        self._first += data
        if self._has_hello:
            # The client does not wait for our ServerHello. Its bytes, such as early data, belong to the handshake.
            if len(self._first) > _MAX_EARLY:
                self.abort()
        elif looks_like_tls(self._first) is False:
            first, self._first = self._first, b""
            self._hand_over(HTTPMode.transparent, first)
        else:
            self._read_hello(data)

    def secured(self, stream: Stream) -> None:
        assert stream.tls is not None
        alpn = stream.tls.alpn
        self.client.alpn = alpn.encode() if alpn else None
        if self._parallel is not None:
            self._inspector.parallel_handshakes.end(*self._parallel)
        self._hand_over(HTTPMode.transparent)

    def ended(self, stream: Stream) -> None:
        stream.abort()

    def lost(self, stream: Stream) -> None:  # noqa: ARG002
        self._first = b""  # there may be references for a while, such as of those who wait for a certificate
        if self._parallel is not None:
            self._inspector.parallel_handshakes.leave(*self._parallel)
        self._inspector.unregister(self)

    # Detection of the protocol.

    def _read_hello(self, data: bytes) -> None:
        try:
            hello = self._hello.feed(data)
        except HelloError:
            self._inspector.counters.add("hedgerow_proxy_dropped_total", "inspector")
            self.abort()
            return
        if hello is not None and (not hello.alpn or _PROTOCOLS.intersection(hello.alpn)):
            self._secure(hello)
        elif hello is not None:  # an app with a protocol of its own, for which no proxy can speak
            self.client.sni = hello.sni
            self._note_refusal(None)
            self.stream.send(NO_PROTOCOL_ALERT)
            self.stream.close()

    def _secure(self, hello: ClientHello) -> None:
        server, client = self._context.server, self.client
        assert server.address is not None
        self._has_hello = server.tls = client.tls = True
        client.sni = hello.sni
        self._offers, self._can_resume = hello.alpn, hello.can_resume
        host = hello.sni or server.address[0]
        if HTTP2 in hello.alpn:
            self._parallel = (self._header.address, host, server.address[1]), partial(self._go_on, self._certify, host)
            if not self._inspector.parallel_handshakes.begin(*self._parallel):
                return
        self._certify(host)

    def _certify(self, host: str) -> None:
        self._inspector.leaf_certificates.request(host, self._proceed)

    def _proceed(self, context: ssl.SSLContext | None) -> None:
        """Begin the handshake with the certificate, unless the signer has issued none."""
        if context is not None:
            self._go_on(self._secure_with, context)
        elif self.stream.is_open:
            self._inspector.counters.add("hedgerow_proxy_dropped_total", "inspector")
            self.abort()

    def _go_on[A](self, work: Callable[[A], None], argument: A) -> None:
        if self.stream.is_open:
            self.stream.in_turn(self, work, argument)

    def _secure_with(self, context: ssl.SSLContext) -> None:
        context.num_tickets = 1 if self._can_resume else 0  # OpenSSL would make one for every client
        self.stream.secure(TlsSession(context, is_server=True), self._first)

    def _hand_over(self, mode: HTTPMode, first: bytes = b"") -> None:
        """Hand the stream over to an `InspectedConnection`, with the bytes that the client has sent already."""
        inspected = InspectedConnection(self._inspector, self.stream, self._context, self._offers, self.share)
        inspected.begin(mode)
        if first:
            inspected.received(self.stream, first)


class _HandshakeStream(Stream):
    """A stream whose work in the handshake is charged to the device.

    While the device is ahead of its share, it waits for its turn and is not read: a device that opens twenty
    connections at once must not have all of them served in one round of the event loop.
    """

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        owner = self.owner
        if isinstance(owner, ClientHandshake):
            self.in_turn(owner, super().data_received, data)
        else:
            super().data_received(data)

    def in_turn[*A](self, owner: ClientHandshake, work: Callable[[*A], None], *arguments: *A) -> None:
        """Do a part of the handshake at once, or in the device's turn."""
        share, shares = owner.share, owner.shares
        if shares.must_wait(share, perf_counter()):
            self.set_read_paused(is_paused=True)
            shares.wait(share, lambda: self._go_on(work, *arguments))
        else:
            shares.run(share, work, *arguments)

    def _go_on[*A](self, work: Callable[[*A], None], *arguments: *A) -> None:
        if self.is_open:
            self.set_read_paused(is_paused=False)
            work(*arguments)
