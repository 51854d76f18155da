"""Roles of PostgreSQL: the nodes of a site read and write that site only, and change nothing that was recorded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from threading import Barrier
from urllib.parse import quote

import psycopg
import pytest
from journal_rows import NOW, TABLET, fill
from postgres_server import PostgresServer
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DatabaseError

from hedgerow.journal.access_store import AccessCode, CodeStore, GrantStore, NoSuchEntry
from hedgerow.journal.accounts import AccountRow, AccountStore
from hedgerow.journal.batch import Batch
from hedgerow.journal.database import describe_journal, open_journal
from hedgerow.journal.personal_data import DataSubject, PersonalDataStore
from hedgerow.journal.policy_history import PolicyHistory
from hedgerow.journal.postgresql_rights import grant_site, make_role, revoke_site, role_for
from hedgerow.journal.reader import DecisionFilter, JournalReader
from hedgerow.journal.recorder import Recorder
from hedgerow.journal.retention import forget_decisions
from hedgerow.journal.store import JournalError, Store, StoreAddress, UnreachableStoreError
from hedgerow.journal.tables import counter_entries, decisions, events, metadata, rule_versions
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.model import Grant, Observation, Reason, RequestKind, Verdict
from hedgerow.policies.time_model import ActiveMinute

LATER = Observation(
    NOW, TABLET, "mia", "child-8-12", RequestKind.DNS, Verdict.BLOCK, Reason.CATEGORY, "adult", "later.example"
)

READ_OR_ADDED = {
    *("decisions", "events", "rule_versions", "counter_entries"),
    "policy_changes",
    "policy_versions",
    "statements",
    "site_groups",
}
"""Tables in which a node changes nothing."""


@dataclass(frozen=True)
class SharedStore:
    """A store with the rows of two sites, its owner, and what makes further roles."""

    server: PostgresServer
    database: str
    owner: Store

    def address(self, role: str, site: str | None = None) -> StoreAddress:
        return replace(self.server.address(self.database, role), site=site)

    def role(self, site: str, *, may_manage: bool = False) -> str:
        with self.owner.begin() as connection:
            name = role_for(connection, site, f"{next(_numbers)}")
            make_role(connection, name, "a password")
            grant_site(connection, name, site, may_manage=may_manage)
        return name


_numbers = itertools.count()


@pytest.fixture(scope="module")
def shared(postgres: PostgresServer) -> Iterator[SharedStore]:
    postgres.execute("ALTER ROLE hedgerow CREATEROLE")
    database = postgres.database()
    with closing(open_journal(postgres.address(database))) as owner:
        for site in ("north", "south"):
            fill(Store(owner.engine, owner.dialect, site))
        yield SharedStore(postgres, database, owner)


@pytest.fixture
def node(shared: SharedStore) -> Iterator[Store]:
    """The store as a node of the site `north` sees it."""
    with closing(open_journal(shared.address(shared.role("north")))) as store:
        yield store


def sites_seen(connection: Connection) -> dict[str, set[str]]:
    return {name: set(connection.scalars(select(table.c.site))) for name, table in metadata.tables.items()}


def test_a_node_reads_its_own_site_only(shared: SharedStore, node: Store) -> None:
    assert node.site == "north"
    with shared.owner.connect() as connection:
        assert set(map(frozenset, sites_seen(connection).values())) == {frozenset({"north", "south"})}
    with node.connect() as connection:
        assert set(map(frozenset, sites_seen(connection).values())) == {frozenset({"north"})}
        assert connection.scalars(text("SELECT site FROM site_changes")).all() == ["north"]
        assert connection.scalar(text("SELECT count(*) FROM site_roles")) == 1
        days = connection.scalars(
            text("SELECT relname FROM pg_class WHERE relname ~ '^decisions_' AND relkind = 'r'")
        ).all()
        assert days
    for table in days:
        assert "permission denied" in refusal(node, f"SELECT * FROM {table}")


def refusal(store: Store, statement: str) -> str:
    """Return the reason for which a statement is refused."""
    with store.connect() as connection, pytest.raises(DatabaseError) as error:
        connection.execute(text(statement))
    return str(error.value.orig)


def test_a_table_of_the_same_name_opens_nothing(node: Store) -> None:
    """Temporary tables would come before all others where a function does not say otherwise. A role may make none."""
    pretended = (
        "CREATE TEMPORARY TABLE site_roles AS SELECT session_user::text AS role, 'south' AS site, true AS may_manage"
    )
    assert "permission denied to create temporary tables" in refusal(node, pretended)
    assert "permission denied for schema" in refusal(node, "CREATE TABLE site_changes (site text, number bigint)")


@pytest.mark.parametrize("table", [decisions, events, rule_versions, counter_entries])
def test_a_node_changes_nothing_that_was_recorded(node: Store, table: object) -> None:
    for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET at = 0", f"TRUNCATE {table}", f"DROP TABLE {table}"):
        assert refusal(node, statement).startswith(("permission denied", "must be owner")), statement


@pytest.mark.parametrize("name", metadata.tables)
def test_a_node_writes_no_row_of_another_site(shared: SharedStore, node: Store, name: str) -> None:
    table = metadata.tables[name]
    with shared.owner.connect() as connection:
        row = dict(connection.execute(select(table).where(table.c.site == "north").limit(1)).one()._mapping)
    with node.connect() as connection, pytest.raises(DatabaseError, match=r"row-level security|permission denied"):
        connection.execute(table.insert().values(row | {"site": "south"}))
    if name not in READ_OR_ADDED:
        for statement in (table.update().values(site="north"), table.delete()):
            with node.begin() as connection:
                assert connection.execute(statement.where(table.c.site == "south")).rowcount == 0


def test_a_node_gives_itself_no_rights(shared: SharedStore, node: Store) -> None:
    assert "permission denied" in refusal(node, "UPDATE site_roles SET site = 'south'")
    assert "permission denied" in refusal(node, "UPDATE alembic_version SET version_num = '9999'")
    assert "must be owner" in refusal(node, "ALTER TABLE grants DISABLE ROW LEVEL SECURITY")
    assert "permission denied" in refusal(node, "SET LOCAL ROLE hedgerow")


def test_a_node_records_and_answers(shared: SharedStore, node: Store) -> None:
    assert Batch([LATER], writer="node", number=1).write(node) == 1
    assert Batch([LATER], writer="node", number=1).write(node) == 0
    assert len(JournalReader(node).decisions(DecisionFilter(host="later.example"), limit=9).rows) == 1
    ledger = GrantStore(node, clock=lambda: NOW)
    ledger.give(Grant("given", "chess.example", "ana", NOW, None, TABLET))
    ledger.revoke("given", "ana")
    ledger.deny(JournalReader(node).requests()[0].id, "ana")
    AccountStore(node).add_account(AccountRow("tom", "admin", "hash", NOW))
    (ana,) = (row for row in AccountStore(node).accounts() if row.name == "ana")
    assert AccountStore(node).remove_account(ana)
    assert AccountStore(Store(shared.owner.engine, shared.owner.dialect, "south")).accounts()
    recorder = Recorder(node, clock=lambda: NOW + 1000 * 86400)
    assert recorder.prune() == 0
    assert forget_decisions(node, {"mia": 1}, {}, NOW + 1000 * 86400) == 0
    assert JournalReader(node).decisions(limit=9).rows
    with pytest.raises(DatabaseError, match="permission denied"):
        PolicyHistory(node).add(NOW, "ana", "a change", {}, {})


def test_a_role_that_manages_its_site_deletes_there_only(shared: SharedStore) -> None:
    with closing(open_journal(shared.address(shared.role("south", may_manage=True)))) as store:
        PolicyHistory(store).add(NOW, "ana", "a change", {}, {})
        assert store.rights.may_manage
        before = others(shared.owner, "south")
        assert forget_decisions(store, {"mia": 1}, {}, NOW + 1000 * 86400) > 0
        assert JournalReader(store).decisions(limit=9).rows == ()
        Recorder(store, clock=lambda: NOW + 1000 * 86400).prune()
        erased = PersonalDataStore(store).erase(DataSubject("mia", frozenset({"tablet"})), NOW, frozenset())
        assert "until the role that owns them rewrites" in erased.problem, (
            "VACUUM leaves out other owners' tables and says so in a warning"
        )
    assert others(shared.owner, "south") == before


def others(owner: Store, site: str) -> dict[str, int]:
    with owner.connect() as connection:
        tables = metadata.tables.items()
        counts = {name: select(func.count()).select_from(table).where(table.c.site != site) for name, table in tables}
        return {name: connection.scalar(query) or 0 for name, query in counts.items()}


def test_the_name_of_the_site_must_be_the_roles(shared: SharedStore) -> None:
    role = shared.role("north")
    open_journal(shared.address(role, "north")).dispose()
    with pytest.raises(JournalError, match=r"is for the site north, and network\.site is south: write site: north"):
        open_journal(shared.address(role, "south"))


def test_the_check_says_which_rights_there_are(shared: SharedStore) -> None:
    found = describe_journal(shared.address("hedgerow")), describe_journal(shared.address(shared.role("north")))
    assert [(facts["site"], facts["rights"]) for facts in found] == [
        ("all", "owner of all sites"),
        ("north", "adds events to its site, and reads and changes its state"),
    ]


def test_revoked_rights_end_at_once(shared: SharedStore) -> None:
    role = shared.role("north")
    with closing(open_journal(shared.address(role))) as store:
        ledger = JournalReader(store)
        ledger.grants(NOW)
        assert revoke_site(shared.owner.engine, role)
        assert not revoke_site(shared.owner.engine, role)
        with pytest.raises(DatabaseError) as error:
            ledger.grants(NOW)
        assert store.dialect.may_pass(error.value), "so what was last known stays, and events wait"
    with pytest.raises(UnreachableStoreError):
        open_journal(shared.address(role))


def test_rights_follow_a_migration(shared: SharedStore) -> None:
    role = shared.role("north")
    with shared.owner.begin() as connection:
        connection.execute(text(f"REVOKE ALL ON grants FROM {quote(role)}"))
        shared.owner.dialect.complete_schema(connection)
    with closing(open_journal(shared.address(role))) as store:
        JournalReader(store).grants(NOW)


def test_a_node_does_not_migrate(shared: SharedStore) -> None:
    role = shared.role("north")
    with psycopg.connect(shared.address("hedgerow").url) as connection:
        current = connection.execute("UPDATE alembic_version SET version_num = '0016' RETURNING version_num").fetchone()
    try:
        with pytest.raises(JournalError, match="older than this Hedgerow; upgrade the node whose role owns them"):
            open_journal(shared.address(role))
    finally:
        with psycopg.connect(shared.address("hedgerow").url) as connection:
            connection.execute("UPDATE alembic_version SET version_num = %s", (newest(),))
    assert current is not None


def newest() -> str:
    from hedgerow.journal.database import _newest_version

    return _newest_version()


@pytest.fixture
def two_nodes(shared: SharedStore) -> Iterator[tuple[Store, Store]]:
    """The store as two nodes of one site see it, each with a role of its own."""
    roles = [shared.role("twins", may_manage=True) for _ in range(2)]
    with (
        closing(open_journal(shared.address(roles[0]))) as one,
        closing(open_journal(shared.address(roles[1]))) as other,
    ):
        yield one, other


def test_codes_work_once_whichever_node_takes_them(two_nodes: tuple[Store, Store]) -> None:
    for number in range(20):
        CodeStore(two_nodes[0], clock=lambda: NOW).add(
            AccessCode(f"twin-{number}", "ana", NOW, NOW + 60, "tablet", minutes=5), "123456"
        )
    both = Barrier(2)

    def use(store: Store) -> set[str]:
        codes, taken = CodeStore(store, clock=lambda: NOW), set[str]()
        both.wait()
        for number in range(20):
            with suppress(NoSuchEntry):
                codes.use(f"twin-{number}")
                taken.add(f"twin-{number}")
        return taken

    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(use, two_nodes)
    assert (len(one | other), one & other) == (20, set())


def test_a_minute_through_both_nodes_counts_once(two_nodes: tuple[Store, Store]) -> None:
    hour = 400_000
    minutes = ([*range(10)], [*range(5, 15)])
    for store, used in zip(two_nodes, minutes, strict=True):
        UsageStore(store).add(ActiveMinute(hour * 60 + minute, "person:mia", "") for minute in used)
    for store in two_nodes:
        assert UsageStore(store).marks(0.0) == {("person:mia", ""): {hour: (1 << 15) - 1}}
