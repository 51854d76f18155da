"""One step back: the journal in the form that an earlier version reads, with nothing lost."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from typer.testing import CliRunner, Result

from hedgerow.app.cli import make_cli
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore, EntryChain
from hedgerow.files import FolderLock
from hedgerow.journal import database
from hedgerow.journal.access_store import GrantStore
from hedgerow.journal.database import open_journal, version_of_copy
from hedgerow.policies.model import Grant

BEFORE = "0023"
"""The tables of a version between two releases, whose package was installed before."""


def make_empty(path: Path, tables: str) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        database._upgrade(connection, tables)
    engine.dispose()


def schema_of(path: Path) -> set[tuple[str, str, str]]:
    """Return the columns of all tables, and the indexes."""
    with closing(sqlite3.connect(path)) as journal:
        columns = journal.execute(
            "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'"
        ).fetchall()
        return {*columns, *journal.execute("SELECT name, tbl_name, '' FROM sqlite_master WHERE type = 'index'")}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory after an upgrade, with the package's copy of the journal from before."""
    folder = tmp_path / "state"
    (folder / "backups").mkdir(parents=True, mode=0o700)
    make_empty(folder / "journal.sqlite", BEFORE)
    shutil.copy(folder / "journal.sqlite", folder / "backups" / "journal.sqlite.before-upgrade-from-0.1.9")
    with closing(open_journal(folder / "journal.sqlite")) as store:
        GrantStore(store).give(Grant("g1", "chess.example", "ana", 1.0, None, person="mia"))
        CounterStore(store).add(CounterEntry(5.0, "Ana", CounterAction.PAY, taken=200, currency="EUR"))
    return folder


def downgrade(state: Path, *options: str) -> Result:
    return CliRunner().invoke(make_cli("data"), ["data", "downgrade", "--state", str(state), *options])


@pytest.mark.parametrize(
    ("options", "tables"),
    [((), BEFORE), (("--to", "0.1.9"), BEFORE), (("--to", "0.1.0"), "0008"), (("--to", "0.1.0-2"), "0008")],
)
def test_the_version_before_reads_the_journal_again(
    state: Path, tmp_path: Path, options: tuple[str, ...], tables: str
) -> None:
    done = downgrade(state, *options)
    assert done.exit_code == 0, done.output
    journal = state / "journal.sqlite"
    assert version_of_copy(journal) == tables
    make_empty(tmp_path / "fresh.sqlite", tables)
    assert schema_of(journal) == schema_of(tmp_path / "fresh.sqlite")
    with closing(sqlite3.connect(journal)) as old:
        assert old.execute("SELECT subject FROM grants").fetchall() == [("chess.example",)]
        if tables == BEFORE:
            assert old.execute("SELECT actor, taken FROM counter_entries").fetchall() == [("Ana", 200)]
    (kept,) = (state / "backups").glob("*.before-downgrade-*")
    assert str(kept) in done.stdout
    assert kept.stat().st_mode & 0o777 == 0o600
    with closing(open_journal(kept)) as copy:
        assert [each.entry["taken"] for each in EntryChain(copy).entries()] == [200]


def test_an_upgrade_afterwards_brings_it_up_to_date(state: Path) -> None:
    assert downgrade(state).exit_code == 0
    with closing(open_journal(state / "journal.sqlite")) as store:
        assert [(each.number, each.entry["taken"]) for each in EntryChain(store).entries()] == [(1, 200)]
    shutil.rmtree(state / "backups")
    assert downgrade(state).exit_code == 0
    assert version_of_copy(state / "journal.sqlite") == "0008"


def test_nothing_is_changed_without_need(state: Path) -> None:
    shutil.copy(state / "journal.sqlite", state / "backups" / "journal.sqlite.before-upgrade-from-0.1.9")
    done = downgrade(state)
    assert (done.exit_code, done.stdout) == (0, "There is nothing to change.\n")
    assert not list((state / "backups").glob("*.before-downgrade-*"))


def test_what_is_refused(state: Path, tmp_path: Path) -> None:
    before = (state / "journal.sqlite").read_bytes()
    assert "is neither 0.1.0" in downgrade(state, "--to", "0.0.7").output
    assert "There is no journal" in downgrade(tmp_path / "nowhere").output
    lock = FolderLock(state)
    assert lock.acquire() is None
    assert "stop it first" in downgrade(state).output
    lock.release()
    (state / "backups" / "journal.sqlite.before-upgrade-from-0.1.9").write_bytes(b"no journal")
    assert downgrade(state, "--to", "0.1.9").exit_code == 2
    assert (state / "journal.sqlite").read_bytes() == before
