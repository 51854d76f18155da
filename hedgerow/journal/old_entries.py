"""Entries of a café's counter in a backup from before they were a chain."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from hedgerow.journal.database import migrate_journal, version_of_copy

FROM_BACKUP = "backup of "
"""The text of an entry's link to the one before it, if it has no place in the chain, followed by the day."""

_LINKED_SINCE = "0031"
_DIFFERS = """
    SELECT 1 FROM counter_entries AS old
    JOIN live.counter_entries AS new ON new.{column} = old.{column} AND new.site = old.site
    WHERE new.number IS NOT NULL AND (new.id != old.id OR new.digest != old.digest)
"""


def link_old_entries(backup: Path, live: Path, day: str) -> None:
    """Give the entries of a backup's journal the places that the upgrade has given them in the `live` one.

    If that has others, since entries were deleted between the backup and the upgrade, they get none, but the day of the
    backup. Raises `JournalError`, and OSError.
    """
    version = version_of_copy(backup)
    if version is None or version >= _LINKED_SINCE:
        return
    migrate_journal(backup)
    try:
        with closing(sqlite3.connect(backup)) as journal:
            journal.execute("ATTACH ? AS live", (str(live),))
            if any(journal.execute(_DIFFERS.format(column=column)).fetchone() for column in ("id", "number")):
                unlinked = "UPDATE counter_entries SET number = NULL, previous = ?, digest = ''"
                journal.execute(unlinked, (f"{FROM_BACKUP}{day}",))
                journal.commit()
    except sqlite3.Error as error:
        raise OSError(str(error)) from error
