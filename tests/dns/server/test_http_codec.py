"""HTTP clients that flood, cancel or send junk."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from hedgerow.dns.server.http2_codec import Http2Codec
from hedgerow.dns.server.http_codec import MOST_PARTS, DohRequest, Flood, Http1Codec, HttpClientError, HttpCodec
from hedgerow.dns.server.rate_limits import MAX_UNSENT
from hedgerow.frame_budget import MAX_TOKENS

REQUEST = [(":method", "GET"), (":path", "/dns-query"), (":scheme", "https"), (":authority", "dns.home.example")]


def client() -> h2.connection.H2Connection:
    made = h2.connection.H2Connection(h2.config.H2Configuration())
    made.initiate_connection()
    return made


def receive(codec: HttpCodec, data: bytes) -> list[DohRequest]:
    codec.feed(data)
    found = codec.receive(0.0)
    while isinstance(codec, Http2Codec) and codec.has_more:
        found += codec.receive(0.0)
    return found


def test_unread_answers_end_the_connection() -> None:
    codec, asking = Http2Codec(lambda _data: None), client()
    asking.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    for _ in range(20):
        asking.send_headers(asking.get_next_available_stream_id(), REQUEST, end_stream=True)
    exchanges = receive(codec, asking.data_to_send())
    assert len(exchanges) == 20
    body = bytes(60_000)
    assert [codec.respond(each, 200, [], body) for each in exchanges] == [
        (n + 1) * len(body) <= MAX_UNSENT for n in range(20)
    ]


def test_rapid_reset_ends_the_connection() -> None:
    written: list[bytes] = []
    codec, asking = Http2Codec(written.append), client()

    def cancel(count: int) -> None:
        for _ in range(count):
            stream = asking.get_next_available_stream_id()
            asking.send_headers(stream, REQUEST, end_stream=False)
            asking.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
            assert receive(codec, asking.data_to_send()) == []

    cancel(MAX_TOKENS // 10)
    with pytest.raises(Flood):
        cancel(MAX_TOKENS)
    last = asking.receive_data(b"".join(written))[-1]
    assert isinstance(last, h2.events.ConnectionTerminated)
    assert last.error_code == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


def test_cancelling_answered_requests_is_allowed() -> None:
    """A browser asks again for what it has cancelled; the life of a connection has no bound of cancelled requests."""
    codec, asking = Http2Codec(lambda _data: None), client()
    for _ in range(MAX_TOKENS):
        cancelled, stream = asking.get_next_available_stream_id(), asking.get_next_available_stream_id() + 2
        asking.send_headers(cancelled, REQUEST, end_stream=False)
        asking.reset_stream(cancelled, h2.errors.ErrorCodes.CANCEL)
        for each in (stream, stream + 2):
            asking.send_headers(each, REQUEST, end_stream=True)
        for exchange in receive(codec, asking.data_to_send()):
            assert codec.respond(exchange, 200, [], b"")


def test_flood_of_refused_requests_ends_the_connection() -> None:
    codec, asking = Http2Codec(lambda _data: None), client()

    def refuse(count: int) -> None:
        for _ in range(count):
            asking.send_headers(asking.get_next_available_stream_id(), REQUEST, end_stream=True)
            (exchange,) = receive(codec, asking.data_to_send())
            assert codec.respond(exchange, 403, [], b"")

    refuse(MAX_TOKENS // 5)
    with pytest.raises(Flood):
        refuse(MAX_TOKENS)


@settings(max_examples=200)
@given(
    some.sampled_from([b"", b"GET ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]),
    some.lists(some.binary(max_size=200), max_size=5),
)
def test_junk_is_refused_with_an_http_status(start: bytes, pieces: list[bytes]) -> None:
    for codec in (Http1Codec(lambda _data: None), Http2Codec(lambda _data: None)):
        try:
            for piece in (start, *pieces):
                receive(codec, piece)
        except HttpClientError:
            continue


@pytest.mark.parametrize("before", ["", "https://dns.home.example", "HTTP://127.0.0.1:8443"])
def test_absolute_target_is_accepted(before: str) -> None:
    codec = Http1Codec(lambda _data: None)
    (exchange,) = receive(codec, f"GET {before}/dns-query?dns=AAAB HTTP/1.1\r\nhost: dns.home.example\r\n\r\n".encode())
    assert exchange.target == "/dns-query?dns=AAAB"


def test_a_user_name_in_host_is_refused() -> None:
    """RFC 9112, section 3.2, and RFC 9110, section 4.2.4."""
    written = list[bytes]()
    codec = Http1Codec(written.append)
    with pytest.raises(HttpClientError):
        receive(codec, b"GET /dns-query?dns=AAAB HTTP/1.1\r\nhost: user@dns.home.example\r\n\r\n")
    assert written[0].startswith(b"HTTP/1.1 400 ")


def test_a_body_in_many_chunks_is_read_in_portions() -> None:
    codec = Http1Codec(lambda _data: None)
    head = (
        b"POST /dns-query HTTP/1.1\r\nHost: h\r\nContent-Type: application/dns-message\r\nTransfer-Encoding:"
        b" chunked\r\n\r\n"
    )
    codec.feed(head + b"1\r\na\r\n" * 500 + b"0\r\n\r\n")
    portions, found = 0, list[DohRequest]()
    while codec.has_more and not found:
        found = codec.receive(0.0)
        portions += 1
    assert [bytes(each.body) for each in found] == [b"a" * 500]
    assert portions > 500 // MOST_PARTS
