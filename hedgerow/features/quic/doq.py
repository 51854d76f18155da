"""DNS over QUIC (RFC 9250): each query is a stream of its own. DNS over HTTP/3 (`doh3`) uses the same server."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
    StreamReset,
)
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificates

from hedgerow.client_classes import ClassedClient, Places
from hedgerow.dns import wire
from hedgerow.dns.server.admission import Deferred
from hedgerow.dns.server.clients import client_id_from_sni
from hedgerow.dns.server.connections import ClientConnectionTable
from hedgerow.dns.server.rate_limits import MAX_QUERY, MAX_UNSENT
from hedgerow.dns.server.responder import DROPPED_METRIC
from hedgerow.dns.server.stream import EncryptedFrontend
from hedgerow.dns.server.tls import ReloadableCertificate
from hedgerow.features.quic.connections import (
    HTTP3,
    MAX_REQUEST_OCTETS,
    MAX_STREAM_OCTETS,
    BoundedQuicConnection,
    QuicListener,
    RoutedConnection,
)
from hedgerow.frame_budget import ANSWER_TOKENS, FrameTokens
from hedgerow.ticks import seconds_to_tick

IDLE_SECONDS: Final = 30.0
MAX_CONNECTIONS: Final = 128
MAX_CONNECTIONS_PER_CLIENT: Final = 16
MAX_HANDSHAKES, MAX_HANDSHAKES_PER_CLIENT = 32, 8
HANDSHAKE_SECONDS: Final = 5.0
UNKNOWN_CLIENT_SECONDS: Final = 10.0  # until a known client has asked something
_SWEEP_SECONDS: Final = 1.0

NO_ERROR, INTERNAL_ERROR, PROTOCOL_ERROR, _CANCELLED, EXCESSIVE_LOAD = range(5)
"""Error codes (RFC 9250, section 4.3)."""

logging.getLogger("quic").setLevel(logging.ERROR)  # it warns of clients' errors, one line per packet


class QuicTls(ReloadableCertificate):
    """The TLS of QUIC, which is not OpenSSL's.

    `configuration` is for new connections. Without session tickets there is no early data.
    """

    configuration: QuicConfiguration

    def __init__(self, chain: Path, key: Path, protocols: Sequence[str]) -> None:
        self._protocols = list(protocols)
        super().__init__(chain, key)

    def _load(self, chain: Path, key: Path) -> None:
        # raises if the key does not belong to the certificate
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(chain, key, "")
        try:
            first, *others = load_pem_x509_certificates(chain.read_bytes())
            private = load_pem_private_key(key.read_bytes(), None)
        except (ValueError, TypeError) as error:
            raise ssl.SSLError(str(error)) from error
        self.configuration = QuicConfiguration(
            is_client=False,
            alpn_protocols=self._protocols,
            idle_timeout=IDLE_SECONDS,
            max_stream_data=MAX_REQUEST_OCTETS if HTTP3 in self._protocols else MAX_STREAM_OCTETS,
            certificate=first,
            certificate_chain=others,
            private_key=private,
        )


class QuicServer:
    """A server of DNS over QUIC on any number of sockets. `protocol` is the type of its connections."""

    def __init__(self, frontend: EncryptedFrontend, tls: QuicTls, protocol: type[QuicDnsConnection]) -> None:
        self.frontend = frontend
        self.tls = tls
        self._protocol = protocol
        self.table: ClientConnectionTable[QuicDnsConnection] = ClientConnectionTable(
            MAX_CONNECTIONS, MAX_CONNECTIONS_PER_CLIENT, self._count_rejected
        )
        self.handshakes = Places[QuicDnsConnection](MAX_HANDSHAKES, MAX_HANDSHAKES_PER_CLIENT)
        self._listening: list[QuicListener] = []
        self.owner = frontend.owner
        self._timer = asyncio.get_running_loop().call_later(seconds_to_tick(_SWEEP_SECONDS), self._sweep)

    async def listen(self, sock: socket.socket) -> None:
        self._listening.append(QuicListener(sock, self, self.frontend.streams.turns))

    @property
    def configuration(self) -> QuicConfiguration:
        return self.tls.configuration

    def admits(self, client: str) -> bool:
        """Return whether an address may begin a connection. Handshakes are bounded too, and so are frames."""
        owner = self.owner(client)
        if self.handshakes.count(owner) >= MAX_HANDSHAKES_PER_CLIENT:
            self._count_rejected()
            return False
        tokens = self.frontend.frame_tokens(client)
        if tokens is not None:
            tokens.refill(asyncio.get_running_loop().time())
            if tokens.left <= 0:
                self._count_rejected()
                return False
        if not self.frontend.responder.admits_handshake(client):
            self.frontend.responder.count(DROPPED_METRIC, "handshakes")
            return False
        return self._has_room_for_handshake(owner) and self.table.has_room(owner, evicts_own=True)

    def _has_room_for_handshake(self, owner: ClassedClient) -> bool:
        """Return whether a handshake may begin, for which another client's oldest one may be ended."""
        if self.handshakes.has_room(owner):
            return True
        contenders = self.handshakes.contenders(owner)
        self._count_rejected()
        if contenders:
            contenders[0].evict()
        return bool(contenders)

    def leave(self, connection: QuicDnsConnection) -> None:
        """Free the places of a connection that is over."""
        self.table.discard(connection)
        self.handshakes.leave(connection)

    def begin(self, client: str, quic: BoundedQuicConnection) -> QuicDnsConnection:
        return self._protocol(self, client, quic)

    def unwrap(self, peer: str, data: bytes) -> tuple[str, bytes] | None:
        return self.frontend.responder.load_balancers.unwrap(peer, data)

    def reject(self) -> None:
        self.frontend.responder.count(DROPPED_METRIC, "overload")

    def _count_rejected(self) -> None:
        self.frontend.responder.count(DROPPED_METRIC, "connections")

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds_to_tick(_SWEEP_SECONDS), self._sweep)
        self.table.close_idle(loop.time())

    def close(self) -> None:
        """End all connections."""
        self._timer.cancel()
        for listener in self._listening:
            listener.close()


