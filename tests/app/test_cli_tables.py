"""What strangers wrote, on a terminal: shown as it is, never obeyed."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from hedgerow.app.commands.tables import add_row, printable


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
