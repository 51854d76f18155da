"""DNS over HTTPS (RFC 8484): GET and POST at `/dns-query` and `/dns-query/{client-id}`, over HTTP/2 and HTTP/1.1."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import socket
from functools import partial
from struct import Struct
from typing import Final
from urllib.parse import parse_qs

from hedgerow.client_classes import ClassedClient
from hedgerow.dns import wire
from hedgerow.dns.server.admission import Deferred
from hedgerow.dns.server.clients import client_id_from_path
from hedgerow.dns.server.connections import ClientConnectionTable, StreamProtocol, affordable
from hedgerow.dns.server.http2_codec import MAX_STREAMS, Http2Codec
from hedgerow.dns.server.http_codec import MESSAGE_TYPE, DohRequest, Flood, Http1Codec, HttpClientError, HttpCodec
from hedgerow.dns.server.rate_limits import MAX_QUERY
from hedgerow.dns.server.responder import DROPPED_METRIC
from hedgerow.dns.server.stream import EncryptedFrontend
from hedgerow.dns.server.tls import ServerTls
from hedgerow.ticks import seconds_to_tick

MAX_CONNECTIONS: Final = 256
MAX_CONNECTIONS_PER_CLIENT: Final = 32
IDLE_SECONDS: Final = 30.0
UNKNOWN_CLIENT_SECONDS: Final = 10.0  # until a known client has asked something
MOST_PIPELINED: Final = 16  # requests over HTTP/1.1 that are answered before other clients have their turn
_SWEEP_SECONDS: Final = 1.0
_BASE64: Final = re.compile(r"[A-Za-z0-9_-]*")
_COUNTS: Final = Struct(">HHH")  # of questions, answers and authority records
_RECORD: Final = Struct(">LLH")  # type and class, TTL, length
_PLAIN_PARAMETER: Final = re.compile(r"dns=([A-Za-z0-9_-]*)")


class DohServer:
    """A server of DoH on any number of sockets."""

    def __init__(self, frontend: EncryptedFrontend, tls: ServerTls) -> None:
        self.frontend = frontend
        self.tls = tls
        self.table: ClientConnectionTable[DohConnection] = ClientConnectionTable(
            affordable(MAX_CONNECTIONS),
            MAX_CONNECTIONS_PER_CLIENT,
            lambda: frontend.responder.count(DROPPED_METRIC, "connections"),
        )
        self._timer = asyncio.get_running_loop().call_later(seconds_to_tick(_SWEEP_SECONDS), self._sweep)

    async def listen(self, sock: socket.socket) -> None:
        self.frontend.streams.serve(sock, self.tls.context, partial(DohConnection, self))

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds_to_tick(_SWEEP_SECONDS), self._sweep)
        self.table.close_idle(loop.time())

    def close(self) -> None:
        """End all connections. Call it before `StreamServer.close`, which waits for them."""
        self._timer.cancel()
        self.table.close()


class DohConnection(StreamProtocol):
    """A client's connection over HTTP/1.1 or HTTP/2."""

    def __init__(self, server: DohServer, address: str) -> None:
        super().__init__(server.frontend.streams.turns, address)
        self._server, self._frontend = server, server.frontend
        self._codec: HttpCodec | None = None
        self._client_id: str | None = None
        self._unwritten: list[bytes] = []  # the answers to what was read at once are sent at once

    @property
    def max_outstanding(self) -> int:
        return MAX_STREAMS if isinstance(self._codec, Http2Codec) else 1

    @property
    def idle_seconds(self) -> float:
        return IDLE_SECONDS if self.is_known else UNKNOWN_CLIENT_SECONDS

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self._transport is not None
        self.owner = self._frontend.owner(self.address)
        if not self._server.table.admit(self):
            self._transport.abort()
            return
        self._client_id = self._frontend.client_id_of(self._transport, self._server.tls)
        protocol = transport.get_extra_info("ssl_object").selected_alpn_protocol()
        tokens = self._frontend.frame_tokens(self.address)
        self._codec = (
            Http2Codec(self._unwritten.append, tokens) if protocol == "h2" else Http1Codec(self._unwritten.append)
        )
        self._write()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._codec = None
        self._server.table.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._codec is not None:
            self._codec.feed(data)
            self._work_soon()

    def _work(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(1 if isinstance(self._codec, Http2Codec) else MOST_PIPELINED):
            if self._codec is None or not self._has_room() or not self._codec.has_more:
                break
            try:
                requests = self._codec.receive(loop.time())
            except HttpClientError as error:
                if isinstance(error, Flood):
                    self._frontend.responder.count(DROPPED_METRIC, "flood")
                self._end()
                return
            for request in requests:
                if self._codec is not None:  # else the connection ended with the answer to the one before
                    self._serve(request)
        if self._codec is not None and self._has_room() and self._codec.has_more:
            self._yield_turn()
        self._write()
        self._update_reading()

    def eof_received(self) -> bool:
        return False

    def identify(self, owner: ClassedClient) -> None:
        self._server.table.identify(self, owner)

    def _serve(self, request: DohRequest) -> None:
        query, client_id = read_query(request)
        if isinstance(query, int):
            self._frontend.responder.count(DROPPED_METRIC, "malformed")
            self._refuse(request, query)
            return
        key = self._frontend.client_key(self.address, client_id or self._client_id)
        message = self._frontend.answer(self, key, query, "doh", lambda late: self._answer_late(request, late))
        if not isinstance(message, Deferred):
            self._answer(request, message)

    def _answer_late(self, request: DohRequest, message: bytes | None) -> None:
        self.outstanding -= 1
        self._answer(request, message)
        self._work_soon()

    def _answer(self, request: DohRequest, message: bytes | None) -> None:
        if message is None:
            self._refuse(request, 429 if self.is_known else 403)
        elif self._codec is not None and not self._codec.answer(request, message, min_ttl(message)):
            self._end()

    def _refuse(self, request: DohRequest, status: int) -> None:
        if self._codec is not None and not self._codec.respond(request, status, refusal_fields(status), b""):
            self._end()

    def _end(self) -> None:
        """Send what was written, then close."""
        self._codec = None
        self._write()
        if self._transport is not None:
            self._transport.close()

    def _write(self) -> None:
        if self._unwritten and self._transport is not None:
            # one TLS record each: some clients read only the first answer of a record
            self._transport.writelines(self._unwritten)
        self._unwritten.clear()


def read_query(request: DohRequest) -> tuple[bytes | int, str | None]:
    """Return the query of a request, or the status to refuse it with, and the client id in its path."""
    path, _, parameters = request.target.partition("?")
    is_ours, client_id = client_id_from_path(path)
    return _parse_doh_request(request, parameters) if is_ours else 404, client_id


def refusal_fields(status: int) -> list[tuple[str, str]]:
    return [("cache-control", "no-store"), *([("allow", "GET, POST")] if status == 405 else [])]


def _parse_doh_request(request: DohRequest, parameters: str) -> bytes | int:
    """Return the query of a request, or the HTTP status to refuse it with (RFC 8484, section 4.1)."""
    if request.too_long:
        return 413
    match request.method:
        case "POST":
            kind = request.content_type.partition(";")[0].strip().lower()
            query: bytes | int = bytes(request.body) if kind == MESSAGE_TYPE else 415
        case "GET" | "HEAD":
            query = _decode_dns_parameter(parameters)
        case _:
            return 405
    is_invalid = isinstance(query, bytes) and (len(query) < wire.HEADER or query[2] & 0x80)  # cut short, or a response
    return 400 if is_invalid else query


def _decode_dns_parameter(parameters: str) -> bytes | int:
    """Return the query in `dns=`, base64url without padding, though some clients pad it; or a status."""
    try:
        plain = _PLAIN_PARAMETER.fullmatch(parameters)  # as nearly all are
        text = plain[1] if plain is not None else parse_qs(parameters, max_num_fields=8).get("dns", [""])[0].rstrip("=")
        if len(text) > MAX_QUERY * 4 // 3 + 4:
            return 414
        is_valid = plain is not None or _BASE64.fullmatch(text) is not None
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if is_valid else 400
    except (ValueError, binascii.Error):
        return 400


def min_ttl(message: bytes) -> int:
    """Return the lowest TTL of one of our answers, for its HTTP freshness lifetime (RFC 8484, section 5.1)."""
    questions, answers, authority = _COUNTS.unpack_from(message, 4)
    at = wire.HEADER
    for _ in range(questions):
        at = _skip_name(message, at) + 4
    ttls = []
    for _ in range(answers + authority):
        at = _skip_name(message, at)
        if at + _RECORD.size > len(message):
            return 0  # cut short
        _, ttl, length = _RECORD.unpack_from(message, at)
        ttls.append(ttl)
        at += _RECORD.size + length
    return min(ttls, default=0)


def _skip_name(message: bytes, at: int) -> int:
    while at < len(message) and (octet := message[at]):
        if octet >= 0xC0:
            return at + 2
        at += 1 + octet
    return at + 1
