"""Numbered lines from bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.blocklists import line_reader
from hedgerow.blocklists.line_reader import read_lines
from hedgerow.blocklists.rules import Problem


def read(folder: Path, content: bytes) -> tuple[list[str], list[Problem]]:
    path = folder / "list.txt"
    path.write_bytes(content)
    problems: list[Problem] = []
    lines: list[str] = []
    for first, block in read_lines(path, "list", problems):
        assert first == len(lines) + 1
        lines += block
    return lines, problems


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"a\nb\n", ["a", "b"]),
        (b"a\r\nb", ["a", "b"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        ("bücher\n".encode(), ["bücher"]),
        ("bücher\n".encode("latin-1"), ["bücher"]),
        ("a\u2028b\x85c\n".encode(), ["a\u2028b\x85c"]),
    ],
)
def test_encodings_and_line_ends(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    assert read(tmp_path, content) == (lines, [])


def test_binary_lines_are_problems(tmp_path: Path) -> None:
    lines, problems = read(tmp_path, b"good.example\nba\x00d\x01\xff\nfine.example\n")
    assert lines == ["good.example", "", "fine.example"]
    assert [(problem.line, problem.column, problem.message) for problem in problems] == [
        (2, 3, "binary data in a line")
    ]


def test_endless_lines_are_cut(tmp_path: Path) -> None:
    lines, problems = read(tmp_path, b"good.example\n" + b"x" * (3 * line_reader.CHUNK_BYTES) + b"\nfine.example\n")
    assert (lines[0], lines[-1]) == ("good.example", "fine.example")
    assert not any(lines[1:-1])
    assert {problem.message for problem in problems} == {"a line longer than 64 kB"}


@given(content=st.lists(st.sampled_from([b"abc", b"\n", b"\r\n", "ü".encode(), b"\xff"]), max_size=40).map(b"".join))
def test_blocks_do_not_change_the_lines(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("text")
    lines, _ = read(folder, content)
    assert len(lines) == content.count(b"\n") + (0 if content.endswith(b"\n") or not content else 1)
