"""Responses that break the rules of HTTP/1.1, each in one way, as real servers do."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from small_internet.exchange import Http1Exchange

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


async def _closes_mid_body(exchange: Http1Exchange) -> None:
    await exchange.raw(_HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 500)


async def _bad_chunk(exchange: Http1Exchange) -> None:
    await exchange.raw(_HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\nworld\r\n0\r\n\r\n")


async def _short_length(exchange: Http1Exchange) -> None:
    """Says fewer bytes than it sends."""
    await exchange.raw(_HEAD + b"Content-Length: 5\r\n\r\nhello, world")


async def _long_length(exchange: Http1Exchange) -> None:
    """Says more bytes than it sends, and then waits for the client to give up."""
    await exchange.raw(_HEAD + b"Content-Length: 100\r\n\r\nhello")
    await exchange.reader.read()


async def _two_lengths(exchange: Http1Exchange) -> None:
    await exchange.raw(_HEAD + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello!!")


async def _garbage(exchange: Http1Exchange) -> None:
    await exchange.raw(b"\x00\x01\x02 this is no HTTP \xff\r\n\r\n")


async def _silent(exchange: Http1Exchange) -> None:
    """Keeps the connection and never answers."""
    await exchange.reader.read()


async def _no_answer(exchange: Http1Exchange) -> None:
    """Closes without a byte."""


async def _reset(exchange: Http1Exchange) -> None:
    """Sends half a body, then a TCP reset."""
    await exchange.raw(_HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 500)
    sock: socket.socket = exchange.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    exchange.writer.transport.abort()


async def _endless_head(exchange: Http1Exchange) -> None:
    await exchange.raw(b"HTTP/1.1 200 OK\r\n")
    while True:
        await exchange.raw(b"X-Padding: " + b"p" * 8000 + b"\r\n")
        await asyncio.sleep(0)


BROKEN_PAGES: dict[str, Callable[[Http1Exchange], Awaitable[None]]] = {
    "closes-mid-body": _closes_mid_body,
    "bad-chunk": _bad_chunk,
    "short-length": _short_length,
    "long-length": _long_length,
    "two-lengths": _two_lengths,
    "garbage": _garbage,
    "silent": _silent,
    "no-answer": _no_answer,
    "reset": _reset,
    "endless-head": _endless_head,
}
