"""A journal of its own for each test, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres_server import PostgresServer, running_server

from hedgerow.journal.database import Place, open_journal
from hedgerow.journal.store import Store

TEMPLATE = "hedgerow_template"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server with a database, `TEMPLATE`, that holds an empty journal."""
    with running_server() as server:
        server.execute(f"CREATE DATABASE {TEMPLATE} OWNER hedgerow")
        open_journal(server.address(TEMPLATE)).dispose()
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """The place of an empty journal, which may not exist yet."""
    if request.param == "sqlite":
        yield tmp_path / "state" / "journal.sqlite"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    database = server.database(TEMPLATE)
    yield server.address(database)
    server.drop(database)


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
    database = postgres.database(TEMPLATE)
    store = open_journal(postgres.address(database))
    yield store
    store.dispose()
    postgres.drop(database)
