"""Preparation of the journal before control starts: creation, migration, recovery if it is damaged, and waiting for a
server.

A damaged journal is renamed. A new one gets the rows that can still be read, then what is missing from the newest daily
backup, then the grants, pauses and sessions of the snapshot in force, so that none of these is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import tarfile
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from hedgerow.app.backup import JOURNAL, backups_in
from hedgerow.app.ipc import StartProblem
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import Snapshot
from hedgerow.journal.batch import Spool
from hedgerow.journal.database import Place, dialect_of, make_dialect, may_open, migrate_journal, open_journal
from hedgerow.journal.event_receiver import EventReceiver
from hedgerow.journal.old_entries import link_old_entries
from hedgerow.journal.recorder import RecordedMessage, Recorder, SystemEvent
from hedgerow.journal.store import DamagedJournalError, JournalError, Store, StoreAddress
from hedgerow.journal.tables import grants, pauses, sessions
from hedgerow.policies.model import DeviceId
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.control")

_WATCH_INTERVAL_S = 2.0
_PROBE_INTERVAL_S = 1.0
_ASIDE_EVERY = 5  # probes

CHECKED = (
    *(
        "accounts",
        "tokens",
        "grants",
        "pauses",
        "sessions",
        "access_requests",
        "bonuses",
        "vouchers",
        "members",
        "usage",
        "policy_changes",
    ),
    *("counter_entries", "staff"),
)
"""Tables that are checked at each start.

The log of decisions may be large, and its damage shows when it is read or written.
"""
FROM_BACKUP = frozenset(
    {
        "accounts",
        "policy_changes",
        "rule_versions",
        "decisions",
        "hosts_seen",
        "hourly",
        "daily",
        "devices_seen",
        "protections_seen",
    }
    | {"access_requests", "events", "usage", "bonuses", "vouchers", "counter_entries", "members", "staff", "growing_up"}
    | {"agreements", "rules_told", "rule_changes", "goals"}
)
"""Tables whose missing rows come from a backup. Yesterday's grants, tokens and sign-ins may have been ended since."""


class StoreAwayProblem(StartProblem):
    """The store can't be opened, as its server does not answer or its tables are of another version: another attempt
    may succeed.
    """


def place_of(settings: Settings) -> Place:
    """Return the place of a run's journal."""
    return StoreAddress(settings.store, settings.store_password, settings.site) if settings.store else settings.journal


def make_recorder(
    store: Store,
    settings: Settings,
    *,
    copy_to: Callable[[list[RecordedMessage]], None] | None = None,
    is_named: Callable[[DeviceId], bool] = lambda _device: True,
) -> Recorder:
    """Return the recorder of a run. Only a server's has a spool: a full disk would take neither journal nor spool."""
    return Recorder(
        store,
        spool=Spool(settings.spool) if settings.store else None,
        copy_to=copy_to,
        is_named=is_named,
    )


def prepare_store(settings: Settings) -> bool:
    """Create or migrate the tables on a server, and write the events waiting in the spool.

    Returns as `prepare_journal`.

    Raises `StoreAwayProblem`.
    """
    try:
        has_changed = migrate_journal(place_of(settings))
        store = open_journal(place_of(settings))
    except JournalError as error:
        raise StoreAwayProblem(str(error)) from error
    make_recorder(store, settings).flush()
    store.dispose()
    return has_changed


async def keep_events(settings: Settings, seconds: float) -> bool:
    """Put the events of workers into the spool as long as the store can't be opened.

    Returns True once it can, False after `seconds`.
    """
    dialect = make_dialect(place_of(settings))
    store = Store(dialect.open(), dialect)
    recorder = make_recorder(store, settings)
    events = EventReceiver(settings.event_socket)
    await events.start()

    async def receive() -> None:
        async for delivery in events.batches():
            recorder.add(delivery.messages)

    receiving = asyncio.create_task(receive())
    try:
        for number in range(1, int(seconds / _PROBE_INTERVAL_S) + 1):
            await asyncio.sleep(_PROBE_INTERVAL_S)
            if await asyncio.to_thread(_can_open, store, settings.site):
                return True
            if number % _ASIDE_EVERY == 0:
                await asyncio.to_thread(recorder.put_aside)
        return False
    finally:
        receiving.cancel()
        await events.close()
        recorder.put_aside()
        store.dispose()


def _can_open(store: Store, site: str) -> bool:
    try:
        return may_open(store, site)
    except (DatabaseError, JournalError):
        return False


