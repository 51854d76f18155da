"""The stages of all people in the store, and the growth that control puts in force."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy.exc import DatabaseError

from hedgerow.app.control.snapshots.policy_of_today import Growth
from hedgerow.app.snapshot import Snapshot
from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.contract import ControlService, Core
from hedgerow.features.growing_up.stages import GrowthStage, brought_forward, first_stage, next_stage, put_off
from hedgerow.journal.store import Store, cause_of
from hedgerow.journal.tables import growing_up
from hedgerow.policies.growing import zone_of
from hedgerow.policies.model import Policy, ProfileStep
from hedgerow.task_state import Area
from hedgerow.ticks import next_tick

log = logging.getLogger("hedgerow.control")

LOOK_S = 30.0
_FIELDS = ("person", "born", "profile", "announced", "announced_at", "takes_effect", "erased_at")


class GrowthKeeper:
    """The stages of the people of a policy. `growth` may be called from any thread, the rest waits for the disk."""

    def __init__(
        self,
        store: Store,
        policy: Callable[[], Policy],
        erase: Callable[[str], object],
        put_in_force: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self.put_in_force = put_in_force
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
                        stage = replace(stage, announced=step.profile, announced_at=1.0, takes_effect=step.at)
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
            steps = (ProfileStep(stage.takes_effect, stage.announced),) if stage.announced else ()
            found[name] = Growth(stage.profile, steps)
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
        """Go on to the next stages, erase what is due, and save them. Returns True if anything has changed."""
        policy, now = self._policy(), self._clock()
        if not self._is_read:
            self._read()
        self.growth(policy)
        with self._lock:
            for name, person in policy.people.items():
                if person.born is not None:
                    self._stages[name] = next_stage(self._stages[name], person.born, now, zone_of(person, policy))
            due = [each for each in self._stages.values() if 0 < each.erased_at <= now and each.person in policy.people]
        for stage in due:
            self._erase(stage.person)
            self._change(stage, erased_at=0.0)
        return self._save()

    def wait(self, person: str) -> GrowthStage:
        """Put the announced profile off by thirty days. Raises `InvalidInput`."""
        stage, policy = self.announced(person), self._policy()
        later = put_off(stage, self._clock(), zone_of(policy.people[person], policy))
        return self._change(stage, takes_effect=later.takes_effect)

    def go_ahead(self, person: str) -> GrowthStage:
        """Put the announced profile in force now. Raises `InvalidInput`."""
        stage = self.announced(person)
        return self._change(stage, takes_effect=brought_forward(stage, self._clock()).takes_effect)

    def _change(self, stage: GrowthStage, **values: Any) -> GrowthStage:
        with self._lock:
            changed = self._stages[stage.person] = replace(stage, **values)
        self._save()
        return changed

    def _read(self) -> None:
        rows = self._store.rows(self._store.select(growing_up))
        found = {row.person: GrowthStage(*(getattr(row, name) for name in _FIELDS)) for row in rows}
        with self._lock:
            self._stages |= found
            self._saved = found
            self._is_read = True

    def refresh(self) -> None:
        """Take over what another node of the site has changed."""
        try:
            self._read()
        except DatabaseError as error:
            log.warning("Can't read who grows up: %s", cause_of(error))

    def _save(self) -> bool:
        with self._saving:
            with self._lock:
                changed = [each for name, each in self._stages.items() if self._saved.get(name) != each]
            with self._store.begin() as connection:
                for stage in changed:
                    mine = growing_up.c.person == stage.person
                    connection.execute(self._store.delete(growing_up).where(mine))
                    connection.execute(self._store.insert(growing_up).values(asdict(stage)))
            self._saved |= {each.person: each for each in changed}
        return bool(changed)


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
