"""Bodies of HTTP/1 messages: the same as h11 reads them, in as few pieces as they arrive in."""

from __future__ import annotations

from functools import partial

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from linear_work import assert_linear

from hedgerow.proxy.http_head import MAX_FIELDS, ReceiveBuffer
from hedgerow.proxy.inspection.engine.bodies import BodyError, BodyReader, body_reader, split_lines

CHUNKS = some.lists(
    some.one_of(
        some.sampled_from(
            [
                b"1\r\na\r\n",
                b"0a\r\n0123456789\r\n",
                b"1;x\r\na\r\n",
                b"1;\x80\r\na\r\n",
                b"1 \r\na\r\n",
                b"2\r\na",
                b"0\r\n\r\n",
                b"g\r\n",
            ]
        ),
        some.sampled_from(
            [b"0\r\nx-sum: 1\r\n\r\n", b"1\r\na!!", b"\r\n", b"1\n", b"00\r\n\r\n", b'3;a="b"\r\n\r\n\r\r\n']
        ),
        some.binary(max_size=3),
    ),
    max_size=8,
)


def read(reader: BodyReader, pieces: list[bytes]) -> tuple[bytes, str, int, bytes]:
    """Return the body, how it ended, the number of pieces, and what was left."""
    buffer, body, count = ReceiveBuffer(), b"", 0
    for piece in pieces:
        buffer.data += piece
        try:
            while data := reader.read(buffer):
                body += data
                count += 1
        except BodyError:
            return body, "refused", count, b""
        if reader.is_complete:
            return body, "ended", count, bytes(buffer.data)
    return body, "unfinished", count, b""


def read_by_h11(pieces: list[bytes]) -> tuple[bytes, str, bytes]:
    """Return the same, but the count, as h11's client sees it."""
    client, body = h11.Connection(h11.CLIENT), b""
    client.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert isinstance(client.next_event(), h11.Response)
    for piece in pieces:
        client.receive_data(piece)
        try:
            while (event := client.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.EndOfMessage):
                    return body, "ended", client.trailing_data[0]
                assert isinstance(event, h11.Data)
                body += event.data
        except h11.RemoteProtocolError:
            return body, "refused", b""
    return body, "unfinished", b""


@settings(max_examples=500)
@given(CHUNKS, some.integers(1, 30))
@example([b"1\r\na\r\n1\r\nb\r\n", b"g\r\n"], 100)
def test_chunks_mean_the_same_as_for_h11(chunks: list[bytes], size: int) -> None:
    data = b"".join(chunks)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    (body, end, _, left), theirs = read(body_reader(None), pieces), read_by_h11(pieces)
    if end == "refused" and theirs[1] == "unfinished":
        return  # a size that no continuation could make valid is refused at once
    assert (body, end, left) == theirs


def test_short_chunks_that_arrive_together_are_one_piece() -> None:
    for chunk in (b"1\r\na\r\n", b"1;x=y\r\na\r\n", b"1;\x80\r\na\r\n"):
        body, end, count, left = read(body_reader(None), [chunk * 10_000 + b"0\r\n\r\nmore"])
        assert (body, end, left) == (b"a" * 10_000, "ended", b"more")
        assert count == 1
    assert read(body_reader(None), [b"2000\r\n" + bytes(0x2000) + b"\r\n"] * 20)[2] == 20


def test_what_came_before_a_fault_is_passed_on() -> None:
    assert read(body_reader(None), [b"1\r\na\r\n" * 5 + b"1\r\nab\r\n"])[:3] == (b"a" * 6, "refused", 1)


def test_trailers_are_set_aside() -> None:
    reader = body_reader(None)
    assert read(reader, [b"1\r\na\r\n0\r\nX-Sum: 1 2\r\nEmpty:\r\n\r\n"])[1] == "ended"
    assert reader.trailers == [(b"x-sum", b"1 2"), (b"empty", b"")]


@pytest.mark.parametrize("line", [b"x", b": y", b"x y: z", b" x: y", b"x: \0", b"x: a\x0bb"])
def test_malformed_trailers_are_refused(line: bytes) -> None:
    assert read(body_reader(None), [b"0\r\n" + line + b"\r\n\r\n"])[1] == "refused"


@pytest.mark.parametrize("line", [b"a:b\r\n", b"a:b\n"])
def test_trailers_have_as_many_lines_as_a_head_at_most(line: bytes) -> None:
    start, most = b"1\r\na\r\n0\r\na: b\r\n", MAX_FIELDS - 1
    following = b"\r\n" + b"\n" * 2 * MAX_FIELDS
    for size in (7, 1 << 20):

        def read_pieces(data: bytes, size: int = size) -> tuple[bytes, str, int, bytes]:
            return read(body_reader(None), [data[at : at + size] for at in range(0, len(data), size)])

        assert read_pieces(start + line * most + b"\r\n")[:2] == (b"a", "ended")
        assert read_pieces(start + line * (most + 1) + b"\r\n")[:2] == (b"a", "refused")
        assert read_pieces(start + line * (most + 2))[:2] == (b"a", "refused")
    assert read(body_reader(None), [start + line * most + b"\r\n" + following])[1:] == ("ended", 1, following)
    assert read(body_reader(None), [b"0\r\n\r\n" + following])[1:] == ("ended", 0, following)


def test_a_body_of_known_length_leaves_the_rest() -> None:
    assert read(body_reader(5), [b"he", b"llo and more"]) == (b"hello", "ended", 2, b" and more")
    assert read(body_reader(0), [b"more"]) == (b"", "ended", 0, b"more")


def test_a_body_is_complete_at_the_end_of_its_connection_only_if_nothing_is_missing() -> None:
    until_close = body_reader(-1)
    assert read(until_close, [b"he", b"llo"])[:2] == (b"hello", "unfinished")
    until_close.end()
    assert until_close.is_complete
    for reader in (body_reader(1), body_reader(None)):
        with pytest.raises(BodyError):
            reader.end()


def test_a_head_is_found_in_whatever_pieces_it_comes() -> None:
    buffer, head = ReceiveBuffer(), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for at in range(len(head)):
        assert buffer.find_head() == 0
        buffer.data += head[at : at + 1]
    assert split_lines(buffer.take(buffer.find_head())) == [b"GET / HTTP/1.1", b"Host: a"]
    assert not buffer


def test_chunks_cost_no_more_than_their_length() -> None:
    def read_all(data: bytes) -> None:
        read(body_reader(None), [data])

    for unit in (b"1\r\na\r\n", b"1;\x80\r\na\r\n", b"1;" + b"a" * 1000 + b"\r\na\r\n"):
        assert_linear(read_all, partial(chunks_of, unit), 64 * 1024)


def chunks_of(unit: bytes, size: int) -> bytes:
    return unit * (size // len(unit))
