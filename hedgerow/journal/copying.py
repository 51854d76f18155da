"""Copying a journal from one database into another of any engine: all rows, or none.

Between two servers all sites are copied. A file holds one site: that of the store that it comes from, or goes to.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, func, select, true

from hedgerow.journal.store import Store
from hedgerow.journal.tables import decisions, metadata

_CHUNK = 2000

type CopyProgress = Callable[[str, int, int], None]
"""Receives the name of a table, the rows copied of it, and their number."""


class CopyError(Exception):
    """A journal can't be copied. The message is one sentence."""


def copy_journal(
    source: Store, target: Store, *, without: Collection[str] = (), progress: CopyProgress = lambda *_: None
) -> dict[str, int]:
    """Copy all rows but those of the tables `without` into a journal without such rows.

    Returns the number of rows by table.

    The target gets all rows in one transaction, in which they are counted. Raises `CopyError` and DatabaseError.
    """
    tables = [table for table in metadata.sorted_tables if table.name not in without]
    isolation = source.dialect.snapshot_isolation
    with source.engine.connect().execution_options(isolation_level=isolation) as reading, target.begin() as writing:
        for table in tables:
            if writing.execute(select(table).limit(1)).first() is not None:
                raise CopyError(f"The target has rows in {table.name}: choose an empty database.")
        is_whole = source.dialect.is_partitioned and target.dialect.is_partitioned
        site = None if is_whole else source.site
        counts = {table.name: _copy_table(table, site, reading, writing, target, progress) for table in tables}
        for table in tables:
            arrived = _count(writing, table)
            if arrived != counts[table.name]:
                raise CopyError(
                    f"Only {arrived} of {counts[table.name]} rows of {table.name} arrived. Nothing was copied."
                )
        target.dialect.continue_numbers(
            writing, [table for table in tables if "id" in table.c and table.c.id.type.python_type is int]
        )
    return counts


def _copy_table(
    table: Table, site: str | None, reading: Connection, writing: Connection, target: Store, progress: CopyProgress
) -> int:
    """Copy the rows of a site, or of all if it is None. Those of one site become the target's."""
    wanted = true() if site is None else table.c.site == site
    total = _count(reading, table, wanted)
    if table is decisions and total:
        first, last = reading.execute(select(func.min(table.c.at), func.max(table.c.at)).where(wanted)).one()
        target.dialect.prepare_days(writing, first, last)
    rows = reading.execution_options(yield_per=_CHUNK).execute(select(table).where(wanted).order_by(*table.primary_key))
    done = 0
    for part in rows.mappings().partitions():
        batch: list[dict[str, Any]] = [dict(row) | ({} if site is None else {"site": target.site}) for row in part]
        writing.execute(table.insert(), batch)
        done += len(batch)
        progress(table.name, done, total)
    if done != total:
        raise CopyError(
            f"{table.name} changed while it was copied: stop every Hedgerow that uses the database. Nothing was copied."
        )
    return done


def _count(connection: Connection, table: Table, wanted: ColumnElement[bool] | None = None) -> int:
    query = select(func.count()).select_from(table)
    return connection.scalar(query if wanted is None else query.where(wanted)) or 0
