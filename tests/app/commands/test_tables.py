"""Untrusted text on a terminal: shown, never interpreted."""

from __future__ import annotations

import io
import os
import pty
import re
import sys

import pytest
from rich.console import Console
from rich.table import Table

from hedgerow.app.commands.options import add_row, print_table, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("www.example.com", "www.example.com"),
        ("bücher.example", "bücher.example"),
        ("a\x1b]0;title\x07", r"a\x1b]0;title\x07"),
        ("a\x9b31m", r"a\x9b31m"),
        ("\u202egro.elpmaxe", r"\u202egro.elpmaxe"),
        ("two\nlines", r"two\nlines"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_brackets_in_a_cell_are_brackets() -> None:
    table = Table("host", "note")
    add_row(table, "[bold]x[/nope].example", "[link=https://a.example]click[/link] :smile:", style="red")
    shown = io.StringIO()
    Console(file=shown, width=120).print(table)
    assert "[bold]x[/nope].example" in shown.getvalue()
    assert "[link=https://a.example]click[/link] :smile:" in shown.getvalue()


def test_a_table_in_a_pipe_is_a_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("what", "note")
    add_row(table, "https://www.example.org/" + "x" * 300, "two words")
    add_row(table, "a.example", "")
    print_table(table, "Nothing.")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["what", "note"],
        ["https://www.example.org/" + "x" * 300, "two", "words"],
        ["a.example"],
    ]


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(Table("what"), "No requests are waiting.")
    assert capsys.readouterr().out == "No requests are waiting.\n"


@pytest.mark.parametrize(
    ("width", "expected"), [(60, "│ seat-1 │ 00:11:22:33:44:55 │"), (20, "seat-1\n  address: 00:11:22:33:44:55\n")]
)
def test_a_table_is_readable_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, width: int, expected: str) -> None:
    primary, secondary = pty.openpty()
    with os.fdopen(secondary, "w") as terminal, os.fdopen(primary, "rb") as shown:
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm")
        table = Table("device", "address")
        add_row(table, "seat-1", "00:11:22:33:44:55")
        print_table(table, "")
        terminal.write("the end\n")
        terminal.flush()
        text = "".join(iter(lambda: shown.readline().decode(), "the end\r\n"))  # one read gives what is there, not all
    assert expected in re.sub(r"\r|\x1b\[[0-9;]*m", "", text)
