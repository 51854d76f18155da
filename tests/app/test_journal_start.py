"""A journal that a card or disk has spoilt does not keep Hedgerow from filtering."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

from hedgerow.app.control.journal_setup import prepare_journal
from hedgerow.journal.database import open_journal
from hedgerow.journal.tables import accounts, events

NONSENSE = b"this was a database" * 300


def spoil_all(path: Path) -> None:
    path.write_bytes(NONSENSE)


def spoil_the_first_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[100:4096] = bytes(3996)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("spoil", [spoil_all, spoil_the_first_page])
def test_a_damaged_journal_is_kept_aside_and_a_new_one_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: object
) -> None:  # fmt: skip
    path = tmp_path / "journal.sqlite"
    assert prepare_journal(path), "it was made"
    assert not prepare_journal(path), "there is nothing to do any more"
    assert callable(spoil)
    spoil(path)
    spoilt = path.read_bytes()
    assert prepare_journal(path)
    (aside,) = tmp_path.glob("journal.sqlite.damaged-*[0-9]")
    assert aside.read_bytes() == spoilt
    (said,) = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert aside.name in said
    assert "hedgerow restore" in said
    engine = open_journal(path)
    with engine.connect() as connection:
        assert connection.execute(accounts.select()).all() == []
        assert aside.name in connection.execute(events.select()).one().detail, "the pages tell it too"
    engine.dispose()


def test_a_newer_journal_stays_where_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal.sqlite"
    prepare_journal(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(SystemExit):
        prepare_journal(path)
    assert "a newer Hedgerow wrote it" in caplog.text
    assert [each.name for each in tmp_path.iterdir() if "damaged" in each.name] == []
