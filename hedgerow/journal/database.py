"""Opening the journal: the engine, and the tables of this version."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect

from hedgerow.journal.sqlite import SqliteDialect
from hedgerow.journal.store import DamagedJournalError, Dialect, JournalError, Store
from hedgerow.journal.tables import DEFAULT_SITE

_MIGRATIONS = Path(__file__).parent / "migrations"


def dialect_of(path: Path) -> Dialect:
    """Return the dialect of the journal at `path`, which need not exist."""
    return SqliteDialect(path)


def open_journal(path: Path, site: str = DEFAULT_SITE) -> Store:
    """Open the journal at `path`, creating it and migrating its tables as needed.

    Raises `DamagedJournalError` if the file is not a database, and `JournalError` if it cannot be created or a newer Hedgerow wrote it.
    """
    return _open(path, site)[0]


def migrate_journal(path: Path) -> bool:
    """Create or migrate the journal as `open_journal` does. Return False if there was nothing to do."""
    store, has_migrated = _open(path, DEFAULT_SITE)
    store.dispose()
    return has_migrated


def _open(path: Path, site: str) -> tuple[Store, bool]:
    dialect = dialect_of(path)
    try:
        engine = dialect.open()
    except OSError as error:
        raise JournalError(f"cannot make the journal {path}: {error.strerror}") from error
    try:
        with engine.begin() as connection:
            return Store(engine, dialect, site), _migrate(connection, path)
    except JournalError:
        engine.dispose()
        raise
    except Exception as error:
        engine.dispose()
        kind = DamagedJournalError if dialect.is_damaged(error) else JournalError
        raise kind(f"cannot open the journal {path}: {getattr(error, 'orig', None) or error}") from error


def _migrate(connection: Connection, path: Path) -> bool:
    """Run the missing migrations, all or none. Return False if none was missing."""
    version, newest = _version_of(connection), _newest_version()
    if version == newest:
        return False
    if version is not None and version > newest:
        raise JournalError(f"cannot open the journal {path}: a newer Hedgerow wrote it; install that version again")
    _upgrade(connection)
    return True


def _upgrade(connection: Connection, revision: str = "head") -> None:
    # Imported here because alembic and its imports take 12 MB.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def _version_of(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return version


def _newest_version() -> str:
    """Return the number in the last migration's file name, such as `v0003_budgets_and_sittings.py`, which is also its `revision`."""
    return max(path.stem[1:5] for path in (_MIGRATIONS / "versions").glob("v[0-9][0-9][0-9][0-9]_*.py"))
