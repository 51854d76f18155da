"""A UDP socket on which QUIC connections begin: which datagram belongs to which, and whether another may begin (RFC 9000, section 5.2)."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import Final, cast

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.packet import QuicHeader, QuicPacketType, encode_quic_retry, encode_quic_version_negotiation, pull_quic_header

from hedgerow.dns.listening.quic_windows import BoundedConnection
from hedgerow.dns.listening.retry_tokens import RetryTokens

_MAX_IDS: Final = 4096  # of connections, those that are closing and have eight each included

type Begin = Callable[[BoundedConnection], QuicConnectionProtocol]


class QuicListener(asyncio.DatagramProtocol):
    """`configuration` gives that of a new connection, `admits` says whether an address may begin one, `begin` makes its protocol.

    aioquic has such a class, whose connections cannot be bounded.
    """

    def __init__(self, configuration: Callable[[], QuicConfiguration], admits: Callable[[str], bool], begin: Begin) -> None:
        self._configuration, self._admits, self._begin = configuration, admits, begin
        self._tokens = RetryTokens()
        self._connections: dict[bytes, QuicConnectionProtocol] = {}
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's is no subclass

    def close(self) -> None:
        for connection in set(self._connections.values()):
            connection.close()
        self._connections.clear()
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes | str, addr: tuple[str, int]) -> None:
        data = cast(bytes, data)
        configuration = self._configuration()
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=configuration.connection_id_length)
        except ValueError:
            return
        connection = self._connections.get(header.destination_cid)
        if connection is None and len(data) >= SMALLEST_MAX_DATAGRAM_SIZE:
            connection = self._newcomer(header, addr, configuration)
        if connection is not None:
            connection.datagram_received(data, addr)

    def _newcomer(self, header: QuicHeader, addr: tuple[str, int], configuration: QuicConfiguration) -> QuicConnectionProtocol | None:
        """The connection that a datagram begins, if it may; else the client is told what to send, with fewer octets than it sent."""
        if header.version is not None and header.version not in configuration.supported_versions:
            versions = configuration.supported_versions
            self._send(encode_quic_version_negotiation(header.destination_cid, header.source_cid, versions), addr)
        elif header.packet_type is not QuicPacketType.INITIAL:
            pass
        elif not header.token:
            self._send(self._retry(header, addr), addr)
        else:
            return self._proven(header, addr, configuration)
        return None

    def _proven(self, header: QuicHeader, addr: tuple[str, int], configuration: QuicConfiguration) -> QuicConnectionProtocol | None:
        try:
            original, retried = self._tokens.validate_token(addr, header.token)
        except ValueError:
            return None
        if len(self._connections) >= _MAX_IDS or not self._admits(addr[0]):
            return None
        quic = BoundedConnection(
            configuration=configuration, original_destination_connection_id=original, retry_source_connection_id=retried
        )
        return self._start(header.destination_cid, quic)

    def _retry(self, header: QuicHeader, addr: tuple[str, int]) -> bytes:
        assert header.version is not None
        source = os.urandom(8)
        token = self._tokens.create_token(addr, header.destination_cid, source)
        return encode_quic_retry(header.version, source, header.source_cid, header.destination_cid, token)

    def _start(self, destination: bytes, quic: BoundedConnection) -> QuicConnectionProtocol:
        connection = self._begin(quic)
        assert self._transport is not None
        connection.connection_made(self._transport)
        connection._connection_id_issued_handler = partial(self._add, connection)
        connection._connection_id_retired_handler = partial(self._remove, connection)
        connection._connection_terminated_handler = partial(self._forget, connection)
        self._connections[destination] = self._connections[quic.host_cid] = connection
        return connection

    def _add(self, connection: QuicConnectionProtocol, number: bytes) -> None:
        self._connections[number] = connection

    def _remove(self, connection: QuicConnectionProtocol, number: bytes) -> None:
        if self._connections.get(number) is connection:
            del self._connections[number]

    def _forget(self, connection: QuicConnectionProtocol) -> None:
        for number in [number for number, other in self._connections.items() if other is connection]:
            del self._connections[number]

    def _send(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None:
            self._transport.sendto(data, addr)
