"""The journal before control begins: made, brought up to date, or set aside where a card or disk has spoilt it."""

from __future__ import annotations

import logging
import time
from datetime import datetime
from pathlib import Path

from hedgerow.journal.database import dialect_of, migrate_journal, open_journal
from hedgerow.journal.store import DamagedJournalError, JournalError

log = logging.getLogger("hedgerow.control")


def prepare_journal(path: Path) -> bool:
    """Whether there was something to do. A damaged journal is kept under another name, and a new one begun: filtering goes on.

    Raises SystemExit, with the reason in the log, where no journal can be had.
    """
    try:
        return migrate_journal(path)
    except DamagedJournalError as error:
        try:
            _replace_damaged(path, error)
        except (JournalError, OSError) as worse:
            log.error("%s; and it cannot be set aside: %s", error, worse)
            raise SystemExit(1) from worse
        return True
    except JournalError as error:
        log.error("%s", error)
        raise SystemExit(1) from error


def _replace_damaged(path: Path, error: DamagedJournalError) -> None:
    from hedgerow.journal.recorder import Recorder, SystemEvent

    aside = dialect_of(path).set_aside(datetime.now().astimezone())
    said = f"the journal was damaged and is kept as {aside.name}; a new one is begun, without its passwords, requests and history"
    log.error("%s: %s; `hedgerow restore` brings back those of a backup", error, said)
    store = open_journal(path)
    recorder = Recorder(store)
    recorder.add([SystemEvent(time.time(), "journal", "recorder", said)])
    recorder.flush()
    store.dispose()
