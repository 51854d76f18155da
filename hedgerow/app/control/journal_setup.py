"""Preparation of the journal before control starts: creation, migration, and replacement if it is damaged."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from pathlib import Path

from hedgerow.app.ipc import StartProblem
from hedgerow.journal.database import dialect_of, migrate_journal, open_journal
from hedgerow.journal.store import DamagedJournalError, JournalError

log = logging.getLogger("hedgerow.control")


def prepare_journal(path: Path) -> bool:
    """Create or migrate the journal. Returns True if there was something to do.

    A damaged journal is renamed and replaced by a new one, so that filtering continues. Raises StartProblem if that fails too.
    """
    try:
        return migrate_journal(path)
    except DamagedJournalError as error:
        try:
            _replace_damaged(path, error)
        except (JournalError, OSError) as worse:
            raise StartProblem(f"{error}; it can't be renamed either: {worse}") from worse
        return True
    except JournalError as error:
        raise StartProblem(str(error)) from error


def _replace_damaged(path: Path, error: DamagedJournalError) -> None:
    from hedgerow.journal.recorder import Recorder, SystemEvent

    aside = dialect_of(path).set_aside(datetime.now().astimezone())
    detail = f"the journal was damaged and renamed to {aside.name}; the new one has no passwords, requests or history"
    log.error("%s: %s; `hedgerow restore` restores a backup", error, detail)
    store = open_journal(path)
    recorder = Recorder(store)
    recorder.add([SystemEvent(time.time(), "journal", "recorder", detail)])
    recorder.flush()
    store.dispose()
