"""Compressed responses (gzip and zstd) for requests that another site cannot have caused.

Whoever can add text of their own to a page with a secret, and sees the length of the compressed page, can guess the
secret letter by letter (the attack BREACH). For that, another site has to make the browser ask again and again. So its
requests, and those of which nothing is known, get responses as they are. Event streams stay as they are too.
"""

from __future__ import annotations

import functools
import re
import sys
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hedgerow.dashboards.credentials import bearer_token, session_cookie

if sys.version_info >= (3, 14):
    from compression import zstd as zstd  # type: ignore[import-not-found,unused-ignore]
else:
    from backports import zstd as zstd

_SMALLEST = 500
"""Bytes from which a response is compressed. Smaller ones fit into a packet anyway."""
_EMPTY = (204, 304)
"""Statuses of responses that have no body."""
_TEXT = re.compile(r"text/(?!event-stream)|application/(.*json|.*javascript|.*xml)|image/svg")
_REFUSED = re.compile(r"\s*q\s*=\s*0(\.0*)?\s*")
_COMPRESSORS: dict[str, Callable[[], Any]] = {
    "zstd": lambda: zstd.ZstdCompressor(3),
    "gzip": lambda: zlib.compressobj(6, wbits=16 + zlib.MAX_WBITS),
}
"""A new compressor for each coding, the preferred one first. Browsers accept zstd over HTTPS only."""
_MORE = {"zstd": zstd.ZstdCompressor.FLUSH_BLOCK, "gzip": zlib.Z_SYNC_FLUSH}
"""What makes a compressor return all that it got, without an end."""


def preferred_coding(accepted: str) -> str | None:
    """Return the coding for a value of Accept-Encoding (RFC 9110, section 12.5.3), or None.

    >>> preferred_coding("gzip, deflate, br, zstd"), preferred_coding("gzip;q=1.0, zstd;q=0"), preferred_coding("br")
    ('zstd', 'gzip', None)
    """
    offers = {
        name.strip().lower(): quality for name, _, quality in (each.partition(";") for each in accepted.split(","))
    }
    return next((each for each in _COMPRESSORS if each in offers and not _REFUSED.fullmatch(offers[each])), None)


def is_our_own(headers: Headers) -> bool:
    """Return whether another site cannot have caused a request.

    Newer browsers say so over HTTPS. Otherwise a token proves it, or the cookie of a session, which browsers do not
    send for other sites (SameSite=Strict), or one of our own pages as the referrer.
    """
    if (site := headers.get("sec-fetch-site")) is not None:
        return site in {"same-origin", "none"}
    referrer = urlsplit(headers.get("referer", "")).netloc
    return bool(bearer_token(headers) or session_cookie(headers) or (referrer and referrer == headers.get("host")))


class CompressedResponses:
    """An ASGI application with compressed responses. Files that browsers keep are compressed once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        coding = preferred_coding(headers.get("accept-encoding", "")) if scope["type"] == "http" else None
        compress = None if coding is None else _compressing(send, coding, is_private_too=is_our_own(headers))
        await self._app(scope, receive, compress or send)


def _compressing(send: Send, coding: str, *, is_private_too: bool) -> Send:
    compressor, is_file = None, False

    async def send_compressed(message: Message) -> None:
        nonlocal compressor, is_file
        if message["type"] == "http.response.start":
            head = MutableHeaders(scope=message)
            is_file = "immutable" in head.get("cache-control", "")
            if (is_file or is_private_too) and message["status"] not in _EMPTY and _is_compressible(head):
                compressor = _COMPRESSORS[coding]()
                head["Content-Encoding"] = coding
                head.add_vary_header("Accept-Encoding")
                del head["Content-Length"]
        elif compressor is not None:
            body, more = message.get("body", b""), message.get("more_body", False)
            compress = _file if is_file else functools.partial(_piece, compressor, more=more)
            message = {**message, "body": await run_in_threadpool(compress, coding, body)}
        await send(message)

    return send_compressed


def _is_compressible(head: Headers) -> bool:
    return (
        int(head.get("content-length", _SMALLEST)) >= _SMALLEST
        and "content-encoding" not in head
        and _TEXT.match(head.get("content-type", "")) is not None
    )


def _piece(compressor: Any, coding: str, body: bytes, *, more: bool) -> bytes:
    return bytes(compressor.compress(body) + (compressor.flush(_MORE[coding]) if more else compressor.flush()))


@functools.lru_cache(maxsize=64)
def _file(coding: str, content: bytes) -> bytes:
    """Return a whole file, compressed once. Its content is the same object each time, so that looking it up is fast."""
    return _piece(_COMPRESSORS[coding](), coding, content, more=False)
