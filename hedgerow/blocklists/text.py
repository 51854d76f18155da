"""From a list's bytes to numbered lines of text, in stretches, whatever the publisher's encoding and line ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hedgerow.blocklists.rules import Problem

CHUNK = 1 << 20
"""Bytes read at a time: the memory that reading takes does not grow with the list."""

LONGEST_LINE = 1 << 16
_BINARY = frozenset(range(32)) - {9, 10, 11, 12, 13}


def read_lines(path: Path, source: str, problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    """Yields (number of the first line, lines) in stretches of about CHUNK bytes.

    UTF-8 with or without a byte order mark; a stretch that is no UTF-8 is read as Latin-1. A line with control characters or
    of more than LONGEST_LINE bytes becomes an empty line and a problem. Raises OSError.
    """
    number, rest = 1, b""
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            if number == 1 and not rest:
                block = block.removeprefix(b"\xef\xbb\xbf")
            block, rest = _cut_at_line_end(rest + block)
            if block:
                lines = _decode_lines(block, number, source, problems)
                yield number, lines
                number += len(lines)
    if rest:
        yield number, _decode_lines(rest, number, source, problems)


def _cut_at_line_end(block: bytes) -> tuple[bytes, bytes]:
    end = block.rfind(b"\n") + 1
    # A line without an end must not be gathered for ever: it is cut, and shows up as one problem for each piece.
    return (block, b"") if end == 0 and len(block) > LONGEST_LINE else (block[:end], block[end:])


def _decode_lines(block: bytes, first: int, source: str, problems: list[Problem]) -> list[str]:
    try:
        text = block.decode("utf-8")
    except UnicodeDecodeError:
        text = block.decode("latin-1")
    # Not splitlines: it also splits at characters that stand inside a line, and the numbers would differ from every editor's.
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if block.translate(None, _BINARY_BYTES) != block or max(map(len, lines)) > LONGEST_LINE:
        _drop_binary(lines, first, source, problems)
    return lines


_BINARY_BYTES = bytes(sorted(_BINARY)) + b"\x7f"
_BINARY_TEXT = frozenset(map(chr, _BINARY_BYTES))


def _drop_binary(lines: list[str], first: int, source: str, problems: list[Problem]) -> None:
    for index, line in enumerate(lines):
        if len(line) > LONGEST_LINE:
            problems.append(Problem(source, first + index, None, "a line longer than 64 kB", ascii(line[:40])))
            lines[index] = ""
        elif not _BINARY_TEXT.isdisjoint(line):
            column = next(place for place, character in enumerate(line, 1) if character in _BINARY_TEXT)
            problems.append(Problem(source, first + index, column, "binary data in a line", ascii(line[:40])))
            lines[index] = ""
