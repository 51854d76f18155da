"""Texts in URLs: those that the extension finds and those that the automaton finds are those that are there, whatever
the URL is.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hedgerow.blocklists import fragment_table
from hedgerow.blocklists.fragment_table import MAX_FRAGMENT, FragmentTable, write_fragments

_FRAGMENTS = st.dictionaries(st.text("/ab.", min_size=1, max_size=6), st.integers(0, 2**31 - 1), max_size=30)
_TEXTS = st.text("/ab.?", max_size=60)
_COMPILED = pytest.mark.skipif(
    fragment_table.find_fragments is None, reason="there was no compiler to build the extension"
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("table") / "fragments.bin"


def find_by_automaton(file: Path, text: str) -> set[int]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fragment_table, "find_fragments", None)
        return set(FragmentTable(file).find(text))


@given(_FRAGMENTS, _TEXTS)
@example({"/a": 0, "/ab": 2**31 - 1, "b/": 7}, "/ab/")
@example({"/" + "a" * (MAX_FRAGMENT - 1): 1, "a" * MAX_FRAGMENT: 2}, "//" + "a" * 40)
@example({}, "/a")
def test_all_texts_are_found(file: Path, fragments: dict[str, int], text: str) -> None:
    write_fragments(file, fragments)
    table = FragmentTable(file)
    assert dict(table.items()) == fragments
    expected = {number for fragment, number in fragments.items() if fragment in text}
    assert set(table.find(text)) == expected
    assert find_by_automaton(file, text) == expected


@pytest.mark.parametrize("octets", [b"", b"\0", bytes(17), struct.pack("<I", 2) + bytes(21)])
def test_a_table_that_is_not_whole_is_refused(file: Path, octets: bytes) -> None:
    file.write_bytes(octets)
    with pytest.raises(ValueError, match=f"{len(octets)} octets"):
        FragmentTable(file)


@_COMPILED
@given(st.binary(min_size=9, max_size=9 * 12), _TEXTS)
@example(struct.pack("<4I", 1, 2, 0, 5) + struct.pack("<3I", 9, 9, 9) + b"\0//", "/" * 50)
def test_a_damaged_table_is_read_within_its_bounds(file: Path, content: bytes, text: str) -> None:
    nodes = len(content) // 9
    file.write_bytes(struct.pack("<I", nodes) + content[: 9 * nodes] + bytes(4))
    assert all(0 <= number < 2**32 for number in FragmentTable(file).find(text))


@_COMPILED
def test_the_extension_refuses_what_is_no_table_and_no_text() -> None:
    find = fragment_table.find_fragments
    assert find is not None
    assert set(find(b"", "/a")) == set(find(bytes(17), "/a")) == set(find(b"\xff" * 40, "/a")) == set()
    for arguments in ((), (b"",), ("table", "text"), (b"", b"text")):
        with pytest.raises(TypeError):
            find(*arguments)
    with pytest.raises(UnicodeEncodeError):
        find(bytes(17), "\udc80")
