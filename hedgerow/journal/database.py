"""Opening the journal: the engine, and the tables of this version."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Literal

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, create_engine, inspect
from sqlalchemy.exc import DatabaseError

from hedgerow.journal.sqlite import SqliteDialect
from hedgerow.journal.store import Dialect, JournalError, Rights, Store, StoreAddress, cause_of
from hedgerow.journal.tables_aside import bring_back, set_aside
from hedgerow.policies.text.addresses import DEFAULT_SITE

_MIGRATIONS = Path(__file__).parent / "migrations"
_VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Alembic's own table. A new journal gets it without alembic, whose imports take longer than all tables."""


type Place = Path | StoreAddress
"""The place of a journal: a file of SQLite's, or a PostgreSQL database."""


def dialect_of(path: Path) -> SqliteDialect:
    """Return the dialect of the journal at `path`, which need not exist."""
    return SqliteDialect(path)


def make_dialect(place: Place) -> Dialect:
    """Return the dialect of the journal at `place`."""
    if isinstance(place, Path):
        return dialect_of(place)
    from hedgerow.journal.postgresql import PostgresDialect  # only where it is used, for its memory

    return PostgresDialect(place)


def open_journal(place: Place) -> Store:
    """Open the journal at `place`, creating it and migrating its tables as needed.

    A file holds one site, the default one.

    Raises `DamagedJournalError` if the file is not a database, `UnreachableStoreError` if a server does not answer, and
    `JournalError` if it cannot be created or a newer Hedgerow wrote it.
    """
    return _open(place)[0]


def describe_journal(place: Place) -> dict[str, str | int]:
    """Return facts about a journal for its administrator. Opens it, and raises as `open_journal` does."""
    store = open_journal(place)
    try:
        with store.connect() as connection:
            return {"schema": _newest_version(), **store.dialect.facts(connection)}
    finally:
        store.dispose()


def migrate_journal(place: Place) -> bool:
    """Create or migrate the journal as `open_journal` does. Return False if there was nothing to do."""
    store, has_migrated = _open(place)
    store.dispose()
    return has_migrated


def may_open(store: Store, site: str) -> bool:
    """Return True if `open_journal` may succeed now: the tables are of this version, or this role may migrate them.

    Raises DatabaseError if the server does not answer, and `JournalError` if the role has no rights at `site`.
    """
    with store.connect() as connection:
        rights, version = store.dialect.rights(connection, site), _version_of(connection)
    newest = _newest_version()
    return version == newest or (rights.site is None and (version is None or version < newest))


def is_of_newer_version(path: Path) -> bool:
    """Return whether the journal at `path` was written by a newer Hedgerow."""
    version = version_of_copy(path)
    return version is not None and version > _newest_version()


def downgrade_journal(path: Path, version: str, kept: Path) -> bool:
    """Give the journal at `path` the tables of an earlier version, after a copy of it to `kept`.

    What those have no place for waits in other tables until the next upgrade. Nobody may have the journal open.
    Return False if there was nothing to do. Raises `JournalError`, and then changes nothing.
    """
    store = open_journal(path)
    try:
        if version >= _newest_version():
            return False
        dialect_of(path).back_up(kept)
        with store.begin() as connection:
            set_aside(connection, _tables_at(version))
            _alembic("downgrade", connection, version)
    except OSError as error:
        raise JournalError(f"cannot copy the journal to {kept}: {error}") from error
    except DatabaseError as error:
        raise JournalError(f"cannot change the journal {path}: {cause_of(error)}") from error
    finally:
        store.dispose()
    return True


def version_of_copy(path: Path) -> str | None:
    """Return the version of the tables of a journal that nobody uses; None if it has none."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as journal:
        try:
            row = journal.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.DatabaseError:  # no such table, or no journal at all
            return None
    return str(row[0]) if row is not None else None


def _open(place: Place) -> tuple[Store, bool]:
    dialect, site = make_dialect(place), None if isinstance(place, Path) else place.site
    try:
        engine = dialect.open()
    except OSError as error:
        raise JournalError(f"cannot make the journal {place}: {error.strerror}") from error
    try:
        with engine.begin() as connection:
            rights = dialect.rights(connection, site)
            has_migrated = _migrate(connection, dialect, place, rights)
            now = time.time()
            dialect.prepare_days(connection, now, now)
            dialect.restrict(engine, rights)
            return Store(engine, dialect, site or rights.site or DEFAULT_SITE, rights), has_migrated
    except JournalError:
        engine.dispose()
        raise
    except Exception as error:
        engine.dispose()
        raise dialect.open_error(error) from error


def _migrate(connection: Connection, dialect: Dialect, place: Place, rights: Rights) -> bool:
    """Run the missing migrations, all or none. Return False if none was missing."""
    newest = _newest_version()
    if _version_of(connection) == newest:
        return False
    if rights.site is not None and (known := _version_of(connection)) is not None and known < newest:
        problem = "its tables are older than this Hedgerow; upgrade the node whose role owns them"
        raise JournalError(f"cannot open the journal {place}: {problem}")
    dialect.lock_schema(connection)
    version = _version_of(connection)  # by now another node may have migrated
    if version == newest:
        return False
    if version is not None and version > newest:
        raise JournalError(f"cannot open the journal {place}: a newer Hedgerow wrote it; install that version again")
    if version is None:
        dialect.create_schema(connection)
        _VERSION.metadata.create_all(connection)
        connection.execute(_VERSION.insert().values(version_num=newest))
    else:
        _upgrade(connection)
        if dialect.has_one_writer:  # only a file has a way back
            bring_back(connection)
    dialect.complete_schema(connection)
    return True


def _tables_at(version: str) -> list[str]:
    """Return the names of the tables of an earlier version."""
    engine = create_engine("sqlite://")
    try:
        with engine.begin() as connection:
            _upgrade(connection, version)
            return inspect(connection).get_table_names()
    finally:
        engine.dispose()


def _upgrade(connection: Connection, revision: str = "head") -> None:
    _alembic("upgrade", connection, revision)


def _alembic(command_name: Literal["upgrade", "downgrade"], connection: Connection, revision: str) -> None:
    # Imported here because alembic and its imports take 12 MB.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    getattr(command, command_name)(config, revision)


def _version_of(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return version


def _newest_version() -> str:
    """Return the number in the last migration's file name, such as `v0003_budgets_and_sittings.py`, which is also its
    `revision`.
    """
    return max(path.stem[1:5] for path in (_MIGRATIONS / "versions").glob("v[0-9][0-9][0-9][0-9]_*.py"))
