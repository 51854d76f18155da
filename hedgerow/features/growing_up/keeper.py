"""The stages of all people in the store, and the growth that control puts in force."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from sqlalchemy.exc import DatabaseError

from hedgerow.app.control.snapshots.policy_of_today import Growth
from hedgerow.app.snapshot import Snapshot
from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.contract import ControlService, Core
from hedgerow.features.growing_up.announcements import NOTICE_S
from hedgerow.features.growing_up.legal_keeper import LegalKeeper, LegalNews
from hedgerow.features.growing_up.legal_stages import LegalStage
from hedgerow.features.growing_up.stage_store import StageStore
from hedgerow.features.growing_up.stages import (
    GrowthStage,
    first_stage,
    in_force,
    is_erased_at,
    next_stage,
    put_off,
)
from hedgerow.journal.store import Store, cause_of
from hedgerow.journal.tables import growing_up
from hedgerow.policies.growing import zone_of
from hedgerow.policies.growth_steps import ProfileStep
from hedgerow.policies.model import Policy
from hedgerow.seen_time import ClockWatch, uptime_s
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.control")

LOOK_S = 30.0
_SOME_TIME_AGO = 1.0  # when a profile of an earlier policy was announced is not known


class GrowthKeeper:
    """The stages of the people of a policy. `growth` may be called from any thread, the rest waits for the disk."""

    def __init__(
        self,
        store: Store,
        policy: Callable[[], Policy],
        erase: Callable[[str], object],
        put_in_force: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        uptime: Callable[[], float] = uptime_s,
    ) -> None:
        self.put_in_force = put_in_force
        self._uptime = uptime
        self._watch: ClockWatch | None = None
        self._policy, self._erase, self._clock = policy, erase, clock
        self._lock = threading.RLock()
        self._kept = StageStore(store, growing_up, GrowthStage, self._lock)
        self.legal = LegalKeeper(store, self._lock)
        self._last: tuple[Policy, dict[str, GrowthStage], dict[str, LegalStage], dict[str, Growth]] | None = None
        self.refresh()

    def recall(self, policy: Policy) -> None:
        """Go on with the profiles of an earlier policy for whom the store has none, such as after its damage."""
        with self._lock:
            self.legal.recall(policy)
            for name, person in policy.people.items():
                if person.born is not None and person.steps is not None and name not in self._kept.stages:
                    stage = GrowthStage(name, str(person.born), person.profile)
                    for step in person.steps[-1:]:
                        unseen = 0.0 if step.is_certain else NOTICE_S
                        stage = replace(stage, announced=step.profile, takes_effect=step.at, unseen=unseen)
                        stage = replace(stage, announced_at=_SOME_TIME_AGO)
                    self._kept.stages[name] = stage

    def growth(self, policy: Policy) -> Mapping[str, Growth]:
        """Return what is decided about the people of a policy. Whoever is new has the profile of the age."""
        with self._lock:
            last = self._last
            if last is None or last[0] is not policy or last[1:3] != (self._kept.stages, self.legal.kept.stages):
                decided = self._decided(policy)
                last = self._last = (policy, dict(self._kept.stages), dict(self.legal.kept.stages), decided)
            return last[3]

    def _decided(self, policy: Policy) -> dict[str, Growth]:
        now, found = self._clock(), dict[str, Growth]()
        for name, person in policy.people.items():
            if person.born is None:
                continue
            stage = self._kept.stages.get(name)
            if stage is None or stage.born != str(person.born):
                stage = self._kept.stages[name] = first_stage(name, person.born, now, zone_of(person, policy))
            comes_at = stage.countdown.comes_at(now, zone_of(person, policy))
            step = ProfileStep(comes_at, stage.announced, stage.countdown.is_certain)
            found[name] = Growth(stage.profile, (step,) if stage.announced else ())
        for name, steps in self.legal.decided(policy, now).items():
            found[name] = replace(found.get(name, Growth()), legal_steps=steps)
        return found

    def stage(self, person: str) -> GrowthStage | None:
        """Return the stage of a person, None for one whose birth is not known."""
        policy = self._policy()
        self.growth(policy)
        is_known = person in policy.people and policy.people[person].born is not None
        return self._kept.stages.get(person) if is_known else None

    def legal_news(self, person: str) -> LegalNews | None:
        """Return what the law will change for a person, None for nothing."""
        with self._lock:
            return self.legal.announced(self._policy(), person, self._clock())

    def announced(self, person: str) -> GrowthStage:
        """Return the stage of a person with an announced profile. Raises `InvalidInput`."""
        stage = self.stage(person)
        if stage is None or not stage.announced:
            raise InvalidInput("No change of profile is announced for %(name)s.", name=person)
        return stage

    def look(self) -> bool:
        """Go on to the next stages, erase what is due, and save them. Returns True if anybody's growth has changed."""
        policy, now = self._policy(), self._clock()
        for kept in (self._kept, self.legal.kept):
            if not kept.is_read:
                kept.read()
        before = self.growth(policy)
        with self._lock:
            if self._watch is None:
                self._watch = ClockWatch(max(self._kept.seen_at, self.legal.kept.seen_at))
            passing = self._watch.look(now, self._uptime())
            for name, person in policy.people.items():
                if person.born is not None:
                    zone = zone_of(person, policy)
                    self._kept.stages[name] = next_stage(self._kept.stages[name], person.born, now, zone, passing)
            self.legal.look(policy, now, passing)
            due = [
                each for each in self._kept.stages.values() if is_erased_at(each, now) and each.person in policy.people
            ]
        for stage in due if passing.is_steady else ():
            self._erase(stage.person)
            self._kept.replace(replace(stage, erased_at=0.0, unseen=0.0, seen_at=0.0))
        self._kept.save()
        self.legal.kept.save()
        return self.growth(policy) != before

    def wait(self, person: str) -> GrowthStage:
        """Put the announced profile off by thirty days. Raises `InvalidInput`."""
        stage, policy = self.announced(person), self._policy()
        return self._kept.replace(put_off(stage, self._clock(), zone_of(policy.people[person], policy)))

    def go_ahead(self, person: str) -> GrowthStage:
        """Put the announced profile in force now. Raises `InvalidInput`."""
        stage, policy = self.announced(person), self._policy()
        return self._kept.replace(in_force(stage, self._clock(), zone_of(policy.people[person], policy)))

    def refresh(self) -> None:
        """Take over what another node of the site has changed."""
        try:
            self._kept.read()
            self.legal.kept.read()
        except DatabaseError as error:
            log.warning("Can't read who grows up: %s", cause_of(error))


def keeper_of(core: Core) -> GrowthKeeper:
    """Return the keeper, which pages and service share."""
    return GrowthKeeper(
        core.store, lambda: core.policy, lambda name: core.erase(name), core.snapshots.put_in_force, core.clock
    )


def growth_service(core: Core) -> ControlService:
    """Return the service that announces changes of profile, and puts them in force."""
    keeper = core.part(keeper_of)
    with contextlib.suppress(OSError, ValueError):
        keeper.recall(Snapshot.in_force(core.settings.state).policy)

    async def run() -> None:
        while True:
            try:
                if await asyncio.to_thread(keeper.look):
                    core.snapshots.request()
            except DatabaseError as error:
                log.warning("Can't save who grows up: %s", cause_of(error))
            await next_tick(LOOK_S)

    return ControlService(name="growing up", area=Area.UPKEEP, run=run, growth=keeper.growth, refresh=keeper.refresh)
