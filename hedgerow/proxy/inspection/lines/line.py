"""One socket of an inspected connection, with TLS on it or not: plaintext in and out, and who owns it is told what happens."""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol

from hedgerow.proxy.inspection.lines.tls_session import TlsSession


class LineOwner(Protocol):
    """Told of what happens on a line. `failed` means that the handshake or the encryption failed; the line is still to be aborted."""

    def secured(self, line: Line) -> None: ...
    def received(self, line: Line, data: bytes) -> None: ...
    def ended(self, line: Line) -> None: ...
    def failed(self, line: Line, error: ssl.SSLError | None) -> None: ...
    def lost(self, line: Line) -> None: ...
    def stalled(self, line: Line) -> None: ...
    def flows(self, line: Line) -> None: ...


class Line(asyncio.Protocol):
    """`owner` may be replaced; what came in meanwhile is the new owner's. `taken` and `sent` count bytes as they are on the wire."""

    __slots__ = ("_is_paused", "_pending", "has_ended", "is_lost", "owner", "sent", "taken", "tls", "transport", "was_reset")

    def __init__(self, owner: LineOwner) -> None:
        self.owner = owner
        self.tls: TlsSession | None = None
        self.transport: asyncio.Transport
        self.has_ended = False
        self.is_lost = False
        self.was_reset = False
        self.taken = self.sent = 0
        self._is_paused = False
        self._pending: list[bytes] = []

    # The protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.taken += len(data)
        if self.tls is None:
            self.owner.received(self, data)
        else:
            self._decrypt(self.tls, data)

    def _decrypt(self, tls: TlsSession, data: bytes) -> None:
        was_established = tls.is_established
        try:
            data = tls.feed(data)
        except ssl.SSLError as error:
            self._push(tls)
            self.owner.failed(self, error)
            return
        if was_established or not tls.is_established:
            self._push(tls)
        else:
            if not tls.can_wait:
                self._push(tls)
            self.owner.secured(self)
        if data:
            self.owner.received(self, data)
        if tls.is_closed:
            self._end()

    def eof_received(self) -> bool:
        if self.tls is not None and not self.tls.is_established:
            self.owner.failed(self, None)
        else:
            self._end()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost = True
        self.was_reset = error is not None
        if self.was_reset and self.tls is not None and not self.tls.is_established:
            self.owner.failed(self, None)
        self.owner.lost(self)

    def pause_writing(self) -> None:
        self.owner.stalled(self)

    def resume_writing(self) -> None:
        self.owner.flows(self)

    def _end(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self.owner.ended(self)

    # What its owner may ask.

    def secure(self, tls: TlsSession, first: bytes = b"") -> None:
        """Speak TLS from now on; `first` is what came of it already. A client's side begins by itself."""
        self.tls = tls
        self._decrypt(tls, first)

    def put(self, data: bytes) -> None:
        """Send with the next `flush`."""
        self._pending.append(data)

    def flush(self) -> None:
        """Send all that was put, as few records as it fits into."""
        if not self._pending:
            return
        data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        self._pending.clear()
        if self.is_open:
            if self.tls is None:
                self._write(data)
                return
            try:
                self.tls.write(data)
            except ssl.SSLError:
                self.transport.abort()
                return
            self._push(self.tls)

    def _push(self, tls: TlsSession) -> None:
        if (data := tls.take()) and self.is_open:
            self._write(data)

    def _write(self, data: bytes) -> None:
        self.sent += len(data)
        self.transport.write(data)

    def end(self) -> None:
        """Say that nothing follows; what the peer sends is still taken in."""
        self.flush()
        if self.is_open:
            self.transport.write_eof()

    def close(self) -> None:
        """Close once everything is sent."""
        self.flush()
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()

    def regulate(self, *, is_paused: bool) -> None:
        """Read, or leave what comes to the kernel."""
        if is_paused != self._is_paused and self.is_open:
            self._is_paused = is_paused
            if is_paused:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    @property
    def is_open(self) -> bool:
        return not self.is_lost and not self.transport.is_closing()