class QuicDnsConnection(RoutedConnection):
    """A client's connection. Its error codes are those of the protocol over QUIC."""

    no_error: ClassVar[int]
    protocol_error: ClassVar[int]
    excessive_load: ClassVar[int]

    def __init__(self, server: QuicServer, address: str, quic: BoundedQuicConnection) -> None:
        super().__init__(quic)
        self.address, self.owner = address, server.owner(address)
        self._tokens = server.frontend.frame_tokens(address) or FrameTokens()
        self.active_at = asyncio.get_running_loop().time()
        self.is_known = self.is_ready = False
        self.outstanding = 0
        self._server, self._frontend = server, server.frontend
        self._client_id: str | None = None
        self._partial: dict[int, bytearray] = {}
        self._unsent: dict[int, int] = {}
        server.table.add(self)
        server.handshakes.enter(self, self.owner)

    @property
    def is_evictable(self) -> bool:
        return self.is_ready and not (self.is_known and self.outstanding)

    @property
    def idle_seconds(self) -> float:
        return IDLE_SECONDS if self.is_known else UNKNOWN_CLIENT_SECONDS if self.is_ready else HANDSHAKE_SECONDS

    @abstractmethod
    def _take(self, event: StreamDataReceived) -> None:
        """Collect what a stream brings, and serve what is whole."""

    def _begin(self) -> None:
        """Begin to serve, after the handshake."""

    def datagram_received(self, data: bytes | str, addr: tuple[str, int]) -> None:
        if self.bounded.is_released:
            return
        self._tokens.refill(asyncio.get_running_loop().time())
        self._tokens.charge(1)
        super().datagram_received(data, addr)
        if self.bounded.is_ending:
            self._server.leave(self)
        elif self._tokens.is_overspent:
            self._frontend.responder.count(DROPPED_METRIC, "flood")
            self.close(self.excessive_load)
        elif self.bounded.is_flooding:
            self.close(self.protocol_error)
        elif self.bounded.owes_stream_credit:
            self._transmit_soon()

    def quic_event_received(self, event: QuicEvent) -> None:
        super().quic_event_received(event)
        match event:
            case HandshakeCompleted():
                self.is_ready = True
                self._server.handshakes.leave(self)
                self._client_id = client_id_from_sni(self.bounded.server_name, self._frontend.own_name)
                self._begin()
            case StreamDataReceived():
                self._take(event)
            case StreamReset() | StopSendingReceived():
                self._partial.pop(event.stream_id, None)
            case ConnectionTerminated():
                self._server.leave(self)
            case _:
                pass

    def _is_waiting(self, stream: int) -> bool:
        """Return whether a stream still waits for an answer: the client has not gone, and has not cancelled."""
        return self.bounded.is_open(stream) and self in self._server.table.connections

    def _finish_stream(self, stream: int, data: bytes) -> None:
        """Send a whole answer. A client that does not read its answers loses the connection."""
        self._tokens.add(ANSWER_TOKENS)
        self._quic.send_stream_data(stream, data, end_stream=True)
        self._unsent = {other: size for other, size in self._unsent.items() if self.bounded.is_open(other)}
        self._unsent[stream] = len(data)
        self._go_on()

    def _go_on(self) -> None:
        if sum(self._unsent.values()) > MAX_UNSENT:
            self.close(self.excessive_load)
        elif self.bounded.is_exhausted and not self.outstanding:
            self.close(self.no_error)
        else:
            self._transmit_soon()

    def identify(self, owner: ClassedClient) -> None:
        self._server.table.identify(self, owner)

    def abort(self) -> None:
        self.close(self.no_error)

    def evict(self) -> None:
        self.close(self.excessive_load)

    def close(self, error_code: int | None = None, reason_phrase: str = "") -> None:
        self._server.leave(self)
        self._partial.clear()
        if not self.bounded.is_released:
            super().close(self.no_error if error_code is None else error_code, reason_phrase)

    def transmit(self) -> None:
        if not self.bounded.is_released:
            super().transmit()


