"""The service in control: it reminds parents of the next look at the rules."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy.exc import DatabaseError

from hedgerow.features.agreement.agreements import agreements_of
from hedgerow.features.contract import ControlService, Core
from hedgerow.journal.store import cause_of
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.control")

LOOK_S = 30.0


def agreement_service(core: Core) -> ControlService:
    """Return the service."""
    agreements = core.part(agreements_of)

    async def run() -> None:
        while True:
            try:
                await asyncio.to_thread(agreements.remind)
            except DatabaseError as error:
                log.warning("Can't read the agreements: %s", cause_of(error))
            await next_tick(LOOK_S)

    return ControlService(name="agreement", area=Area.UPKEEP, run=run)
