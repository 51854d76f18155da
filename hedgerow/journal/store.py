"""The journal as its readers and writers see it, whatever database engine holds it.

`Store` binds an engine to one site: statements that are built with it read and write the rows of that site only.
`Dialect` is all that an engine has to provide beyond standard SQL: `sqlite.py` and `postgresql.py` implement it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import batched
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Delete,
    Engine,
    FromClause,
    Insert,
    Row,
    Select,
    Table,
    Update,
    event,
    select,
)
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import ConnectionPoolEntry

from hedgerow.journal.lanes import Lanes
from hedgerow.policies.text.addresses import DEFAULT_SITE, is_local_host

_CHUNK = 1000  # rows per statement, since a row takes a kilobyte of memory until it is written


class JournalError(Exception):
    """The journal cannot be opened. The message is one sentence for the person who started Hedgerow."""


class DamagedJournalError(JournalError):
    """The journal's file is not a database, or is corrupt."""


class UnreachableStoreError(JournalError):
    """The server of the store does not answer, or refuses the connection: another attempt may succeed."""


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """The URL of a PostgreSQL database, without a password, and the site whose rows are meant.

    If there is a file at `password_file`, it holds the password. `site` None: that of the role, or else the default.
    """

    url: str
    password_file: Path | None = None
    site: str | None = None

    def __str__(self) -> str:
        return self.url

    @property
    def is_local(self) -> bool:
        """True if only programs on this machine reach the server by this URL.

        >>> [StoreAddress(f"postgresql://{place}").is_local for place in ("[::1]/a", "/a?host=/run", "db.example/a")]
        [True, True, False]
        """
        parts = urlsplit(self.url)
        return is_local_host(parts.hostname or dict(parse_qsl(parts.query)).get("host", ""))


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of a database's user. `site` None: the owner of the tables, who may do everything at every site.

    The others see one site. Only those that `may_manage` it change its policy and delete decisions and events.
    """

    site: str | None = None
    may_manage: bool = True

    def __str__(self) -> str:
        if self.site is None:
            return "owner of all sites"
        return "manages its site" if self.may_manage else "adds events to its site, and reads and changes its state"


type UpsertChanges = Callable[[Any], Mapping[str, Any]]
"""Given the row that was to be inserted, the columns to change in the row that is there."""


@dataclass(frozen=True, slots=True)
class Salvaged:
    """The result of a salvage.

    `rows` counts copied rows by table; `incomplete` names the tables with unreadable rows.
    """

    rows: Mapping[str, int]
    incomplete: tuple[str, ...]


type NewestRows = Callable[[ColumnElement[str], Sequence[ColumnElement[Any]]], Select[Any]]
"""Given a value and the columns wanted, a query for the newest rows with that value."""


class Changes(Protocol):
    """Changes of a site's state by other processes and machines."""

    def wait(self, seconds: float) -> bool:
        """Wait for a change, at most this long.

        Returns True if there may have been one. Blocks: call it from a thread.
        """

    def close(self) -> None:
        """Stop listening until the next `wait`."""


