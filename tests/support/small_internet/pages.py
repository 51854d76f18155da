"""Content of the origins by path.

Other paths are echoed, so that every look-alike site shows the request that it received.

/bytes/N          N deterministic bytes (`bodies.body`), Range honoured; /chunked/N without a length
/upload the length and SHA-256 of what was sent; /deaf lets an HTTP/2 client send no more than its first window /slow/S
an echo after S seconds; /drip/N/S sends N bytes, S seconds apart; /endless never ends /talk/ID?type=T&first=TEXT TEXT,
and "second" once somebody asks for /go-on/ID /sse/N N server-sent events, 50 ms apart, then the stream stays open;
/websocket echoes messages /stale an echo, but on a connection that has served before it hangs up (HTTP/1.1 only)
/html/DATA a page with this HTML, in base64 /to-the-end "hello" without a length, whose end is that of the connection,
with an offer of HTTP/3 (HTTP/1.1 only) /redirect?to=URL 302; /status/N answers with that status; /page is a small HTML
page; /gzip/N is /bytes/N under gzip /broken/… closes-mid-body, bad-chunk, short-length, long-length, garbage, silent,
no-answer, reset, endless-head (HTTP/1.1 only)
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import re
import sys
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs, urlsplit

import brotli
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.events import Request as WebSocketRequest

from small_internet.bodies import body
from small_internet.broken_pages import BROKEN_PAGES
from small_internet.exchange import Exchange, Http1Exchange, Request

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

EVENT_SECONDS = 0.05
PACKERS = {"gzip": gzip.compress, "br": brotli.compress, "zstd": zstd.compress}


async def respond(request: Request, exchange: Exchange) -> None:
    """Serves the page that the request names."""
    path = urlsplit(request.record.target).path
    name, _, rest = path.removeprefix("/").partition("/")
    page = _PAGES.get(name)
    if (page is _mirror and "data=" not in request.record.target) or (page is _html and not rest):
        page = None  # a page of YouTube that is like any other, or DuckDuckGo's form
    if name == "broken" and isinstance(exchange, Http1Exchange):
        exchange.must_close = True
        await BROKEN_PAGES[rest](exchange)
    elif name == "websocket" and isinstance(exchange, Http1Exchange):
        await _websocket(request, exchange)
    elif page is not None:
        await page(request, exchange, rest)
    else:
        await _echo(request, exchange, rest)


async def _stale(request: Request, exchange: Exchange, rest: str) -> None:
    """Hangs up on whoever asks on a connection that has served before, as a server does whose patience has
    just ended.
    """
    if len(request.connection.requests) > 1 and isinstance(exchange, Http1Exchange):
        exchange.must_close = True
        return
    await _echo(request, exchange, rest)


async def _to_the_end(_request: Request, exchange: Exchange, _rest: str) -> None:
    assert isinstance(exchange, Http1Exchange)
    exchange.must_close = True
    await exchange.raw(b'HTTP/1.1 200 OK\r\nAlt-Svc: h3=":443"; ma=86400, h2=":443"\r\n\r\nhello')


async def _echo(request: Request, exchange: Exchange, rest: str) -> None:
    record, connection = request.record, request.connection
    digest, length = await _sum(request)
    reported = {
        "method": record.method,
        "target": record.target,
        "version": record.version,
        "host": record.host,
        "headers": [list(pair) for pair in record.headers],
        "body": {"length": length, "sha256": digest},
        "address": connection.address,
        "port": connection.port,
        "peer": connection.peer[0],
        "tls": {"sni": connection.sni, "alpn": connection.alpn} if connection.is_tls else None,
    }
    await _whole(exchange, 200, "application/json", json.dumps(reported).encode())


async def _bytes(request: Request, exchange: Exchange, rest: str) -> None:
    length, start, end = int(rest), 0, int(rest)
    headers = [("Content-Type", "application/octet-stream"), ("Accept-Ranges", "bytes")]
    status = 200
    if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", request.header("range") or ""):
        start = int(asked[1])
        end = min(length, int(asked[2]) + 1) if asked[2] else length
        if start >= end:
            await exchange.start(416, [("Content-Range", f"bytes */{length}")], 0)
            await exchange.finish()
            return
        status = 206
        headers.append(("Content-Range", f"bytes {start}-{end - 1}/{length}"))
    await exchange.start(status, headers, end - start)
    for piece in body(length, start):
        await exchange.write(piece[: end - start])
        start += len(piece)
        if start >= end:
            break
    await exchange.finish()


async def _chunked(request: Request, exchange: Exchange, rest: str) -> None:
    await exchange.start(200, [("Content-Type", "application/octet-stream")], None)
    for piece in body(int(rest)):
        await exchange.write(piece)
    await exchange.finish()


async def _gzip(request: Request, exchange: Exchange, rest: str) -> None:
    packed = gzip.compress(b"".join(body(int(rest))))
    await exchange.start(200, [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")], len(packed))
    await exchange.write(packed)
    await exchange.finish()


async def _upload(request: Request, exchange: Exchange, rest: str) -> None:
    digest, length = await _sum(request)
    await _whole(exchange, 200, "application/json", json.dumps({"length": length, "sha256": digest}).encode())


async def _slow(request: Request, exchange: Exchange, rest: str) -> None:
    await asyncio.sleep(float(rest))
    await _echo(request, exchange, rest)


async def _drip(request: Request, exchange: Exchange, rest: str) -> None:
    count, _, seconds = rest.partition("/")
    await exchange.start(200, [("Content-Type", "text/plain")], int(count))
    for _ in range(int(count)):
        await asyncio.sleep(float(seconds))
        await exchange.write(b".")
    await exchange.finish()


async def _endless(request: Request, exchange: Exchange, rest: str) -> None:
    await exchange.start(200, [("Content-Type", "application/octet-stream")], None)
    while True:
        await exchange.write(bytes(1 << 14))
        await asyncio.sleep(0)


async def _sse(request: Request, exchange: Exchange, rest: str) -> None:
    await exchange.start(200, [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store")], None)
    for number in range(int(rest)):
        await exchange.write(f"id: {number}\ndata: event {number}\n\n".encode())
        await asyncio.sleep(EVENT_SECONDS)
    # Comments, as real streams send them, notice that the client has gone.
    while True:
        await asyncio.sleep(4 * EVENT_SECONDS)
        await exchange.write(b": still here\n\n")


async def _redirect(request: Request, exchange: Exchange, rest: str) -> None:
    target = parse_qs(urlsplit(request.record.target).query).get("to", ["/"])[0]
    await exchange.start(302, [("Location", target)], 0)
    await exchange.finish()


async def _status(request: Request, exchange: Exchange, rest: str) -> None:
    status = int(rest)
    await exchange.start(status, [], 0)
    await exchange.finish()


async def _page(request: Request, exchange: Exchange, rest: str) -> None:
    html = (
        f"<!doctype html><html lang=en><title>{request.record.host}</title><h1>Hello from"
        f" {request.record.host}</h1></html>"
    )
    await _whole(exchange, 200, "text/html; charset=utf-8", html.encode())


async def _mirror(request: Request, exchange: Exchange, rest: str) -> None:
    """Answers with what the query says:

    `data` in base64, with `gap` zeros after its 100th byte, `type`, `disposition`, and `encoding`.

    `coding` is an encoding that the data has already, `to` the place to which a `status` redirects, `allowed` the part
    of the site that a service worker may serve, `rating` and `pics-label` the page's labels.
    """
    query = {name: values[0] for name, values in parse_qs(urlsplit(request.record.target).query).items()}
    data = base64.urlsafe_b64decode(query["data"])
    data = data[:100] + bytes(int(query.get("gap", "0"))) + data[100:]
    headers = [("Content-Type", query["type"])] if "type" in query else []
    headers += [("Content-Disposition", query["disposition"])] if "disposition" in query else []
    headers += [(name, query[name.lower()]) for name in ("Rating", "PICS-Label") if name.lower() in query]
    headers += [("Service-Worker-Allowed", query["allowed"])] if "allowed" in query else []
    if (encoding := query.get("encoding")) is not None:
        headers.append(("Content-Encoding", encoding))
        data = PACKERS[encoding](data)
    headers += [("Content-Encoding", query["coding"])] if "coding" in query else []
    headers += [("Location", query["to"])] if "to" in query else []
    await exchange.start(int(query.get("status", "200")), headers, len(data))
    await exchange.write(data)
    await exchange.finish()


async def _html(_request: Request, exchange: Exchange, rest: str) -> None:
    await _whole(exchange, 200, "text/html; charset=utf-8", base64.urlsafe_b64decode(rest))


async def _talk(request: Request, exchange: Exchange, rest: str) -> None:
    query = {name: values[0] for name, values in parse_qs(urlsplit(request.record.target).query).items()}
    await exchange.start(200, [("Content-Type", query["type"])], None)
    await exchange.write(query["first"].encode("latin-1"))
    await _may_go_on.setdefault(rest, asyncio.Event()).wait()
    await exchange.write(b"second")
    await exchange.finish()


async def _go_on(_request: Request, exchange: Exchange, rest: str) -> None:
    _may_go_on.setdefault(rest, asyncio.Event()).set()
    await exchange.start(204, [], 0)
    await exchange.finish()


_may_go_on: dict[str, asyncio.Event] = {}


async def _trailers(request: Request, exchange: Exchange, rest: str) -> None:
    """A chunked body with a checksum after it; over HTTP/1.1 only."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    await exchange.raw(head + b"5\r\nhello\r\n0\r\nX-Sum: 5d41\r\nContent-Length: 7\r\n\r\n")  # type: ignore[attr-defined]


