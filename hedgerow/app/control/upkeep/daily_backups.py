"""A backup per day in the state directory, of which seven are kept.

Each is made by a process of its own, at low priority:

python -m hedgerow.app.control.upkeep.daily_backups STATE POLICY FILE STORE
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

from hedgerow.app.backup import DAMAGED, BackupError, back_up, backup_folder, backups_in
from hedgerow.app.control.jobs import LIST_MEMORY, JobError, limit_resources, run_job
from hedgerow.app.settings import STORE_PASSWORD, Settings
from hedgerow.files import error_text, make_private_folder
from hedgerow.journal.recorder import RESERVED_BYTES
from hedgerow.journal.store import StoreAddress

log = logging.getLogger("hedgerow.control")

KEPT = 7
FIRST_AFTER_S = 600.0
CHECK_INTERVAL_S = 900.0


class DailyBackups:
    """The daily backups of a state directory. `on_damage` is called when the journal turns out to be damaged."""

    def __init__(self, settings: Settings, policy: Callable[[], Path | None], on_damage: Callable[[], None]) -> None:
        self._settings, self._policy, self._on_damage = settings, policy, on_damage
        self._problem = ""

    async def run(self, first_after: float = FIRST_AFTER_S) -> None:
        """Make backups until cancelled."""
        await asyncio.sleep(first_after)
        while True:
            await self.back_up_if_due()
            await asyncio.sleep(CHECK_INTERVAL_S)

    async def back_up_if_due(self) -> None:
        """Make today's backup unless there is one, and delete the oldest. Failures are logged once."""
        out = backup_folder(self._settings.state) / f"hedgerow-{date.today():%Y-%m-%d}.tar.gz"
        if out.exists():
            return
        problem = await self._back_up(out)
        if problem and problem != self._problem:
            log.error("There is no backup of today: %s", problem)
        self._problem = problem
        if DAMAGED in problem:
            self._on_damage()

    async def _back_up(self, out: Path) -> str:
        try:
            size = 0 if self._settings.store else self._settings.journal.stat().st_size
            if shutil.disk_usage(self._settings.state).free < 2 * size + RESERVED_BYTES:
                return "there is too little space on the disk"
            make_private_folder(out.parent)
            policy = self._policy()
            words = (str(self._settings.state), str(policy or ""), str(out), self._settings.store, self._settings.site)
            await run_job("hedgerow.app.control.upkeep.daily_backups", *words, stdin=b"")
        except (JobError, OSError) as error:
            return error_text(error)
        for old in backups_in(self._settings.state)[KEPT:]:
            old.unlink(missing_ok=True)
        log.info("the backup of today is %s", out)
        return ""

    def forget(self) -> None:
        """Delete all backups: data was erased that they still contain. The next one is due at once."""
        for backup in backups_in(self._settings.state):
            backup.unlink(missing_ok=True)
        log.info("all daily backups were deleted at %s, since they held erased data", time.strftime("%H:%M"))


def make_backup(state: Path, policy: Path | None, out: Path, store: str, site: str) -> None:
    """Make a backup in this process. Ends it with a sentence if that fails."""
    limit_resources(LIST_MEMORY)
    try:
        back_up(
            state, policy, out, StoreAddress(store, state / STORE_PASSWORD, site) if store else None, with_log=not store
        )
    except BackupError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    make_backup(
        Path(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2] else None, Path(sys.argv[3]), sys.argv[4], sys.argv[5]
    )
