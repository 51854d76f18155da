"""Connections to origins: to permitted addresses only, with TLS verified. Idle ones are kept for a few seconds.

An idle connection serves only the device for which it was opened, and only while its address is still permitted.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import certifi

from hedgerow.policies.model import DeviceId
from hedgerow.proxy.connections import dial
from hedgerow.proxy.inspection.failures import CERTIFICATE_INVALID, TLS_FAILED
from hedgerow.proxy.inspection.streams import Stream, StreamOwner, TlsSession
from hedgerow.values import BoundedDict

DIAL_SECONDS = 15.0
"""Seconds for the connection and the TLS handshake."""

IDLE_SECONDS = 4.0
"""Seconds for which an idle connection is kept: shorter than the five or more of servers, which must not close it while
we send.
"""

_MAX_IDLE = 256
_MAX_IDLE_PER_ORIGIN = 16
_MAX_SESSIONS = 512


class OriginError(Exception):
    """The origin cannot be reached, or its certificate is not valid. The text gives the reason.

    `asks_for_certificate`: the handshake failed after the origin had asked for a certificate of the client.
    """

    asks_for_certificate = False


class HandshakeAborted(ConnectionResetError):
    """The origin ended the connection during the handshake."""


class OriginKey(NamedTuple):
    """An origin as one device reaches it. `sni` is the name in its certificate, None without TLS; `alpn` is offered."""

    device: DeviceId
    host: str
    port: int
    sni: str | None
    alpn: tuple[str, ...]


class OriginPool:
    """Connections to origins, of which idle ones are kept.

    `authorities` is a file of CAs in addition to the usual ones. Raises OSError if it cannot be read.
    """

    def __init__(self, authorities: Path | None = None) -> None:
        self._own_authorities = "" if authorities is None else authorities.read_text("ascii", "ignore")
        self._idle: OrderedDict[Stream, _IdleStream] = OrderedDict()
        self._by_origin: dict[OriginKey, deque[Stream]] = {}
        self._sessions = BoundedDict[OriginKey, ssl.SSLSession](_MAX_SESSIONS)
        self._context = cache(self._make_context)

    async def open(
        self, origin: OriginKey, addresses: Sequence[str], *, must_be_new: bool = False
    ) -> tuple[Stream, PendingStream]:
        """Return a stream to the origin at one of `addresses`, and its temporary owner. Raises OriginError."""
        if not must_be_new and (idle := self.take_idle(origin, addresses)) is not None:
            idle.owner = taken = PendingStream()
            taken.is_used_again = True
            return idle, taken
        stream: Stream | None = None
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                _, stream = await dial(lambda: Stream(PendingStream()), addresses, origin.port)
                waiting = stream.owner
                assert isinstance(waiting, PendingStream)
                if origin.sni is not None:
                    context = self._context(origin.alpn)
                    stream.secure(TlsSession(context, host=origin.sni, session=self._sessions.get(origin)))
                    await waiting.handshake()
                return stream, waiting
        except (OSError, TimeoutError, asyncio.CancelledError) as error:
            if stream is not None:
                stream.abort()
            if isinstance(error, asyncio.CancelledError):
                raise
            failure = OriginError(_error_text(error))
            failure.asks_for_certificate = (
                stream is not None and stream.tls is not None and stream.tls.asks_for_certificate
            )
            raise failure from error

    def keep(self, origin: OriginKey, stream: Stream) -> None:
        """Take an idle stream."""
        if not stream.is_open or stream.has_ended or len(self._by_origin.get(origin, ())) >= _MAX_IDLE_PER_ORIGIN:
            stream.abort()
            return
        stream.owner = idle = _IdleStream(self, origin, time.monotonic() + IDLE_SECONDS)
        stream.set_read_paused(is_paused=False)
        self._idle[stream] = idle
        self._by_origin.setdefault(origin, deque()).append(stream)
        if len(self._idle) > _MAX_IDLE:
            self.drop(next(iter(self._idle)))

    def drop(self, stream: Stream) -> None:
        """Close an idle stream."""
        idle = self._idle.pop(stream, None)
        if idle is not None:
            streams = self._by_origin[idle.origin]
            streams.remove(stream)
            if not streams:
                del self._by_origin[idle.origin]
        stream.abort()

    def remember(self, origin: OriginKey, stream: Stream) -> None:
        """Keep the TLS session of a stream that ends, for the next one to the same origin."""
        if stream.tls is not None and (session := stream.tls.session) is not None:
            self._sessions[origin] = session

    def sweep(self, now: float | None = None) -> None:
        """Close streams that were idle for too long. `now` is on the monotonic clock."""
        now = time.monotonic() if now is None else now
        while self._idle:
            stream, idle = next(iter(self._idle.items()))
            if idle.until > now:
                break
            self.remember(idle.origin, stream)
            self.drop(stream)

    def close(self) -> None:
        for stream in tuple(self._idle):
            self.drop(stream)

    def take_idle(self, origin: OriginKey, addresses: Sequence[str]) -> Stream | None:
        """Return an idle stream to the origin at one of `addresses`, if there is one. The caller becomes its owner."""
        while streams := self._by_origin.get(origin):
            stream = streams.pop()
            del self._idle[stream]
            if not streams:
                del self._by_origin[origin]
            peer = stream.transport.get_extra_info("peername")
            if stream.is_open and peer is not None and peer[0] in addresses:
                return stream
            stream.abort()
        return None

    def _make_context(self, alpn: tuple[str, ...]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
        context.hostname_checks_common_name = False
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(certifi.where(), cadata=self._own_authorities or None)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


class PendingStream(StreamOwner):
    """The owner of a stream until its connection takes it. It keeps the bytes that arrive meanwhile."""

    def __init__(self) -> None:
        self.early = b""
        self.is_used_again = False
        self.has_ended = False
        # an error is its result: nobody waits for the handshake of a stream without TLS
        self._handshake: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    async def handshake(self) -> None:
        """Wait for the TLS handshake. Raises OSError."""
        if (error := await self._handshake) is not None:
            raise error

    def _finish(self, error: Exception | None) -> None:
        if not self._handshake.done():
            self._handshake.set_result(error)

    def secured(self, stream: Stream) -> None:  # noqa: ARG002
        self._finish(None)

    def received(self, stream: Stream, data: bytes) -> None:  # noqa: ARG002
        self.early += data

    def ended(self, stream: Stream) -> None:  # noqa: ARG002
        self.has_ended = True
        self._finish(HandshakeAborted("the handshake was aborted"))

    def failed(self, stream: Stream, error: ssl.SSLError | None) -> None:
        self._finish(error or HandshakeAborted("the handshake was aborted"))
        stream.abort()

    def lost(self, stream: Stream) -> None:
        self.ended(stream)


class _IdleStream(StreamOwner):
    """The owner of an idle stream. Any event on it makes it unusable."""

    def __init__(self, origins: OriginPool, origin: OriginKey, until: float) -> None:
        self._origins = origins
        self.origin = origin
        self.until = until

    def received(self, stream: Stream, data: bytes) -> None:  # noqa: ARG002
        self._origins.drop(stream)

    def failed(self, stream: Stream, error: ssl.SSLError | None) -> None:  # noqa: ARG002
        self._origins.drop(stream)

    def ended(self, stream: Stream) -> None:
        self._origins.remember(self.origin, stream)
        self._origins.drop(stream)

    def lost(self, stream: Stream) -> None:
        self._origins.drop(stream)


def _error_text(error: Exception) -> str:
    """Return the text of an error, with the first words that `failures.failure_key` recognises."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"{CERTIFICATE_INVALID}: {error.verify_message}"
        case ssl.SSLError():
            return f"{TLS_FAILED}: {error.reason}"
        case HandshakeAborted():
            return f"{TLS_FAILED}: {error}"
        case TimeoutError():
            return "the origin does not answer"
        case _:
            return str(error) or type(error).__name__
