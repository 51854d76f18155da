"""PostgreSQL as the store: its schema, days, errors, and what waits while it is away."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from journal_places import cleaned
from postgres_server import PostgresServer, running_server
from small_internet.running import wait_until
from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import DatabaseError

from hedgerow.journal import batch as batch_module
from hedgerow.journal.access_store import GrantStore
from hedgerow.journal.accounts import AccountStore, WebSessionRow
from hedgerow.journal.batch import Batch, Spool
from hedgerow.journal.copying import CopyError, copy_journal
from hedgerow.journal.database import _alembic, describe_journal, migrate_journal, open_journal
from hedgerow.journal.lanes import Lane, current_lane
from hedgerow.journal.postgresql_connection import connection_parameters
from hedgerow.journal.postgresql_schema import day_tables, partitioned_decisions, prepare_days
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.recorder import Recorder, SystemEvent
from hedgerow.journal.retention import Retention
from hedgerow.journal.store import JournalError, Store, StoreAddress, UnreachableStoreError
from hedgerow.journal.tables import accounts, decisions, events, metadata, web_sessions, writers
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.model import AccessRequest, DeviceId, Grant, Observation, Reason, RequestKind, Session, Verdict
from hedgerow.policies.text.addresses import DEFAULT_SITE
from hedgerow.policies.time_model import ActiveMinute

NOW, DAY = 1_780_000_000.0, 86400.0
TABLET = DeviceId("tablet")


def seen(host: str, when: float = NOW) -> Observation:
    return Observation(
        when, TABLET, "mia", "child-8-12", RequestKind.DNS, Verdict.BLOCK, Reason.CATEGORY, "adult", host
    )


def hosts(store: Store) -> list[str]:
    return [row.host for row in reversed(JournalReader(store).decisions(limit=1000).rows)]


def is_ours(_item: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
    """Leave out the decisions, whose table differs, the tables of their days, and what only this engine has."""
    return not (name or "").startswith(("decisions", "site_changes", "site_roles"))


def test_the_tables_are_those_that_the_code_describes(postgres_journal: Store) -> None:
    with postgres_journal.connect() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_ours})
        assert [each for each in compare_metadata(context, metadata) if "decisions" not in str(each)] == []
        columns = connection.execute(
            text("SELECT column_name, is_nullable FROM information_schema.columns WHERE table_name = 'decisions'")
        )
        assert {(row[0], row[1] == "YES") for row in columns} == {
            (column.name, column.nullable) for column in decisions.columns
        }
        partitioned = {column.name for column in partitioned_decisions().columns}
    assert partitioned == set(decisions.columns.keys())


def test_reversed_hosts_are_ordered_by_their_characters(postgres_journal: Store) -> None:
    with postgres_journal.connect() as connection:
        rules = connection.execute(
            text(
                "SELECT attname FROM pg_attribute JOIN pg_collation c ON c.oid = attcollation WHERE attrelid = "
                "'decisions'::regclass AND collname <> 'C'"
            )
        ).all()
    assert rules == []


def test_two_nodes_may_start_at_once(postgres: PostgresServer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    address = postgres.address(postgres.database())
    with ThreadPoolExecutor(4) as threads:
        made = list(threads.map(migrate_journal, [address] * 4))
    assert sorted(made) == [False, False, False, True]


def test_a_newer_schema_is_refused(postgres: PostgresServer) -> None:
    address = postgres.address(postgres.database())
    with closing(open_journal(address)) as store, store.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(JournalError, match="a newer Hedgerow wrote it"):
        open_journal(address)


def test_an_older_schema_is_migrated(postgres: PostgresServer) -> None:
    address = postgres.address(postgres.database())
    session, browser = Session("s", TABLET, "ana", NOW), WebSessionRow("b", "ana", "192.0.2.7", "Firefox", NOW, NOW)
    grant = Grant("g", "a.example", "ana", NOW)
    with closing(open_journal(address)) as store:
        UsageStore(store).start_session(session)
        GrantStore(store).give(grant)
        with store.begin() as connection:
            connection.execute(web_sessions.insert().values(asdict(browser)))
        with store.begin() as connection:
            indexes = names_of_indexes(connection)
            _alembic("downgrade", connection, "0015")
            assert connection.scalar(text("SELECT giver FROM sittings")) == "ana"
    assert migrate_journal(address)
    with closing(open_journal(address)) as store:
        assert Batch([seen("a.example")], writer="w", number=1).write(store) == 1
        assert (UsageStore(store).sessions(NOW), AccountStore(store).sessions()) == ((session,), (browser,))
        assert JournalReader(store).grants(NOW) == (grant,)
        with store.connect() as connection:
            assert names_of_indexes(connection) == indexes


def names_of_indexes(connection: Connection) -> set[str]:
    return set(connection.scalars(text("SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()")))


def test_days_are_dropped_as_a_whole(postgres_journal: Store) -> None:
    with postgres_journal.begin() as connection:
        prepare_days(connection, NOW - 40 * DAY, NOW)
    recorder = Recorder(postgres_journal, retention=Retention(days=30), clock=lambda: NOW)
    recorder.add(seen(f"{days}.example", NOW - days * DAY) for days in (400, 35, 31, 30, 29, 0))
    recorder.flush()
    with postgres_journal.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM decisions_other")) == 1, "only the oldest lies in no day"
    before = days_of(postgres_journal)
    assert recorder.prune() == 3
    assert hosts(postgres_journal) == ["30.example", "29.example", "0.example"]
    assert len(before) - len(days_of(postgres_journal)) == 10
    assert recorder.prune() == 0


def days_of(store: Store) -> list[str]:
    with store.connect() as connection:
        return day_tables(connection)


def test_a_day_whose_decisions_came_early_stays_where_they_are(postgres_journal: Store) -> None:
    Batch([seen("early.example")]).write(postgres_journal)
    with postgres_journal.begin() as connection:
        prepare_days(connection, NOW - DAY, NOW + DAY)
        prepare_days(connection, NOW - DAY, NOW + DAY)
    Batch([seen("late.example")]).write(postgres_journal)
    assert hosts(postgres_journal) == ["early.example", "late.example"]


def test_text_that_postgresql_cannot_hold(postgres_journal: Store) -> None:
    Batch([seen("a\0b.example"), seen("b.example")]).write(postgres_journal)
    assert hosts(postgres_journal) == ["a\N{REPLACEMENT CHARACTER}b.example", "b.example"]


def test_a_batch_is_written_once(journal: Store) -> None:
    batches = [Batch([seen(f"{number}.example")], writer="control", number=number, events=[]) for number in (1, 2)]
    assert [
        batches[0].write(journal),
        batches[0].write(journal),
        batches[1].write(journal),
        batches[0].write(journal),
    ] == [1, 0, 1, 0]
    assert hosts(journal) == ["1.example", "2.example"]
    assert Batch([seen("3.example")], writer="another", number=1).write(journal) == 1


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that a test may stop, if it starts it again."""
    with running_server() as server:
        yield server


