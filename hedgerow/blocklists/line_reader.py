"""A list's bytes as numbered lines of text, in blocks, whatever the encoding and the line ends."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hedgerow.blocklists.rules import Problem

CHUNK_BYTES = 1 << 18
"""Bytes read at a time, so that memory does not grow with the list."""

LINES_BYTES = 1 << 16
"""Bytes of which lines are made at a time. Lines of four times as many take two megabytes more, and no less time."""

MAX_LINE_BYTES = 1 << 16
MEMBER_HEADER = "#:: file "
"""The beginning of the line before each file of a bundle (`archives`), followed by the file's format and name."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TOO_LONG = f"a line longer than {MAX_LINE_BYTES >> 10} kB"
_BINARY_BYTES = bytes(sorted({*range(32), 127} - set(b"\t\n\v\f\r")))
_BINARY_TEXT = frozenset(map(chr, _BINARY_BYTES))


def read_lines(path: Path, source: str, problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the first line, lines) in blocks of about LINES_BYTES.

    Text is UTF-8 with or without a byte order mark; a block that is not UTF-8 is read as Latin-1. A line with control
    characters or of more than MAX_LINE_BYTES becomes an empty line and a problem. Raises OSError.
    """
    number, rest, is_skipping = 1, b"", False
    with path.open("rb") as file:
        if file.read(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
            file.seek(0)
        while block := file.read(LINES_BYTES):
            if is_skipping:
                _, line_end, block = block.partition(b"\n")
                is_skipping = not line_end
            block = rest + block
            end = block.rfind(b"\n") + 1
            block, rest = block[:end], block[end:]
            if block:
                yield number, (lines := _decode_lines(block, number, source, problems))
                number += len(lines)
            if len(rest) > MAX_LINE_BYTES:
                # A line without an end must not fill the memory, nor its last piece pass for a line.
                yield number, [""]
                problems.append(Problem(source, number, None, _TOO_LONG, ascii(rest[:40].decode("latin-1"))))
                number, rest, is_skipping = number + 1, b"", True
    if rest:
        yield number, _decode_lines(rest, number, source, problems)


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Lines of one file.

    `file` and `format` are empty for a list that is one file; `first` is the number of the first line.
    """

    file: str
    format: str
    first: int
    lines: list[str]


def read_line_blocks(path: Path, source: str, problems: list[Problem]) -> Iterator[LineBlock]:
    """Yield the lines of a text, or of each file of a bundle with numbers of its own. Raises OSError."""
    blocks = read_lines(path, source, problems)
    first = next(blocks, None)
    if first is None:
        return
    if not first[1][0].startswith(MEMBER_HEADER):
        yield LineBlock("", "", *first)
        for number, lines in blocks:
            yield LineBlock("", "", number, lines)
        return
    file = form = ""
    number = 1
    for _number, lines in itertools.chain([first], blocks):
        borders = [place for place, line in enumerate(lines) if line.startswith(MEMBER_HEADER)]
        for start, end in itertools.pairwise([0, *borders, len(lines)]):
            part = lines[start:end]
            if part and part[0].startswith(MEMBER_HEADER):
                form, _, file = part[0].removeprefix(MEMBER_HEADER).partition(" ")
                number, part = 1, part[1:]
            if part:
                yield LineBlock(file, form, number, part)
                number += len(part)


def _decode_lines(block: bytes, first: int, source: str, problems: list[Problem]) -> list[str]:
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError:
        text = block.decode("latin-1")
    # Not splitlines: it also splits at characters inside a line, and the numbers would differ from those of editors.
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if block.translate(None, _BINARY_BYTES) != block or max(map(len, lines)) > MAX_LINE_BYTES:
        _drop_binary(lines, first, source, problems)
    return lines


def _drop_binary(lines: list[str], first: int, source: str, problems: list[Problem]) -> None:
    for index, line in enumerate(lines):
        if len(line) > MAX_LINE_BYTES:
            problems.append(Problem(source, first + index, None, _TOO_LONG, ascii(line[:40])))
            lines[index] = ""
        elif not _BINARY_TEXT.isdisjoint(line):
            column = next(place for place, character in enumerate(line, 1) if character in _BINARY_TEXT)
            problems.append(Problem(source, first + index, column, "binary data in a line", ascii(line[:40])))
            lines[index] = ""
