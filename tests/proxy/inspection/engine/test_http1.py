"""HTTP layers without sockets: what one side of a connection sends makes the other side's bytes, or a refusal."""

from __future__ import annotations

from collections import deque

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from mitmproxy import http
from mitmproxy.connection import ConnectionState
from mitmproxy.proxy import commands, events

from hedgerow.proxy.inspection.engine.flows import InspectedClient, LayerContext, OriginServer
from hedgerow.proxy.inspection.engine.http_layer import OPTIONS, HttpLayer, HTTPMode
from hedgerow.proxy.inspection.engine.http_stream import REFUSAL_KEY
from hedgerow.proxy.pages.response import ProxyResponse

GET = b"GET / HTTP/1.1\r\nHost: o.example\r\n\r\n"
POST = [(":method", "POST"), (":scheme", "https"), (":authority", "o.example"), (":path", "/")]


class Exchange:
    """The layers of one client, whose connections are lists of bytes."""

    def __init__(
        self, alpn: bytes = b"http/1.1", mode: HTTPMode = HTTPMode.transparent, origin_alpn: bytes = b"http/1.1"
    ) -> None:
        self.client = InspectedClient.make(
            id="client", peername=("", 0), sockname=("", 0), state=ConnectionState.OPEN, timestamp_start=0.0, alpn=alpn
        )
        wanted = OriginServer.make(id="wanted", address=("o.example", 443), tls=True)
        self.layer = HttpLayer(LayerContext(self.client, OPTIONS, wanted), mode, self._explain)
        self.origins: list[OriginServer] = []
        self._origin_alpn = origin_alpn
        self.sent: dict[object, bytes] = {}
        self.refusals: list[int] = []
        self.refusal: ProxyResponse | None = None  # in place of a response
        self._handle(events.Start())

    def _explain(self, status: int, message: str, request: http.Request | None, client: str) -> ProxyResponse:
        self.refusals.append(status)
        return ProxyResponse(status, (), message.encode())

    def from_client(self, data: bytes) -> None:
        self._handle(events.DataReceived(self.client, data))

    def from_origin(self, data: bytes) -> None:
        self._handle(events.DataReceived(self.origins[-1], data))

    def to_origin(self) -> bytes:
        return self.sent.get(self.origins[-1], b"")

    def to_client(self) -> bytes:
        return self.sent.get(self.client, b"")

    def _handle(self, event: events.Event) -> None:
        pending = deque([event])
        while pending:
            for command in self.layer.handle_event(pending.popleft()):
                match command:
                    case commands.SendData():
                        self.sent[command.connection] = self.sent.get(command.connection, b"") + command.data
                    case commands.OpenConnection():
                        assert isinstance(command.connection, OriginServer)
                        command.connection.state, command.connection.alpn = ConnectionState.OPEN, self._origin_alpn
                        self.origins.append(command.connection)
                        pending.append(events.OpenConnectionCompleted(command, None))
                    case commands.CloseConnection():
                        command.connection.state = ConnectionState.CLOSED
                    case commands.StartHook():
                        (flow,) = command.args()
                        flow.request.stream = True
                        if self.refusal is not None and command.name == "responseheaders":
                            flow.metadata[REFUSAL_KEY] = self.refusal
                        if flow.response is not None:
                            flow.response.stream = True
                        pending.append(events.HookCompleted(command))


def http2_client() -> H2Connection:
    client = H2Connection(H2Configuration())
    client.initiate_connection()
    return client


def test_an_http2_upload_with_several_cookies_is_no_second_request() -> None:
    exchange, client = Exchange(b"h2"), http2_client()
    client.send_headers(1, [*POST, ("cookie", "a=1"), ("cookie", "b=2")])
    client.send_data(1, b"0\r\n\r\n" + GET, end_stream=True)
    exchange.from_client(client.data_to_send())
    head, _, body = exchange.to_origin().partition(b"\r\n\r\n")
    assert {b"transfer-encoding: chunked", b"cookie: a=1; b=2"} <= set(head.split(b"\r\n"))
    assert body == b"%x\r\n0\r\n\r\n%b\r\n0\r\n\r\n" % (len(GET) + 5, GET)


@pytest.mark.parametrize("mode", [HTTPMode.transparent, HTTPMode.regular])
@pytest.mark.parametrize("line", [b"connect /x HTTP/1.1", b"Connect http://o.example:25/ HTTP/1.1"])
def test_no_spelling_of_connect_opens_a_tunnel(line: bytes, mode: HTTPMode) -> None:
    exchange = Exchange(mode=mode)
    exchange.from_client(line + b"\r\nHost: o.example\r\n\r\n")
    assert (exchange.refusals, exchange.origins, exchange.client.state) == ([400], [], ConnectionState.CLOSED)


