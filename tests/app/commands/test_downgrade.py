"""One step back: the journal in the form that an earlier version reads, with nothing lost."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from typer.testing import CliRunner, Result

from hedgerow.app.cli import make_cli
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore, EntryChain
from hedgerow.features.cafe.entry_chain import link_problems
from hedgerow.files import FolderLock
from hedgerow.journal import database
from hedgerow.journal.access_store import GrantStore
from hedgerow.journal.database import downgrade_journal, open_journal, version_of_copy
from hedgerow.journal.tables import counter_entries, members
from hedgerow.policies.model import Grant

BEFORE = "0023"
"""The tables of a version between two releases, whose package was installed before."""


def make_empty(path: Path, tables: str) -> None:
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        database._upgrade(connection, tables)
    engine.dispose()


def schema_of(path: Path) -> set[tuple[str, str, str]]:
    """Return the columns of all tables, and the indexes, without what waits for the next upgrade."""
    with closing(sqlite3.connect(path)) as journal:
        columns = journal.execute(
            "SELECT m.name, c.name, c.type FROM sqlite_master m, pragma_table_info(m.name) c"
            " WHERE m.type = 'table' AND m.name NOT LIKE '%aside%'"
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


KNOWN_BEFORE = {
    *("open", "redeem", "extend", "move", "pause", "resume", "end", "reopen", "pay", "print", "credit", "withdraw"),
    *("duty", "wrong-pin"),
}
"""The actions of the versions whose tables are 0018 to 0026: another one ends their counter."""
OPENINGS = {"allow", "allow-adult"}
"""Those that came with 0027."""
MONEY = {"article", "deposit", "charge", "undo"}


@pytest.mark.parametrize("tables", ["0018", "0026", "0029"])
def test_an_older_counter_reads_all_that_is_left_and_the_rest_comes_back(tmp_path: Path, tables: str) -> None:
    journal, kept = tmp_path / "journal.sqlite", tmp_path / "kept"
    known_then = KNOWN_BEFORE | (OPENINGS if tables >= "0027" else set())
    with closing(open_journal(journal)) as store:
        counter = CounterStore(store)
        entry = CounterEntry(5.0, "Ana", CounterAction.OPEN, "seat-1", "a", "child", 60, due=200, currency="EUR")
        counter.add(CounterEntry(1.0, "Ana", CounterAction.DUTY))
        counter.add(replace(entry, note="after 30:120 60:200"))
        for action in CounterAction:
            counter.add(replace(entry, action=action, count=2, due=30, taken=20, note="x", key=f"{action}"))
        store.execute(counter_entries.delete().where(counter_entries.c.number == 1))  # too old to be kept
        store.execute(members.insert().values(number=1, name="Mia", balance=700, currency="EUR", created_at=1.0))
        sums = sum(each.due - each.taken for each in counter.entries(0, 9) if each.action in known_then | MONEY)
    assert downgrade_journal(journal, tables, kept)
    with closing(sqlite3.connect(journal)) as old:
        rows = old.execute("SELECT action, note, due - taken FROM counter_entries ORDER BY id").fetchall()
        assert {row[0] for row in rows} == known_then
        assert rows[0][1] == "after"
        assert sum(row[2] for row in rows) == sums, "what a guest owes is what it was"
        old.execute(
            "INSERT INTO counter_entries (at, actor, action, seat, session, kind, minutes, count, due, taken, currency,"
            " note) VALUES (9, 'Ben', 'pay', '', '', '', 0, 1, 0, 70, 'EUR', '')"
        )
        old.execute("INSERT INTO staff (name, role, created_at, pin) VALUES ('Eva', 'staff', 1, 'x')")
        old.commit()
    with closing(open_journal(journal)) as store, closing(open_journal(kept)) as before:
        entries, known = EntryChain(store).entries(), EntryChain(before).entries()
        assert entries[:-1] == known[:]
        assert entries[-1].entry["taken"] == 70
        assert list(link_problems(entries)) == []
        assert [row.balance for row in store.rows(store.select(members))] == [700]
        assert [each.name for each in CounterStore(store).staff()] == ["Eva"]
    assert not [name for name, *_ in schema_of(journal) ^ schema_of(kept)]
    with closing(sqlite3.connect(journal)) as up:
        assert not up.execute("SELECT name FROM sqlite_master WHERE name LIKE '%aside%'").fetchall()


def test_members_and_statements_come_back_after_the_first_release(state: Path) -> None:
    with closing(open_journal(state / "journal.sqlite")) as store:
        store.execute(members.insert().values(number=1, name="Mia", balance=700, currency="EUR", created_at=1.0))
    assert downgrade(state, "--to", "0.1.0").exit_code == 0
    with closing(open_journal(state / "journal.sqlite")) as store:
        assert [row.balance for row in store.rows(store.select(members))] == [700]
        assert [(each.number, each.entry["taken"]) for each in EntryChain(store).entries()] == [(1, 200)]


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


def test_the_policy_goes_back_and_forth_with_the_journal(state: Path, tmp_path: Path) -> None:
    policy = tmp_path / "hedgerow.yaml"
    policy.write_text("people:\n  mia: {age: 9}\ncafe: {name: Sol}\n")
    chosen = ("--policy", str(policy))
    done = downgrade(state, "--to", "0.1.0", *chosen)
    assert done.exit_code == 0, done.output
    (kept,) = tmp_path.glob("hedgerow.yaml.before-downgrade-*")
    assert f"which is as it was in {kept}:\n    left out: {policy}:3: cafe\n" in done.stdout
    assert policy.read_text() == "people:\n  mia: {age: 9}\n"
    again = CliRunner().invoke(make_cli("data"), ["data", "upgrade", "--state", str(state), *chosen])
    assert (again.exit_code, again.stdout) == (0, f"The policy is as it was before the downgrade: {policy}.\n")
    assert policy.read_text() == "people:\n  mia: {age: 9}\ncafe: {name: Sol}\n"


def test_the_journal_goes_back_although_the_policy_is_wrong(state: Path, tmp_path: Path) -> None:
    policy = tmp_path / "hedgerow.yaml"
    policy.write_text("cafe: {nom: Sol}\n")
    wrong = downgrade(state, "--to", "0.1.0", "--policy", str(policy))
    assert wrong.exit_code == 1
    assert "The policy stays as it is, and 0.1.0 may not start with it" in wrong.stderr
    assert version_of_copy(state / "journal.sqlite") == "0008"


def test_a_copy_of_the_same_second_is_kept_beside(state: Path) -> None:
    for _ in range(2):
        assert downgrade(state).exit_code == 0
        open_journal(state / "journal.sqlite").dispose()  # the newer version ran again
    assert len(list((state / "backups").glob("*.before-downgrade-*"))) == 2
