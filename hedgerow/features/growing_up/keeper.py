"""The stages of all people in the store, and the growth that control puts in force."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, fields, replace

from sqlalchemy.exc import DatabaseError

from hedgerow.app.control.snapshots.policy_of_today import Growth
from hedgerow.app.snapshot import Snapshot
from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.contract import ControlService, Core
from hedgerow.features.growing_up.clock_watch import HOUR_S, ClockWatch
from hedgerow.features.growing_up.stages import (
    NOTICE_S,
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
from hedgerow.policies.model import Policy, ProfileStep
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.control")

LOOK_S = 30.0
_SAVED_EACH_S = HOUR_S  # how much of a time that passes is lost with the power, at most
_SOME_TIME_AGO = 1.0  # when a profile of an earlier policy was announced is not known
_FIELDS = tuple(each.name for each in fields(GrowthStage))


def uptime_s() -> float:
    """Return the seconds for which this machine has been on, also asleep ones."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


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
        self._store, self._policy, self._erase, self._clock = store, policy, erase, clock
        self._lock, self._saving = threading.RLock(), threading.RLock()
        self._stages: dict[str, GrowthStage] = {}
        self._saved: dict[str, GrowthStage] = {}
        self._last: tuple[Policy, dict[str, GrowthStage], dict[str, Growth]] | None = None
        self._is_read = False
        self.refresh()

    def recall(self, policy: Policy) -> None:
        """Go on with the profiles of an earlier policy for whom the store has none, such as after its damage."""
        with self._lock:
            for name, person in policy.people.items():
                if person.born is not None and person.steps is not None and name not in self._stages:
                    stage = GrowthStage(name, str(person.born), person.profile)
                    for step in person.steps[-1:]:
                        unseen = 0.0 if step.is_certain else NOTICE_S
                        stage = replace(stage, announced=step.profile, takes_effect=step.at, unseen=unseen)
                        stage = replace(stage, announced_at=_SOME_TIME_AGO)
                    self._stages[name] = stage

    def growth(self, policy: Policy) -> Mapping[str, Growth]:
        """Return what is decided about the people of a policy. Whoever is new has the profile of the age."""
        with self._lock:
            last = self._last
            if last is None or last[0] is not policy or last[1] != self._stages:
                last = self._last = (policy, *self._decided(policy))
            return last[2]

    def _decided(self, policy: Policy) -> tuple[dict[str, GrowthStage], dict[str, Growth]]:
        now, found = self._clock(), {}
        for name, person in policy.people.items():
            if person.born is None:
                continue
            stage = self._stages.get(name)
            if stage is None or stage.born != str(person.born):
                stage = self._stages[name] = first_stage(name, person.born, now, zone_of(person, policy))
            comes_at = stage.comes_at(now, zone_of(person, policy))
            step = ProfileStep(comes_at, stage.announced, stage.is_certain)
            found[name] = Growth(stage.profile, (step,) if stage.announced else ())
        return dict(self._stages), found

    def stage(self, person: str) -> GrowthStage | None:
        """Return the stage of a person, None for one whose birth is not known."""
        policy = self._policy()
        self.growth(policy)
        is_known = person in policy.people and policy.people[person].born is not None
        return self._stages.get(person) if is_known else None

    def announced(self, person: str) -> GrowthStage:
        """Return the stage of a person with an announced profile. Raises `InvalidInput`."""
        stage = self.stage(person)
        if stage is None or not stage.announced:
            raise InvalidInput("No change of profile is announced for %(name)s.", name=person)
        return stage

    def look(self) -> bool:
        """Go on to the next stages, erase what is due, and save them. Returns True if anybody's growth has changed."""
        policy, now = self._policy(), self._clock()
        if not self._is_read:
            self._read()
        before = self.growth(policy)
        with self._lock:
            if self._watch is None:
                self._watch = ClockWatch(max((each.seen_at for each in self._stages.values()), default=0.0))
            passing = self._watch.look(now, self._uptime())
            for name, person in policy.people.items():
                if person.born is not None:
                    zone = zone_of(person, policy)
                    self._stages[name] = next_stage(self._stages[name], person.born, now, zone, passing)
            due = [each for each in self._stages.values() if is_erased_at(each, now) and each.person in policy.people]
        for stage in due if passing.is_steady else ():
            self._erase(stage.person)
            self._replace(replace(stage, erased_at=0.0, unseen=0.0, seen_at=0.0))
        self._save()
        return self.growth(policy) != before

    def wait(self, person: str) -> GrowthStage:
        """Put the announced profile off by thirty days. Raises `InvalidInput`."""
        stage, policy = self.announced(person), self._policy()
        return self._replace(put_off(stage, self._clock(), zone_of(policy.people[person], policy)))

    def go_ahead(self, person: str) -> GrowthStage:
        """Put the announced profile in force now. Raises `InvalidInput`."""
        stage, policy = self.announced(person), self._policy()
        return self._replace(in_force(stage, self._clock(), zone_of(policy.people[person], policy)))

    def _replace(self, stage: GrowthStage) -> GrowthStage:
        with self._lock:
            self._stages[stage.person] = stage
        self._save()
        return stage

    def _read(self) -> None:
        rows = self._store.rows(self._store.select(growing_up))
        found = {row.person: GrowthStage(*(getattr(row, name) for name in _FIELDS)) for row in rows}
        with self._lock:
            self._stages |= {name: _merged(self._stages.get(name), stage) for name, stage in found.items()}
            self._saved = found
            self._is_read = True

    def refresh(self) -> None:
        """Take over what another node of the site has changed."""
        try:
            self._read()
        except DatabaseError as error:
            log.warning("Can't read who grows up: %s", cause_of(error))

    def _save(self) -> None:
        with self._saving:
            with self._lock:
                changed = [each for name, each in self._stages.items() if _is_to_save(self._saved.get(name), each)]
            with self._store.begin() as connection:
                for stage in changed:
                    mine = growing_up.c.person == stage.person
                    connection.execute(self._store.delete(growing_up).where(mine))
                    connection.execute(self._store.insert(growing_up).values(asdict(stage)))
            self._saved |= {each.person: each for each in changed}


def _merged(mine: GrowthStage | None, saved: GrowthStage) -> GrowthStage:
    """Return a stage from the store, with what has passed here since it was saved."""
    if mine is None or replace(mine, unseen=saved.unseen, seen_at=saved.seen_at) != saved:
        return saved
    return replace(saved, unseen=min(mine.unseen, saved.unseen), seen_at=mine.seen_at)


def _is_to_save(saved: GrowthStage | None, stage: GrowthStage) -> bool:
    if saved is None or replace(stage, unseen=saved.unseen, seen_at=saved.seen_at) != saved:
        return True
    return abs(stage.seen_at - saved.seen_at) >= _SAVED_EACH_S


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