def prepare_journal(path: Path) -> bool:
    """Create, migrate or recover the journal. Returns True if there was something to do. Raises StartProblem."""
    try:
        if migrate_journal(path):
            return True
        _check(path)
    except DamagedJournalError as error:
        try:
            _recover(path, error)
        except (JournalError, OSError) as worse:
            raise StartProblem(f"{error}; it can't be recovered: {worse}") from worse
        return True
    except JournalError as error:
        raise StartProblem(str(error)) from error
    return False


class JournalWatch:
    """A watch that ends control once the journal turns out to be damaged; the next process recovers it."""

    def __init__(self, path: Path, is_damaged: Callable[[], bool]) -> None:
        self._path, self._is_damaged = path, is_damaged

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await next_tick(_WATCH_INTERVAL_S)
            if self._is_damaged():
                self.restart()

    def restart(self) -> None:
        """Have this process end by SIGTERM, and the journal recovered at the next start."""
        log.error("The journal is damaged: control restarts and recovers what can be read")
        mark_damaged(self._path)
        os.kill(os.getpid(), signal.SIGTERM)


def mark_damaged(path: Path) -> None:
    """Have the journal recovered at the next start of control."""
    with contextlib.suppress(OSError):
        _mark(path).touch()


def _mark(path: Path) -> Path:
    return path.with_name(f"{path.name}.recover")


def _check(path: Path) -> None:
    """Raise DamagedJournalError if the journal is known to be damaged, or one of `CHECKED` is."""
    if _mark(path).exists():
        raise DamagedJournalError(f"the journal {path} is damaged")
    if not dialect_of(path).is_intact(CHECKED):
        raise DamagedJournalError(f"the journal {path} is damaged")


def _recover(path: Path, error: DamagedJournalError) -> None:
    dialect = dialect_of(path)
    aside = dialect.set_aside(datetime.now().astimezone())
    store = open_journal(path)
    salvaged = dialect.salvage(aside)
    saved = _copy_from_backup(path, FROM_BACKUP.intersection(salvaged.incomplete))
    live = _copy_from_snapshot(store, path.parent)
    count = sum(salvaged.rows.values())
    parts = [f"{count} rows were recovered" if count else "none of its rows could be recovered"]
    parts += [f"the rest comes from {saved}"] if saved else []
    parts += [f"{live} grants, pauses and sessions come from the snapshot"] if live else []
    lost = [table for table in salvaged.incomplete if table not in FROM_BACKUP or not saved]
    parts += [f"some are lost from {', '.join(lost)}"] if lost else []
    detail = f"the journal was damaged and renamed to {aside.name}; {'; '.join(parts)}"
    log.error("%s: %s; `hedgerow restore` restores a backup", error, detail)
    recorder = Recorder(store)
    recorder.add([SystemEvent(time.time(), "journal", "recorder", detail)])
    recorder.flush()
    store.dispose()
    _mark(path).unlink(missing_ok=True)


def _copy_from_backup(path: Path, tables: Collection[str]) -> str:
    """Add the rows of the newest usable backup that are missing. Returns the backup's name, empty if there is none."""
    for backup in backups_in(path.parent) if tables else ():
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".recovery-") as scratch:
            try:
                with tarfile.open(backup, "r:gz") as tar:
                    tar.extract(JOURNAL, scratch, filter="data")
            except (OSError, tarfile.TarError, EOFError, KeyError) as error:
                log.warning("%s can't be used: %s", backup, error)
                continue
            try:
                day = f"{datetime.fromtimestamp(backup.stat().st_mtime):%Y-%m-%d}"
                link_old_entries(Path(scratch) / JOURNAL, path, day)
            except (JournalError, OSError) as error:
                log.warning("The entries of the counter in %s keep no place in their chain: %s", backup, error)
            dialect_of(path).salvage(Path(scratch) / JOURNAL, sorted(tables))
            return backup.name
    return ""


def _copy_from_snapshot(store: Store, state: Path) -> int:
    """Add the grants, pauses and sessions in force that are missing. Returns their number."""
    try:
        snapshot = Snapshot.in_force(state)
    except (OSError, ValueError):
        return 0
    added = 0
    for table, rows in ((grants, snapshot.grants), (pauses, snapshot.pauses), (sessions, snapshot.sessions)):
        for row in rows:
            added += store.execute(store.insert_missing(table).values(asdict(row)))
    return added
