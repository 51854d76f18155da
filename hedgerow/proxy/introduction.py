"""How an inspected connection begins: the gate's introduction, then TLS with the client where the client speaks it.

When that is done an `Exchange` owns the client's line. Whatever fails ends it.
"""

# mitmproxy annotates only some of its functions.
# mypy: allow-untyped-calls

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from itertools import count

from mitmproxy.connection import Client, ConnectionState
from mitmproxy.proxy.context import Context

from hedgerow.proxy.client_hello import ClientHello, HelloError, HelloReader, looks_like_tls
from hedgerow.proxy.exchange import Exchange, Office
from hedgerow.proxy.http_engine import OPTIONS, HTTPMode
from hedgerow.proxy.line import Line
from hedgerow.proxy.pass_ticket import MAX_INTRODUCTION, read_introduction
from hedgerow.proxy.tls_session import TlsSession

_numbers = count(1)


class Introduction:
    """Owns a line until it is known whose it is and what is spoken. `seen` is when it came, in the loop's time."""

    def __init__(self, office: Office) -> None:
        self.line = Line(self)
        self.seen = asyncio.get_running_loop().time()
        self._office = office
        self._receive: Callable[[bytes], None] = self._read_line
        self._first = b""
        self._hello = HelloReader()
        self._offers: tuple[str, ...] = ()
        self._client: Client | None = None
        self._context: Context
        office.entered(self)

    def abort(self) -> None:
        self.line.abort()

    # What happens on the line.

    def received(self, line: Line, data: bytes) -> None:  # noqa: ARG002
        self._receive(data)

    def secured(self, line: Line) -> None:
        assert line.tls is not None
        assert self._client is not None
        alpn = line.tls.alpn
        self._client.alpn = alpn.encode() if alpn else None
        self._client.timestamp_tls_setup = self._office.clock()
        self._hand_over(HTTPMode.transparent)

    def failed(self, line: Line, error: ssl.SSLError | None) -> None:
        assert self._client is not None
        self._office.inspection.certificate_refused(self._client, self._context.server.address, error.reason if error else None)
        line.abort()

    def ended(self, line: Line) -> None:
        line.abort()

    def lost(self, line: Line) -> None:  # noqa: ARG002
        self._office.left(self, self._client)

    def stalled(self, line: Line) -> None: ...

    def flows(self, line: Line) -> None: ...

    # Who is it, and what is spoken?

    def _read_line(self, data: bytes) -> None:
        self._first += data
        text, end, rest = self._first.partition(b"\r\n")
        if not end:
            if len(text) > MAX_INTRODUCTION:
                self._turn_away()
            return
        found = read_introduction(self._office.key, text, self._office.clock())
        if found is None or (found[1] is not None and not self._office.inspection.serves(found[1].port)):
            self._turn_away()
            return
        address, target = found
        self._client = Client(
            id=f"c{next(_numbers)}", peername=(address, 0), sockname=("", 0), state=ConnectionState.OPEN,
            timestamp_start=self._office.clock(),
        )  # fmt: skip
        self._office.introduced(self._client, address)
        self._context = Context(self._client, OPTIONS)
        self._first = b""
        if target is None:
            self._hand_over(HTTPMode.regular, rest)
            return
        self._context.server.address = (target.host, target.port)
        self._receive = self._choose
        if rest:
            self._choose(rest)

    def _turn_away(self) -> None:
        self._office.counters.add("hedgerow_proxy_dropped_total", "inspector")
        self.abort()

    def _choose(self, data: bytes) -> None:
        self._first += data
        match looks_like_tls(self._first):
            case True:
                first, self._first = self._first, b""
                self._receive = self._read_hello
                self._read_hello(first)
            case False:
                self._hand_over(HTTPMode.transparent, self._first)
            case None:
                return

    def _read_hello(self, data: bytes) -> None:
        self._first += data
        try:
            hello = self._hello.feed(data)
        except HelloError:
            self._turn_away()
            return
        if hello is not None:
            self._secure(hello)

    def _secure(self, hello: ClientHello) -> None:
        server, client = self._context.server, self._client
        assert server.address is not None
        assert client is not None
        server.tls = client.tls = True
        client.sni = hello.sni
        self._offers = hello.alpn
        context = self._office.leaves.context(hello.sni or server.address[0])
        self.line.secure(TlsSession(context, is_server=True), self._first)

    def _hand_over(self, mode: HTTPMode, first: bytes = b"") -> None:
        """The line is an exchange's from now on; `first` is what its client has said already."""
        exchange = Exchange(self._office, self.line, self._context, self._offers)
        self._office.left(self, None)
        exchange.begin(mode)
        if first:
            exchange.received(self.line, first)
