"""One request and its response, in a form that the pages can serve over HTTP/1.1 and over HTTP/2 alike, with bytes
counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

HeaderList = list[tuple[str, str]]


@dataclass(slots=True)
class RequestRecord:
    """A request to an origin. `target` is the request target as received, `host` the Host header or `:authority`."""

    method: str
    target: str
    version: str
    host: str
    headers: HeaderList


@dataclass(slots=True)
class ConnectionRecord:
    """One connection that an origin accepted.

    Bytes are those of HTTP, inside TLS; `alpn` and `sni` are empty without TLS.
    """

    address: str
    port: int
    peer: tuple[str, int]
    is_tls: bool
    sni: str = ""
    alpn: str = ""
    tls_error: str = ""
    received: int = 0
    sent: int = 0
    is_open: bool = True
    requests: list[RequestRecord] = field(default_factory=list)


@dataclass(slots=True)
class Request:
    """A request whose head has been read; `body` gives the rest as it arrives."""

    record: RequestRecord
    connection: ConnectionRecord
    body: AsyncIterator[bytes]
    head: bytes = b""

    def header(self, name: str) -> str | None:
        """The first value of a header; `name` in lower case."""
        return next((value for found, value in self.record.headers if found.lower() == name), None)


class Exchange(Protocol):
    """Writer of a response. `start` once, `write` any number of times, `finish` once; `interim` before all of them."""

    async def interim(self, status: int, headers: HeaderList) -> None: ...
    async def start(self, status: int, headers: HeaderList, length: int | None) -> None: ...
    async def write(self, data: bytes) -> None: ...
    async def finish(self) -> None: ...


class Http1Exchange:
    """Writes with Content-Length when the length is known, else chunked.

    `reader` and `writer` are open to pages that break the rules.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: ConnectionRecord, is_head: bool
    ) -> None:
        self.reader, self.writer = reader, writer
        self.must_close = False
        self._connection = connection
        self._is_head = is_head
        self._is_chunked = False

    async def raw(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self._connection.sent += len(data)
        self.writer.write(data)
        await self.writer.drain()

    async def interim(self, status: int, headers: HeaderList) -> None:
        await self.raw(
            "".join(
                [f"HTTP/1.1 {status} Interim\r\n", *(f"{name}: {value}\r\n" for name, value in headers), "\r\n"]
            ).encode()
        )

    async def start(self, status: int, headers: HeaderList, length: int | None) -> None:
        self._is_chunked = length is None
        framing = ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", str(length))
        lines = [f"HTTP/1.1 {status} Status", *(f"{name}: {value}" for name, value in [*headers, framing])]
        await self.raw("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def write(self, data: bytes) -> None:
        if data and not self._is_head:
            await self.raw(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    async def finish(self) -> None:
        if self._is_chunked and not self._is_head:
            await self.raw(b"0\r\n\r\n")


class Respond(Protocol):
    async def __call__(self, request: Request, exchange: Exchange) -> None: ...


async def serve_http1(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: ConnectionRecord, respond: Respond
) -> None:
    """Serves one connection until either side ends it. What is no HTTP gets a 400."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            writer.write(b"HTTP/1.1 431 Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            return
        connection.received += len(head)
        try:
            record = parse_head(head)
        except ValueError:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            return
        connection.requests.append(record)
        request = Request(record, connection, _read_body(reader, writer, record.headers, connection), head)
        exchange = Http1Exchange(reader, writer, connection, record.method == "HEAD")
        await respond(request, exchange)
        async for _ in request.body:
            pass
        if (
            exchange.must_close
            or (request.header("connection") or "").lower() == "close"
            or record.version == "HTTP/1.0"
        ):
            return


def parse_head(head: bytes) -> RequestRecord:
    """Reads a request line and headers. Raises ValueError for what is neither."""
    request_line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = request_line.split(" ")
    headers: HeaderList = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"no header: {line!r}")
        headers.append((name, value.strip()))
    host = next((value for name, value in headers if name.lower() == "host"), "")
    return RequestRecord(method, target, version, host, headers)


async def _read_body(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    headers: Sequence[tuple[str, str]],
    connection: ConnectionRecord,
) -> AsyncIterator[bytes]:
    values = {name.lower(): value.lower() for name, value in headers}
    if values.get("expect") == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if values.get("transfer-encoding") == "chunked":
        while size := int((await reader.readline()).partition(b";")[0], 16):
            piece = await reader.readexactly(size)
            await reader.readexactly(2)
            connection.received += size
            yield piece
        while (await reader.readline()).strip():
            pass
        return
    left = int(values.get("content-length", "0"))
    while left:
        piece = await reader.read(min(left, 1 << 18))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
        connection.received += len(piece)
        yield piece
