"""Bodies in chunks: the same as h11 reads them, in as few pieces as they arrive in."""

from __future__ import annotations

from functools import partial
from typing import Any

import h11
import pytest
from h11._readers import ChunkedReader
from h11._receivebuffer import ReceiveBuffer
from hypothesis import example, given, settings
from hypothesis import strategies as some
from linear_work import assert_linear

from hedgerow.proxy.http_head import MAX_FIELDS
from hedgerow.proxy.inspection.engine.http1 import make_body_reader

CHUNKS = some.lists(
    some.one_of(
        some.sampled_from(
            [b"1\r\na\r\n", b"0a\r\n0123456789\r\n", b"1;x\r\na\r\n", b"1;\x80\r\na\r\n", b"1 \r\na\r\n", b"2\r\na", b"0\r\n\r\n", b"g\r\n"]
        ),
        some.sampled_from([b"0\r\nx-sum: 1\r\n\r\n", b"1\r\na!!", b"\r\n", b"1\n", b"00\r\n\r\n", b"3;a=\"b\"\r\n\r\n\r\r\n"]),
        some.binary(max_size=3),
    ),
    max_size=8,
)  # fmt: skip


def read(reader: Any, pieces: list[bytes]) -> tuple[bytes, str, int, bytes]:
    """Return the body, how it ended, the number of events with data, and what was left."""
    buffer, body, count = ReceiveBuffer(), b"", 0
    for piece in pieces:
        buffer += piece
        while True:
            try:
                event = reader(buffer)
            except h11.ProtocolError:
                return body, "refused", count, b""
            if event is None:
                break
            if isinstance(event, h11.EndOfMessage):
                return body, "ended", count, bytes(buffer)
            body += event.data
            count += 1
    return body, "unfinished", count, b""


@settings(max_examples=500)
@given(CHUNKS, some.integers(1, 30))
@example([b"1\r\na\r\n1\r\nb\r\n", b"g\r\n"], 100)
def test_chunks_mean_the_same_as_for_h11(chunks: list[bytes], size: int) -> None:
    data = b"".join(chunks)
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    ours, theirs = read(make_body_reader(None), pieces), read(ChunkedReader(), pieces)
    if ours[1] == "refused" and theirs[1] == "unfinished":
        return  # a size that no continuation could make valid is refused at once
    assert (ours[:2], ours[3]) == (theirs[:2], theirs[3])


def test_short_chunks_that_arrive_together_are_one_piece() -> None:
    for chunk in (b"1\r\na\r\n", b"1;x=y\r\na\r\n", b"1;\x80\r\na\r\n"):
        body, end, count, left = read(make_body_reader(None), [chunk * 10_000 + b"0\r\n\r\nmore"])
        assert (body, end, left) == (b"a" * 10_000, "ended", b"more")
        assert count == 1
    assert read(make_body_reader(None), [b"2000\r\n" + bytes(0x2000) + b"\r\n"] * 20)[2] == 20


def test_what_came_before_a_fault_is_passed_on() -> None:
    assert read(make_body_reader(None), [b"1\r\na\r\n" * 5 + b"1\r\nab\r\n"])[:3] == (b"a" * 6, "refused", 1)


@pytest.mark.parametrize("line", [b"a:b\r\n", b" b\r\n", b"a:b\n"])
def test_trailers_have_as_many_lines_as_a_head_at_most(line: bytes) -> None:
    start, most = b"1\r\na\r\n0\r\na: b\r\n", MAX_FIELDS - 1
    following = b"\r\n" + b"\n" * 2 * MAX_FIELDS
    for size in (7, 1 << 20):

        def read_pieces(data: bytes, size: int = size) -> tuple[bytes, str, int, bytes]:
            return read(make_body_reader(None), [data[at : at + size] for at in range(0, len(data), size)])

        assert read_pieces(start + line * most + b"\r\n")[:2] == (b"a", "ended")
        assert read_pieces(start + line * (most + 1) + b"\r\n")[:2] == (b"a", "refused")
        assert read_pieces(start + line * (most + 2))[:2] == (b"a", "refused")
    assert read(make_body_reader(None), [start + line * most + b"\r\n" + following])[1:] == ("ended", 1, following)
    assert read(make_body_reader(None), [b"0\r\n\r\n" + following])[1:] == ("ended", 0, following)


def test_chunks_cost_no_more_than_their_length() -> None:
    def read_all(data: bytes) -> None:
        read(make_body_reader(None), [data])

    for unit in (b"1\r\na\r\n", b"1;\x80\r\na\r\n", b"1;" + b"a" * 1000 + b"\r\na\r\n"):
        assert_linear(read_all, partial(chunks_of, unit), 64 * 1024)


def chunks_of(unit: bytes, size: int) -> bytes:
    return unit * (size // len(unit))
