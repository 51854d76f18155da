"""The journal as its readers and writers see it, whatever database engine holds it.

`Store` binds an engine to one site: statements that are built with it read and write the rows of that site only. `Dialect` is all that
an engine has to provide beyond standard SQL. SQLite's is in `sqlite.py`; PostgreSQL would be a second one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Delete, Engine, FromClause, Insert, Row, Select, Table, Update, select
from sqlalchemy.exc import DatabaseError

from hedgerow.journal.tables import DEFAULT_SITE


class JournalError(Exception):
    """The journal cannot be opened. The message is one sentence for the person who started Hedgerow."""


class DamagedJournalError(JournalError):
    """The journal's file is not a database, or is corrupt."""


type UpsertChanges = Callable[[Any], Mapping[str, Any]]
"""Given the row that was to be inserted, the columns to change in the row that is there."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """`rows` are the numbers of copied rows by table. `incomplete` names the tables of which rows could not be read."""

    rows: Mapping[str, int]
    incomplete: tuple[str, ...]


class Dialect(ABC):
    """The behaviour in which database engines differ."""

    @abstractmethod
    def open(self) -> Engine:
        """Create the database if it is missing and return its engine. Raises OSError."""

    @abstractmethod
    def upsert(self, table: Table, changes: UpsertChanges) -> Insert:
        """Return an insert that changes the row with the same primary key if there is one."""

    @abstractmethod
    def insert_missing(self, table: Table) -> Insert:
        """Return an insert that leaves the row with the same primary key if there is one."""

    @abstractmethod
    def greatest(self, first: Any, second: Any) -> ColumnElement[Any]:
        """Return the greater of two values."""

    @abstractmethod
    def unindexed(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the column's value in a form for which the planner uses no index."""

    @abstractmethod
    def values(self, texts: Sequence[str], name: str) -> FromClause:
        """Return a table of one column, `value`, that holds these texts."""

    @abstractmethod
    def is_full(self, error: BaseException) -> bool:
        """Return True if the error says that the disk is full."""

    @abstractmethod
    def is_damaged(self, error: BaseException) -> bool:
        """Return True if the error says that the database is corrupt or is none."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Return the bytes free on the journal's disk, or None if unknown."""

    @abstractmethod
    def purge_deleted(self, engine: Engine) -> str:
        """Remove deleted rows from every byte of the files. Return a sentence about what went wrong, or an empty string."""

    @abstractmethod
    def back_up(self, target: Path) -> None:
        """Copy the database into a file, also while others write to it. Raises OSError."""

    @abstractmethod
    def is_intact(self, tables: Sequence[str] = ()) -> bool:
        """Check the database or, of one in use, only these tables. Changes nothing."""

    @abstractmethod
    def salvage(self, damaged: Path, tables: Sequence[str] | None = None) -> Salvaged:
        """Copy all readable rows of a damaged database into this one, whose own rows stay. None: of all tables. Raises OSError."""

    @abstractmethod
    def prepare_restore(self) -> None:
        """Remove what belongs to the present database, so that a backup can take its place. Raises OSError."""

    @abstractmethod
    def set_aside(self, when: datetime) -> Path:
        """Move a damaged database to a name with the date and time, and return that name. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Store:
    """An open journal and the site whose rows it holds."""

    engine: Engine
    dialect: Dialect
    site: str = DEFAULT_SITE

    def connect(self) -> Connection:
        return self.engine.connect()

    def begin(self) -> AbstractContextManager[Connection]:
        """Open a transaction."""
        return self.engine.begin()

    def rows(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """Return all rows of a query."""
        with self.connect() as connection:
            return connection.execute(query).all()

    def scalar(self, query: Select[Any]) -> Any:
        """Return the first column of a query's first row, or None."""
        with self.connect() as connection:
            return connection.scalar(query)

    def execute(self, statement: Delete | Insert | Update) -> int:
        """Execute a statement in a transaction of its own. Returns the number of rows that it matched."""
        with self.begin() as connection:
            return connection.execute(statement).rowcount

    def dispose(self) -> None:
        self.engine.dispose()

    def own(self, table: Table | FromClause) -> ColumnElement[bool]:
        """Return the condition for this site's rows."""
        return table.c.site == self.site

    def select(self, table: Table) -> Select[Any]:
        """Select this site's rows, all columns but the site."""
        return select(*(column for column in table.c if column.name != "site")).where(self.own(table))

    def insert(self, table: Table) -> Insert:
        return table.insert().values(site=self.site)

    def upsert(self, table: Table, changes: UpsertChanges) -> Insert:
        """Insert rows of this site, or change those with the same primary key. `changes` receives the new row's columns."""
        return self.dialect.upsert(table, changes).values(site=self.site)

    def insert_missing(self, table: Table) -> Insert:
        """Insert rows of this site that are missing."""
        return self.dialect.insert_missing(table).values(site=self.site)

    def update(self, table: Table) -> Update:
        return table.update().where(self.own(table))

    def delete(self, table: Table) -> Delete:
        return table.delete().where(self.own(table))


def cause_of(error: DatabaseError) -> str:
    """Return the driver's own words about an error."""
    return str(error.orig)
