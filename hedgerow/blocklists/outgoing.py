"""The HTTP client for what Hedgerow fetches and posts: bounded in bytes and time, and guarded (`outgoing_guard`).

A host is looked up once, and the connection leads to an address that was judged. TLS is verified for the host's name.
No cookie is sent back, and every connection serves one request. Hosts of the internet are asked for through the proxy
that the environment names, if it names one. Then the proxy looks them up.

Requests ask for uncompressed answers. If a server compresses anyway, gzip and deflate are unpacked piece by piece and
other encodings are refused: an unbounded decoder turns a brotli answer of two kilobytes into gigabytes.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from hedgerow import __version__
from hedgerow.blocklists.outgoing_guard import NoConnectionError, OutgoingGuard, RefusedError, UnreachableError

USER_AGENT = f"hedgerow/{__version__}"
"""All that a server learns of this installation, besides its address."""
PIECE_BYTES = 1 << 16
"""Bytes of an unpacked body that are held at a time."""
MAX_REDIRECTS = 10
MAX_EXPANSION = 100
"""Bytes unpacked per byte received, beyond MIN_CHECKED_BYTES: lists of names reach 10."""
MIN_CHECKED_BYTES = 16 << 20
STEP_TIMEOUT_S = 30.0
"""The longest silence of a server."""
ONE_REQUEST = httpx.Limits(max_keepalive_connections=0)
"""A connection for each request."""


class UntrustedError(RefusedError):
    """The server's certificate is not trusted."""


_ERRORS = (
    (httpx.ConnectTimeout, NoConnectionError, "the server does not answer"),
    (httpx.TimeoutException, UnreachableError, "the server was too slow"),
    (httpx.RemoteProtocolError, UnreachableError, "the answer was cut off"),
    (httpx.ProxyError, NoConnectionError, "it was refused: {}"),
    (httpx.ConnectError, NoConnectionError, "the server can't be reached: {}"),
    ((httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError), RefusedError, "the request failed: {}"),
    (httpx.HTTPError, UnreachableError, "the request failed: {}"),
)
"""httpx's errors and ours, which say whether another attempt may help; the first that fits counts."""


def pinned(guard: OutgoingGuard, request: httpx.Request) -> list[httpx.Request]:
    """Return requests that go to the addresses of a host, to be tried in turn. TLS verifies its name.

    Each has its share of the time to connect. Their connections serve no other request, which may name another host.
    Raises RefusedError and NoConnectionError.
    """
    url, host, timeout = request.url, request.url.raw_host.decode("ascii"), request.extensions["timeout"]
    addresses = guard.look_up(host, url.port or {"https": 443}.get(url.scheme, 80), is_encrypted=url.scheme == "https")
    share = max(1.0, timeout["connect"] / max(3, len(addresses)))
    return [
        httpx.Request(
            request.method,
            url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": host, "timeout": {**timeout, "connect": share}},
        )
        for address in addresses
    ]


def proxy_for(guard: OutgoingGuard, url: httpx.URL) -> httpx.Proxy | None:
    """Return the proxy that the environment names for a URL outside; None for a direct connection.

    The variables are those of `urllib.request.getproxies`. Raises RefusedError for a proxy of an unknown kind. What it
    says has no credentials.
    """
    proxies, host = getproxies(), url.raw_host.decode("ascii")
    written = proxies.get(url.scheme) or proxies.get("all", "")
    if not written or not guard.is_outside(host) or proxy_bypass(url.netloc.decode("ascii"), proxies):
        return None
    guard.leave_to_proxy(host)
    trust = ssl.create_default_context() if written.lower().startswith("https:") else None
    with contextlib.suppress(httpx.InvalidURL, ValueError):
        proxy = httpx.Proxy(written if "://" in written else f"http://{written}", ssl_context=trust)
        if proxy.url.scheme in ("http", "https") and proxy.url.host:
            return proxy
    raise RefusedError(f"the proxy that the environment names for {url.scheme}:// is not one of http:// or https://")


