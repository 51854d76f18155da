"""Migration of journals of earlier versions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Float, Integer, MetaData, Table, create_engine, inspect, select

from hedgerow.journal import database
from hedgerow.journal.access_store import GrantStore
from hedgerow.journal.database import migrate_journal, open_journal
from hedgerow.journal.reader import DecisionFilter, JournalReader
from hedgerow.journal.sqlite import copy_rows
from hedgerow.journal.store import Store
from hedgerow.journal.tables import metadata
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.text.addresses import DEFAULT_SITE

RENAMED = {"sessions": "web_sessions", "sittings": "sessions"}
CHOICES = {"kind": "dns", "verdict": "block", "reason": "category", "state": "open", "before": "{}", "after": "{}"}


def a_row(table: Table, number: int) -> dict[str, Any]:
    """Return a row with a value in each column."""
    values: dict[str, Any] = {}
    for column in table.columns:
        match column.type:
            case Float():
                values[column.name] = 1000.0 + number
            case Integer():
                values[column.name] = 7 + number
            case _:
                values[column.name] = CHOICES.get(column.name, f"{column.name}-{number}")
    return values


def make_old(path: Path, revision: str) -> dict[str, list[dict[str, Any]]]:
    """Create a journal of an earlier version with two rows in each table. Returns the rows by table."""
    engine = create_engine(f"sqlite:///{path}")
    rows = {}
    with engine.begin() as connection:
        database._upgrade(connection, revision)
        old = MetaData()
        old.reflect(connection)
        for name, table in old.tables.items():
            if name != "alembic_version":
                rows[name] = [a_row(table, number) for number in range(2)]
                connection.execute(table.insert(), rows[name])
    engine.dispose()
    return rows


def renamed(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of an old journal under the tables and columns of today. Their values stay."""
    columns = {"giver": "actor"}
    return {
        RENAMED.get(name, name): [{columns.get(key, key): row[key] for key in row} for row in each]
        for name, each in rows.items()
    }


def stored(store: Store) -> dict[str, list[dict[str, Any]]]:
    with store.connect() as connection:
        return {
            name: [dict(row._mapping) for row in connection.execute(select(table))]
            for name, table in metadata.tables.items()
        }


def test_the_migrations_make_the_tables_of_a_new_journal(tmp_path: Path) -> None:
    path = tmp_path / "migrated.sqlite"
    make_old(path, "0001")
    open_journal(path).dispose()
    open_journal(tmp_path / "new.sqlite").dispose()
    migrated, new = facts(path), facts(tmp_path / "new.sqlite")
    assert migrated == new
    assert {name for name, _ in new["tables"]} >= metadata.tables.keys()


