"""SQLite as the journal's engine: one private file in WAL mode."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    Select,
    String,
    Table,
    cast,
    create_engine,
    event,
    func,
    select,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DatabaseError

from hedgerow.journal.lanes import MAX_CONNECTIONS
from hedgerow.journal.store import DamagedJournalError, Dialect, JournalError, NewestRows, Rights, Salvaged, cause_of
from hedgerow.journal.tables import decisions, metadata

BUSY_TIMEOUT_S = 5.0
CHECKPOINT_TRIES = 6
"""Attempts to empty the write-ahead log while somebody reads, each as long as the busy timeout."""

_KEPT_CONNECTIONS = 5
LOG_SUFFIXES = ("-wal", "-shm")
# WAL: readers never wait for the writer, and a killed process loses at most its open transaction. FULL: what was
# confirmed is on the disk, also after a power cut. NORMAL: a power cut may lose the last rows, never the file.
_ON_DISK, _SOON_ON_DISK = "synchronous=FULL", "synchronous=NORMAL"
_PRAGMAS = (
    "journal_mode=WAL",
    _ON_DISK,
    f"busy_timeout={BUSY_TIMEOUT_S * 1000:.0f}",
    "journal_size_limit=16777216",
)


@dataclass(frozen=True, slots=True)
class SqliteDialect(Dialect):
    """The dialect of the file at `path`."""

    has_one_writer = True
    is_partitioned = False
    snapshot_isolation = "SERIALIZABLE"
    insert_into = staticmethod(insert)

    path: Path

    def open(self) -> Engine:
        """Create the file with mode 0600, in a directory of mode 0700; SQLite gives the files next to it (-wal, -shm)
        the same mode.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self.path.chmod(0o600)
        engine = create_engine(
            f"sqlite:///{self.path}",
            connect_args={"timeout": BUSY_TIMEOUT_S},
            pool_size=_KEPT_CONNECTIONS,
            max_overflow=MAX_CONNECTIONS - _KEPT_CONNECTIONS,
        )
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "checkin", _sync_again)
        return engine

    def open_error(self, error: Exception) -> JournalError:
        kind = DamagedJournalError if self.is_damaged(error) else JournalError
        return kind(f"cannot open the journal {self.path}: {getattr(error, 'orig', None) or error}")

    def lock_schema(self, connection: Connection) -> None:
        """Do nothing: one process writes at a time."""

    def limit_turn(self, _connection: Connection, _seconds: float) -> None:
        """Do nothing: one process writes at a time."""

    def commit_soon(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA {_SOON_ON_DISK}")

    def create_schema(self, connection: Connection) -> None:
        metadata.create_all(connection)

    def complete_schema(self, _connection: Connection) -> None:
        """Do nothing: the tables are all there is."""

    def rights(self, _connection: Connection, _site: str | None = None) -> Rights:
        return Rights()

    def facts(self, _connection: Connection) -> dict[str, str | int]:
        return {"engine": "SQLite", "version": sqlite3.sqlite_version}

    def prepare_days(self, connection: Connection, first: float, last: float) -> None:
        """Do nothing: all days are in one table."""

    def drop_days(self, _engine: Engine, _before: float) -> int:
        return 0

    def continue_numbers(self, connection: Connection, tables: Sequence[Table]) -> None:
        """Do nothing: SQLite goes on after the greatest number."""

    def greatest(self, first: Any, second: Any) -> ColumnElement[Any]:
        return func.max(first, second)

    def floor(self, value: ColumnElement[Any]) -> ColumnElement[int]:
        return cast(value, Integer)

    def unindexed(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        return column + ("" if isinstance(column.type, String) else 0.0)

    def newest_of_each(self, texts: Sequence[str], newest: NewestRows, columns: Sequence[Column[Any]]) -> Select[Any]:
        names = func.json_each(json.dumps(list(texts))).table_valued("value", name="wanted")
        row = decisions.alias("row")
        ids = newest(names.c.value, [decisions.c.id]).correlate(names)
        return select(*(row.c[column.name] for column in columns)).select_from(names.join(row, row.c.id.in_(ids)))

    def changes(self, _site: str) -> None:
        return None

    def is_full(self, error: BaseException) -> bool:
        return _code_of(error) == sqlite3.SQLITE_FULL

    def is_damaged(self, error: BaseException) -> bool:
        return _code_of(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

    def may_pass(self, _error: BaseException) -> bool:
        return False

    def free_bytes(self) -> int | None:
        try:
            status = os.statvfs(self.path.parent)
        except OSError:
            return None
        return status.f_bavail * status.f_frsize

    def purge_deleted(self, engine: Engine) -> str:
        """Rewrite the file and empty its write-ahead log.

        Deleting is not enough, even with `secure_delete`: when SQLite moves rows from a full page to another one,
        copies of them remain in unused space.
        """
        try:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM")
                checkpoints = (
                    connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
                    for _ in range(CHECKPOINT_TRIES)
                )
                return (
                    "" if any(not is_busy for is_busy in checkpoints) else "Another process keeps reading the journal."
                )
        except DatabaseError as error:
            return f"The journal cannot be rewritten: {cause_of(error)}."

    def back_up(self, target: Path) -> None:
        """Copy the database into a file of mode 0600, also while others write to it. Raises OSError."""
        os.close(os.open(target, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        try:
            with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
        except sqlite3.Error as error:
            raise OSError(str(error)) from error

    def is_intact(self, tables: Sequence[str] = ()) -> bool:
        """Check the database or, of one in use, only these tables. Changes nothing."""
        # A database in use has a write-ahead log, without which it can't be judged.
        place = f"{self.path.absolute().as_uri()}?mode={'rw' if tables else 'ro&immutable=1'}"
        checks = [f"quick_check('{table}')" for table in tables] or ["quick_check(1)"]
        try:
            with closing(sqlite3.connect(place, uri=True, timeout=BUSY_TIMEOUT_S)) as database:
                return all(database.execute(f"PRAGMA {check}").fetchone() == ("ok",) for check in checks)
        except UnicodeDecodeError:  # SQLite quotes what is damaged
            return False
        except sqlite3.Error as error:
            return bool(tables) and not self.is_damaged(error)  # such as a lock, which says nothing

    def salvage(self, damaged: Path, tables: Sequence[str] | None = None) -> Salvaged:
        """Copy all readable rows of a damaged database into this one, whose own rows stay.

        None: of all tables. Raises OSError.
        """
        return copy_rows(damaged, self.path, tables)

    def prepare_restore(self) -> None:
        """Remove what belongs to the present database, so that a backup can take its place. Raises OSError."""
        for suffix in LOG_SUFFIXES:
            _with_suffix(self.path, suffix).unlink(missing_ok=True)

    def set_aside(self, when: datetime) -> Path:
        """Move a damaged database to a name with the date and time, and return that name. Raises OSError."""
        aside = self.path.with_name(f"{self.path.name}.damaged-{when:%Y%m%d-%H%M%S}")
        for suffix in (*LOG_SUFFIXES, ""):
            with contextlib.suppress(FileNotFoundError):
                _with_suffix(self.path, suffix).rename(aside.with_name(aside.name + suffix))
        return aside


def _with_suffix(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _code_of(error: BaseException) -> int | None:
    """Return SQLite's error code, also of an error that SQLAlchemy has wrapped."""
    return getattr(getattr(error, "orig", None) or error, "sqlite_errorcode", None)


def _set_pragmas(connection: Any, _record: Any) -> None:
    with closing(connection.cursor()) as cursor:
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")


def _sync_again(connection: Any, _record: Any) -> None:
    """Undo `commit_soon` when a connection goes back to the pool. It has no transaction then."""
    if connection is not None:  # a connection that is broken is None
        with closing(connection.cursor()) as cursor:
            cursor.execute(f"PRAGMA {_ON_DISK}")


_DAMAGE = (sqlite3.DatabaseError, UnicodeDecodeError)
"""Errors of reading a damaged database. `sqlite3` decodes SQLite's messages, which quote what is damaged."""

_MAX_NUMBER = (1 << 63) - 1
_OLD_TABLES = {"sessions": "sittings", "web_sessions": "sessions"}
_OLD_COLUMNS = {"giver": "actor"}
"""Names in journals that were written before migration 0017, which were damaged before they could be migrated."""


def copy_rows(source: Path, target: Path, tables: Sequence[str] | None = None) -> Salvaged:
    """Copy the readable rows of `tables`, or of all, from one SQLite file into another, whose own rows stay.

    Raises OSError.

    A damaged page makes SQLite refuse the rows on it, and often all that come after it in a scan. Rows are therefore
    read by their number from both ends, and each refusal is stepped over by growing strides.
    """
    rows: dict[str, int] = {}
    incomplete: list[str] = []
    try:
        with closing(_open(source)) as damaged, closing(sqlite3.connect(target)) as fresh:
            for table in tables or metadata.tables:
                copied = _copy_table(damaged, fresh, table, incomplete)
                if copied:
                    rows[table] = copied
            fresh.commit()
    except (sqlite3.Error, UnicodeDecodeError) as error:
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
    except _DAMAGE:  # the schema itself can't be read
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
        """Yield the rows between two numbers until one can't be read.

        Returns the last number, and whether that was all of them.
        """
        reached = low if order == "ASC" else high
        try:
            query = f"{self._query} WHERE rowid > ? AND rowid < ? ORDER BY rowid {order}"
            for number, *row in self._connection.execute(query, (low, high)):
                yield tuple(row)
                reached = number
        except _DAMAGE:
            return reached, False
        return reached, True
