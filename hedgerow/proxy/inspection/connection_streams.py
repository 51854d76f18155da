"""The streams of one inspected connection: the client's and those to its origins, by mitmproxy's objects for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from mitmproxy.connection import Client, Connection, ConnectionState, Server

from hedgerow.policies.model import DeviceId
from hedgerow.proxy.inspection.clients import ActiveRequest
from hedgerow.proxy.inspection.context import InspectorContext
from hedgerow.proxy.inspection.engine.flows import OriginServer
from hedgerow.proxy.inspection.failures import CERTIFICATE_ASKED, CERTIFICATE_NEEDED
from hedgerow.proxy.inspection.origins import OriginError, OriginKey, PendingStream
from hedgerow.proxy.inspection.streams import Stream, StreamOwner

_LAST_SECONDS = 0.5


class ConnectionStreams:
    """The streams of a connection.

    `offers` are the protocols that the client offered with TLS; `owner` receives the streams' events.
    """

    def __init__(
        self, inspector: InspectorContext, client: Client, stream: Stream, offers: tuple[str, ...], owner: StreamOwner
    ) -> None:
        self._inspector = inspector
        self._client = client
        self._offers = offers
        self._owner: StreamOwner | None = owner
        self._streams: dict[Connection, Stream] = {client: stream}
        self._connections: dict[Stream, Connection] = {stream: client}
        self._origins: dict[Stream, OriginKey] = {}
        self._unsent: dict[Stream, None] = {}
        self._closed: set[Connection] = set()
        self.is_origin_cut = False  # the event that is handled is the end of an origin that did not say so
        stream.owner = owner

    def connection(self, stream: Stream) -> Connection:
        """Return mitmproxy's object for a stream."""
        return self._connections[stream]

    def __contains__(self, stream: Stream) -> bool:
        return stream in self._connections

    def get(self, connection: Connection) -> Stream | None:
        """Return the open stream of a connection."""
        return self._streams.get(connection)

    def origins(self) -> Iterator[tuple[Stream, Connection]]:
        """Yield the streams to origins."""
        return ((stream, self._connections[stream]) for stream in self._origins)

    async def open(self, server: Server) -> PendingStream:
        """Open a stream to `server`. Return what it received meanwhile. Raises OriginError."""
        inspector, address = self._inspector, server.address
        assert address is not None
        device, addresses = await inspector.inspection.origins.addresses_for(self._client, *address)
        origin = self._key(device, server)
        try:
            must_be_new = isinstance(server, OriginServer) and server.must_be_new
            stream, pending = await inspector.origins.open(origin, addresses, must_be_new=must_be_new)
        except OriginError as error:
            if error.asks_for_certificate:
                raise self._certificate_asked(address) or OriginError(CERTIFICATE_NEEDED) from error
            raise
        if (
            stream.tls is not None
            and stream.tls.asks_for_certificate
            and (failure := self._certificate_asked(address)) is not None
        ):
            stream.abort()
            raise failure
        if isinstance(server, OriginServer):
            server.is_used_again = pending.is_used_again
        self._adopt(server, stream, origin)
        return pending

    def open_idle(self, server: OriginServer, request: ActiveRequest) -> bool:
        """Open an idle stream to `server` for a request that was judged just now.

        Return False, and do nothing, unless there is one and the address is known.
        """
        inspector, address = self._inspector, server.address
        known = inspector.inspection.origins.known_addresses(request.ruleset, *address) if address is not None else ()
        if not known:
            return False
        origin = self._key(request.requests[0].device, server)
        stream = inspector.origins.take_idle(origin, known)
        if stream is None:
            return False
        if stream.tls is not None and stream.tls.asks_for_certificate:
            inspector.origins.keep(origin, stream)  # `open` sees to it
            return False
        server.is_used_again = True
        self._adopt(server, stream, origin)
        return True

    def _key(self, device: DeviceId, server: Server) -> OriginKey:
        assert server.address is not None
        alpn = (
            ()
            if not server.tls or not self._offers
            else ("h2", "http/1.1")
            if self._client.alpn == b"h2"
            else ("http/1.1",)
        )
        return OriginKey(device, *server.address, server.sni if server.tls else None, alpn)

    def _adopt(self, server: Server, stream: Stream, origin: OriginKey) -> None:
        assert self._owner is not None
        self._origins[stream] = origin
        self._streams[server], self._connections[stream] = stream, server
        stream.owner = self._owner
        server.state = ConnectionState.OPEN
        if stream.tls is not None:
            server.alpn = (stream.tls.alpn or "").encode()

    def _certificate_asked(self, address: tuple[str, int]) -> OriginError | None:
        """The origin asks for a certificate, which only the device can have.

        Return the failure if it is passed through from now on.
        """
        inspection, client = self._inspector.inspection, self._client
        if not inspection.certificates.asked(client, address):
            return None
        # The next connection is a tunnel. This one ends once the answer is sent.
        asyncio.get_running_loop().call_later(_LAST_SECONDS, inspection.close, client)
        return OriginError(CERTIFICATE_ASKED)

    def put(self, connection: Connection, data: bytes) -> None:
        """Queue bytes for the next `flush`."""
        stream = self._streams.get(connection)
        if stream is not None:
            stream.put(data)
            self._unsent[stream] = None

    def send_now(self, connection: Connection, data: bytes) -> None:
        """Send at once."""
        stream = self._streams.get(connection)
        if stream is not None:
            stream.send(data)

    def flush(self) -> None:
        """Send everything that was put."""
        if self._unsent:
            for stream in self._unsent:
                stream.flush()
            self._unsent.clear()

    def close(self, connection: Connection) -> bool:
        """Close a connection. Return whether the layers must hear that it is closed."""
        stream = self._streams.get(connection)
        if stream is None:
            return False
        connection.state = ConnectionState.CLOSED
        stream.close(is_whole=not self.is_origin_cut)
        return self.note_closed(connection)

    def is_closed(self, connection: Connection) -> bool:
        """Return whether the layers have heard that a connection is closed, or are about to."""
        return connection in self._closed

    def note_closed(self, connection: Connection) -> bool:
        """Return True the first time: the layers hear of it once."""
        is_news = connection not in self._closed
        self._closed.add(connection)
        return is_news

    def remove(self, stream: Stream) -> Connection | None:
        """Forget a stream that is lost. Return its connection."""
        connection = self._connections.pop(stream, None)
        if (origin := self._origins.pop(stream, None)) is not None:
            self._inspector.origins.remember(origin, stream)
        if connection is not None:
            self._streams.pop(connection, None)
            connection.state = ConnectionState.CLOSED
        return connection

    def give_back(self, server: Server) -> None:
        """Put an idle stream to an origin, which the layers do not know, into the pool, where they find it."""
        stream = self._streams.pop(server)
        del self._connections[stream]
        self._inspector.origins.keep(self._origins.pop(stream), stream)

    def release(self, is_idle: Callable[[Connection], bool]) -> None:
        """Keep the idle streams to origins in the pool, and abort the others, after the client has left."""
        bound = self._inspector.inspection.bound
        for stream, origin in tuple(self._origins.items()):
            connection = self._connections.pop(stream)
            if is_idle(connection) and connection.id not in bound:
                self._inspector.origins.keep(origin, stream)
            else:
                bound.discard(connection.id)
                self._inspector.origins.remember(origin, stream)
                stream.abort()
        self._origins.clear()
        self._owner = None
