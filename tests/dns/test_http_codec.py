"""HTTP clients that want too much."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.errors
import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from hedgerow.dns.http_codec import MAX_RESETS, MAX_UNSENT, Broken, Http1, Http2

REQUEST = [(":method", "GET"), (":path", "/dns-query"), (":scheme", "https"), (":authority", "dns.home.example")]


def client() -> h2.connection.H2Connection:
    made = h2.connection.H2Connection(h2.config.H2Configuration())
    made.initiate_connection()
    return made


def test_answers_that_nobody_takes_end_the_connection() -> None:
    codec, asking = Http2(lambda _data: None), client()
    asking.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
    for _ in range(20):
        asking.send_headers(asking.get_next_available_stream_id(), REQUEST, end_stream=True)
    exchanges = codec.receive(asking.data_to_send())
    assert len(exchanges) == 20
    body = bytes(60_000)
    assert [codec.respond(each, 200, [], body) for each in exchanges] == [(n + 1) * len(body) <= MAX_UNSENT for n in range(20)]


def test_asking_and_cancelling_without_end_is_ended() -> None:
    codec, asking = Http2(lambda _data: None), client()
    for _ in range(MAX_RESETS):
        stream = asking.get_next_available_stream_id()
        asking.send_headers(stream, REQUEST, end_stream=False)
        asking.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        assert codec.receive(asking.data_to_send()) == []
    stream = asking.get_next_available_stream_id()
    asking.send_headers(stream, REQUEST, end_stream=False)
    asking.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
    with pytest.raises(Broken):
        codec.receive(asking.data_to_send())


@settings(max_examples=200)
@given(some.sampled_from([b"", b"GET ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]), some.lists(some.binary(max_size=200), max_size=5))
def test_junk_is_refused_in_an_orderly_way(start: bytes, pieces: list[bytes]) -> None:
    for codec in (Http1(lambda _data: None), Http2(lambda _data: None)):
        try:
            for piece in (start, *pieces):
                codec.receive(piece)
        except Broken:
            continue


@pytest.mark.parametrize("before", ["", "https://dns.home.example", "HTTP://127.0.0.1:8443"])
def test_a_target_may_be_written_in_full(before: str) -> None:
    codec = Http1(lambda _data: None)
    (exchange,) = codec.receive(f"GET {before}/dns-query?dns=AAAB HTTP/1.1\r\nhost: dns.home.example\r\n\r\n".encode())
    assert exchange.target == "/dns-query?dns=AAAB"
