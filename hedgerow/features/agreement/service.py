"""The service in control: it reminds parents of the next look at the rules, and finds what has changed."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from sqlalchemy.exc import DatabaseError

from hedgerow.app.snapshot import Snapshot
from hedgerow.features.agreement.agreements import agreements_of
from hedgerow.features.agreement.changes import changes_of
from hedgerow.features.agreement.goals import goals_of
from hedgerow.features.agreement.recording import guard_of
from hedgerow.features.contract import ControlService, Core
from hedgerow.journal.store import cause_of
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.control")

LOOK_S = 30.0


def agreement_service(core: Core) -> ControlService:
    """Return the service."""
    agreements, changes, guard = core.part(agreements_of), core.part(changes_of), core.part(guard_of)
    with contextlib.suppress(OSError, ValueError):
        guard.recall(Snapshot.in_force(core.settings.state).policy)

    def look() -> None:
        if guard.look():
            core.snapshots.request()
        changes.look()
        agreements.remind()

    async def run() -> None:
        while True:
            try:
                await asyncio.to_thread(look)
            except DatabaseError as error:
                log.warning("Can't read the agreements: %s", cause_of(error))
            await next_tick(LOOK_S)

    async def prune(now: float) -> None:
        await asyncio.to_thread(changes.prune, now)
        await asyncio.to_thread(core.part(goals_of).prune, core.policy)

    return ControlService(
        name="agreement", area=Area.UPKEEP, run=run, prune=prune, hold=guard.hold, refresh=guard.refresh
    )
