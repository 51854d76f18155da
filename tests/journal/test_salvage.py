"""Salvage of a damaged journal: rows on intact pages are copied, whatever happened to the others."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from hedgerow.journal.database import dialect_of, open_journal
from hedgerow.journal.sqlite import copy_rows
from hedgerow.journal.tables import accounts, events

ROWS = 3000


def detail_of(number: int) -> str:
    return f"row {number}: {'x' * (number % 90)}"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal.sqlite"
    store = open_journal(path)
    with store.begin() as connection:
        rows = [
            {"at": float(number), "kind": "test", "subject": "x", "detail": detail_of(number)} for number in range(ROWS)
        ]
        connection.execute(store.insert(events), rows)
        account = {"name": "ana", "role": "admin", "created_at": 1.0, "password": "a hash", "totp": "", "recovery": ""}
        connection.execute(accounts.insert().values(account))
    store.dispose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def copied(journal: Path, tmp_path: Path) -> tuple[dict[int, str], list[str], tuple[str, ...]]:
    """Return the events by number and the accounts that were copied into a new journal, and the incomplete tables."""
    fresh = tmp_path / "fresh.sqlite"
    store = open_journal(fresh)
    salvaged = copy_rows(journal, fresh)
    found = {int(row.at): row.detail for row in store.rows(events.select())}
    names = [row.name for row in store.rows(accounts.select())]
    store.dispose()
    return found, names, salvaged.incomplete


def test_an_intact_journal_is_copied_whole(journal: Path, tmp_path: Path) -> None:
    found, names, incomplete = copied(journal, tmp_path)
    assert found == {number: detail_of(number) for number in range(ROWS)}
    assert names == ["ana"]
    assert incomplete == ()


@pytest.mark.parametrize("seed", range(6))
def test_rows_on_intact_pages_survive(journal: Path, tmp_path: Path, seed: int) -> None:
    luck, data = random.Random(seed), bytearray(journal.read_bytes())
    with closing(sqlite3.connect(journal)) as connection:
        leaves = [
            row[0]
            for row in connection.execute("SELECT pageno FROM dbstat WHERE name = 'events' AND pagetype = 'leaf'")
        ]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    for page in luck.sample(leaves, 3):
        data[(page - 1) * size : page * size] = luck.randbytes(size)
    journal.write_bytes(bytes(data))
    found, names, incomplete = copied(journal, tmp_path)
    assert all(text == detail_of(number) for number, text in found.items()), "no row is made up"
    per_page = ROWS / len(leaves)
    assert len(found) >= ROWS - 9 * per_page, "little more than the damaged pages is lost"
    assert names == ["ana"]
    assert incomplete == ("events",)


def test_a_schema_that_is_no_text_is_damage(journal: Path, tmp_path: Path) -> None:
    """SQLite quotes a table's name in its message, which can't be decoded."""
    data = journal.read_bytes()
    broken = data.replace(b"tableeventsevents", b"table\x81ventsevents").replace(
        b"CREATE TABLE events", b"CREATE xABLE events"
    )
    assert broken != data
    journal.write_bytes(broken)
    assert not dialect_of(journal).is_intact()
    assert not dialect_of(journal).is_intact(("accounts",))
    found, names, incomplete = copied(journal, tmp_path)
    assert (found, names) == ({}, [])
    assert {"events", "accounts"} <= {*incomplete}
