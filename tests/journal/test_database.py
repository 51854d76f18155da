"""Opening the journal: file modes, and files that are not a journal."""

import sqlite3
import stat

import pytest

from hedgerow.journal.database import open_journal
from hedgerow.journal.store import DamagedJournalError, JournalError
from hedgerow.journal.tables import events


def test_files_are_readable_by_their_owner_only(tmp_path):
    path = tmp_path / "state" / "journal.sqlite"
    engine = open_journal(path)
    with engine.begin() as connection:
        connection.execute(events.insert().values(at=1.0, kind="restart", subject="dns-0", detail=""))
        names = {file.name for file in path.parent.iterdir()}
        assert names == {"journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"}
        assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    engine.dispose()


def test_an_existing_file_loses_the_permissions_of_others(tmp_path):
    path = tmp_path / "journal.sqlite"
    path.touch(0o644)
    open_journal(path).dispose()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_reopening_keeps_the_rows(tmp_path):
    path = tmp_path / "journal.sqlite"
    engine = open_journal(path)
    with engine.begin() as connection:
        connection.execute(events.insert().values(at=1.0, kind="restart", subject="dns-0", detail=""))
    engine.dispose()
    engine = open_journal(path)
    with engine.connect() as connection:
        assert connection.execute(events.select()).one().subject == "dns-0"
    engine.dispose()


def write_garbage(path):
    path.write_bytes(b"this is no database" * 100)


def write_a_newer_version(path):
    open_journal(path).dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()


@pytest.mark.parametrize("spoil", [write_garbage, write_a_newer_version, lambda path: path.mkdir()])
def test_anything_but_a_journal_of_this_version_is_refused(tmp_path, spoil):
    path = tmp_path / "journal.sqlite"
    spoil(path)
    with pytest.raises(JournalError, match=r"cannot (make|open) the journal .*journal\.sqlite"):
        open_journal(path)


def test_a_newer_journal_is_not_a_damaged_one(tmp_path):
    path = tmp_path / "journal.sqlite"
    write_garbage(path)
    with pytest.raises(DamagedJournalError):
        open_journal(path)
    path.unlink()
    write_a_newer_version(path)
    with pytest.raises(JournalError, match="newer Hedgerow") as refused:
        open_journal(path)
    assert not isinstance(refused.value, DamagedJournalError)
