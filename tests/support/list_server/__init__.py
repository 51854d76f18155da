"""A publisher of lists that does everything wrong when told to: one path a behaviour, changed while it runs."""

from __future__ import annotations

import contextlib
import gzip
import http.server
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

Handler = http.server.BaseHTTPRequestHandler
Serve = Callable[[Handler], None]


def send(handler: Handler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"content_length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    with contextlib.suppress(OSError):  # who is refused midway hangs up
        handler.wfile.write(body)


def text(body: bytes, etag: str = "") -> Serve:
    """A list as it should be served; with an etag, 304 for who has it."""

    def serve(handler: Handler) -> None:
        if etag and handler.headers["if-none-match"] == etag:
            send(handler, 304, etag=etag)
        else:
            send(handler, 200, body, **({"etag": etag} if etag else {}))

    return serve


def slowly(body: bytes, seconds: float, *, says_length: bool = False) -> Serve:
    def serve(handler: Handler) -> None:
        handler.send_response(200)
        if says_length:
            handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        with contextlib.suppress(OSError):
            for start in range(0, len(body), max(1, len(body) // 20)):
                handler.wfile.write(body[start : start + max(1, len(body) // 20)])
                handler.wfile.flush()
                time.sleep(seconds / 20)

    return serve


def bomb(megabytes: int) -> Serve:
    """So many megabytes of one name again and again, a thousandth of that on the wire.

    They are packed for the first request.
    """

    @cache
    def packed() -> bytes:
        return gzip.compress(b"bomb.example\n" * (megabytes << 20 >> 4) * 2, compresslevel=9)

    return lambda handler: send(handler, 200, packed(), content_encoding="gzip")


class ListServer:
    """`paths` maps a path to what serves it; `asked` are the paths and conditions of all requests."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.paths: dict[str, Serve] = {}
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Bound(Handler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, self.headers["if-none-match"]))
                outer.paths.get(self.path, lambda handler: send(handler, 404))(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        # A handshake that fails is what the test is about, not a fault to be printed.
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if context else "http"
        self.root = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    @contextlib.contextmanager
    def serving(self) -> Iterator[ListServer]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
