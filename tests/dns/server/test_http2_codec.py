"""Plain requests of DNS over HTTPS, which skip h2, beside the same requests through h2."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
from hpack import Encoder
from hyperframe import frame
from hypothesis import example, given, settings
from hypothesis import strategies as some

from hedgerow.dns.server.http2_codec import MAX_STREAMS, Http2Codec
from hedgerow.dns.server.http_codec import DohRequest, Flood, HttpClientError
from hedgerow.dns.server.rate_limits import MAX_QUERY
from hedgerow.frame_budget import MAX_TOKENS

START = [(":method", "GET"), (":scheme", "https"), (":authority", "dns.home.example")]
POST = [(":method", "POST"), *START[1:], (":path", "/dns-query"), ("content-type", "application/dns-message")]


class SlowCodec(Http2Codec):
    """Reads every request through h2."""

    def _read_plain(self, *_args: object) -> None:
        return None


def get(path: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    return [*START, (":path", path), ("accept", "application/dns-message"), *more]


@dataclass
class Exchange:
    """A client and its server. `received` has what the client got for each stream, `served` the requests in order."""

    make: Callable[..., Http2Codec]
    written: list[bytes] = field(default_factory=list)
    served: list[DohRequest] = field(default_factory=list)
    received: dict[int, bytes] = field(default_factory=dict)
    heads: dict[int, list[tuple[bytes, bytes]]] = field(default_factory=dict)
    resets: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.client = h2.connection.H2Connection(h2.config.H2Configuration())
        self.client.initiate_connection()
        self.codec = self.make(self.written.append)
        self.deliver()

    def deliver(self, cuts: random.Random | None = None) -> list[DohRequest]:
        """Pass on what the client has to say, in pieces if there are `cuts`, and what the server says.

        Return the requests.
        """
        data, requests = self.client.data_to_send(), list[DohRequest]()
        while data:
            size = len(data) if cuts is None else cuts.randint(1, 60)
            self.codec.feed(data[:size])
            data = data[size:]
            while self.codec.has_more:
                requests += self.codec.receive(0.0)
        self.served += requests
        for event in self.client.receive_data(b"".join(self.written)):
            if isinstance(event, h2.events.ResponseReceived):
                self.heads[event.stream_id] = [(bytes(name), bytes(value)) for name, value in event.headers]
            if isinstance(event, h2.events.StreamReset):
                self.resets.add(event.stream_id)
            if isinstance(event, h2.events.DataReceived):
                self.received[event.stream_id] = self.received.get(event.stream_id, b"") + event.data
                self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self.written.clear()
        return requests

    def ask(
        self, fields: list[tuple[str, str]], body: bytes = b"", *, pieces: int = 1, priority: int | None = None
    ) -> int:
        stream = self.client.get_next_available_stream_id()
        self.client.send_headers(stream, fields, end_stream=not body, priority_weight=priority)
        for number in range(pieces if body else 0):
            piece = body[len(body) * number // pieces : len(body) * (number + 1) // pieces]
            self.client.send_data(stream, piece, end_stream=number == pieces - 1)
        return stream

    @property
    def known_to_h2(self) -> set[int]:
        return set(self.codec._connection.streams) | set(self.codec._requests)


def test_plain_requests_skip_h2() -> None:
    exchange = Exchange(Http2Codec)
    exchange.ask(get("/dns-query?dns=AAAB"))
    for request in exchange.deliver():
        exchange.codec.respond(request, 404, [], b"")
    streams = [
        exchange.ask(get("/dns-query?dns=AAAC")),
        exchange.ask(get("/dns-query/mia?dns=AAAD", ("user-agent", "test")), priority=7),
        exchange.ask([*POST, ("content-length", "4")], b"abcd"),
    ]
    requests = exchange.deliver()
    assert [(each.method, each.target, bytes(each.body)) for each in requests] == [
        ("GET", "/dns-query?dns=AAAC", b""),
        ("GET", "/dns-query/mia?dns=AAAD", b""),
        ("POST", "/dns-query", b"abcd"),
    ]
    assert not exchange.known_to_h2 & set(streams)
    for request in reversed(requests):
        assert exchange.codec.answer(request, f"answer {request.stream}".encode(), 7)
    exchange.deliver()
    assert exchange.received == {stream: f"answer {stream}".encode() for stream in streams}
    expected = [
        (b":status", b"200"),
        (b"content-type", b"application/dns-message"),
        (b"cache-control", b"private, max-age=7"),
    ]
    assert exchange.heads[streams[0]] == [*expected, (b"content-length", b"8")]


def started() -> Exchange:
    """Return an exchange whose first request, which is always h2's, is over."""
    exchange = Exchange(Http2Codec)
    exchange.ask(get("/first"))
    for request in exchange.deliver():
        assert exchange.codec.respond(request, 404, [], b"")
    return exchange


