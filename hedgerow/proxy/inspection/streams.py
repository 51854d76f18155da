"""Byte streams over TCP, with TLS if wanted: to clients under our certificates, and to origins, whose certificates are
verified.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass, field

_RECORD = 16 * 1024
_TCP_CLOSE = 7  # of the kernel's net/tcp_states.h; the first octet of TCP_INFO is the state

_CHANGE_CIPHER_SPEC, _HANDSHAKE, _APPLICATION_DATA = 20, 22, 23  # kinds of records (RFC 8446, section 5.1)
_RECORD_HEADER = 5
_CERTIFICATE = 11  # kind of a handshake message


def shows_certificate(flight: bytes) -> bool:
    """Return whether a client's part of a handshake has a Certificate message: the server has asked for one, if only
    for an empty one.

    TLS 1.2 sends it first and in plaintext (RFC 5246, section 7.4.6). In TLS 1.3 the client ends the handshake with
    Finished alone, or with Certificate and Finished (RFC 8446, section 4.4), each of which OpenSSL encrypts as a
    record.
    """
    at, encrypted, is_plain = 0, 0, True
    while at + _RECORD_HEADER < len(flight):
        kind, length = flight[at], int.from_bytes(flight[at + 3 : at + _RECORD_HEADER])
        if kind == _HANDSHAKE and is_plain and flight[at + _RECORD_HEADER] == _CERTIFICATE:
            return True
        is_plain = is_plain and kind != _CHANGE_CIPHER_SPEC
        encrypted += kind == _APPLICATION_DATA
        at += _RECORD_HEADER + length
    return encrypted > 1


class TlsSession:
    """One side of a TLS connection. The client's side names the `host`, and may resume an earlier `session`."""

    __slots__ = (
        "_incoming",
        "_is_handshake_sent",
        "_is_server",
        "_outgoing",
        "_tls",
        "asks_for_certificate",
        "is_closed",
        "is_established",
    )

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        is_server: bool = False,
        host: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=is_server, server_hostname=host, session=session
        )
        self._is_server = is_server
        self._is_handshake_sent = is_server  # only the client's is examined
        self.asks_for_certificate = False  # the server has asked for a certificate of the client
        self.is_established = False
        self.is_closed = False  # the peer has sent close_notify

    def feed(self, data: bytes) -> bytes:
        """Return the plaintext that is complete now. Raises ssl.SSLError; `take` then returns the alert to send."""
        self._incoming.write(data)
        if not self.is_established:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                return b""
            self.is_established = True
        return self._read()

    def _read(self) -> bytes:
        tls, incoming, pieces = self._tls, self._incoming, list[bytes]()
        try:
            while incoming.pending:  # a record is read whole, so that OpenSSL keeps nothing of it
                piece = tls.read(_RECORD)
                if not piece:
                    self.is_closed = True
                    break
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.is_closed = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, data: bytes) -> None:
        """Encrypt plaintext. Raises ssl.SSLError."""
        self._tls.write(data)

    def end(self) -> None:
        """Write close_notify, with which the peer knows that nothing is missing (RFC 8446, section 6.1)."""
        with contextlib.suppress(ssl.SSLError):  # SSLWantReadError: the peer's has not come, and is not waited for
            self._tls.unwrap()

    def take(self) -> bytes:
        """Return the bytes to send to the peer."""
        data = self._outgoing.read()
        if not self._is_handshake_sent:
            self.asks_for_certificate = self.asks_for_certificate or shows_certificate(data)
            self._is_handshake_sent = self.is_established
        return data

    @property
    def can_wait(self) -> bool:
        """Return whether the end of the handshake may be sent with the first data: in TLS 1.3 a server has only tickets
        left to send.
        """
        return self._is_server and self._tls.version() == "TLSv1.3"

    @property
    def alpn(self) -> str | None:
        return self._tls.selected_alpn_protocol()

    @property
    def session(self) -> ssl.SSLSession | None:
        """The session with which a later connection to the same host can be resumed."""
        return self._tls.session


