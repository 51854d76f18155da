"""TLS without a socket: what the peer sent goes in, plaintext comes out, and what must be sent to the peer is there to be taken.

Protocol code around the standard library's memory BIOs: no sockets, no clock, no files.
"""

from __future__ import annotations

import ssl

_RECORD = 16 * 1024


class TlsSession:
    """One side of a TLS connection; a client's side names the `host` that it wants, and may go on with an earlier `session`."""

    __slots__ = ("_incoming", "_is_server", "_outgoing", "_tls", "is_closed", "is_established")

    def __init__(
        self, context: ssl.SSLContext, *, is_server: bool = False, host: str | None = None, session: ssl.SSLSession | None = None
    ) -> None:  # fmt: skip
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=is_server, server_hostname=host, session=session)
        self._is_server = is_server
        self.is_established = False
        self.is_closed = False  # the peer has said that nothing follows

    def feed(self, data: bytes) -> bytes:
        """The plaintext that is complete now. Raises ssl.SSLError; an alert that says why is then there to be taken."""
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
            while incoming.pending or tls.pending():
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

    def take(self) -> bytes:
        """What must be sent to the peer now."""
        return self._outgoing.read()

    @property
    def can_wait(self) -> bool:
        """Whether what must be sent when the handshake is done can go with what follows: in TLS 1.3 a server has only tickets left."""
        return self._is_server and self._tls.version() == "TLSv1.3"

    @property
    def alpn(self) -> str | None:
        return self._tls.selected_alpn_protocol()

    @property
    def certificate(self) -> bytes | None:
        """The peer's, in DER."""
        return self._tls.getpeercert(binary_form=True)

    @property
    def session(self) -> ssl.SSLSession | None:
        """With which a later connection to the same host may spare both sides the dear part of the handshake."""
        return self._tls.session