class DoqConnection(QuicDnsConnection):
    """A connection over which queries come as they are, each behind its length."""

    no_error, protocol_error, excessive_load = NO_ERROR, PROTOCOL_ERROR, EXCESSIVE_LOAD

    def __init__(self, server: QuicServer, address: str, quic: BoundedQuicConnection) -> None:
        super().__init__(server, address, quic)
        self._key = ""
        self._refused: set[int] = set()  # streams whose query is too long

    def _begin(self) -> None:
        self._key = self._frontend.client_key(self.address, self._client_id)

    def _take(self, event: StreamDataReceived) -> None:
        """Collect a query. It is whole when the client has finished the stream (RFC 9250, section 4.2)."""
        if event.stream_id in self._refused:
            return
        buffer = self._partial.setdefault(event.stream_id, bytearray())
        buffer += event.data
        if not self.is_ready or len(buffer) > MAX_STREAM_OCTETS:
            self.close(PROTOCOL_ERROR)
        elif len(buffer) >= 2 and int.from_bytes(buffer[:2]) > MAX_QUERY:
            self._refuse(event.stream_id)
        elif event.end_stream:
            del self._partial[event.stream_id]
            self._serve(event.stream_id, bytes(buffer))

    def _refuse(self, stream: int) -> None:
        """Cancel a stream whose query is longer than any: its client would wait for credit, and then for an answer,
        forever.
        """
        del self._partial[stream]
        self._refused = {other for other in self._refused if self.bounded.is_open(other)} | {stream}
        self._quic.stop_stream(stream, EXCESSIVE_LOAD)
        self._quic.reset_stream(stream, EXCESSIVE_LOAD)
        self._transmit_soon()

    def _serve(self, stream: int, data: bytes) -> None:
        query = data[2:]
        if (
            int.from_bytes(data[:2]) != len(query)
            or len(query) < wire.HEADER
            or query[:2] != b"\0\0"
            or _has_keepalive_option(query)
        ):
            self.close(PROTOCOL_ERROR)
            return
        message = self._frontend.answer(self, self._key, query, "doq", lambda late: self._answer_late(stream, late))
        if not isinstance(message, Deferred):
            self._answer(stream, message)

    def _answer_late(self, stream: int, message: bytes | None) -> None:
        self.outstanding -= 1
        self._answer(stream, message)

    def _answer(self, stream: int, message: bytes | None) -> None:
        if not self._is_waiting(stream):
            return
        if message is None:
            self._quic.reset_stream(stream, EXCESSIVE_LOAD)
            self._go_on()
        else:
            self._finish_stream(stream, len(message).to_bytes(2) + message)


def _has_keepalive_option(query: bytes) -> bool:
    """Return whether a query has the option edns-tcp-keepalive, which must not be sent over QUIC (RFC 9250, section
    5.5.2).
    """
    if wire.KEEPALIVE.to_bytes(2) not in query:
        return False
    try:
        edns = wire.parse_query(query, "doq").edns
    except wire.Malformed:
        return False  # answered with FORMERR
    return edns is not None and wire.option_of(edns.options, wire.KEEPALIVE) is not None
