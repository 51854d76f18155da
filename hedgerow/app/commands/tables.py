"""Tables and lines on a terminal that hold what strangers wrote: hosts, notes, lines of lists."""

from __future__ import annotations

from rich.console import Console
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


def print_table(table: Table, nothing: str) -> None:
    """Prints a table, or the sentence where it has no rows. On a narrow terminal each cell has its line below the row's first.

    For a pipe each row is one line without a frame, however long.
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