def facts(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return the version, the tables with their columns and keys, and the indexes of a journal, without the order of
    columns, which differs where a migration has added one.
    """
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        found = inspect(connection)
        names = sorted(found.get_table_names())
        columns = {
            name: sorted(
                (each["name"], str(each["type"]), each["nullable"], str(each["default"]).strip("'"))
                for each in found.get_columns(name)
            )
            for name in names
        }
        keys = {name: sorted(found.get_pk_constraint(name)["constrained_columns"]) for name in names}
        indexes = [
            (name, each["name"], tuple(each["column_names"]), each["unique"])
            for name in names
            for each in sorted(found.get_indexes(name), key=str)
        ]
        numbered = "SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%' ORDER BY name"
        facts = {
            "version": [tuple(row) for row in connection.exec_driver_sql("SELECT * FROM alembic_version")],
            "tables": [(name, (columns[name], keys[name])) for name in names],
            "indexes": indexes,
            "numbered": [tuple(row) for row in connection.exec_driver_sql(numbered)],
            "mode": [tuple(row) for row in connection.exec_driver_sql("PRAGMA journal_mode")],
        }
    engine.dispose()
    return facts


def test_a_new_journal_is_made_without_alembic(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hedgerow.journal.database import open_journal;"
        "open_journal(Path(sys.argv[1])).dispose(); sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path / "journal.sqlite")], check=True)


def test_every_file_is_named_by_its_revision() -> None:
    versions = Path(database.__file__).parent / "migrations" / "versions"
    files = sorted(versions.glob("v*.py"))
    assert files
    for file in files:
        assert f'revision = "{file.stem[1:5]}"' in file.read_text(encoding="utf-8").splitlines()


def test_a_journal_without_sites_keeps_its_rows_under_the_default_site(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    rows = renamed(make_old(path, "0008"))
    assert rows.keys() <= metadata.tables.keys()
    assert migrate_journal(path)
    assert not migrate_journal(path)
    store = open_journal(path)
    try:
        expected = {name: [{**row, "site": DEFAULT_SITE} for row in each] for name, each in rows.items()}
        expected["decisions"] = [{**row, "version": None} for row in expected["decisions"]]
        expected["hosts_seen"] = [
            {"site": DEFAULT_SITE, "host_key": f"host_key-{n}", "host": f"host_key-{n}"} for n in range(2)
        ]
        expected["pauses"] = [
            {**row, "spared_person": None, "spared_device": None, "kind": "all"} for row in expected["pauses"]
        ]
        expected["access_requests"] = [{**row, "chore": "", "why": ""} for row in expected["access_requests"]]
        expected["accounts"] = [{**row, "subject": "", "totp_step": 0} for row in expected["accounts"]]
        expected["web_sessions"] = [{**row, "origin": ""} for row in expected["web_sessions"]]
        expected["tokens"] = [
            {**row, "expires_at": None, "used_at": None, "used_from": ""} for row in expected["tokens"]
        ]
        expected["vouchers"] = [{**row, "serial": "", "price": 0, "is_paid": 1} for row in expected["vouchers"]]
        assert stored(store) == {name: [] for name in metadata.tables} | expected
        reader = JournalReader(store)
        assert [row.id for row in reader.decisions(DecisionFilter(host="0-host_key.example")).rows] == []
        assert [row.id for row in reader.decisions(DecisionFilter(host="host_key-0")).rows] == [7]
        assert [row.device for row in reader.devices(0.0)] == ["device-1", "device-0"]
        assert len(reader.requests()) == 2
        assert len(UsageStore(store).marks(0.0)) == 2
        with store.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    finally:
        store.dispose()


def test_the_sites_can_be_removed_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    rows = make_old(path, "0008")
    migrate_journal(path)
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        database._alembic("downgrade", connection, "0008")
        old = MetaData()
        old.reflect(connection)
        for name, each in rows.items():
            assert [dict(row._mapping) for row in connection.execute(select(old.tables[name]))] == each, name
    engine.dispose()


def test_a_journal_without_daily_sums_gets_them(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        database._upgrade(connection, "0006")
        for hour, count in ((24 * 20_000, 3), (24 * 20_000 + 23, 4), (24 * 20_001, 5)):
            connection.exec_driver_sql(
                "INSERT INTO hourly VALUES (?, 'd', 'block', 'category', 'adult', ?)", (hour, count)
            )
    engine.dispose()
    store = open_journal(path)
    with store.connect() as connection:
        assert connection.exec_driver_sql("SELECT day, count FROM daily ORDER BY day").all() == [
            (20_000, 7),
            (20_001, 5),
        ]
    store.dispose()


@pytest.mark.parametrize("revision", ["0001", "0002", "0005"])
def test_older_journals_are_migrated(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "journal.sqlite"
    rows = make_old(path, revision)
    store = open_journal(path)
    assert len(stored(store)["decisions"]) == len(rows["decisions"])
    assert len(GrantStore(store).request(7).host) > 0
    store.dispose()


def test_the_rows_of_a_damaged_journal_with_older_names_are_salvaged(tmp_path: Path) -> None:
    rows = renamed(make_old(tmp_path / "damaged.sqlite", "0016"))
    store = open_journal(tmp_path / "journal.sqlite")
    salvaged = copy_rows(tmp_path / "damaged.sqlite", tmp_path / "journal.sqlite")
    assert salvaged.incomplete == ()
    rows["access_requests"] = [{**row, "chore": "", "why": ""} for row in rows["access_requests"]]
    rows["accounts"] = [{**row, "subject": "", "totp_step": 0} for row in rows["accounts"]]
    rows["web_sessions"] = [{**row, "origin": ""} for row in rows["web_sessions"]]
    rows["tokens"] = [{**row, "used_at": None, "used_from": ""} for row in rows["tokens"]]
    rows["vouchers"] = [{**row, "serial": "", "price": 0, "is_paid": 1} for row in rows["vouchers"]]
    expected = {name: [{"site": DEFAULT_SITE, **row} for row in each] for name, each in rows.items()}
    assert stored(store) == {name: [] for name in metadata.tables} | expected
    store.dispose()
