"""DNS over HTTPS (RFC 8484): GET and POST at `/dns-query` and `/dns-query/{client-id}`, over HTTP/2 and HTTP/1.1."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import socket
from typing import Final, cast
from urllib.parse import parse_qs

from hedgerow.dns import wire
from hedgerow.dns.server.clients import client_id_from_path
from hedgerow.dns.server.http_codec import MAX_STREAMS, DohRequest, Flood, Http1Codec, Http2Codec, HttpClientError, HttpCodec
from hedgerow.dns.server.rate_limits import MAX_QUERY
from hedgerow.dns.server.responder import DROPPED_METRIC, Pending
from hedgerow.dns.server.stream import EncryptedFrontend
from hedgerow.dns.server.tls import ServerTls

MAX_CONNECTIONS: Final = 256
MAX_CONNECTIONS_PER_CLIENT: Final = 32
IDLE_SECONDS: Final = 30.0
UNKNOWN_CLIENT_SECONDS: Final = 10.0  # for who has not yet asked anything that was answered
MOST_PIPELINED: Final = 16  # requests over HTTP/1.1 that are answered before other clients have their turn
_SWEEP_SECONDS: Final = 1.0
_MESSAGE: Final = "application/dns-message"
_BASE64: Final = re.compile(r"[A-Za-z0-9_-]*")


class DohServer:
    """Serves DoH on any number of sockets. Connections are bounded in all and for each address."""

    def __init__(self, frontend: EncryptedFrontend, tls: ServerTls) -> None:
        self.frontend = frontend
        self.tls = tls
        self.open: set[DohConnection] = set()
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    async def listen(self, sock: socket.socket) -> None:
        await self.frontend.streams.serve(sock, lambda: DohConnection(self), self.tls.context)

    def admit(self, connection: DohConnection) -> bool:
        """Count a new connection, or say that there are too many. Where all places are taken, a stranger gives way, or who is idle."""
        mine = sum(other.owner == connection.owner for other in self.open)
        if mine < MAX_CONNECTIONS_PER_CLIENT and (len(self.open) < MAX_CONNECTIONS or self._evict_idle()):
            self.open.add(connection)
            return True
        self.frontend.responder.count(DROPPED_METRIC, "connections")
        return False

    def _evict_idle(self) -> bool:
        idle = [connection for connection in self.open if not connection.is_known or not connection.outstanding]
        if idle:
            longest = min(idle, key=lambda connection: (connection.is_known, connection.active_at))
            self.open.discard(longest)
            longest.abort()
        return bool(idle)

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_SWEEP_SECONDS, self._sweep)
        for connection in list(self.open):
            if loop.time() - connection.active_at > (IDLE_SECONDS if connection.is_known else UNKNOWN_CLIENT_SECONDS):
                connection.abort()

    def close(self) -> None:
        """End all connections. To be called before the server's `close`, which waits for them."""
        self._timer.cancel()
        for connection in list(self.open):
            connection.abort()


