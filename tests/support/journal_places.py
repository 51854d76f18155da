"""A journal of its own for each test, in SQLite and in PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import PostgresServer, running_server

from hedgerow.journal.database import Place, open_journal
from hedgerow.journal.store import Store
from hedgerow.journal.tables import metadata

DATABASE = "hedgerow"
_DAYS = "SELECT relname FROM pg_class WHERE relname ~ '^decisions_[0-9]{8}$'"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server with a database, `DATABASE`, that holds an empty journal."""
    with running_server() as server:
        server.execute(f"CREATE DATABASE {DATABASE} OWNER hedgerow")
        open_journal(server.address(DATABASE)).dispose()
        yield server


@contextlib.contextmanager
def cleaned(server: PostgresServer) -> Iterator[Place]:
    """The database of the whole session, empty again afterwards: making another one takes ten times as long."""
    days = set(server.execute(_DAYS, DATABASE))
    yield server.address(DATABASE)
    statements = [f"DROP TABLE {name}" for (name,) in set(server.execute(_DAYS, DATABASE)) - days]
    # faster than TRUNCATE, which makes new files
    statements += [f"DELETE FROM {name}" for name in (*metadata.tables, "site_changes")]
    server.execute(
        "; ".join([*statements, "SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"]), DATABASE
    )


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """The place of an empty journal, which may not exist yet."""
    if request.param == "sqlite":
        yield tmp_path / "state" / "journal.sqlite"
        return
    with cleaned(request.getfixturevalue("postgres")) as address:
        yield address


@pytest.fixture
def journal(place: Place) -> Iterator[Store]:
    store = open_journal(place)
    yield store
    store.dispose()


@pytest.fixture
def sqlite_journal(tmp_path: Path) -> Iterator[Store]:
    """A journal in SQLite, for what only that has."""
    store = open_journal(tmp_path / "state" / "journal.sqlite")
    yield store
    store.dispose()


@pytest.fixture
def postgres_journal(postgres: PostgresServer) -> Iterator[Store]:
    """A journal in PostgreSQL, for what only that has."""
    with cleaned(postgres) as address, contextlib.closing(open_journal(address)) as store:
        yield store
