"""Upstreams over QUIC (RFC 9250): each question a stream of one connection.

This module imports aioquic, which takes megabytes: import it only for such an upstream.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, QuicEvent, StreamDataReceived, StreamReset
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates

from hedgerow.dns.upstreams.stream import IDLE_SECONDS, PendingAnswer, PersistentChannel
from hedgerow.dns.upstreams.trust import TrustStore
from hedgerow.dns.upstreams.upstream import Resolve, UpstreamError, UpstreamQuestion, UpstreamSpec
from hedgerow.policies.transports import UPSTREAM_TRANSPORTS

_ALPN: Final = UPSTREAM_TRANSPORTS["quic"].alpn
_NO_ERROR, _CANCELLED = 0, 3  # RFC 9250, section 4.3
_MAX_ANSWER: Final = 2 + 65_535


class QuicChannel(PersistentChannel):
    """A channel over QUIC. Our own bootstrap resolves the name, for which the certificate is checked with `trust`.

    `alpn` of another protocol serves to try a connection.
    """

    def __init__(self, spec: UpstreamSpec, resolve: Resolve, trust: TrustStore, alpn: Sequence[str] = _ALPN) -> None:
        super().__init__(spec, resolve, secure=True)
        self._trust, self._alpn = trust, alpn

    async def _dial(self, address: str) -> QuicUpstreamConnection:
        loop = asyncio.get_running_loop()
        quic = QuicConnection(configuration=_configuration(self.spec.host, self._trust, self._alpn))
        local = ("::", 0) if ":" in address else ("0.0.0.0", 0)  # noqa: S104 (an ephemeral port for one connection)
        transport, connection = await loop.create_datagram_endpoint(
            lambda: QuicUpstreamConnection(quic), local_addr=local
        )
        try:
            connection.connect((address, self.spec.port))
            await connection.wait_connected()
        except ConnectionError as fault:
            transport.close()
            raise UpstreamError(f"{self.name}: {connection.end or 'no connection over QUIC'}") from fault
        except BaseException:
            transport.close()
            raise
        return connection


def _configuration(name: str, trust: TrustStore, alpn: Sequence[str]) -> QuicConfiguration:
    """Raise OSError for an unreadable file of CAs."""
    usual = ssl.get_default_verify_paths()
    return QuicConfiguration(
        alpn_protocols=list(alpn),
        server_name=name,
        idle_timeout=IDLE_SECONDS,
        cafile=usual.cafile,
        capath=usual.capath,
        # aioquic takes no remarks and no other line ends than ours
        cadata=b"".join(
            each.public_bytes(Encoding.PEM) for each in load_pem_x509_certificates(trust.extra_cas.read_bytes())
        )
        if trust.extra_cas is not None
        else None,
    )


class QuicUpstreamConnection(QuicConnectionProtocol):
    """One connection."""

    def __init__(self, quic: QuicConnection) -> None:
        super().__init__(quic)
        self.open = True
        self.end = ""  # the reason of its end
        self.last_received_at = asyncio.get_running_loop().time()
        self._pending: dict[int, tuple[PendingAnswer, bytearray]] = {}

    async def exchange(self, ask: UpstreamQuestion) -> bytes:
        if not self.open:
            raise UpstreamError("connection closed")
        pending = PendingAnswer(ask.question)
        body = b"\0\0" + ask.padded_body  # the id is 0 (RFC 9250, section 4.2.1)
        stream = self._quic.get_next_available_stream_id()
        self._pending[stream] = (pending, bytearray())
        self._quic.send_stream_data(stream, len(body).to_bytes(2) + body, end_stream=True)
        self.transmit()
        try:
            return await pending.answer
        finally:
            if self._pending.pop(stream, None) is not None and self.open:
                self._quic.stop_stream(stream, _CANCELLED)
                self._transmit_soon()

    async def close(self) -> None:  # type: ignore[override]
        self.open = False
        super().close(_NO_ERROR)
        self._end()

    def datagram_received(self, data: bytes | str, addr: tuple[str, int]) -> None:
        self.last_received_at = asyncio.get_running_loop().time()
        super().datagram_received(data, addr[:2])

    def quic_event_received(self, event: QuicEvent) -> None:
        match event:
            case StreamDataReceived() if event.stream_id in self._pending:
                self._take(event)
            case StreamReset() if event.stream_id in self._pending:
                self._pending.pop(event.stream_id)[0].fail(UpstreamError("the upstream cancels"))
            case ConnectionTerminated():
                self.end = event.reason_phrase
                self._end()
            case _:
                pass

    def _take(self, event: StreamDataReceived) -> None:
        pending, body = self._pending[event.stream_id]
        body += event.data
        if not event.end_stream and len(body) <= _MAX_ANSWER:
            return
        del self._pending[event.stream_id]
        if len(body) - 2 == int.from_bytes(body[:2]):
            pending.deliver(bytes(body[2:]))
        pending.fail(UpstreamError("answers something else"))  # unless it was delivered

    def _end(self) -> None:
        self.open = False
        for pending, _ in self._pending.values():
            pending.fail(UpstreamError("connection closed"))
        self._pending.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.close()
