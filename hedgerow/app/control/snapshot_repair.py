"""Repair of the files that workers read, while Hedgerow runs: the snapshot, and the compiled lists."""

from __future__ import annotations

import asyncio
import logging

from hedgerow.app.control.lists import is_usable
from hedgerow.app.control.publisher import SnapshotPublisher

log = logging.getLogger("hedgerow.control")

CHECK_INTERVAL_S = 1.0


class SnapshotRepair:
    """`run` writes the snapshot again whenever the disk does not have it as it was written, and does what `suspect` asked for."""

    def __init__(self, publisher: SnapshotPublisher) -> None:
        self._publisher = publisher
        self._is_suspect = False
        self._was_behind = publisher.clock.is_behind
        if self._was_behind:
            log.error(
                "The clock is wrong: it shows less than when Hedgerow ran last. Until it is right, whatever a time closes is closed, and"
                " grants that end some time do not hold"
            )

    def suspect(self) -> None:
        """Check the files of the lists soon: a worker could not use what lies there."""
        self._is_suspect = True

    async def run(self) -> None:
        """Repair until cancelled."""
        while True:
            await asyncio.sleep(CHECK_INTERVAL_S)
            if self._is_suspect:
                self._is_suspect = False
                await self._repair_lists()
            await self._publisher.write_again_if_damaged()
            was_behind, self._was_behind = self._was_behind, self._publisher.clock.is_behind
            if was_behind and not self._was_behind:
                log.warning("The clock is right now: times and grants hold again")
            if (was_behind or self._publisher.is_ahead_of_clock) and not self._was_behind:
                await self._publisher.publish_with_retry()

    async def _repair_lists(self) -> None:
        """Compile damaged lists again. A worker without a usable snapshot gets a new one in any case."""
        lists, policy = self._publisher.lists, self._publisher.policy
        if lists.generation is not None and not await asyncio.to_thread(is_usable, lists.generation) and await lists.compile(policy):
            log.error("The compiled lists were damaged: they were compiled again")
        await self._publisher.publish_with_retry()