class Dialect(ABC):
    """The behaviour in which database engines differ."""

    has_one_writer: bool
    """True if one process at a time has the database open to write."""
    is_partitioned: bool
    """True if decisions are kept by day, and dropped by day."""
    snapshot_isolation: Literal["SERIALIZABLE", "REPEATABLE READ"]
    """The isolation level at which a transaction sees one state of the database."""
    insert_into: Callable[[Table], Any]
    """Returns the engine's INSERT, which has ON CONFLICT."""

    @abstractmethod
    def open(self) -> Engine:
        """Create the database if it is missing and return its engine. Raises OSError."""

    @abstractmethod
    def open_error(self, error: Exception) -> JournalError:
        """Return the error to raise when the database cannot be opened because of `error`."""

    @abstractmethod
    def lock_schema(self, connection: Connection) -> None:
        """Keep other processes from migrating until the transaction ends."""

    @abstractmethod
    def limit_turn(self, connection: Connection, seconds: float) -> None:
        """Let the server end this transaction if it waits or is idle for longer."""

    def commit_soon(self, connection: Connection) -> None:  # noqa: B027 (a server has its own setting)
        """Let the commit of a transaction, which has to begin with this, return before its rows are on the disk.

        For what nobody was told is kept: a power cut may lose it, but not the database.
        """

    @abstractmethod
    def create_schema(self, connection: Connection) -> None:
        """Create all tables of this version in an empty database."""

    @abstractmethod
    def complete_schema(self, connection: Connection) -> None:
        """Bring rights, triggers and the like, which migrations do not describe, in step with the tables of this
        version.
        """

    @abstractmethod
    def rights(self, connection: Connection, site: str | None = None) -> Rights:
        """Return the rights of the connection's user. Raises `JournalError` if there are none at `site`."""

    def restrict(self, engine: Engine, rights: Rights) -> None:  # noqa: B027 (a file has nobody else)
        """Have an engine do as these rights demand."""

    def end_holding_up(self, engine: Engine) -> Sequence[str]:  # noqa: ARG002 (see above)
        """End connections of sites that hold up others, as the owner of the tables.

        Returns the role of each. Raises DatabaseError.
        """
        return ()

    @abstractmethod
    def facts(self, connection: Connection) -> dict[str, str | int]:
        """Return the engine's name, its version and other facts for an administrator."""

    @abstractmethod
    def prepare_days(self, connection: Connection, first: float, last: float) -> None:
        """Prepare for decisions of the days from one instant to another."""

    @abstractmethod
    def drop_days(self, engine: Engine, before: float) -> int:
        """Delete the decisions of all days that end before an instant.

        Returns their number, 0 where days are not kept apart.
        """

    @abstractmethod
    def continue_numbers(self, connection: Connection, tables: Sequence[Table]) -> None:
        """Number further rows of these tables after those that were copied with their numbers."""

    def upsert(self, table: Table, changes: UpsertChanges) -> Insert:
        """Return an insert that changes the row with the same primary key if there is one."""
        statement = self.insert_into(table)
        changed: Insert = statement.on_conflict_do_update(
            index_elements=list(table.primary_key), set_=changes(statement.excluded)
        )
        return changed

    def insert_missing(self, table: Table) -> Insert:
        """Return an insert that leaves the row with the same primary key if there is one."""
        missing: Insert = self.insert_into(table).on_conflict_do_nothing(index_elements=list(table.primary_key))
        return missing

    def insert_rows(
        self, connection: Connection, statement: Insert, site: str, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Insert rows of a site, which have the same columns and different keys, by a statement of this dialect."""
        connection.execute(statement, [{**row, "site": site} for row in rows])

    @abstractmethod
    def greatest(self, first: Any, second: Any) -> ColumnElement[Any]:
        """Return the greater of two values."""

    @abstractmethod
    def floor(self, value: ColumnElement[Any]) -> ColumnElement[int]:
        """Return the integral part of a positive number."""

    @abstractmethod
    def unindexed(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the column's value in a form for which a planner without statistics uses no index."""

    @abstractmethod
    def newest_of_each(self, texts: Sequence[str], newest: NewestRows, columns: Sequence[Column[Any]]) -> Select[Any]:
        """Return these columns of the decisions that `newest` selects for each of the texts."""

    @abstractmethod
    def changes(self, site: str) -> Changes | None:
        """Return what tells of changes by other processes; None if there are none."""

    @abstractmethod
    def is_full(self, error: BaseException) -> bool:
        """Return True if the error says that the disk is full."""

    @abstractmethod
    def is_damaged(self, error: BaseException) -> bool:
        """Return True if the error says that the database is corrupt or is none."""

    @abstractmethod
    def may_pass(self, error: BaseException) -> bool:
        """Return True if the statement was refused by the state of a server, which may change, and not for what it
        says.
        """

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Return the bytes free on the journal's disk, or None if unknown."""

    @abstractmethod
    def purge_deleted(self, engine: Engine) -> str:
        """Remove deleted rows from every byte of the files.

        Return a sentence about what went wrong, or an empty string.
        """


@dataclass(frozen=True, slots=True)
class Store:
    """An open journal, the site whose rows it has, and what this process may do with them.

    Its connections are used for a moment: nothing that waits for a client may happen within one.
    """

    engine: Engine
    dialect: Dialect
    site: str = DEFAULT_SITE
    rights: Rights = Rights()
    lanes: Lanes = field(default_factory=Lanes, repr=False, compare=False)

    def connect(self) -> AbstractContextManager[Connection]:
        """Use a connection. Raises OperationalError if too many are in use for too long (`Lanes`), as `begin` does."""
        return self.lanes.connection(self.engine.connect)

    def begin(self) -> AbstractContextManager[Connection]:
        """Open a transaction."""
        return self.lanes.connection(self.engine.begin)

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

    def close(self) -> None:
        """The same as `dispose`, for `contextlib.closing`."""
        self.dispose()

    def dispose(self) -> None:
        """Close all connections; one that is in use is closed when it is given back."""
        event.listen(self.engine, "checkin", _close)
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
        """Insert rows of this site, or change those with the same primary key.

        `changes` receives the new row's columns.
        """
        return self.dialect.upsert(table, changes).values(site=self.site)

    def insert_missing(self, table: Table) -> Insert:
        """Insert rows of this site that are missing."""
        return self.dialect.insert_missing(table).values(site=self.site)

    def insert_rows(self, connection: Connection, statement: Insert, rows: Iterable[Mapping[str, Any]]) -> None:
        """Insert rows of this site by a statement of the dialect, in chunks."""
        for chunk in batched(rows, _CHUNK):
            self.dialect.insert_rows(connection, statement, self.site, chunk)

    def update(self, table: Table) -> Update:
        return table.update().where(self.own(table))

    def delete(self, table: Table) -> Delete:
        return table.delete().where(self.own(table))


def _close(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.invalidate()


def cause_of(error: DatabaseError) -> str:
    """Return the driver's own words about an error."""
    return str(error.orig)


class JournalEntry(Protocol):
    """A row of a feature that is written in the same transaction as what it is about."""

    def write(self, store: Store, connection: Connection) -> int:
        """Write it, and return its id."""


def write_entries(store: Store, connection: Connection, entries: Iterable[JournalEntry]) -> None:
    """Write entries in the transaction of a connection."""
    for entry in entries:
        entry.write(store, connection)
