"""Puts what holds into force: policy, lists, grants, pauses, minutes and names become one snapshot after the other."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from sqlalchemy import Engine

from hedgerow.app.control.budgets import BudgetKeeper
from hedgerow.app.control.lists import ListKeeper
from hedgerow.app.control.policy_file import PolicyFile
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import Snapshot, View
from hedgerow.journal.ledger import Ledger
from hedgerow.journal.read import Reader
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.model import Activity, Grant, Pause, Policy, Sitting, Spent
from hedgerow.policies.reading.load import load_policy

log = logging.getLogger("hedgerow.control")


class Publisher:
    """Holds all that a snapshot is made of. `view` is the one in force, None before the first `publish`.

    Raises PolicyError where neither the policy file nor the last snapshot of it can be used.
    """

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._state = settings.state
        self.reader, self.ledger, self.usage = Reader(engine), Ledger(engine), UsageStore(engine)
        self.budgets = BudgetKeeper(self.usage)
        self.lists = ListKeeper(settings.state, one_job=settings.footprint.one_list_job)
        self.policy_file, self._serial = _last_good(settings)
        self.view: View | None = None
        self._spent: tuple[Spent, ...] = ()
        self._names: dict[str, str] = {}
        self._generation: Path | None = None
        self._publishing = asyncio.Lock()
        self._wanted = asyncio.Event()

    @property
    def policy(self) -> Policy:
        return self.policy_file.policy

    def last_generation(self) -> Path | None:
        """The compiled lists of the last snapshot, of whichever run."""
        try:
            return Snapshot.load(self._state).generation
        except (OSError, ValueError):
            return None

    async def publish(self) -> None:
        """Puts everything as it is now into force; raises OSError where the disk fails.

        One at a time, so that snapshots are numbered in the order in which they hold.
        """
        async with self._publishing:
            await self._publish()

    async def publish_patiently(self) -> None:
        """A full disk is waited for; until then the last snapshot stays in force."""
        while True:
            try:
                return await self.publish()
            except OSError as error:
                log.error("The snapshot can't be written, the last one stays in force: %s", error)
                await asyncio.sleep(2)

    async def publish_when_wanted(self) -> None:
        """Runs until cancelled: for what `hear_names` and `count` find out."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self.publish_patiently()

    def hear_names(self, names: dict[str, str]) -> None:
        """What devices call themselves, by MAC and IP address. Workers are told where the policy speaks of such a name."""
        before, self._names = self._names_told(self.policy), names
        if self._names_told(self.policy) != before:
            self._wanted.set()

    async def count(self, used: list[Activity]) -> None:
        """Counts minutes. Where some budget ends because of them, the workers are told before it does."""
        if not self.budgets.record(used):
            return
        if self.budgets.spent(self.policy, time.time()) != self._spent:
            self._wanted.set()
        await asyncio.to_thread(self.budgets.save)

    async def _publish(self) -> None:
        # No new generation could be made at this start: the one of the last snapshot still filters.
        generation = self.lists.generation
        if generation is None:
            generation = Snapshot.load(self._state).generation
        now = time.time()
        grants, pauses, sittings = await asyncio.to_thread(lambda: self._given(now))
        policy = self.policy
        self._spent = self.budgets.spent(policy, now)
        self._serial += 1
        snapshot = Snapshot(self._serial, now, policy, generation, grants, pauses, self._spent, sittings, self._names_told(policy))
        self.view = View(snapshot)
        await asyncio.to_thread(snapshot.save, self._state)
        log.info("snapshot %d published", snapshot.serial)
        if generation != self._generation:
            # A worker may be opening the one before just now.
            await asyncio.to_thread(self.lists.prune, {generation, self._generation})
            self._generation = generation

    def _names_told(self, policy: Policy) -> dict[str, str]:
        wanted = {name for device in policy.devices.values() for name in device.hostnames}
        return {key: name for key, name in self._names.items() if name in wanted}

    def _given(self, now: float) -> tuple[tuple[Grant, ...], tuple[Pause, ...], tuple[Sitting, ...]]:
        self.budgets.load_bonuses()
        return self.reader.grants(now), self.reader.pauses(now), self.usage.sittings(now)


def _last_good(settings: Settings) -> tuple[PolicyFile, int]:
    """Where to start from: the last snapshot of the same policy file, in case that is broken now; else the file.

    Raises PolicyError where neither serves.
    """
    try:
        snapshot = Snapshot.load(settings.state)
    except (OSError, ValueError):
        policy = load_policy(settings.policy, settings.calendars)
        return PolicyFile(settings.policy, policy, time.time(), settings.calendars), 0
    if snapshot.policy.path != (str(settings.policy) if settings.policy else None):
        policy = load_policy(settings.policy, settings.calendars)
        return PolicyFile(settings.policy, policy, time.time(), settings.calendars), snapshot.serial
    return PolicyFile(settings.policy, snapshot.policy, snapshot.published, settings.calendars), snapshot.serial
