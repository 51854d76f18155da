"""Sums of weights: those in C and those in Python are sums over the pieces themselves, whatever the text is."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from double_array import double_array
from hypothesis import example, given
from hypothesis import strategies as st

from hedgerow.blocklists.recognition import piece_table
from hedgerow.blocklists.recognition.piece_table import MAX_PIECE, MIN_PIECE, PieceTable

_PIECES = st.dictionaries(
    st.text("ab.-#Ü", min_size=3, max_size=4), st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=40
)
_TEXTS = st.text("ab.-#Ü", max_size=70) | st.text(st.characters(exclude_categories=["Cs"]), max_size=70)
_STARTS = st.integers(-3, 80)
_COMPILED = pytest.mark.skipif(piece_table.add_up is None, reason="there was no compiler to build the extension")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table") / "pieces.bin"


def weights_of(pieces: dict[str, int]) -> dict[bytes, int]:
    return {piece.encode(): weight for piece, weight in pieces.items()}


@given(_PIECES, _TEXTS, _STARTS)
@example({"abc": 5, "abcdefghi": -7, ".de": 2**31 - 1}, "abcdefghi\0\0abc\xff.de", 80)
@example({"aaa": -1}, "", 1)
def test_a_sum_is_that_of_the_pieces(file: Path, pieces: dict[str, int], text: str, starts: int) -> None:
    weights = weights_of(pieces)
    file.write_bytes(double_array(weights))
    table = PieceTable(file)
    for octets in (text.encode(), b"".join(weights), text.encode() + b"".join(weights)):
        places = [
            (start, end) for start in range(len(octets)) for end in range(start + MIN_PIECE, start + MAX_PIECE + 1)
        ]
        found = [
            (start, end, weights[octets[start:end]])
            for start, end in places
            if end <= len(octets) and octets[start:end] in weights
        ]
        expected = sum(weight for start, _end, weight in found if start < starts)
        assert table.add_up(octets.decode(), starts) == expected
        assert table.add_up_in_python(octets.decode(), starts) == expected
        assert list(table.weights_in(octets.decode())) == [each for each in found if each[2]]


@_COMPILED
@given(st.binary(min_size=64, max_size=64).map(lambda octets: octets * 32), _TEXTS)
@example(struct.pack("<512I", *[0x101 << 8 | ord("a")] * 512), "a" * 70)
def test_a_damaged_table_is_read_within_its_bounds(file: Path, table: bytes, text: str) -> None:
    file.write_bytes(table)
    found = PieceTable(file).add_up(text)
    with contextlib.suppress(IndexError):
        assert PieceTable(file).add_up_in_python(text, len(text) - MIN_PIECE + 1) == found


@pytest.mark.parametrize("octets", [b"", b"\0", bytes(2047)])
def test_a_table_that_is_not_whole_is_refused(file: Path, octets: bytes) -> None:
    file.write_bytes(octets)
    with pytest.raises(ValueError, match=f"this file has {len(octets)}"):
        PieceTable(file)


@_COMPILED
def test_the_extension_refuses_what_is_no_table_and_no_text() -> None:
    assert piece_table.add_up is not None
    assert piece_table.add_up(b"", "text", 4) == piece_table.add_up(bytes(7), "text", 4) == 0
    for arguments in ((), (b"", "text"), ("table", "text", 4), (b"", b"text", 4), (b"", "text", 4.0)):
        with pytest.raises(TypeError):
            piece_table.add_up(*arguments)
    with pytest.raises(UnicodeEncodeError):
        piece_table.add_up(bytes(2048), "\udc80", 1)