def test_no_spelling_of_connect_ends_the_other_streams() -> None:
    exchange, client = Exchange(b"h2"), http2_client()
    client.send_headers(1, [(":method", "connect"), *POST[1:]], end_stream=True)
    client.send_headers(3, POST, end_stream=True)
    exchange.from_client(client.data_to_send())
    assert exchange.refusals == [400]
    assert exchange.to_origin().startswith(b"POST / HTTP/1.1\r\n")


@pytest.mark.parametrize("line", [b"HTTP/1.1  100 Continue", b"HTTP/1.1\t103 Early Hints", b"HTTP/1.2 102 Processing"])
def test_an_unusual_informational_response_is_a_fault_of_the_site(line: bytes) -> None:
    exchange = Exchange()
    exchange.from_client(GET)
    exchange.from_origin(line + b"\r\n\r\n")
    assert (exchange.refusals, exchange.origins[0].state) == ([502], ConnectionState.CLOSED)


@pytest.mark.parametrize("octet", [b"\r", b"\0"])
def test_no_field_hides_in_the_reason(octet: bytes) -> None:
    exchange = Exchange()
    exchange.from_client(GET)
    exchange.from_origin(b"HTTP/1.1 200 OK%bTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nhi" % octet)
    assert exchange.refusals == [502]
    assert b"Transfer-Encoding" not in exchange.to_client()


def test_nothing_is_left_of_refused_http2_requests() -> None:
    exchange, client = Exchange(b"h2"), http2_client()
    for number in range(1, 9, 2):
        client.send_headers(number, [*POST[:3], (":path", "/a/..%2fb")], end_stream=True)
    exchange.from_client(client.data_to_send())
    assert (exchange.refusals, exchange.layer.streams) == ([400] * 4, {})


def test_an_origin_that_answered_an_upload_early_is_left_with_it() -> None:
    """Else it would count among the connections to this origin for as long as the client stays."""
    exchange, client = Exchange(b"h2"), http2_client()
    client.send_headers(1, POST)
    client.send_data(1, b"some")
    exchange.from_client(client.data_to_send())
    exchange.from_origin(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
    client.reset_stream(1)
    exchange.from_client(client.data_to_send())
    assert (exchange.layer.streams, exchange.origins[0].state) == ({}, ConnectionState.CLOSED)


@pytest.mark.parametrize("status", ["204", "304"])
def test_an_http2_origin_puts_no_body_where_http1_has_none(status: str) -> None:
    exchange, origin = Exchange(origin_alpn=b"h2"), H2Connection(H2Configuration(client_side=False))
    exchange.from_client(GET)
    origin.initiate_connection()
    origin.receive_data(exchange.to_origin())
    origin.send_headers(1, [(":status", status), ("etag", "a")])
    origin.send_data(1, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", end_stream=True)
    exchange.from_origin(origin.data_to_send())
    assert exchange.to_client().endswith(b"\r\netag: a\r\n\r\n")
    assert exchange.client.state is ConnectionState.OPEN


def test_an_http2_origin_answers_no_head_request_with_a_body() -> None:
    exchange, origin = Exchange(origin_alpn=b"h2"), H2Connection(H2Configuration(client_side=False))
    exchange.from_client(GET.replace(b"GET", b"HEAD"))
    origin.initiate_connection()
    origin.receive_data(exchange.to_origin())
    origin.send_headers(1, [(":status", "200")])
    origin.send_data(1, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", end_stream=True)
    exchange.from_origin(origin.data_to_send())
    assert b"evil" not in exchange.to_client()
    assert exchange.client.state is ConnectionState.CLOSED, "its origin is not to be trusted with the next request"


def test_an_origin_switches_protocols_only_after_the_whole_request() -> None:
    exchange = Exchange()
    upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nContent-Length: 5\r\n\r\n"
    exchange.from_client(GET[:-2] + upgrade + b"ab")
    exchange.from_origin(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
    exchange.from_client(b"cde")
    assert (exchange.refusals, exchange.origins[0].state) == ([502], ConnectionState.CLOSED)


@pytest.mark.parametrize("requests", [GET, GET + GET])
def test_a_malformed_body_after_a_refused_head_is_no_second_answer(requests: bytes) -> None:
    exchange = Exchange()
    exchange.refusal = ProxyResponse(403, (), b"no")
    exchange.from_client(requests)
    exchange.from_origin(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno size")
    assert exchange.to_client().startswith(b"HTTP/1.1 403 ")
    assert (exchange.to_client().count(b"HTTP/1.1"), exchange.refusals) == (1, [])
    assert exchange.client.state is ConnectionState.OPEN
