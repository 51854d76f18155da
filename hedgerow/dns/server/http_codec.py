"""Requests and answers of DNS over HTTPS, and their bytes in HTTP/1.1. No sockets, no clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import h11

from hedgerow.dns.server.rate_limits import MAX_QUERY

MAX_HEAD: Final = 12 << 10  # a GET carries the query in its path
MOST_PARTS: Final = 32  # of bodies, such as chunks, that are read in a portion
MESSAGE_TYPE: Final = "application/dns-message"

type Headers = Sequence[tuple[str, str]]


class HttpClientError(Exception):
    """The client violates HTTP: the connection must end after what was written for it is sent."""


@dataclass(slots=True)
class DohRequest:
    """One request. `stream` is the HTTP/2 stream of its answer."""

    stream: int
    method: str
    target: str
    content_type: str
    body: bytearray = field(default_factory=bytearray)
    too_long: bool = False

    def add(self, data: bytes) -> None:
        """Keep a part of the body, as long as it may be that of a query."""
        if len(self.body) + len(data) > MAX_QUERY:
            self.too_long = True
            self.body.clear()
        elif not self.too_long:
            self.body += data


class Flood(HttpClientError):
    """The client sends more frames than its budget allows."""


class HttpCodec(Protocol):
    @property
    def has_more(self) -> bool:
        """True if the next `receive` may find a request in what was fed."""

    def feed(self, data: bytes) -> None:
        """Keep received octets for the next `receive`."""

    def receive(self, now: float) -> list[DohRequest]:
        """Return the whole requests in the next portion of what was fed.

        `now` is steady time in seconds. Raises HttpClientError.
        """

    def respond(self, request: DohRequest, status: int, headers: Headers, body: bytes) -> bool:
        """Write an answer. False if the connection ends with it."""

    def answer(self, request: DohRequest, message: bytes, max_age: int) -> bool:
        """Write the answer to a query, which may be kept for `max_age` seconds, as `respond` does."""
        return self.respond(request, 200, answer_fields(max_age), message)


def answer_fields(max_age: int) -> list[tuple[str, str]]:
    """Return the fields of an answer. Other clients may get other answers, so only their own caches keep them."""
    return [("content-type", MESSAGE_TYPE), ("cache-control", f"private, max-age={max_age}")]


class Http1Codec(HttpCodec):
    """HTTP/1.1: the next request is not read before the last one is answered."""

    has_more = False

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._request: DohRequest | None = None
        self._has_more_parts = False

    def feed(self, data: bytes) -> None:
        if data:
            self._connection.receive_data(data)
            self.has_more = True

    def receive(self, now: float) -> list[DohRequest]:  # noqa: ARG002
        try:
            requests = self._next()
            self.has_more = bool(requests) or self._has_more_parts
            return requests
        except h11.RemoteProtocolError as error:
            if self._connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self._send(error.error_status_hint, [("content-length", "0"), ("connection", "close")], b"")
            raise HttpClientError from error

    def _next(self) -> list[DohRequest]:
        self._has_more_parts = False
        for _ in range(MOST_PARTS):
            event = self._connection.next_event()
            match event:
                case h11.Request():
                    if any(b"@" in value for name, value in event.headers if name == b"host"):
                        raise h11.RemoteProtocolError("a user name in Host")
                    kind = next((value for name, value in event.headers if name == b"content-type"), b"")
                    self._request = DohRequest(
                        0, event.method.decode(), _origin_form(event.target.decode()), kind.decode("latin-1")
                    )
                    if self._connection.they_are_waiting_for_100_continue:
                        self._write(
                            self._connection.send(h11.InformationalResponse(status_code=100, headers=[])) or b""
                        )
                case h11.Data() if self._request is not None:
                    self._request.add(bytes(event.data))
                case h11.EndOfMessage() if self._request is not None:
                    request, self._request = self._request, None
                    return [request]
                case _:
                    return []
        self._has_more_parts = True
        return []

    def respond(self, request: DohRequest, status: int, headers: Headers, body: bytes) -> bool:
        self._send(status, [*headers, ("content-length", str(len(body)))], b"" if request.method == "HEAD" else body)
        if self._connection.our_state is not h11.DONE or self._connection.their_state is not h11.DONE:
            return False
        self._connection.start_next_cycle()
        return True

    def _send(self, status: int, headers: Headers, body: bytes) -> None:
        encoded = [(name.encode(), value.encode()) for name, value in headers]
        written = self._connection.send(h11.Response(status_code=status, headers=encoded)) or b""
        written += (self._connection.send(h11.Data(data=body)) or b"") if body else b""
        self._write(written + (self._connection.send(h11.EndOfMessage()) or b""))


def _origin_form(target: str) -> str:
    """Remove scheme and authority from a target, as a client may write them (RFC 9112, section 3.2.2).

    >>> _origin_form("https://dns.home.example/dns-query?dns=AAAB"), _origin_form("/dns-query")
    ('/dns-query?dns=AAAB', '/dns-query')
    """
    if not target.lower().startswith(("https://", "http://")):
        return target
    _, slash, path = target.partition("://")[2].partition("/")
    return slash + path