async def _interim(request: Request, exchange: Exchange, rest: str) -> None:
    """As many early hints before the answer as `rest` says."""
    for number in range(int(rest or "1")):
        await exchange.interim(103, [("Link", f"</style-{number}.css>; rel=preload")])
    await exchange.interim(102, [])
    await _whole(exchange, 200, "text/plain", b"the answer")


async def _websocket(request: Request, exchange: Http1Exchange) -> None:
    """Takes the connection over until the client closes it."""
    exchange.must_close = True
    connection = WSConnection(ConnectionType.SERVER)
    connection.receive_data(request.head)
    while True:
        for event in connection.events():
            match event:
                case WebSocketRequest():
                    await exchange.raw(connection.send(AcceptConnection()))
                case TextMessage():
                    await exchange.raw(
                        connection.send(TextMessage(data=event.data, message_finished=event.message_finished))
                    )
                case BytesMessage():
                    await exchange.raw(
                        connection.send(BytesMessage(data=event.data, message_finished=event.message_finished))
                    )
                case Ping():
                    await exchange.raw(connection.send(event.response()))
                case CloseConnection():
                    await exchange.raw(connection.send(event.response()))
                    return
        data = await exchange.reader.read(1 << 16)
        if not data:
            return
        request.connection.received += len(data)
        connection.receive_data(data)


async def _sum(request: Request) -> tuple[str, int]:
    digest, length = hashlib.sha256(), 0
    async for piece in request.body:
        digest.update(piece)
        length += len(piece)
    return digest.hexdigest(), length


async def _whole(exchange: Exchange, status: int, content_type: str, data: bytes) -> None:
    await exchange.start(status, [("Content-Type", content_type)], len(data))
    await exchange.write(data)
    await exchange.finish()


_PAGES: dict[str, Callable[[Request, Exchange, str], Awaitable[None]]] = {
    "stale": _stale,
    "to-the-end": _to_the_end,
    "bytes": _bytes,
    "chunked": _chunked,
    "gzip": _gzip,
    "upload": _upload,
    "slow": _slow,
    "drip": _drip,
    "endless": _endless,
    "sse": _sse,
    "redirect": _redirect,
    "status": _status,
    "page": _page,
    "html": _html,
    "mirror": _mirror,
    "youtubei": _mirror,
    "watch": _mirror,
    "shorts": _mirror,
    "talk": _talk,
    "go-on": _go_on,
    "trailers": _trailers,
    "interim": _interim,
}
