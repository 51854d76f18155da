"""A damaged journal does not stop filtering."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from hedgerow.app.backup import back_up, backup_folder
from hedgerow.app.control.upkeep.journal_setup import mark_damaged, prepare_journal
from hedgerow.app.ipc import StartProblem
from hedgerow.app.snapshot import Snapshot
from hedgerow.features.cafe.counter_store import CounterAction, CounterEntry, CounterStore, EntryChain
from hedgerow.features.cafe.entry_chain import link_problems
from hedgerow.files import make_private_folder
from hedgerow.journal import database
from hedgerow.journal.access_store import GrantStore
from hedgerow.journal.accounts import AccountRow, AccountStore
from hedgerow.journal.database import open_journal
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.tables import accounts, events
from hedgerow.policies.model import Grant
from hedgerow.policies.reading.load import load_policy

NONSENSE = b"this was a database" * 300


def overwrite_all(path: Path) -> None:
    path.write_bytes(NONSENSE)


def clear_the_first_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100:4096] = bytes(3996)
    path.write_bytes(bytes(data))


def damage_the_pauses(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        pages = [row[0] for row in connection.execute("SELECT pageno FROM dbstat WHERE name = 'pauses'")]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    data = bytearray(path.read_bytes())
    for page in pages:
        data[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [overwrite_all, clear_the_first_page])
def test_a_damaged_journal_is_renamed_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object
) -> None:
    path = tmp_path / "journal.sqlite"
    assert prepare_journal(path), "it was made"
    assert not prepare_journal(path), "there is nothing to do any more"
    assert callable(damage)
    damage(path)
    damaged = path.read_bytes()
    assert prepare_journal(path)
    (aside,) = tmp_path.glob("journal.sqlite.damaged-*[0-9]")
    assert aside.read_bytes() == damaged
    (message,) = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert aside.name in message
    assert "hedgerow restore" in message
    engine = open_journal(path)
    with engine.connect() as connection:
        assert connection.execute(accounts.select()).all() == []
        assert aside.name in connection.execute(events.select()).one().detail, "the pages tell it too"
    engine.dispose()


def family_in(state: Path) -> None:
    """A journal with an account, a grant and a pause, and the snapshot in force."""
    store = open_journal(state / "journal.sqlite")
    AccountStore(store).add_account(AccountRow("ana", "admin", "a hash", 1.0))
    ledger = GrantStore(store)
    ledger.give(Grant("g1", "chess.example", "ana", 1.0, None, person="mia"))
    pause = ledger.pause("ana", person="mia")
    Snapshot(7, time.time(), load_policy(None), state, JournalReader(store).grants(2.0), (pause,)).save(state)
    store.dispose()


@pytest.mark.parametrize("damage", [overwrite_all, clear_the_first_page, damage_the_pauses])
def test_pauses_grants_and_accounts_survive_a_damaged_journal(tmp_path: Path, damage: object) -> None:
    path, now = tmp_path / "journal.sqlite", time.time()
    family_in(tmp_path)
    make_private_folder(backup_folder(tmp_path))
    back_up(tmp_path, None, backup_folder(tmp_path) / "hedgerow-2026-01-31.tar.gz")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert callable(damage)
    damage(path)
    assert prepare_journal(path)
    assert not prepare_journal(path), "once is enough"
    store = open_journal(path)
    assert [grant.subject for grant in JournalReader(store).grants(now)] == ["chess.example"]
    assert [pause.person for pause in JournalReader(store).pauses(now)] == ["mia"]
    assert [row.name for row in store.rows(accounts.select())] == ["ana"]
    detail = store.rows(events.select())[-1].detail
    assert "come from the snapshot" in detail
    store.dispose()


def test_a_marked_journal_is_recovered(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    family_in(tmp_path)
    assert not prepare_journal(path)
    mark_damaged(path)
    assert prepare_journal(path)
    assert not prepare_journal(path)
    store = open_journal(path)
    assert [row.name for row in store.rows(accounts.select())] == ["ana"]
    store.dispose()


def test_a_newer_journal_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    prepare_journal(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StartProblem, match="a newer Hedgerow wrote it"):
        prepare_journal(path)
    assert [each.name for each in tmp_path.iterdir() if "damaged" in each.name] == []


def cafe_before_the_chain(state: Path) -> list[str]:
    """A journal of a café from before its entries were linked, a backup of then, and the upgrade. Returns the notes."""
    notes = [f"{number} {'x' * 90}" for number in range(200)]
    engine = create_engine(f"sqlite:///{state / 'journal.sqlite'}")
    with engine.begin() as connection:
        database._upgrade(connection, "0030")
        texts = "'Ana', 'pay', '', '', ''"
        query = text(f"INSERT INTO counter_entries VALUES (:id, 'home', 5, {texts}, 0, 1, 0, 1, 'EUR', :note, NULL)")
        for number, note in enumerate(notes, 1):
            connection.execute(query, {"id": number, "note": note})
    engine.dispose()
    make_private_folder(backup_folder(state))
    back_up(state, None, backup_folder(state) / "hedgerow-2026-01-31.tar.gz")
    return notes


def damage_some_entries(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        query = "SELECT pageno FROM dbstat WHERE name = 'counter_entries' AND pagetype = 'leaf'"
        pages = [row[0] for row in connection.execute(query)]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    data = bytearray(path.read_bytes())
    for page in pages[2:5]:
        data[(page - 1) * size : page * size] = b"\xff" * size
    path.write_bytes(bytes(data))


def test_entries_from_before_the_chain_come_back_to_their_places(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    notes = cafe_before_the_chain(tmp_path)
    with closing(open_journal(path)) as store:
        CounterStore(store).add(CounterEntry(9.0, "Ben", CounterAction.PAY, taken=3, currency="EUR"))
        before = EntryChain(store).entries()
    damage_some_entries(path)
    assert prepare_journal(path)
    with closing(open_journal(path)) as store:
        assert EntryChain(store).entries() == before
        assert len(before) == len(notes) + 1
        assert list(link_problems(before)) == []


def test_entries_of_a_backup_without_a_place_are_said_to_be_of_it(tmp_path: Path) -> None:
    """Entries that were deleted between the backup and the upgrade have no number, and the others another one."""
    path = tmp_path / "journal.sqlite"
    notes = cafe_before_the_chain(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM counter_entries WHERE id < 20")
        connection.commit()
    open_journal(path).dispose()
    damage_some_entries(path)
    os.utime(backup_folder(tmp_path) / "hedgerow-2026-01-31.tar.gz", (1_769_860_000, 1_769_860_000))
    assert prepare_journal(path)
    with closing(open_journal(path)) as store:
        entries = EntryChain(store).entries()
    assert {each.entry["note"] for each in entries} == {*notes}
    outside = [each for each in entries if not each.number]
    assert outside
    assert {each for each in link_problems(entries) if "outside" in each} == {
        "an entry of the counter (1970-01-01 00:00 UTC) is outside of the chain: it is said to be of a backup of"
        " 2026-01-31, before there was one"
    }
