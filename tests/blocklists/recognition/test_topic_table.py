"""Sums of the weights of topics: those in C and those in Python are sums over the pieces themselves."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from double_array import topic_array
from hypothesis import example, given
from hypothesis import strategies as st

from hedgerow.blocklists.recognition import topic_table
from hedgerow.blocklists.recognition.piece_table import MAX_PIECE, MIN_PIECE
from hedgerow.blocklists.recognition.topic_table import (
    MAX_TOPIC_WEIGHT,
    TOPICS,
    TopicTable,
    pack_topics,
    unpack_topics,
)

_WEIGHTS = st.tuples(*[st.integers(-MAX_TOPIC_WEIGHT, MAX_TOPIC_WEIGHT)] * TOPICS)
_PIECES = st.dictionaries(st.text("ab.-#Ü", min_size=3, max_size=4), _WEIGHTS, min_size=1, max_size=40)
_TEXTS = st.text("ab.-#Ü", max_size=40) | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
_COMPILED = pytest.mark.skipif(topic_table.add_up_topics is None, reason="there was no compiler for the extension")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table") / "topics.bin"


@given(_PIECES, _TEXTS)
@example({"aaa": (100, -100) * 4, "aaaaaaaaa": (-100,) * 8}, "a" * 50)
def test_a_sum_of_each_topic_is_that_of_the_pieces(file: Path, pieces: dict[str, tuple[int, ...]], text: str) -> None:
    weights = {piece.encode(): each for piece, each in pieces.items()}
    file.write_bytes(topic_array({piece: pack_topics(each) for piece, each in weights.items()}))
    table, octets = TopicTable(file), text.encode()
    places = [(start, end) for start in range(len(octets)) for end in range(start + MIN_PIECE, start + MAX_PIECE + 1)]
    found = [
        (start, end, weights[octets[start:end]])
        for start, end in places
        if end <= len(octets) and octets[start:end] in weights
    ]
    expected = tuple(sum(each[topic] for _start, _end, each in found) for topic in range(TOPICS))
    assert table.add_up(text) == table.add_up_in_python(text) == expected
    for topic in range(TOPICS):
        told = [(start, end, each[topic]) for start, end, each in found if each[topic]]
        assert list(table.weights_in(text, topic)) == told


@given(st.tuples(*[st.integers(-32_768, 32_767)] * TOPICS))
def test_packed_sums_come_apart_again(sums: tuple[int, ...]) -> None:
    assert unpack_topics(*pack_topics(sums)) == sums


@_COMPILED
@given(st.binary(min_size=80, max_size=80).map(lambda octets: octets * 64), _TEXTS)
@example(struct.pack("<256I", *[0x41 << 8 | ord("a")] * 256) + bytes(4096), "a" * 40)
def test_a_damaged_table_is_read_within_its_bounds(file: Path, table: bytes, text: str) -> None:
    file.write_bytes(table)
    found = TopicTable(file).add_up(text)
    with contextlib.suppress(IndexError):
        assert TopicTable(file).add_up_in_python(text) == found


@pytest.mark.parametrize("octets", [b"", b"\0", bytes(5119)])
def test_a_table_that_is_not_whole_is_refused(file: Path, octets: bytes) -> None:
    file.write_bytes(octets)
    with pytest.raises(ValueError, match=f"this file has {len(octets)}"):
        TopicTable(file)


@_COMPILED
def test_the_extension_refuses_what_is_no_table_and_no_text() -> None:
    assert topic_table.add_up_topics is not None
    assert topic_table.add_up_topics(b"", "text") == topic_table.add_up_topics(bytes(19), "text") == (0,) * TOPICS
    for arguments in ((), (b"",), ("table", "text"), (b"", b"text")):
        with pytest.raises(TypeError):
            topic_table.add_up_topics(*arguments)
