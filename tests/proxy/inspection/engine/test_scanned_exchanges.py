"""Exchanges under a scanner, in any order of bytes, verdicts and timers: nothing passes before it is scanned."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events

from hedgerow.proxy.inspection.engine.flows import InspectedClient, LayerContext, OriginServer
from hedgerow.proxy.inspection.engine.http_layer import OPTIONS, HttpLayer, HTTPMode
from hedgerow.proxy.inspection.engine.http_stream import SCANNER_KEY, WaitForScan
from hedgerow.proxy.pages.response import ProxyResponse

GET = b"GET /a HTTP/1.1\r\nHost: o.example\r\n\r\n"
REFUSAL = ProxyResponse(403, (), b"blocked")


@dataclass
class ScriptedScanner:
    """A scanner that refuses once it has seen `refuses_after` octets, and is done after `done_after`.

    `busy` are the numbers of the feeds after which it is busy until `finish`.
    """

    refuses_after: int | None
    done_after: int | None
    busy: set[int]
    refuses_release: bool
    is_collecting: bool
    max_hold_seconds: float = 3.0
    seen: int = 0
    feeds: int = 0
    judged: int = 0  # octets that the last verdict was about
    is_busy: bool = False
    refusal: ProxyResponse | None = None

    @property
    def is_done(self) -> bool:
        return not self.is_busy and (self.done_after is not None and self.seen > self.done_after)

    def feed(self, data: bytes) -> ProxyResponse | None:
        self.seen += len(data)
        self.is_busy = self.feeds in self.busy
        self.feeds += 1
        if self.refuses_after is not None and self.seen > self.refuses_after and not self.is_done:
            self.refusal = REFUSAL
        return self.result()

    def end(self) -> ProxyResponse | None:
        self.judged = self.seen
        return self.feed(b"")

    def release(self) -> ProxyResponse | None:
        assert not self.is_busy
        self.judged = self.seen
        if self.refuses_release and not self.is_done:
            self.refusal = REFUSAL
        return self.result()

    def result(self) -> ProxyResponse | None:
        return None if self.is_busy else self.refusal


class ScannedExchange:
    """The layers of one HTTP/1 client and origin. What the client gets is checked with each event."""

    def __init__(self, scanner: ScriptedScanner) -> None:
        self.scanner = scanner
        self.client = InspectedClient.make(
            id="client", peername=("", 0), sockname=("", 0), state=ConnectionState.OPEN, timestamp_start=0.0
        )
        context = LayerContext(self.client, OPTIONS, OriginServer.at(("o.example", 80), tls=False, sni=None))
        self.layer = HttpLayer(context, HTTPMode.transparent, lambda status, *_: ProxyResponse(status, (), b""))
        self.origin: OriginServer
        self.to_client = b""
        self.waits: deque[commands.RequestWakeup] = deque()
        self.timers: deque[commands.RequestWakeup] = deque()
        self.handle(events.Start())
        self.handle(events.DataReceived(self.client, GET))

    def handle(self, first: events.Event) -> None:
        pending = deque([first])
        while pending:
            for command in self.layer.handle_event(pending.popleft()):
                match command:
                    case commands.SendData() if command.connection is self.client:
                        scanner = self.scanner
                        is_judged = scanner.judged == scanner.seen and not scanner.is_busy
                        assert is_judged or scanner.refusal is not None, "something passed before it was judged"
                        self.to_client += command.data
                    case commands.OpenConnection():
                        assert isinstance(command.connection, OriginServer)
                        self.origin, self.origin.state = command.connection, ConnectionState.OPEN
                        pending.append(events.OpenConnectionCompleted(command, None))
                    case commands.CloseConnection():
                        command.connection.state = ConnectionState.CLOSED
                    case WaitForScan():
                        self.waits.append(command)
                    case commands.RequestWakeup():
                        self.timers.append(command)
                    case commands.StartHook():
                        self._hook(command)
                        pending.append(events.HookCompleted(command))

    def _hook(self, command: Any) -> None:
        (flow,) = command.args()
        if command.name == "responseheaders":
            flow.response.stream = True
            flow.metadata[SCANNER_KEY] = self.scanner

    def finish_scan(self) -> None:
        self.scanner.is_busy = False
        self.handle(events.Wakeup(self.waits.popleft()))


SCANNERS = st.builds(
    ScriptedScanner,
    refuses_after=st.none() | st.integers(0, 40),
    done_after=st.none() | st.integers(0, 40),
    busy=st.sets(st.integers(0, 12), max_size=6),
    refuses_release=st.booleans(),
    is_collecting=st.booleans(),
)


@given(SCANNERS, st.lists(st.binary(min_size=1, max_size=9), max_size=8), st.booleans(), st.data())
@settings(max_examples=300)
def test_nothing_passes_before_it_is_scanned(
    scanner: ScriptedScanner, pieces: list[bytes], is_chunked: bool, data: st.DataObject
) -> None:
    exchange, body = ScannedExchange(scanner), b"".join(pieces)
    head = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(body)
    sent = deque([b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % head])
    sent += [b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece for piece in pieces]
    sent += [b"0\r\n\r\n"] if is_chunked else []
    while exchange.origin.state is ConnectionState.OPEN and (sent or exchange.waits):
        choices = ["bytes"] * bool(sent) + ["verdict"] * bool(exchange.waits) + ["timer"] * bool(exchange.timers)
        match data.draw(st.sampled_from(choices)):
            case "bytes":
                exchange.handle(events.DataReceived(exchange.origin, sent.popleft()))
            case "verdict":
                exchange.finish_scan()
            case _:
                exchange.handle(events.Wakeup(exchange.timers.popleft()))
    head_received, _, received = exchange.to_client.partition(b"\r\n\r\n")
    if scanner.refusal is None:
        event("allowed")
        assert (_unchunked(received) if is_chunked else received) == body
        assert exchange.client.state is ConnectionState.OPEN
    elif head_received.startswith(b"HTTP/1.1 403"):
        event("refused")
        assert received == REFUSAL.body
    else:
        event("cut off")
        assert exchange.client.state is ConnectionState.CLOSED
        assert not received.endswith(b"0\r\n\r\n")
        assert is_chunked or (body.startswith(received) and received != body)
    assert not exchange.layer.streams


def _unchunked(received: bytes) -> bytes:
    """Return a body in chunks without their frames. Nothing follows the last one."""
    content, rest = b"", received
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        content, rest = content + rest[: int(size, 16)], rest[int(size, 16) :].removeprefix(b"\r\n")
    assert received.endswith(b"0\r\n\r\n")
    return content
