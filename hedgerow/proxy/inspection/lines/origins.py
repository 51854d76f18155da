"""Connections to origins: only to addresses that were decided on, TLS verified, and idle ones kept a few seconds for the next client.

An idle connection serves only the device it was opened for, and only while its address is still one that the device may dial.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hedgerow.policies.model import DeviceId
from hedgerow.proxy.gate.dial import dial
from hedgerow.proxy.inspection.lines.line import Line
from hedgerow.proxy.inspection.lines.tls_session import TlsSession

DIAL_LIMIT = 15.0
"""Seconds until an origin has answered and shown who it is."""

IDLE_LIMIT = 4.0
"""Seconds for which an idle connection is kept: servers close theirs after five or more, and must not do so while we send."""

_MOST_IDLE = 256
_MOST_IDLE_OF_ONE = 8
_MOST_SESSIONS = 512


class OriginError(Exception):
    """The origin cannot be reached, or is not who it should be; the text says why."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What is dialled for whom: `sni` is the name that the certificate must be for, None without TLS; `alpn` is offered."""

    device: DeviceId
    host: str
    port: int
    sni: str | None
    alpn: tuple[str, ...]


class Origins:
    """`trust` is a file with the CAs that origins are checked against."""

    def __init__(self, trust: Path) -> None:
        self._trust = trust
        self._idle: OrderedDict[Line, _Idle] = OrderedDict()
        self._by_origin: dict[Origin, deque[Line]] = {}
        self._sessions: OrderedDict[Origin, ssl.SSLSession] = OrderedDict()
        self._context = cache(self._make_context)

    async def open(self, origin: Origin, addresses: Sequence[str]) -> tuple[Line, Waiting]:
        """A line to the origin by one of `addresses`, and its owner until it gets another. Raises OriginError."""
        found = self._take_idle(origin, addresses)
        if found is not None:
            return found
        line: Line | None = None
        try:
            async with asyncio.timeout(DIAL_LIMIT):
                _, line = await dial(lambda: Line(Waiting()), addresses, origin.port)
                waiting = line.owner
                assert isinstance(waiting, Waiting)
                if origin.sni is not None:
                    context = self._context(origin.alpn)
                    line.secure(TlsSession(context, host=origin.sni, session=self._sessions.get(origin)))
                    await waiting.handshake()
                return line, waiting
        except (OSError, TimeoutError, asyncio.CancelledError) as error:
            if line is not None:
                line.abort()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise OriginError(_why(error)) from error

    def keep(self, origin: Origin, line: Line) -> None:
        """Take over a line on which nothing is under way."""
        if not line.is_open or line.has_ended or len(self._by_origin.get(origin, ())) >= _MOST_IDLE_OF_ONE:
            line.abort()
            return
        line.owner = idle = _Idle(self, origin, time.monotonic() + IDLE_LIMIT)
        line.regulate(is_paused=False)
        self._idle[line] = idle
        self._by_origin.setdefault(origin, deque()).append(line)
        if len(self._idle) > _MOST_IDLE:
            self.drop(next(iter(self._idle)))

    def drop(self, line: Line) -> None:
        """End an idle line."""
        self._forget(line)
        line.abort()

    def remember(self, origin: Origin, line: Line) -> None:
        """Keep the TLS session of a line that ends, for the next one to the same origin."""
        if line.tls is None or (session := line.tls.session) is None:
            return
        self._sessions[origin] = session
        self._sessions.move_to_end(origin)
        if len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)

    def sweep(self, now: float | None = None) -> None:
        """End what was idle for too long; `now` on the monotonic clock."""
        now = time.monotonic() if now is None else now
        while self._idle:
            line, idle = next(iter(self._idle.items()))
            if idle.until > now:
                break
            self.remember(idle.origin, line)
            self.drop(line)

    def close(self) -> None:
        for line in tuple(self._idle):
            self.drop(line)

    def _take_idle(self, origin: Origin, addresses: Sequence[str]) -> tuple[Line, Waiting] | None:
        while lines := self._by_origin.get(origin):
            line = lines[-1]
            self._forget(line)
            peer = line.transport.get_extra_info("peername")
            if line.is_open and peer is not None and peer[0] in addresses:
                line.owner = waiting = Waiting()
                waiting.is_used_again = True
                return line, waiting
            line.abort()
        return None

    def _forget(self, line: Line) -> None:
        idle = self._idle.pop(line, None)
        if idle is None:
            return
        lines = self._by_origin[idle.origin]
        lines.remove(line)
        if not lines:
            del self._by_origin[idle.origin]

    def _make_context(self, alpn: tuple[str, ...]) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and host name
        context.hostname_checks_common_name = False
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(self._trust)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


class Waiting:
    """Owns a line until whoever asked for it takes it; keeps what comes in meanwhile."""

    def __init__(self) -> None:
        self.early = b""
        self.is_used_again = False
        self.has_ended = False
        self._handshake: asyncio.Future[None] | None = None
        self._result: Exception | None = None
        self._is_done = False

    async def handshake(self) -> None:
        """Raises OSError."""
        if not self._is_done:
            self._handshake = asyncio.get_running_loop().create_future()
            await self._handshake
        elif self._result is not None:
            raise self._result

    def _finish(self, error: Exception | None) -> None:
        self._is_done, self._result = True, error
        if self._handshake is not None and not self._handshake.done():
            if error is None:
                self._handshake.set_result(None)
            else:
                self._handshake.set_exception(error)

    def secured(self, line: Line) -> None:  # noqa: ARG002
        self._finish(None)

    def received(self, line: Line, data: bytes) -> None:  # noqa: ARG002
        self.early += data

    def ended(self, line: Line) -> None:  # noqa: ARG002
        self.has_ended = True
        self._finish(ConnectionResetError("the TLS handshake was broken off"))

    def failed(self, line: Line, error: ssl.SSLError | None) -> None:
        self._finish(error or ConnectionResetError("the TLS handshake was broken off"))
        line.abort()

    def lost(self, line: Line) -> None:
        self.ended(line)

    def stalled(self, line: Line) -> None: ...

    def flows(self, line: Line) -> None: ...


class _Idle:
    """Owns a line that nobody uses: whatever happens on it, it is not used again."""

    def __init__(self, origins: Origins, origin: Origin, until: float) -> None:
        self._origins = origins
        self.origin = origin
        self.until = until

    def received(self, line: Line, data: bytes) -> None:  # noqa: ARG002
        self._origins.drop(line)

    def failed(self, line: Line, error: ssl.SSLError | None) -> None:  # noqa: ARG002
        self._origins.drop(line)

    def ended(self, line: Line) -> None:
        self._origins.remember(self.origin, line)
        self._origins.drop(line)

    def lost(self, line: Line) -> None:
        self._origins.drop(line)

    def secured(self, line: Line) -> None: ...

    def stalled(self, line: Line) -> None: ...

    def flows(self, line: Line) -> None: ...


def _why(error: Exception) -> str:
    """In words that `failures.failure_key` knows."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"Certificate verify failed: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS with the origin failed: {error.reason}"
        case TimeoutError():
            return "the origin does not answer"
        case _:
            return str(error) or type(error).__name__