@pytest.mark.parametrize("pieces", [2, 3])
def test_a_body_in_pieces_is_read_through_h2(pieces: int) -> None:
    exchange = started()
    stream = exchange.ask(POST, b"abcdef", pieces=pieces)
    assert stream not in exchange.known_to_h2
    (request,) = exchange.deliver()
    assert (request.stream, bytes(request.body)) == (stream, b"abcdef")


def test_a_body_that_comes_later_is_waited_for() -> None:
    exchange = started()
    stream = exchange.ask(POST, b"abcd")
    data = exchange.client.data_to_send()
    exchange.codec.feed(data[:-9])
    assert exchange.codec.receive(0.0) == []
    exchange.codec.feed(data[-9:])
    assert [(each.stream, bytes(each.body)) for each in exchange.codec.receive(0.0)] == [(stream, b"abcd")]


def test_a_connection_takes_bodies_beyond_its_first_window() -> None:
    """The client keeps to the window of 65,535 octets, which is opened again and again."""
    exchange = started()
    for number in range(300):
        stream = exchange.ask(POST, bytes([number % 256]) * MAX_QUERY)
        (request,) = exchange.deliver()
        assert (request.stream, bytes(request.body)) == (stream, bytes([number % 256]) * MAX_QUERY)
        assert stream not in exchange.known_to_h2
        assert exchange.codec.answer(request, b"answer", 1)
    assert 300 * MAX_QUERY > 2 * 65_535


def test_plain_bodies_and_others_share_the_window() -> None:
    """The client never waits for room, though each way keeps back a part of the window before it opens it again."""
    exchange = started()
    for number in range(120):
        pieces = 1 if number % 7 < 5 else 2
        exchange.ask(POST, b"x" * (MAX_QUERY if pieces == 1 else 2_000 + number), pieces=pieces)
        (request,) = exchange.deliver()
        assert exchange.codec.answer(request, b"answer", 1)
        assert exchange.client.outbound_flow_control_window >= MAX_QUERY
    assert exchange.client.outbound_flow_control_window <= 65_535


@pytest.mark.parametrize("is_old", [False, True])
def test_a_frame_on_a_stream_with_an_answer_ends_the_connection(is_old: bool) -> None:
    """The oldest streams are forgotten, which changes nothing but the error's code."""
    exchange = started()
    for _ in range(1030):
        stream = exchange.ask(get("/dns-query"))
        (request,) = exchange.deliver()
        assert exchange.codec.answer(request, b"answer", 1)
    again = frame.HeadersFrame(3 if is_old else stream, b"\x82", flags=["END_HEADERS", "END_STREAM"])
    exchange.codec.feed(again.serialize())
    with pytest.raises(HttpClientError):
        exchange.codec.receive(0.0)
    (ended,) = list(exchange.client.receive_data(b"".join(exchange.written)))[-1:]
    assert isinstance(ended, h2.events.ConnectionTerminated)
    assert ended.error_code == (h2.errors.ErrorCodes.PROTOCOL_ERROR if is_old else h2.errors.ErrorCodes.STREAM_CLOSED)


def test_a_plain_request_may_be_refused_with_a_page() -> None:
    exchange = started()
    stream = exchange.ask(get("/nothing"))
    (request,) = exchange.deliver()
    assert stream not in exchange.known_to_h2
    assert exchange.codec.respond(request, 404, [("content-type", "text/plain")], b"There is nothing here.")
    exchange.deliver()
    assert dict(exchange.heads[stream]) == {
        b":status": b"404",
        b"content-type": b"text/plain",
        b"content-length": b"22",
    }
    assert exchange.received[stream] == b"There is nothing here."


@pytest.mark.parametrize("is_plain", [True, False])
def test_an_answer_that_the_client_has_cancelled_is_dropped(is_plain: bool) -> None:
    exchange = started()
    stream = exchange.ask(get("/dns-query") if is_plain else get("/dns-query", ("cookie", "a=b")))
    (request,) = exchange.deliver()
    exchange.client.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
    assert exchange.deliver() == []
    assert exchange.codec.answer(request, b"answer", 1)
    after = exchange.ask(get("/after"))
    (request,) = exchange.deliver()
    assert exchange.codec.answer(request, b"after", 1)
    exchange.deliver()
    assert exchange.received == {after: b"after"}


