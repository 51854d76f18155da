"""SQLite as the journal's engine: one private file in WAL mode."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Sequence
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

from hedgerow.journal.store import DamagedJournalError, Dialect, JournalError, NewestRows, Rights, Salvaged, cause_of
from hedgerow.journal.tables import decisions

BUSY_TIMEOUT_S = 5.0
CHECKPOINT_TRIES = 6
"""Attempts to empty the write-ahead log while somebody reads, each as long as the busy timeout."""

_LOG_SUFFIXES = ("-wal", "-shm")
# WAL: readers never wait for the writer, and a killed process loses at most its open transaction. NORMAL: a power cut may lose the last
# moment's rows, never the file.
_PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={BUSY_TIMEOUT_S * 1000:.0f}", "journal_size_limit=16777216")


@dataclass(frozen=True, slots=True)
class SqliteDialect(Dialect):
    """The dialect of the file at `path`."""

    is_partitioned = False
    snapshot_isolation = "SERIALIZABLE"
    insert_into = staticmethod(insert)

    path: Path

    def open(self) -> Engine:
        """Create the file with mode 0600, in a directory of mode 0700; SQLite gives the files beside it (-wal, -shm) the same mode."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self.path.chmod(0o600)
        engine = create_engine(f"sqlite:///{self.path}", connect_args={"timeout": BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _set_pragmas)
        return engine

    def open_error(self, error: Exception) -> JournalError:
        kind = DamagedJournalError if self.is_damaged(error) else JournalError
        return kind(f"cannot open the journal {self.path}: {getattr(error, 'orig', None) or error}")

    def lock_schema(self, connection: Connection) -> None:
        """Do nothing: one process writes at a time."""

    def create_schema(self, _connection: Connection) -> bool:
        return False

    def complete_schema(self, _connection: Connection) -> None:
        """Do nothing: the migrations describe all there is."""

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

        Deleting is not enough, even with `secure_delete`: when SQLite moves rows from a full page to another one, copies of them remain
        in unused space.
        """
        try:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM")
                checkpoints = (connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0] for _ in range(CHECKPOINT_TRIES))
                return "" if any(not is_busy for is_busy in checkpoints) else "Another process keeps reading the journal."
        except DatabaseError as error:
            return f"The journal cannot be rewritten: {cause_of(error)}."

    def back_up(self, target: Path) -> None:
        """Copy the database into a file, also while others write to it. Raises OSError."""
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
        except sqlite3.Error as error:
            return bool(tables) and not self.is_damaged(error)  # such as a lock, which says nothing

    def salvage(self, damaged: Path, tables: Sequence[str] | None = None) -> Salvaged:
        """Copy all readable rows of a damaged database into this one, whose own rows stay. None: of all tables. Raises OSError."""
        from hedgerow.journal.salvage import copy_rows  # seldom needed

        return copy_rows(damaged, self.path, tables)

    def prepare_restore(self) -> None:
        """Remove what belongs to the present database, so that a backup can take its place. Raises OSError."""
        for suffix in _LOG_SUFFIXES:
            _with_suffix(self.path, suffix).unlink(missing_ok=True)

    def set_aside(self, when: datetime) -> Path:
        """Move a damaged database to a name with the date and time, and return that name. Raises OSError."""
        aside = self.path.with_name(f"{self.path.name}.damaged-{when:%Y%m%d-%H%M%S}")
        for suffix in (*_LOG_SUFFIXES, ""):
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