def test_nothing_is_lost_or_written_twice_while_the_server_is_away(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_journal(server.address(server.database()))) as store:
        recorder = Recorder(store, spool=Spool(tmp_path / "spool"))
        recorder.add([seen("before.example")])
        assert recorder.flush() == 1
        server.stop()
        for number in range(3):
            recorder.add(
                [seen(f"during-{number}.example"), AccessRequest(NOW, TABLET, "mia", f"during-{number}.example")]
            )
            assert recorder.flush() == 0
            recorder.put_aside()
        recorder.add([ActiveMinute(5, "person:mia", ""), SystemEvent(NOW, "restart", "dns-0")])
        assert "events wait on the disk" in recorder.problem
        with monkeypatch.context() as full:
            full.setattr(
                Spool, "_save", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
            )
            recorder.put_aside()
            recorder.flush()
            assert recorder.problem == "neither the store nor the disk can be written: No space left on device"
        # Control is restarted meanwhile.
        recorder.add([seen("late.example")])
        recorder.put_aside()
        spool = Spool(tmp_path / "spool")
        assert len(spool) == 5
        recorder = Recorder(store, spool=spool)
        recorder.add([seen("after.example")])
        server.start()
        flush_until_empty(recorder, spool)
        assert recorder.problem == ""
        assert hosts(store) == [
            "before.example",
            *(f"during-{number}.example" for number in range(3)),
            "late.example",
            "after.example",
        ]
        assert len(JournalReader(store).requests()) == 3
        assert "all that waited is written" in JournalReader(store).events("journal")[0].detail
        assert UsageStore(store).marks(0.0) == {("person:mia", ""): {0: 1 << 5}}


def flush_until_empty(recorder: Recorder, spool: Spool) -> None:
    import time

    deadline = time.monotonic() + 60
    while len(spool) or recorder.problem:
        recorder.flush()
        assert time.monotonic() < deadline, recorder.problem
        time.sleep(0.05)  # a thread finds out that the server is back
    recorder.flush()


