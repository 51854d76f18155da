"""Tables that an older version does not have: they wait next to its own until the next upgrade.

An older Hedgerow leaves tables alone that it does not know.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, MetaData, Table, inspect, select, text

from hedgerow.journal.tables import metadata, web_sessions, writers

_PREFIX = "aside_"
_LEFT = frozenset({web_sessions.name, writers.name})
"""Sign-ins, which had another name before and may have been ended since, and counts of batches."""


def set_aside(connection: Connection, known: Collection[str]) -> None:
    """Copy the tables that the older version, which has the tables `known`, will not have."""
    for name in sorted(set(inspect(connection).get_table_names()) & set(metadata.tables) - set(known) - _LEFT):
        connection.execute(text(f'DROP TABLE IF EXISTS "{_PREFIX}{name}"'))
        connection.execute(text(f'CREATE TABLE "{_PREFIX}{name}" AS SELECT * FROM "{name}"'))  # noqa: S608


def bring_back(connection: Connection) -> None:
    """Add the rows of the tables that were set aside to those of this version."""
    for name in inspect(connection).get_table_names():
        table = metadata.tables.get(name.removeprefix(_PREFIX))
        if not name.startswith(_PREFIX) or table is None:
            continue
        kept = Table(name, MetaData(), autoload_with=connection)
        columns = [column.name for column in kept.c if column.name in table.c]
        rows = select(*(kept.c[column] for column in columns))
        connection.execute(table.insert().prefix_with("OR IGNORE").from_select(columns, rows))
        kept.drop(connection)