class DohConnection(asyncio.Protocol):
    """One client's connection. It is not read while too much of it is unanswered or unsent."""

    def __init__(self, doh: DohServer) -> None:
        self.address = self.owner = ""
        self.active_at = asyncio.get_running_loop().time()  # when it last asked something that was answered
        self.is_known = False
        self.outstanding = 0
        self._doh, self._frontend, self._tls = doh, doh.frontend, doh.tls
        self._transport: asyncio.Transport | None = None
        self._codec: HttpCodec | None = None
        self._client_id: str | None = None
        self._unwritten: list[bytes] = []  # what one reading has led to is sent at once
        self._write_paused = False
        self._turn: asyncio.Handle | None = None  # when more of what has come is served

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if peer else ""
        self.owner = self._frontend.owner(self.address)
        if not self._doh.admit(self):
            self._transport.abort()
            return
        self._client_id = self._frontend.client_id_of(self._transport, self._tls)
        chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        self._codec = (Http2Codec if chosen == "h2" else Http1Codec)(self._unwritten.append)
        self._write()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._transport = self._codec = None
        self._doh.open.discard(self)
        if self._turn is not None:
            self._turn.cancel()

    def data_received(self, data: bytes) -> None:
        if self._codec is not None:
            self._codec.feed(data)
            self._work()

    def _work(self) -> None:
        """Serve a portion of what has come. Other clients have their turn before the rest of it."""
        loop = asyncio.get_running_loop()
        for _ in range(1 if isinstance(self._codec, Http2Codec) else MOST_PIPELINED):
            if self._codec is None or self._turn is not None or not self._has_room() or not self._codec.has_more:
                break
            try:
                exchanges = self._codec.receive(loop.time())
            except HttpClientError as error:
                if isinstance(error, Flood):
                    self._frontend.responder.count(DROPPED_METRIC, "flood")
                self._end()
                return
            for exchange in exchanges:
                if self._codec is not None:  # else an answer to one before it was the last
                    self._serve(exchange)
        if self._codec is not None and self._turn is None and self._has_room() and self._codec.has_more:
            self._turn = loop.call_soon(self._have_turn)
        self._write()
        self._update_reading()

    def _have_turn(self) -> None:
        self._turn = None
        self._work()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._write_paused = True
        self._update_reading()

    def resume_writing(self) -> None:
        self._write_paused = False
        self._work()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _serve(self, exchange: DohRequest) -> None:
        path, _, parameters = exchange.target.partition("?")
        is_ours, client_id = client_id_from_path(path)
        query = _parse_doh_request(exchange, parameters) if is_ours else 404
        if isinstance(query, int):
            self._frontend.responder.count(DROPPED_METRIC, "malformed")
            self._refuse(exchange, query)
            return
        key = self._frontend.client_key(self.address, client_id or self._client_id)
        if self._frontend.find(key) is not None:
            self.is_known = True
            self.active_at = asyncio.get_running_loop().time()
        message = self._frontend.answer(key, query, "doh", lambda late: self._answer_late(exchange, late))
        if isinstance(message, Pending):
            self.outstanding += 1
        else:
            self._answer(exchange, message)

    def _answer_late(self, exchange: DohRequest, message: bytes | None) -> None:
        self.outstanding -= 1
        self._answer(exchange, message)
        self._work()

    def _answer(self, exchange: DohRequest, message: bytes | None) -> None:
        if message is None:
            self._refuse(exchange, 429 if self.is_known else 403)
        elif self._codec is not None:
            age = ("cache-control", f"private, max-age={min_ttl(message)}")  # another client's may be another
            if not self._codec.respond(exchange, 200, [("content-type", _MESSAGE), age], message):
                self._end()

    def _refuse(self, exchange: DohRequest, status: int) -> None:
        allowed = [("allow", "GET, POST")] if status == 405 else []
        if self._codec is not None and not self._codec.respond(exchange, status, [("cache-control", "no-store"), *allowed], b""):
            self._end()

    def _end(self) -> None:
        """What was written is sent; nothing more is."""
        self._codec = None
        self._write()
        if self._transport is not None:
            self._transport.close()

    def _write(self) -> None:
        if self._unwritten and self._transport is not None:
            self._transport.writelines(self._unwritten)  # a TLS record each: some clients take one answer of a record and lose the others
        self._unwritten.clear()

    def _update_reading(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._has_room() and self._turn is None:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _has_room(self) -> bool:
        return not self._write_paused and self.outstanding < (MAX_STREAMS if isinstance(self._codec, Http2Codec) else 1)


def _parse_doh_request(exchange: DohRequest, parameters: str) -> bytes | int:
    """The query of a request, or the status that says what is wrong with it (RFC 8484, section 4.1)."""
    if exchange.too_long:
        return 413
    match exchange.method:
        case "POST":
            kind = exchange.content_type.partition(";")[0].strip().lower()
            query: bytes | int = bytes(exchange.body) if kind == _MESSAGE else 415
        case "GET" | "HEAD":
            query = _decode_dns_parameter(parameters)
        case _:
            return 405
    is_none = isinstance(query, bytes) and (len(query) < wire.HEADER or query[2] & 0x80)  # cut short, or an answer
    return 400 if is_none else query


def _decode_dns_parameter(parameters: str) -> bytes | int:
    """The query in `dns=`: base64url without padding, though some pad it."""
    try:
        text = parse_qs(parameters, max_num_fields=8).get("dns", [""])[0].rstrip("=")
        if len(text) > MAX_QUERY * 4 // 3 + 4:
            return 414
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if _BASE64.fullmatch(text) else 400
    except (ValueError, binascii.Error):
        return 400


def min_ttl(message: bytes) -> int:
    """For how many seconds an answer of ours may be kept: its lowest TTL, the OPT record's aside (RFC 8484, section 5.1)."""
    questions, answers, authority = (int.from_bytes(message[at : at + 2]) for at in (4, 6, 8))
    at = wire.HEADER
    for _ in range(questions):
        at = _skip_name(message, at) + 4
    ttls = []
    for _ in range(answers + authority):
        at = _skip_name(message, at)
        ttls.append(int.from_bytes(message[at + 4 : at + 8]))
        at += 10 + int.from_bytes(message[at + 8 : at + 10])
    return min(ttls, default=0)


def _skip_name(message: bytes, at: int) -> int:
    while at < len(message) and (octet := message[at]):
        if octet >= 0xC0:
            return at + 2
        at += 1 + octet
    return at + 1