def test_a_commit_whose_answer_is_lost_is_not_repeated(
    postgres_journal: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after the server has committed and before it says so."""
    real = Batch.write
    broken: list[int] = []

    def write(self: Batch, store: Store) -> int:
        rows = real(self, store)
        if not broken:
            broken.append(rows)
            raise DatabaseError("COMMIT", {}, psycopg.OperationalError("server closed the connection unexpectedly"))
        return rows

    monkeypatch.setattr(batch_module.Batch, "write", write)
    spool = Spool(tmp_path / "spool")
    recorder = Recorder(postgres_journal, spool=spool)
    recorder.add([seen("once.example")])
    assert recorder.flush() == 0
    assert len(spool) == 1
    recorder.flush()
    assert (len(spool), hosts(postgres_journal), broken) == (0, ["once.example"], [1])


def test_nothing_is_erased_while_events_wait(
    postgres_journal: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits may be about the same person, and would be written after the erasure."""
    spool = Spool(tmp_path / "spool")
    recorder = Recorder(postgres_journal, spool=spool)
    recorder.add([seen("waits.example")])
    recorder.put_aside()
    with monkeypatch.context() as away:
        refused = DatabaseError("INSERT", {}, psycopg.OperationalError("connection refused"))
        away.setattr(batch_module.Batch, "write", lambda *_: (_ for _ in ()).throw(refused))
        with pytest.raises(DatabaseError, match="still wait"), recorder.paused_for_erasure(frozenset({"mia"})):
            pass
    with recorder.paused_for_erasure(frozenset({"mia"})):
        assert hosts(postgres_journal) == ["waits.example"]


def test_a_batch_that_is_refused_for_good_does_not_stop_the_others(postgres_journal: Store, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.put(Batch([replace(seen("wrong.example"), count=2**63)], writer="w", number=1))
    spool.put(Batch([seen("right.example")], writer="w", number=2))
    recorder = Recorder(postgres_journal, spool=spool)
    recorder.flush()
    assert (len(spool), hosts(postgres_journal), recorder.dropped) == (0, ["right.example"], 1)


def test_a_command_is_refused_when_the_server_says_nothing_more(postgres: PostgresServer) -> None:
    """As after a cut in the network. Without a limit of its own, the query would wait for the connection's timeouts."""
    with cleaned(postgres) as address, closing(open_journal(address)) as store:
        grants = GrantStore(store)
        lane = current_lane.set(Lane.PAGES)
        pid = store.scalar(select(func.pg_backend_pid()))
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(DatabaseError, match="has not answered for 2 seconds"):
                grants.give(Grant("g", "a.example", "ana", NOW))
        finally:
            os.kill(pid, signal.SIGCONT)
            current_lane.reset(lane)
        wait_until(lambda: _answers(store), 30)
        assert not JournalReader(store).grants(NOW), "what was refused is not given"


def test_a_connection_that_the_server_has_ended_is_replaced(postgres: PostgresServer) -> None:
    """The server's last message is an answer too, and no sign of life."""
    with cleaned(postgres) as address, closing(open_journal(address)) as store:
        ended = store.scalar(select(func.pg_backend_pid()))
        os.kill(ended, signal.SIGTERM)
        wait_until(lambda: not Path(f"/proc/{ended}").exists(), 10)
        assert store.scalar(select(func.pg_backend_pid())) != ended


def _answers(store: Store) -> bool:
    try:
        return bool(store.scalar(select(1)))
    except DatabaseError:
        return False


def test_one_state_is_readable_while_the_server_is_away(server: PostgresServer) -> None:
    """A failing connection is refused at once by those that come after it, and the pool recovers without help."""
    with closing(open_journal(server.address(server.database()))) as store:
        ledger = GrantStore(store, clock=lambda: NOW)
        ledger.give(Grant("g", "chess.example", "ana", NOW, None, TABLET))
        server.stop(signal.SIGINT)
        for _ in range(3):
            with pytest.raises(DatabaseError):
                JournalReader(store).grants(NOW)
        server.start()
        import time

        deadline = time.monotonic() + 60
        while True:
            try:
                found = JournalReader(store).grants(NOW)
                break
            except DatabaseError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        assert [grant.id for grant in found] == ["g"]


@pytest.mark.parametrize("is_heard", [True, False])
def test_a_change_by_another_node_is_noticed(postgres_journal: Store, is_heard: bool) -> None:
    found = postgres_journal.dialect.changes(postgres_journal.site)
    assert found is not None
    with closing(found) as changes:
        assert changes.wait(0.01), "at first, anything may have changed"
        if not is_heard:  # as through a pooler
            changes._connection.execute("UNLISTEN *")  # type: ignore[attr-defined]
        assert not changes.wait(0.01)
        ledger, there = (
            GrantStore(postgres_journal),
            Store(postgres_journal.engine, postgres_journal.dialect, "elsewhere"),
        )
        GrantStore(there).give(Grant("another", "chess.example", "ana", NOW, None, TABLET))
        Batch([seen("a.example")]).write(postgres_journal)
        assert not changes.wait(0.01), "another site, and decisions, which no snapshot holds"
        ledger.give(Grant("g", "chess.example", "ana", NOW, None, TABLET))
        assert changes.wait(30.0 if is_heard else 0.01)
        ledger.revoke("g", "ana")
        assert changes.wait(30.0 if is_heard else 0.01)
        assert not changes.wait(0.01)


def test_a_journal_is_copied_there_and_back(sqlite_journal: Store, postgres: PostgresServer, tmp_path: Path) -> None:
    with sqlite_journal.begin() as connection:
        fill_every_table(connection)
    before = contents(sqlite_journal)
    assert all(before.values())
    with closing(open_journal(postgres.address(postgres.database()))) as server_store:
        progress: list[tuple[str, int, int]] = []
        counts = copy_journal(sqlite_journal, server_store, progress=lambda *step: progress.append(step))
        assert counts == {name: len(rows) for name, rows in before.items()}
        assert {name: done for name, done, total in progress if done == total} == counts
        assert contents(server_store) == before
        Batch([seen("next.example")]).write(server_store)
        assert (
            server_store.scalar(select(func.max(decisions.c.id))) == max(row["id"] for row in before["decisions"]) + 1
        )
        with pytest.raises(CopyError, match="rows in"):
            copy_journal(sqlite_journal, server_store)
        with closing(open_journal(tmp_path / "back" / "journal.sqlite")) as back:
            copy_journal(server_store, back)
            assert contents(back) == contents(server_store)


def fill_every_table(connection: Connection) -> None:
    for table in metadata.sorted_tables:
        is_one_per_site = table.primary_key.columns.keys() == ["site"]
        for number in (3,) if is_one_per_site else (3, 7):
            values = {column.name: value_of(column.type.python_type, column.name, number) for column in table.columns}
            connection.execute(table.insert().values(values))


def value_of(kind: type, name: str, number: int) -> object:
    if name == "site":
        return DEFAULT_SITE
    return {str: f"{name}-{number}-ä", int: number, float: NOW + number * DAY}[kind]


def contents(store: Store) -> dict[str, list[dict[str, Any]]]:
    with store.connect() as connection:
        return {
            table.name: [dict(row._mapping) for row in connection.execute(select(table).order_by(*table.primary_key))]
            for table in metadata.sorted_tables
        }


def test_a_copy_that_fails_leaves_nothing(sqlite_journal: Store, postgres: PostgresServer) -> None:
    """The last tables are refused: the first ones must not stay."""
    with sqlite_journal.begin() as connection:
        fill_every_table(connection)
    database = postgres.database()
    with closing(open_journal(postgres.address(database))) as target:
        with target.begin() as connection:
            connection.execute(text("ALTER TABLE writers ADD CHECK (batch < 5)"))
        with pytest.raises(DatabaseError):
            copy_journal(sqlite_journal, target)
        with target.connect() as connection:
            assert not any(
                connection.execute(select(table)).first() for table in (accounts, decisions, events, writers)
            )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "the password is read from"),
        ("?sslmode=require", "turn TLS on at the server"),
        ("?connect_timeout=x", "connect_timeout"),
    ],
)
def test_a_refused_connection_says_what_to_do(server: PostgresServer, query: str, message: str) -> None:
    server.execute("CREATE ROLE ana LOGIN PASSWORD 'right'")
    try:
        with asking_for_passwords(server), pytest.raises(UnreachableStoreError, match=message):
            open_journal(server.address("postgres", "ana", query))
    finally:
        server.execute("DROP ROLE ana")


