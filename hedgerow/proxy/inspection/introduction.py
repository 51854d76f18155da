"""How an inspected connection begins: the gate has introduced a client, who then speaks TLS or HTTP.

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

from hedgerow.proxy.gate.client_hello import ClientHello, FirstWords, HelloError, HelloReader
from hedgerow.proxy.http_head import ESTABLISHED
from hedgerow.proxy.inspection.engine.http_engine import OPTIONS, HTTPMode
from hedgerow.proxy.inspection.exchange import Exchange
from hedgerow.proxy.inspection.lines.line import Line
from hedgerow.proxy.inspection.lines.tls_session import TlsSession
from hedgerow.proxy.inspection.office import Office
from hedgerow.proxy.pass_ticket import Introduced

_numbers = count(1)


class Introduction:
    """Owns a client's line until it is known what is spoken. `first` is what the client has said to the gate after its CONNECT, if any."""

    def __init__(self, office: Office, who: Introduced, first: bytes) -> None:
        self.line = _FreshLine(self)
        self._began = asyncio.get_running_loop().time()
        self.client = Client(
            id=f"c{next(_numbers)}", peername=(who.address, 0), sockname=("", 0), state=ConnectionState.OPEN,
            timestamp_start=office.clock(),
        )  # fmt: skip
        self._office = office
        self._who = who
        self._receive: Callable[[Introduction, bytes], None] = Introduction._choose
        self._first = first
        self._opening = FirstWords()
        self._hello = HelloReader()
        self._offers: tuple[str, ...] = ()
        self._context = Context(self.client, OPTIONS)

    def begin(self) -> None:
        """The line stands."""
        self._office.entered(self)
        self.line.taken = len(self._first)
        if self._who.waits:
            self.line.put(ESTABLISHED)
            self.line.flush()
        first, self._first = self._first, b""
        if self._who.target is None:
            self._hand_over(HTTPMode.regular, first)
            return
        self._context.server.address = (self._who.target.host, self._who.target.port)
        if first:
            self._choose(first)

    def abort(self) -> None:
        self.line.abort()

    def rests(self, now: float) -> float:
        """Seconds since it came, in the loop's time: what its client says does not prolong its time."""
        return now - self._began

    # What happens on the line.

    def received(self, line: Line, data: bytes) -> None:  # noqa: ARG002
        self._receive(self, data)

    def secured(self, line: Line) -> None:
        assert line.tls is not None
        alpn = line.tls.alpn
        self.client.alpn = alpn.encode() if alpn else None
        self.client.timestamp_tls_setup = self._office.clock()
        self._hand_over(HTTPMode.transparent)

    def failed(self, line: Line, error: ssl.SSLError | None) -> None:
        self._office.inspection.certificate_refused(self.client, self._context.server.address, error.reason if error else None)
        line.abort()

    def ended(self, line: Line) -> None:
        line.abort()

    def lost(self, line: Line) -> None:  # noqa: ARG002
        self._office.left(self, self.client)

    def stalled(self, line: Line) -> None: ...

    def flows(self, line: Line) -> None: ...

    # What is spoken?

    def _choose(self, data: bytes) -> None:
        found = self._opening.feed(data)
        if found is not None:
            is_tls, first = found
            self._receive = Introduction._read_hello if is_tls else Introduction._read_request
            self._receive(self, first)

    def _read_request(self, data: bytes) -> None:
        self._hand_over(HTTPMode.transparent, data)

    def _read_hello(self, data: bytes) -> None:
        self._first += data
        try:
            hello = self._hello.feed(data)
        except HelloError:
            self._office.counters.add("hedgerow_proxy_dropped_total", "inspector")
            self.abort()
            return
        if hello is not None:
            self._secure(hello)

    def _secure(self, hello: ClientHello) -> None:
        server, client = self._context.server, self.client
        assert server.address is not None
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


class _FreshLine(Line):
    """Tells its introduction, who owns it, when it stands: what the gate has read comes before what is read now."""

    __slots__ = ("_introduction",)

    def __init__(self, introduction: Introduction) -> None:
        super().__init__(introduction)
        self._introduction: Introduction | None = introduction

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        introduction, self._introduction = self._introduction, None
        assert introduction is not None
        introduction.begin()
