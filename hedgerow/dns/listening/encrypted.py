"""DNS over TLS (RFC 7858), and what all kinds of encrypted DNS have in common: who asks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final

from hedgerow.dns.later import Later
from hedgerow.dns.listening.certificates import ServerTls
from hedgerow.dns.listening.client_ids import PREFIX, id_of_server_name
from hedgerow.dns.listening.clients import Known
from hedgerow.dns.listening.limits import owner_of
from hedgerow.dns.listening.streams import StreamConnection, StreamServer
from hedgerow.dns.wire import HEADER

DOT_PROTOCOLS: Final = ("dot",)


class EncryptedSide:
    """Finds clients by id or address for connections over TLS. `own_name`: our server name, before which an id may stand."""

    def __init__(self, streams: StreamServer, own_name: str | None) -> None:
        self.streams = streams
        self.responder = streams.responder
        self.own_name = own_name

    async def listen_dot(self, sock: socket.socket, tls: ServerTls) -> None:
        await self.streams.serve(sock, lambda: DotConnection(self, tls), tls.context)

    def id_of(self, transport: asyncio.Transport, tls: ServerTls) -> str | None:
        """The id in the server name that a connection asked for."""
        return id_of_server_name(tls.server_name(transport.get_extra_info("ssl_object")), self.own_name)

    def who(self, address: str, client_id: str | None) -> str:
        """What to look the client up under: its id where the policy knows it, else its address."""
        key = f"{PREFIX}{client_id}"
        return key if client_id is not None and self.find(key) is not None else address

    def find(self, key: str, data: bytes = b"") -> Known | None:
        return self.responder.asker(key, key, data)

    def owner(self, address: str) -> str:
        """For whom connections from an address count."""
        known = self.find(address)
        return address if known is None else owner_of(address, known.client.device)

    def answer(self, key: str, data: bytes, transport: str, later: Callable[[bytes | None], None]) -> bytes | Later | None:
        """Answer one query of a client: now, not at all, or by calling `later` once."""
        known = self.find(key, data)
        if known is None:
            return self.responder.refuse(data)
        if len(data) < HEADER or not self.responder.admits(known):
            return None
        return self.responder.answer(known, data, transport, later)


class DotConnection(StreamConnection):
    """As over TCP, for whoever the server name says."""

    kind = "dot"

    def __init__(self, side: EncryptedSide, tls: ServerTls) -> None:
        super().__init__(side.streams)
        self._side, self._tls = side, tls

    def _who(self, transport: asyncio.Transport) -> str:
        return self._side.who(super()._who(transport), self._side.id_of(transport, self._tls))

    def eof_received(self) -> bool:
        return False  # TLS has no half-closed connections here