@contextmanager
def asking_for_passwords(server: PostgresServer) -> Iterator[None]:
    rules = server.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    try:
        rules.write_text("local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        server.reload()
        yield
    finally:
        rules.write_text(before)
        server.reload()


def test_the_password_is_read_from_a_file(server: PostgresServer, tmp_path: Path) -> None:
    server.execute("ALTER ROLE hedgerow PASSWORD 'a right one'")
    file, database = tmp_path / "store-password", server.database()
    address = StoreAddress(server.address(database).url, file)
    with asking_for_passwords(server):
        file.write_text("a wrong one\n")
        with pytest.raises(UnreachableStoreError, match="password authentication failed"):
            open_journal(address)
        file.write_text("a right one\n")
        facts = describe_journal(address)
    assert (facts["engine"], facts["role"], facts["tls"]) == ("PostgreSQL", "hedgerow", "none")


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("postgresql://h@db.example/h", "verify-full"),
        ("postgresql://h@192.168.1.5/h", "verify-full"),
        ("postgresql://h@127.0.0.1,db.example/h", "verify-full"),
        ("postgresql://h@db.example/h?sslmode=require", "require"),
        ("postgresql://h@127.0.0.1/h", None),
        ("postgresql://h@[::1]/h", None),
        ("postgresql://h@localhost/h", None),
        ("postgresql:///h?host=/run/postgresql", None),
        ("postgresql:///h", None),
    ],
)
def test_tls_is_verified_on_every_network(url: str, mode: str | None) -> None:
    assert connection_parameters(StoreAddress(url)).get("sslmode") == mode
