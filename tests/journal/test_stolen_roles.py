"""The password of a site's role in the hands of a thief: nothing that PostgreSQL lets that role do holds up another
site.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import psycopg
import pytest
from journal_rows import NOW, TABLET, fill
from postgres_server import PostgresServer
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import select, text

from hedgerow.journal.access_store import GrantStore
from hedgerow.journal.database import describe_journal, open_journal
from hedgerow.journal.postgresql_rights import (
    MAX_CONNECTIONS,
    end_holding_up,
    grant_site,
    make_role,
    revoke_site,
    role_for,
)
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.store import Store, StoreAddress
from hedgerow.journal.tables import metadata
from hedgerow.policies.model import Grant

MODES = (
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
_numbers = itertools.count()


@dataclass(frozen=True)
class Shared:
    """A store of the sites `cafe` and `school`, with the role of the café's node in a thief's hands."""

    server: PostgresServer
    database: str
    owner: Store
    role: str
    opened: ExitStack

    def connect(self, role: str | None = None) -> psycopg.Connection[tuple[object, ...]]:
        """Return a connection that is closed after the test."""
        url = self.server.address(self.database, role or self.role).url
        return self.opened.enter_context(closing(psycopg.connect(url, autocommit=True)))

    def address(self) -> StoreAddress:
        return self.server.address(self.database, self.role)


@pytest.fixture(scope="module")
def store(postgres: PostgresServer) -> Iterator[tuple[str, Store]]:
    postgres.execute("ALTER ROLE hedgerow CREATEROLE")
    database = postgres.database()
    with closing(open_journal(postgres.address(database))) as owner:
        for site in ("cafe", "school"):
            fill(Store(owner.engine, owner.dialect, site))
        yield database, owner


@pytest.fixture(params=[False, True], ids=["adds", "manages"])
def shared(postgres: PostgresServer, store: tuple[str, Store], request: pytest.FixtureRequest) -> Iterator[Shared]:
    database, owner = store
    with owner.begin() as connection:
        role = role_for(connection, "cafe", f"thief-{next(_numbers)}")
        make_role(connection, role, "a password")
        grant_site(connection, role, "cafe", may_manage=request.param)
    with ExitStack() as opened:
        yield Shared(postgres, database, owner, role, opened)
    revoke_site(owner.engine, role)


def test_no_table_can_be_locked(shared: Shared) -> None:
    with shared.owner.connect() as connection:
        query = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = to_regnamespace('public')"
        tables = set(connection.scalars(text(query)))
    assert tables > metadata.tables.keys() | {"site_roles", "site_changes", "alembic_version"}
    thief = shared.connect()
    for table, mode in itertools.product(sorted(tables), MODES):
        with pytest.raises(InsufficientPrivilege), thief.transaction():
            thief.execute(f"LOCK TABLE {table} IN {mode} MODE")


def test_rows_of_other_sites_and_shared_rows_can_not_be_locked(shared: Shared) -> None:
    thief = shared.connect()
    for table in ("grants", "accounts"):
        assert {row[0] for row in thief.execute(f"SELECT site FROM {table} FOR UPDATE").fetchall()} == {"cafe"}
    for table in ("site_changes", "site_roles", "alembic_version", "site_groups"):
        with pytest.raises(InsufficientPrivilege):
            thief.execute(f"SELECT * FROM {table} FOR SHARE")


def test_no_number_of_a_later_row_can_be_taken(shared: Shared) -> None:
    thief = shared.connect()
    numbered = [
        name for name, table in metadata.tables.items() if "id" in table.c and table.c.id.type.python_type is int
    ]
    assert "access_requests" in numbered
    for table in numbered:
        for statement in (f"INSERT INTO {table} (id) VALUES (1000000)", f"UPDATE {table} SET id = id + 1000000"):
            with pytest.raises(InsufficientPrivilege):
                thief.execute(statement)
        with pytest.raises(InsufficientPrivilege):
            thief.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), 1)")


def test_the_owners_functions_can_not_be_used_for_other_things(shared: Shared) -> None:
    thief = shared.connect()
    statements = (
        "CREATE TEMPORARY TABLE mine (site text)",
        "CREATE TABLE mine (site text)",
        "SELECT hedgerow_prepare_days(30000, 30001)",
        "SELECT hedgerow_note_change()",
        "SELECT hedgerow_delete_rows('statements', ARRAY['statements'::regclass::oid], ARRAY['(0,1)'::tid])",
        "SELECT hedgerow_delete_rows('site_roles', ARRAY['site_roles'::regclass::oid], ARRAY['(0,1)'::tid])",
        "SELECT hedgerow_delete_rows('pg_class', ARRAY['pg_class'::regclass::oid], ARRAY['(0,1)'::tid])",
        "DELETE FROM grants",
        "TRUNCATE grants",
    )
    for statement in statements:
        with pytest.raises(psycopg.errors.InsufficientPrivilege if "note_change" not in statement else psycopg.Error):
            thief.execute(statement)
    with shared.owner.connect() as connection:
        places = connection.execute(text("SELECT site, tableoid, ctid::text FROM grants")).all()
    for _, part, place in places:
        thief.execute("SELECT hedgerow_delete_rows('grants', ARRAY[%s::oid], ARRAY[%s::tid])", (part, place))
    with shared.owner.connect() as connection:
        assert set(connection.scalars(select(metadata.tables["grants"].c.site))) == {"school"}
    fill_again = Store(shared.owner.engine, shared.owner.dialect, "cafe")
    GrantStore(fill_again, clock=lambda: NOW).give(
        Grant(f"again-{next(_numbers)}", "chess.example", "ana", NOW, None, TABLET)
    )


def test_a_role_has_a_number_of_connections_and_the_owner_gets_in(shared: Shared) -> None:
    for _ in range(MAX_CONNECTIONS):
        shared.connect()
    with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
        shared.connect()
    shared.connect("hedgerow").execute("SELECT 1")


def test_revoking_ends_the_connections_that_are_open(shared: Shared) -> None:
    thief = shared.connect()
    thief.execute("BEGIN")
    thief.execute("SELECT count(*) FROM grants")
    assert revoke_site(shared.owner.engine, shared.role)
    with pytest.raises(psycopg.OperationalError):
        thief.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        shared.connect()


def test_the_office_ends_what_holds_up_others(shared: Shared) -> None:
    """An open transaction keeps a table from being migrated or dropped, and an advisory lock whoever wants the same."""
    with closing(open_journal(shared.address())) as node, shared.owner.begin() as connection:
        JournalReader(node).grants(NOW)
        assert end_holding_up(connection) == [], "a node never does"
    thief = shared.connect()
    thief.execute("SELECT pg_advisory_lock(1)")
    with shared.owner.begin() as connection:
        assert end_holding_up(connection) == [shared.role]
    with pytest.raises(psycopg.OperationalError):
        thief.execute("SELECT 1")
    thief = shared.connect()
    thief.execute("BEGIN")
    thief.execute("SELECT count(*) FROM pauses")
    waiting = shared.connect("hedgerow")
    waiting.pgconn.send_query(b"BEGIN; LOCK TABLE pauses IN ACCESS EXCLUSIVE MODE; COMMIT")  # as a migration does
    assert ended_by(shared.owner, idle="1 hour") == [shared.role]
    while (result := waiting.pgconn.get_result()) is not None:
        assert not result.error_message
    thief = shared.connect()
    thief.execute("BEGIN")
    thief.execute("SELECT count(*) FROM pauses")
    assert ended_by(shared.owner, idle="1 second") == [shared.role], "though nobody waits yet"


def ended_by(owner: Store, *, idle: str) -> list[str]:
    """Look as the office does every few seconds, until connections are ended."""
    ended: list[str] = []
    while not ended:
        time.sleep(0.05)
        with owner.begin() as connection:
            ended = end_holding_up(connection, idle=idle)
    return ended


def test_the_check_names_roles_that_an_older_version_made(shared: Shared) -> None:
    address = shared.server.address(shared.database)
    assert "unbounded roles" not in describe_journal(address)
    shared.server.execute(f"ALTER ROLE {shared.role} CONNECTION LIMIT -1")
    assert describe_journal(address)["unbounded roles"] == shared.role
    with shared.owner.begin() as connection:
        grant_site(connection, shared.role, "cafe", may_manage=False)
    assert "unbounded roles" not in describe_journal(address)


def test_rights_that_an_older_version_gave_end_with_the_migration(shared: Shared) -> None:
    with shared.owner.begin() as connection:
        connection.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON grants TO {shared.role}"))
        shared.owner.dialect.complete_schema(connection)
    thief = shared.connect()
    with pytest.raises(InsufficientPrivilege, match="permission denied for table grants"), thief.transaction():
        thief.execute("LOCK TABLE grants IN ACCESS EXCLUSIVE MODE")