class _Transport(httpx.HTTPTransport):
    """Connections to addresses that a guard permits, or to the environment's proxy, until `end`."""

    def __init__(self, guard: OutgoingGuard, trust: ssl.SSLContext) -> None:
        super().__init__(verify=trust, trust_env=False, limits=ONE_REQUEST)
        self._guard = guard
        self._trust = trust
        self._socket: socket.socket | None = None
        self.proxy: httpx.Proxy | None = None
        self.is_over = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.proxy = proxy_for(self._guard, request.url)
        if self.proxy is not None:
            through = httpx.HTTPTransport(verify=self._trust, trust_env=False, limits=ONE_REQUEST, proxy=self.proxy)
            return through.handle_request(request)
        *others, last = pinned(self._guard, request)
        for each in others:
            with contextlib.suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return super().handle_request(each)
            if self.is_over:
                raise httpx.PoolTimeout("the deadline has passed")
        return super().handle_request(last)

    def trace(self, event: str, details: Mapping[str, Any]) -> None:
        """Note the socket (httpx's extension `trace`)."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._socket = details["return_value"].get_extra_info("socket")
            if self.is_over:
                self.end()

    def end(self) -> None:
        """End the connection, whatever waits for it."""
        self.is_over = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


@contextlib.contextmanager
def open_url(
    url: str,
    seconds: float,
    guard: OutgoingGuard,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    redirects: int = MAX_REDIRECTS,
    trust: ssl.SSLContext | None = None,
) -> Iterator[httpx.Response]:
    """Open the answer to a GET, or to a POST of `body`, its own body unread. With no `redirects`, one is an answer.

    Raises RefusedError, UnreachableError, and TimeoutError after so many `seconds`, in which the answer is read, too.
    """
    transport = _Transport(guard, trust or ssl.create_default_context())
    timer = threading.Timer(seconds, transport.end)
    timer.daemon = True
    timer.start()
    try:
        with httpx.Client(
            transport=transport, trust_env=False, cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        ) as client:
            request = client.build_request(
                "GET" if body is None else "POST",
                url,
                content=body,
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **(headers or {})},
                timeout=min(STEP_TIMEOUT_S, seconds),
                extensions={"trace": transport.trace},
            )
            with _send(client, request, redirects) as response:
                yield response
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # a host may not be an IDN
        if not transport.is_over:
            raise _translated(error, transport.proxy) from error
    finally:
        timer.cancel()
    if transport.is_over:  # a body without a length seems to be complete, too
        raise TimeoutError(f"not finished after {seconds:g} seconds")


@contextlib.contextmanager
def _send(client: httpx.Client, request: httpx.Request, redirects: int) -> Iterator[httpx.Response]:
    for _ in range(redirects + 1):
        response = client.send(request, stream=True, follow_redirects=False)
        try:
            if response.next_request is None or not redirects:
                yield response
                return
        finally:
            response.close()
        scheme, request = request.url.scheme, response.next_request
        if request.url.scheme not in ("https", scheme):
            raise RefusedError("the request failed: the server redirects to an address without encryption")
    raise RefusedError(f"the request failed: more than {redirects} redirects")


def _translated(error: Exception, proxy: httpx.Proxy | None) -> Exception:
    """Return an error of httpx as ours, which names the proxy in use."""
    why = " ".join(str(error).split())
    ours, text = next((ours, text) for kinds, ours, text in _ERRORS if isinstance(error, kinds))
    if "CERTIFICATE_VERIFY_FAILED" in why:
        ours, text = UntrustedError, "the server's certificate is not trusted: {}"
    through = f" (through the proxy {proxy.url})" if proxy is not None else ""  # httpx has taken the credentials out
    return ours(text.format(why) + through)


def read_body(response: httpx.Response, limit: int) -> Iterator[bytes]:
    """Yield the body in pieces as they arrive, unpacked.

    Raises RefusedError beyond `limit` bytes, or if it cannot be unpacked.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    match encoding:
        case "" | "identity":
            pieces = response.iter_raw()
        case "gzip" | "x-gzip" | "deflate":
            pieces = _inflate(response.iter_raw(), is_gzip=encoding != "deflate")
        case _:
            raise RefusedError(f"the server compresses with {encoding[:20]!r} although it was asked not to")
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > limit:
            raise RefusedError(f"larger than {limit >> 20} MB" if limit >> 20 else f"larger than {limit >> 10} kB")
        if size > max(MIN_CHECKED_BYTES, MAX_EXPANSION * response.num_bytes_downloaded):
            raise RefusedError(f"unpacks to more than {MAX_EXPANSION} times its size")
        yield piece


def content_length(response: httpx.Response) -> int | None:
    """Return the announced number of bytes, or None."""
    text = response.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 and int(text) else None


def download_pieces(url: str, limit: int, seconds: float, guard: OutgoingGuard) -> Iterator[bytes]:
    """Yield a file of at most `limit` bytes as it arrives. Raises RefusedError, UnreachableError and TimeoutError."""
    with open_url(url, seconds, guard) as response:
        if response.status_code != 200:
            raise UnreachableError(f"its server answers {response.status_code}")
        yield from read_body(response, limit)


def download_small(url: str, limit: int, seconds: float, guard: OutgoingGuard) -> bytes:
    """Download a file of at most `limit` bytes into memory. Raises as `download_pieces` does."""
    return b"".join(download_pieces(url, limit, seconds, guard))


def _inflate(pieces: Iterable[bytes], *, is_gzip: bool) -> Iterator[bytes]:
    inflater = None
    try:
        for received in pieces:
            packed = received
            while packed:
                if inflater is None:
                    # As "deflate" some servers send zlib's format (RFC 1950), as they should, and some the raw one (RFC
                    # 1951).
                    is_raw = not is_gzip and packed[0] & 0x0F != 8
                    inflater = zlib.decompressobj(31 if is_gzip else -15 if is_raw else 15)
                if unpacked := inflater.decompress(packed, PIECE_BYTES):
                    yield unpacked
                packed = inflater.unconsumed_tail
                if inflater.eof:
                    packed, inflater = inflater.unused_data, None
        if inflater is not None:
            raise RefusedError("the download failed: the compressed body is cut off")
    except zlib.error as error:
        raise RefusedError(f"the download failed: the compressed body is damaged: {error}") from error
