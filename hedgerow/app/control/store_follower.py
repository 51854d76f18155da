"""Following what other nodes write into the same store, so that it is in force here within two seconds.

Grants, pauses, sessions, minutes of use, bonus minutes, answers to requests, remembered sites, and accounts with their
sign-ins are kept in memory, and read again. Everything else is read from the store whenever it is needed. The owner of
a store also looks after its connections.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.exc import DatabaseError

from hedgerow.app.control.shared_policy import SharedPolicy
from hedgerow.app.control.snapshots.publisher import SnapshotPublisher
from hedgerow.dashboards.accounts import Accounts
from hedgerow.journal.store import Store, cause_of

log = logging.getLogger("hedgerow.control")

WAIT_S = 1.5
SESSIONS_CHECK_S = 5.0


class StoreFollower:
    """The follower of a store. `run` does nothing for a store that nobody else writes to."""

    def __init__(
        self,
        store: Store,
        publisher: SnapshotPublisher,
        accounts: Accounts,
        policy: SharedPolicy,
        refresh_features: Callable[[], None],
    ) -> None:
        self._changes = store.dialect.changes(store.site)
        self._connections = SiteConnections(store)
        self._thread = ThreadPoolExecutor(1, "changes")  # it waits for most of the time
        self._publisher, self._accounts, self._policy = publisher, accounts, policy
        self._refresh_features = refresh_features

    async def run(self) -> None:
        """Follow until cancelled, and look after the connections of sites."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._connections.run())
            tasks.create_task(self._follow())

    async def _follow(self) -> None:
        if self._changes is None:
            return
        loop = asyncio.get_running_loop()
        is_due = False
        while True:
            is_changed = await loop.run_in_executor(self._thread, self._changes.wait, WAIT_S)
            if not is_changed and not is_due:
                continue
            try:
                await self.refresh()
                is_due = False
            except DatabaseError as error:
                if not is_due:
                    log.warning("What other nodes changed can't be read yet: %s", cause_of(error))
                is_due = True

    async def refresh(self) -> None:
        """Read the tables that other nodes may have changed, and publish the changes. Raises DatabaseError."""
        self._policy.request()
        self._refresh_features()
        rows = await asyncio.to_thread(self._accounts.read)
        self._accounts.adopt(rows)
        await self._publisher.refresh()


class SiteConnections:
    """The connections of sites to a store, watched by the machine whose role owns its tables."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def run(self) -> None:
        """Watch until cancelled. Does nothing with another role or store."""
        while self._store.dialect.is_partitioned and self._store.rights.site is None:
            try:
                for role in await asyncio.to_thread(self._store.dialect.end_holding_up, self._store.engine):
                    log.warning(
                        "A connection of %s held up others and was ended: if it does so again, see `hedgerow store revoke`",  # noqa: E501
                        role,
                    )
            except DatabaseError as error:
                log.debug("The connections of sites can't be watched: %s", cause_of(error))
            await asyncio.sleep(SESSIONS_CHECK_S)
