"""Following what other nodes write into the same store, so that it is in force here within two seconds.

Grants, pauses, sessions, minutes of use, minutes on top, answers to requests, remembered sites, and accounts with their sign-ins are kept
in memory, and read again. Everything else is read from the store whenever it is needed.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.exc import DatabaseError

from hedgerow.app.control.organisation import OrganisationFollower
from hedgerow.app.control.publisher import SnapshotPublisher
from hedgerow.app.control.shared_policy import SharedPolicy
from hedgerow.dashboards.accounts import Accounts
from hedgerow.journal.store import Store, cause_of

log = logging.getLogger("hedgerow.control")

WAIT_S = 1.5


class StoreFollower:
    """The follower of a store. `run` does nothing for a store that nobody else writes to."""

    def __init__(
        self, store: Store, publisher: SnapshotPublisher, accounts: Accounts, policy: SharedPolicy, levels: OrganisationFollower
    ) -> None:  # fmt: skip
        self._changes = store.dialect.changes(store.site)
        self._publisher, self._accounts, self._policy, self._levels = publisher, accounts, policy, levels

    async def run(self) -> None:
        """Follow until cancelled."""
        if self._changes is None:
            return
        loop, thread = asyncio.get_running_loop(), ThreadPoolExecutor(1, "changes")  # it waits for most of the time
        while True:
            if await loop.run_in_executor(thread, self._changes.wait, WAIT_S):
                await self.refresh()

    async def refresh(self) -> None:
        """Read the tables that other nodes may have changed, and publish the changes."""
        self._policy.request()
        self._levels.request()
        try:
            rows = await asyncio.to_thread(self._accounts.read)
            self._accounts.adopt(rows)
            await self._publisher.refresh()
        except DatabaseError as error:
            log.warning("What other nodes changed can't be read: %s", cause_of(error))