class StreamOwner:
    """Receiver of a stream's events, which does nothing. Subclasses override what concerns them."""

    def secured(self, stream: Stream) -> None:
        """Handle the end of the TLS handshake."""

    def received(self, stream: Stream, data: bytes) -> None:
        """Handle bytes of the peer."""

    def ended(self, stream: Stream) -> None:
        """Handle the end of what the peer sends."""

    def failed(self, stream: Stream, error: ssl.SSLError | None) -> None:
        """Abort the stream, whose handshake or encryption has failed; without an error the peer has left."""

    def lost(self, stream: Stream) -> None:
        """Handle the end of the connection, after which nothing follows."""

    def note_writing(self, stream: Stream, *, is_paused: bool) -> None:
        """Note whether the stream takes no more bytes for now."""


@dataclass(slots=True, eq=False, repr=False)
class Stream(asyncio.Protocol):
    """One TCP connection. `owner` may be replaced. `bytes_received` and `bytes_sent` count bytes on the wire."""

    owner: StreamOwner
    tls: TlsSession | None = None
    transport: asyncio.Transport = field(init=False)
    has_ended: bool = False
    is_lost: bool = False
    was_reset: bool = False
    bytes_received: int = 0
    bytes_sent: int = 0
    _is_paused: bool = False
    _pending: list[bytes] = field(default_factory=list)

    # The protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.bytes_received += len(data)
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
        self.owner.note_writing(self, is_paused=True)

    def resume_writing(self) -> None:
        self.owner.note_writing(self, is_paused=False)

    def _end(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self.owner.ended(self)

    # For the owner.

    def secure(self, tls: TlsSession, first: bytes = b"") -> None:
        """Start TLS. `first` is what the peer has sent of it already. The client's side begins at once."""
        self.tls = tls
        self._decrypt(tls, first)

    def put(self, data: bytes) -> None:
        """Send with the next `flush`."""
        self._pending.append(data)

    def flush(self) -> None:
        """Send everything that was put, in as few TLS records as possible."""
        if self._pending:
            self.send(self._pending.pop())

    def send(self, data: bytes) -> None:
        """Send this, after everything that was put."""
        if self._pending:
            data = b"".join([*self._pending, data])
            self._pending.clear()
        if self.is_lost or self.transport.is_closing():
            return
        if self.tls is not None:
            try:
                self.tls.write(data)
            except ssl.SSLError:
                self.transport.abort()
                return
            data = self.tls.take()
        if data:
            self.bytes_sent += len(data)
            self.transport.write(data)

    def _push(self, tls: TlsSession) -> None:
        if (data := tls.take()) and not self.is_lost and not self.transport.is_closing():
            self.bytes_sent += len(data)
            self.transport.write(data)

    def close(self, *, is_whole: bool = True) -> None:
        """Close once everything is sent. Under TLS the peer can tell from the end whether what it got `is_whole`."""
        if self.is_lost or self.transport.is_closing():
            return
        tls = self.tls
        if tls is None:
            self.flush()
        else:
            try:
                if self._pending:
                    tls.write(b"".join(self._pending))
                if is_whole and tls.is_established:
                    tls.end()
                self._push(tls)  # data and close_notify together
            except ssl.SSLError:
                self.transport.abort()
            self._pending.clear()
        self.transport.close()

    @property
    def is_cut(self) -> bool:
        """The peer has ended without saying so."""
        return self.was_reset or (self.tls is not None and not self.tls.is_closed)

    def abort(self) -> None:
        self.transport.abort()

    def set_read_paused(self, *, is_paused: bool) -> None:
        """Pause or resume reading from the socket."""
        if is_paused != self._is_paused and self.is_open:
            self._is_paused = is_paused
            if is_paused:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    @property
    def is_reset_unread(self) -> bool:
        """The peer has reset the connection while it is not read. The event loop does not learn that."""
        if not self._is_paused or not self.is_open:
            return False
        return bool(
            self.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
        )

    @property
    def unsent(self) -> int:
        """Octets that the peer does not take by now."""
        return self.transport.get_write_buffer_size()

    @property
    def is_open(self) -> bool:
        return not self.is_lost and not self.transport.is_closing()
