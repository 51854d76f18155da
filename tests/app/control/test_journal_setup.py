"""A damaged journal does not stop filtering."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

from hedgerow.app.control.journal_setup import prepare_journal
from hedgerow.app.ipc import StartProblem
from hedgerow.journal.database import open_journal
from hedgerow.journal.tables import accounts, events

NONSENSE = b"this was a database" * 300


def overwrite_all(path: Path) -> None:
    path.write_bytes(NONSENSE)


def clear_the_first_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100:4096] = bytes(3996)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("damage", [overwrite_all, clear_the_first_page])
def test_a_damaged_journal_is_renamed_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object
) -> None:  # fmt: skip
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


def test_a_newer_journal_stays_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    prepare_journal(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StartProblem, match="a newer Hedgerow wrote it"):
        prepare_journal(path)
    assert [each.name for each in tmp_path.iterdir() if "damaged" in each.name] == []
