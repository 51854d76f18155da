"""Preparation of the journal before control starts: creation, migration, and replacement if it is damaged."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from pathlib import Path

from hedgerow.journal.database import dialect_of, migrate_journal, open_journal
from hedgerow.journal.store import DamagedJournalError, JournalError

log = logging.getLogger("hedgerow.control")


def prepare_journal(path: Path) -> bool:
    """Create or migrate the journal. Returns True if there was something to do.

    A damaged journal is renamed and replaced by a new one, so that filtering continues. Raises SystemExit, with the reason in the log,
    if that fails too.
    """
    try:
        return migrate_journal(path)
    except DamagedJournalError as error:
        try:
            _replace_damaged(path, error)
        except (JournalError, OSError) as worse:
            log.error("%s; it can't be renamed either: %s", error, worse)
            raise SystemExit(1) from worse
        return True
    except JournalError as error:
        log.error("%s", error)
        raise SystemExit(1) from error


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