def test_a_client_that_ends_the_connection_gets_no_more() -> None:
    exchange = started()
    exchange.client.close_connection()
    with pytest.raises(HttpClientError):
        exchange.deliver()


def read_all(codec: Http2Codec) -> None:
    while codec.has_more:
        codec.receive(0.0)


def test_a_flood_of_frames_ends_the_connection() -> None:
    """RFC 9113, section 10.5."""
    exchange = started()
    exchange.codec.feed(frame.PingFrame(0, b"12345678").serialize() * (MAX_TOKENS + 1))
    with pytest.raises(Flood):
        read_all(exchange.codec)
    ended = exchange.client.receive_data(b"".join(exchange.written))[-1]
    assert isinstance(ended, h2.events.ConnectionTerminated)
    assert ended.error_code == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


UNUSUAL = {
    "a cookie": get("/", ("cookie", "a=b")),
    "a field twice": get("/", ("accept", "*/*")),
    "no authority": [*START[:2], (":path", "/"), ("host", "dns.home.example")],
    "another method": [(":method", "PUT"), *START[1:], (":path", "/")],
    "another scheme": [START[0], (":scheme", "http"), START[2], (":path", "/")],
    "trailers announced": get("/", ("te", "trailers")),
    "a value with a tab": get("/", ("user-agent", "a\tb\x01")),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_requests_go_through_h2(name: str) -> None:
    exchange = Exchange(Http2Codec)
    exchange.ask(get("/first"))
    exchange.ask(get("/dns-query"))
    stream = exchange.ask(UNUSUAL[name])
    after = exchange.ask(get("/after"))
    requests = exchange.deliver()
    assert [each.stream for each in requests] == [1, 3, stream, after]
    assert stream in exchange.known_to_h2
    assert after not in exchange.known_to_h2


INVALID = {
    "a space in the path": ([*START, (":path", "/a b")], None),
    "an empty path": ([*START, (":path", "")], h2.errors.ErrorCodes.PROTOCOL_ERROR),
    "two paths": ([*START, (":path", "/"), (":path", "/")], h2.errors.ErrorCodes.PROTOCOL_ERROR),
    "no path": (START, h2.errors.ErrorCodes.PROTOCOL_ERROR),
    "a path after a field": ([*START, ("accept", "*/*"), (":path", "/")], h2.errors.ErrorCodes.PROTOCOL_ERROR),
    "a line break": (get("/", ("user-agent", "a\r\nb")), h2.errors.ErrorCodes.PROTOCOL_ERROR),
    "white space": (get("/", ("user-agent", " a")), h2.errors.ErrorCodes.PROTOCOL_ERROR),
    "capitals": (get("/", ("Accept-Language", "de")), h2.errors.ErrorCodes.PROTOCOL_ERROR),
    "a connection field": (get("/", ("connection", "close")), h2.errors.ErrorCodes.PROTOCOL_ERROR),
    "a wrong length": (get("/", ("content-length", "3")), None),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_fields_are_refused_as_by_h2(name: str) -> None:
    """The verdict is h2's, on a first request and on one that might be plain."""
    fields, error = INVALID[name]
    for first in (True, False):
        seen = list[list[object]]()
        for codec in (Http2Codec, SlowCodec):
            exchange = Exchange(codec)
            encoder = Encoder()
            if not first:
                exchange.codec.feed(
                    frame.HeadersFrame(1, encoder.encode(get("/")), flags=["END_HEADERS", "END_STREAM"]).serialize()
                )
                exchange.codec.receive(0.0)
            exchange.codec.feed(
                frame.HeadersFrame(3, encoder.encode(fields), flags=["END_HEADERS", "END_STREAM"]).serialize()
            )
            try:
                seen.append([each.target for each in exchange.codec.receive(0.0)])
            except HttpClientError:
                (ended,) = list(exchange.client.receive_data(b"".join(exchange.written)))[-1:]
                assert isinstance(ended, h2.events.ConnectionTerminated)
                seen.append([ended.error_code])
        assert seen[0] == seen[1]
        assert (seen[0] == [error]) is (error is not None)


def test_a_user_name_in_the_authority_is_refused() -> None:
    """RFC 9113, section 8.3.1. The other streams go on."""
    exchange = started()
    fields = [
        (":authority", "user@dns.home.example") if name == ":authority" else (name, value) for name, value in get("/")
    ]
    refused, asked = exchange.ask(fields), exchange.ask(get("/after"))
    assert [each.stream for each in exchange.deliver()] == [asked]
    assert refused in exchange.resets


FRAMES_AFTER: dict[str, Any] = {
    "data on a stream that has ended": frame.DataFrame(3, b"x"),
    "fields on a stream that has ended": frame.HeadersFrame(3, b"\x82", flags=["END_HEADERS", "END_STREAM"]),
    "a lower stream": frame.HeadersFrame(1, b"\x82", flags=["END_HEADERS", "END_STREAM"]),
    "an even stream": frame.HeadersFrame(6, b"\x82", flags=["END_HEADERS", "END_STREAM"]),
    "a naked continuation": frame.ContinuationFrame(3, b"\x82", flags=["END_HEADERS"]),
    "fields amid a block": [
        frame.HeadersFrame(5, b"\x82"),
        frame.HeadersFrame(7, b"\x82", flags=["END_HEADERS", "END_STREAM"]),
    ],
    "a block that is no HPACK": frame.HeadersFrame(5, b"\xff\xff\xff\xff\xff\xff", flags=["END_HEADERS", "END_STREAM"]),
    "a stream that depends on itself": frame.HeadersFrame(
        5, b"\x82", depends_on=5, flags=["END_HEADERS", "END_STREAM", "PRIORITY"]
    ),
    "a window that overflows": frame.WindowUpdateFrame(3, window_increment=2**31 - 1),
    "a reset": frame.RstStreamFrame(3, error_code=8),
    "a ping": frame.PingFrame(0, b"12345678"),
}


@pytest.mark.parametrize("name", FRAMES_AFTER)
@pytest.mark.parametrize("is_answered", [False, True])
def test_later_frames_have_the_same_effect_as_with_h2(name: str, is_answered: bool) -> None:
    frames = FRAMES_AFTER[name]
    seen = list[tuple[object, ...]]()
    for codec in (Http2Codec, SlowCodec):
        exchange = Exchange(codec)
        for _ in range(2):
            exchange.ask(get("/dns-query"))
        requests = exchange.deliver()
        if is_answered:
            for request in requests:
                exchange.codec.answer(request, b"answer", 1)
        exchange.deliver()
        exchange.codec.feed(b"".join(each.serialize() for each in (frames if isinstance(frames, list) else [frames])))
        try:
            outcome = [each.target for each in exchange.codec.receive(0.0)]
        except HttpClientError:
            outcome = ["ends"]
        seen.append((outcome, b"".join(exchange.written)))
        exchange.written.clear()
        if outcome == [] and not is_answered:
            exchange.codec.answer(requests[1], b"answer", 1)
            exchange.codec.answer(requests[0], b"answer", 1)
            exchange.deliver()
            seen[-1] = (*seen[-1], exchange.received)
    assert seen[0] == seen[1]


def test_frame_that_is_too_long_ends_the_connection_at_once() -> None:
    exchange = Exchange(Http2Codec)
    exchange.codec.feed(b"\x00\x40\x01\x00\x00\x00\x00\x00\x01")
    with pytest.raises(HttpClientError):
        exchange.codec.receive(0.0)
    (ended,) = list(exchange.client.receive_data(b"".join(exchange.written)))[-1:]
    assert isinstance(ended, h2.events.ConnectionTerminated)
    assert ended.error_code == h2.errors.ErrorCodes.FRAME_SIZE_ERROR


STEPS = some.lists(
    some.one_of(
        some.tuples(some.just("get"), some.integers(0, 400)),
        some.tuples(some.just("post"), some.integers(1, MAX_QUERY + 20)),
        some.tuples(some.just("pieces"), some.integers(2, 300)),
        some.tuples(some.just("unusual"), some.integers(0, 9)),
        some.tuples(some.just("cancel"), some.integers(0, 5)),
        some.tuples(some.just("window"), some.sampled_from([0, 10, 500, 65535])),
        some.tuples(some.just("table"), some.sampled_from([0, 100, 4096])),
        some.tuples(some.just("ping"), some.just(0)),
        some.tuples(some.just("deliver"), some.integers(0, 99)),
        some.tuples(some.just("answer"), some.integers(0, 3000)),
    ),
    max_size=25,
)


REPEATED_SETTING = [
    ("get", 5),
    ("answer", 5),
    ("table", 100),
    ("table", 100),
    ("get", 5),
    ("deliver", 1),
    ("answer", 5),
]


def play(make: Callable[..., Http2Codec], steps: list[tuple[str, int]]) -> object:
    """Return what server and client have seen after these steps."""
    exchange, asked, changed = Exchange(make), list[int](), ""
    for what, number in steps:
        match what:
            case "get":
                asked.append(exchange.ask(get(f"/dns-query?dns={'A' * number}")))
            case "post" | "pieces":
                asked.append(exchange.ask(POST, bytes(number), pieces=1 if what == "post" else 3))
            case "unusual":
                asked.append(exchange.ask(get(f"/{number}", ("x-field", str(number)))))
            case "cancel" if asked:
                exchange.client.reset_stream(asked.pop(number % len(asked)), h2.errors.ErrorCodes.CANCEL)
            case "window" | "table":
                if what != (changed or what):  # h2's client takes one acknowledgement for that of every kind of setting
                    exchange.deliver()
                changed, codes = what, h2.settings.SettingCodes
                exchange.client.update_settings(
                    {codes.INITIAL_WINDOW_SIZE if what == "window" else codes.HEADER_TABLE_SIZE: number}
                )
            case "ping":
                exchange.client.ping(b"12345678")
            case "deliver":
                exchange.deliver(random.Random(number))
            case "answer":
                for request in exchange.served:
                    exchange.codec.answer(request, bytes([request.stream % 256]) * number or b"!", number)
                asked.clear()
                exchange.served.clear()
        if len(asked) > 20:
            break
    requests = exchange.deliver()
    exchange.client.increment_flow_control_window(1 << 20)
    exchange.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
    for _ in range(3):
        exchange.deliver()
    seen = [(each.stream, each.method, each.target, bytes(each.body), each.too_long) for each in requests]
    return seen, exchange.received, sorted(exchange.heads.items())


@settings(max_examples=120, deadline=None)
@given(STEPS)
@example(REPEATED_SETTING)
@example([("get", 0), ("table", 100), ("table", 0), ("deliver", 0), ("answer", 0)])
@example([("get", 0), ("table", 0), ("table", 100), ("table", 4096), ("deliver", 0), ("answer", 0)])
def test_any_conversation_goes_as_with_h2(steps: list[tuple[str, int]]) -> None:
    assert play(Http2Codec, steps) == play(SlowCodec, steps)


@pytest.mark.parametrize("kind", [Http2Codec, SlowCodec])
def test_streams_beyond_the_limit_are_refused_and_the_others_answered(kind: type[Http2Codec]) -> None:
    """RFC 9113, section 5.1.2."""
    written = bytearray()
    codec = kind(written.extend)
    asking = h2.connection.H2Connection()
    asking.initiate_connection()
    encoder = Encoder()  # h2's own keeps to the limit
    numbers = range(1, 2 * MAX_STREAMS + 81, 2)

    def request(number: int) -> bytes:
        block = encoder.encode(get("/dns-query?dns=AAAB"))
        return bytes(frame.HeadersFrame(number, block, flags=["END_HEADERS", "END_STREAM"]).serialize())

    codec.feed(asking.data_to_send() + b"".join(map(request, numbers)))
    found = list[DohRequest]()
    while codec.has_more:
        found += codec.receive(0.0)
    assert [each.stream for each in found] == list(numbers[:MAX_STREAMS])
    assert _resets(written) == dict.fromkeys(numbers[MAX_STREAMS:], h2.errors.ErrorCodes.REFUSED_STREAM)
    for each in found:
        assert codec.answer(each, bytes(40), 60)
    codec.feed(request(numbers[-1] + 2))
    assert [each.target for each in codec.receive(1.0)] == ["/dns-query?dns=AAAB"], (
        "the table of fields is the same on both sides"
    )


def _resets(written: bytearray) -> dict[int, int]:
    """Return the codes of RST_STREAM frames by stream."""
    codes, at = dict[int, int](), 0
    while at < len(written):
        read, length = frame.Frame.parse_frame_header(memoryview(written)[at : at + 9])
        if isinstance(read, frame.RstStreamFrame):
            read.parse_body(memoryview(written)[at + 9 : at + 9 + length])
            codes[read.stream_id] = read.error_code
        assert not isinstance(read, frame.GoAwayFrame)
        at += 9 + length
    return codes
