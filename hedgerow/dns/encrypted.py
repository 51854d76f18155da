"""DNS over TLS (RFC 7858), and what all kinds of encrypted DNS have in common: who asks, and answers from the cache."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from hedgerow.dns.certificates import ServerTls
from hedgerow.dns.client_ids import PREFIX, id_of_server_name
from hedgerow.dns.clients import Known
from hedgerow.dns.later import Later
from hedgerow.dns.listeners import Server
from hedgerow.dns.streams import StreamConnection
from hedgerow.dns.wire import HEADER, SUFFIX_OCTETS

DOT_PROTOCOLS: Final = ("dot",)


class EncryptedSide:
    """Finds clients by id or address for connections over TLS. `own_name`: our server name, before which an id may stand."""

    def __init__(self, server: Server, own_name: str | None) -> None:
        self.server = server
        self.own_name = own_name

    async def listen_dot(self, sock: socket.socket, tls: ServerTls) -> None:
        await self.server.streams.serve(sock, lambda: DotConnection(self, tls), tls.context)

    def id_of(self, transport: asyncio.Transport, tls: ServerTls) -> str | None:
        """The id in the server name that a connection asked for."""
        return id_of_server_name(tls.server_name(transport.get_extra_info("ssl_object")), self.own_name)

    def who(self, address: str, client_id: str | None) -> str:
        """What to look the client up under: its id where the policy knows it, else its address."""
        key = f"{PREFIX}{client_id}"
        return key if client_id is not None and self.find(key) is not None else address

    def find(self, key: str) -> Known | None:
        clients = self.server.clients
        return clients.known.get(key) or clients.find(key, key)

    def answer(self, key: str, data: bytes, transport: str, later: Callable[[bytes | None], None]) -> bytes | Later | None:
        """Answer one query of a client: now, not at all, or by calling `later` once."""
        server = self.server
        now = server.resolver.clocks.steady()
        server.clients.keep_time(now)
        known = self.find(key)
        if known is None:
            return server.refuse(data)
        if len(data) < HEADER or not server.admits(known):
            return None
        return self._hit(known, data, now) or server.miss(known, data, transport, later)

    def _hit(self, known: Known, data: bytes, now: float) -> bytes | None:
        resolver = self.server.resolver
        end = data.find(0, 12) + 1
        key = known.prefix + data[2:end].lower() + resolver.stream_suffixes.get(data[end : end + SUFFIX_OCTETS], b"")
        entry = resolver.answers.entries.get(key)
        if entry is None or not (now < entry.due or entry.refresh(now)):
            return None
        known.hits[entry] += 1
        self.server.hit_seconds(resolver.clocks.steady() - now, 1)
        return entry.message(data, end + 4)


class DotConnection(StreamConnection):
    """As over TCP, for whoever the server name says."""

    kind = "dot"

    def __init__(self, side: EncryptedSide, tls: ServerTls) -> None:
        super().__init__(side.server.streams)
        self._side, self._tls = side, tls

    def _who(self, transport: asyncio.Transport) -> str:
        return self._side.who(super()._who(transport), self._side.id_of(transport, self._tls))

    def eof_received(self) -> bool:
        return False  # TLS has no half-closed connections here
