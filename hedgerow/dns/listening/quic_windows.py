"""A QUIC connection of a server that gives no more credit than it can keep, and that knows which server name was asked for.

aioquic doubles each limit as soon as half of it is used, whatever is still open: a client that sends one octet far into a stream could
make it keep hundreds of megabytes. Here credit comes back only as streams end. It also keeps the name in the ClientHello (SNI), which
aioquic reads and drops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicFrameType
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.stream import QuicStream
from aioquic.tls import pull_client_hello

MAX_STREAMS: Final = 64  # of one connection at a time
MAX_STREAMS_EVER: Final = 10_000  # aioquic remembers each stream's number for good, so a connection does not live for ever
_MAX_HANDSHAKE_OCTETS: Final = 32 << 10  # a hello with keys that withstand quantum computers has a few thousand
MAX_STREAM_OCTETS: Final = 2 + 4096  # a query with every option that there is has a few hundred


class _Window:
    """One limit of a connection as aioquic reads it. It is computed, so that doubling it does nothing."""

    def __init__(self, frame_type: int, name: str, value: Callable[[], int]) -> None:
        self.frame_type, self.name = frame_type, name
        self.used = 0
        self._value = value
        self.sent = value()

    @property
    def value(self) -> int:
        return self._value()

    @value.setter
    def value(self, _doubled: int) -> None:
        pass


class BoundedConnection(QuicConnection):
    """`server_name` is what the client asked for, once its hello is there. `configuration` must give `MAX_STREAM_OCTETS` for a stream."""

    def __init__(self, *, configuration: QuicConfiguration, **options: Any) -> None:
        super().__init__(configuration=configuration, **options)
        self.server_name: str | None = None
        self._local_max_streams_bidi = _Window(QuicFrameType.MAX_STREAMS_BIDI, "max_streams_bidi", self._stream_credit)  # type: ignore[assignment]
        self._local_max_streams_uni = _Window(QuicFrameType.MAX_STREAMS_UNI, "max_streams_uni", lambda: 0)  # type: ignore[assignment]

    @property
    def open_streams(self) -> int:
        return len(self._streams)

    def is_open(self, stream: int) -> bool:
        """Is there anything about the stream that the client has not yet sent, or not yet acknowledged?"""
        return stream in self._streams

    @property
    def owes_credit(self) -> bool:
        """Must the client hear that it may open more streams? aioquic ends streams only after it has written the limits of a packet, so
        that without another packet a client at its limit would wait for ever."""
        limit = self._local_max_streams_bidi
        return limit.value - limit.sent >= MAX_STREAMS // 4

    @property
    def is_ending(self) -> bool:
        """Has either side closed it? aioquic tells of it only when nothing can come any more, seconds later."""
        return self._close_event is not None

    @property
    def is_flooding(self) -> bool:
        """Does the client send a message of its handshake that has no end?"""
        return hasattr(self, "tls") and len(self.tls._receive_buffer) > _MAX_HANDSHAKE_OCTETS

    @property
    def is_worn_out(self) -> bool:
        """Has it carried as many streams as it may?"""
        return len(self._streams_finished) >= MAX_STREAMS_EVER

    def _stream_credit(self) -> int:
        return min(len(self._streams_finished) + MAX_STREAMS, MAX_STREAMS_EVER)

    def _write_stream_limits(self, builder: QuicPacketBuilder, space: Any, stream: QuicStream) -> None:
        """A query never needs more than the stream's first credit."""

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        handle: Callable[..., None] = self.tls._server_handle_hello

        def note_name(hello: Buffer, *rest: Buffer) -> None:
            self.server_name = pull_client_hello(hello).server_name
            hello.seek(0)
            handle(hello, *rest)

        self.tls._server_handle_hello = note_name  # type: ignore[method-assign,assignment]
