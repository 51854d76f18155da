"""Tables and lines on a terminal with untrusted text: hosts, notes, lines of lists."""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table
from rich.text import Text


def printable(text: str) -> str:
    r"""Return the text with control characters, and those that change the writing direction, as escapes.

    >>> printable("red\x1b[31m")
    'red\\x1b[31m'
    """
    return text if text.isprintable() else "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def format_time(instant: float, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Format seconds since the epoch on the clock of this machine's zone."""
    return time.strftime(form, time.localtime(instant))


def add_row(table: Table, *cells: str, style: str = "") -> None:
    """Add a row whose cells are plain text: brackets are brackets, never rich's markup."""
    table.add_row(*(Text(printable(cell)) for cell in cells), style=style)


def print_table(table: Table, nothing: str) -> None:
    """Print a table, or the sentence `nothing` if it has no rows.

    On a narrow terminal each cell gets a line of its own, below the row's first. In a pipe each row is one line without a frame.
    """
    console = Console()
    if not table.row_count:
        print(nothing)
    elif not console.is_terminal:
        table.box = None
        Console(width=_UNLIMITED_WIDTH).print(table, soft_wrap=True)
    elif console.measure(table, options=console.options.update_width(_UNLIMITED_WIDTH)).minimum <= console.width:
        console.print(table)
    else:
        titles = [str(column.header) for column in table.columns]
        for cells in zip(*(column.cells for column in table.columns), strict=True):
            first, *others = ((title, cell) for title, cell in zip(titles, cells, strict=True) if str(cell))
            console.print(first[1], style="bold", soft_wrap=True)
            for title, cell in others:
                console.print(Text.assemble(f"  {title}: ", cell), soft_wrap=True)


_UNLIMITED_WIDTH = 10_000
