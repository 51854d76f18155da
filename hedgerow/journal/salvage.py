"""Salvage of a damaged SQLite journal: all rows that can still be read are copied into a new one.

A damaged page makes SQLite refuse the rows on it, and often all that come after it in a scan. Rows are therefore read by their number from
both ends, and each refusal is stepped over by growing strides.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from hedgerow.journal.store import Salvaged
from hedgerow.journal.tables import metadata

_MAX_NUMBER = (1 << 63) - 1
_OLD_TABLES = {"sessions": "sittings", "web_sessions": "sessions"}
_OLD_COLUMNS = {"giver": "actor"}
"""Names in journals that were written before migration 0017, which were damaged before they could be migrated."""


def copy_rows(source: Path, target: Path, tables: Sequence[str] | None = None) -> Salvaged:
    """Copy the readable rows of `tables`, or of all, from one SQLite file into another, whose own rows stay. Raises OSError."""
    rows: dict[str, int] = {}
    incomplete: list[str] = []
    try:
        with closing(_open(source)) as damaged, closing(sqlite3.connect(target)) as fresh:
            for table in tables or metadata.tables:
                copied = _copy_table(damaged, fresh, table, incomplete)
                if copied:
                    rows[table] = copied
            fresh.commit()
    except sqlite3.Error as error:
        raise OSError(str(error)) from error
    return Salvaged(rows, tuple(incomplete))


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path)
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    return connection


def _columns_of(connection: sqlite3.Connection, table: str) -> list[str]:
    return [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]


def _copy_table(damaged: sqlite3.Connection, fresh: sqlite3.Connection, table: str, incomplete: list[str]) -> int:
    known = _columns_of(fresh, table)
    source = table
    try:
        if _columns_of(damaged, "sittings"):
            source = _OLD_TABLES.get(table, table)
        columns = {name: _OLD_COLUMNS.get(name, name) for name in _columns_of(damaged, source)}
    except sqlite3.DatabaseError:  # the schema itself can't be read
        columns = {}
        incomplete.append(table)
    columns = {name: target for name, target in columns.items() if target in known}
    if not columns:
        return 0
    targets = ", ".join(f'"{name}"' for name in columns.values())
    insert = f'INSERT OR IGNORE INTO "{table}" ({targets}) VALUES ({", ".join("?" * len(columns))})'  # noqa: S608
    reader = _TableReader(damaged, source, ", ".join(f'"{name}"' for name in columns))
    before = fresh.total_changes
    for row in reader.rows():
        fresh.execute(insert, row)
    if reader.has_failed:
        incomplete.append(table)
    return fresh.total_changes - before


class _TableReader:
    """Reader of a table by row number. `has_failed` is set once rows could not be read."""

    def __init__(self, connection: sqlite3.Connection, table: str, names: str) -> None:
        self._connection = connection
        self._query = f'SELECT rowid, {names} FROM "{table}" NOT INDEXED'  # noqa: S608
        self.has_failed = False

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Yield all rows that can be read, in no particular order."""
        low, is_whole = yield from self._scan(-1, _MAX_NUMBER, "ASC")
        if is_whole:
            return
        self.has_failed = True
        high, is_whole = yield from self._scan(low, _MAX_NUMBER, "DESC")
        stride = 1
        while not is_whole and low + stride < high:
            start = low + stride
            reached, is_whole = yield from self._scan(start, high, "ASC")
            low, stride = (reached, 1) if reached > start else (low, 2 * stride)

    def _scan(self, low: int, high: int, order: str) -> Generator[tuple[object, ...], None, tuple[int, bool]]:
        """Yield the rows between two numbers until one can't be read. Returns the last number, and whether that was all of them."""
        reached = low if order == "ASC" else high
        try:
            query = f"{self._query} WHERE rowid > ? AND rowid < ? ORDER BY rowid {order}"
            for number, *row in self._connection.execute(query, (low, high)):
                yield tuple(row)
                reached = number
        except sqlite3.DatabaseError:
            return reached, False
        return reached, True
