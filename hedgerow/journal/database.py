"""Opens the journal's database: private files, WAL, and the tables of this version."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect

_BUSY_MS = 5000
_MIGRATIONS = Path(__file__).parent / "migrations"


_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class JournalError(Exception):
    """The journal cannot be opened; the message is one sentence for the person who started Hedgerow."""


class DamagedJournalError(JournalError):
    """What stands in the journal's place is no database, or no longer one."""


def open_journal(path: Path) -> Engine:
    """The engine for the SQLite file at `path`, made with mode 0600 in a directory of mode 0700, its tables brought up to date.

    Raises `JournalError` where it cannot be made or was written by a newer Hedgerow, `DamagedJournalError` where it is no database.
    """
    return _open(path)[0]


def migrate_journal(path: Path) -> bool:
    """Makes the journal at `path`, or brings it up to date, as `open_journal` does; False where that was so already."""
    engine, has_migrated = _open(path)
    engine.dispose()
    return has_migrated


def set_aside(path: Path, when: datetime) -> Path:
    """Moves a damaged journal, with the files beside it, to a name that tells the day and time. Returns that name. Raises OSError."""
    aside = path.with_name(f"{path.name}.damaged-{when:%Y%m%d-%H%M%S}")
    for ending in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    return aside


def _open(path: Path) -> tuple[Engine, bool]:
    try:
        _make_private(path)
    except OSError as error:
        raise JournalError(f"cannot make the journal {path}: {error.strerror}") from error
    engine = engine_for(path)
    try:
        return engine, _migrate(engine)
    except JournalError:
        engine.dispose()
        raise
    except Exception as error:
        engine.dispose()
        cause = getattr(error, "orig", None) or error
        kind = DamagedJournalError if getattr(cause, "sqlite_errorcode", None) in _DAMAGED else JournalError
        raise kind(f"cannot open the journal {path}: {cause}") from error


def engine_for(path: Path) -> Engine:
    """An engine for an existing journal. The file's mode is what SQLite gives the files beside it (-wal, -shm)."""
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_MS / 1000})
    event.listen(engine, "connect", _prepare_connection)
    return engine


def _migrate(engine: Engine) -> bool:
    """Takes the missing migrations, all of them or none; False where none was missing."""
    with engine.begin() as connection:
        version, newest = _version_of(connection), _newest_version()
        if version == newest:
            return False
        if version is not None and version > newest:
            raise JournalError(
                f"cannot open the journal {connection.engine.url.database}: a newer Hedgerow wrote it; install that one again"
            )
        _upgrade(connection)
        return True


def _upgrade(connection: Connection) -> None:
    # Here and not above: alembic and what it imports weigh 12 MB.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _version_of(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return version


def _newest_version() -> str:
    """The number in the name of the last step, `v0003_budgets_and_sittings.py`; each step's `revision` is the same."""
    return max(path.stem[1:5] for path in (_MIGRATIONS / "versions").glob("v[0-9][0-9][0-9][0-9]_*.py"))


def _prepare_connection(connection: Any, _record: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    cursor = connection.cursor()
    # WAL: readers never wait for the writer, and a killed process loses at most the transaction it was in. NORMAL: a power cut
    # may take the last moment's rows with it, never the file.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={_BUSY_MS}", "journal_size_limit=16777216"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _make_private(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
