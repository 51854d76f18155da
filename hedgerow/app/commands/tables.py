"""Tables and lines on a terminal that hold what strangers wrote: hosts, notes, lines of lists."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text


def printable(text: str) -> str:
    r"""The text without anything that a terminal would obey or that turns the direction of writing: such characters as escapes.

    >>> printable("red\x1b[31m")
    'red\\x1b[31m'
    """
    return text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def add_row(table: Table, *cells: str, style: str = "") -> None:
    """Adds a row whose cells are shown as they are: brackets are brackets, never rich's markup."""
    table.add_row(*(Text(printable(cell)) for cell in cells), style=style)
