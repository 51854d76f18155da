"""The services of features in a process.

They are imported and started when the policy first uses a feature, and stopped once it does not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from hedgerow.app.settings import Settings
from hedgerow.features.contract import ControlService, Feature
from hedgerow.journal.recorder import RecordedMessage
from hedgerow.policies.model import Policy
from hedgerow.task_state import Area, StatusRow
from hedgerow.watched_tasks import WatchedTasks


class ProcessParts(Protocol):
    """The parts of a process that services may use. `policy` is the one in force, None before the first."""

    @property
    def settings(self) -> Settings: ...

    @property
    def policy(self) -> Policy | None: ...


class FeatureServices[Parts: ProcessParts]:
    """The services of the features in use. `made` are those of all of them, in the order of `features`.

    `make` returns those that a feature has in this process.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        tasks: WatchedTasks,
        make: Callable[[Feature, Parts], Sequence[ControlService]],
    ) -> None:
        self._features, self._tasks, self._make = features, tasks, make
        self._by_feature: dict[str, tuple[ControlService, ...]] = {}
        self._making = asyncio.Lock()
        self._policy_changed = asyncio.Condition()
        self._asked_for: set[str] = set()
        self.made: tuple[ControlService, ...] = ()

    def copy(self, messages: list[RecordedMessage]) -> None:
        """Give the services what is recorded. May be called from any thread."""
        for service in self.made:
            if service.copies is not None:
                with self._tasks.going_on(service.name, service.area):
                    service.copies(messages)

    def status(self) -> tuple[StatusRow, ...]:
        """Return what the services report to people."""
        rows: list[StatusRow] = []
        for service in self.made:
            with self._tasks.going_on(service.name, service.area):
                rows += service.status()
        return tuple(rows)

    def refresh(self) -> None:
        """Tell the services that other machines have changed the store."""
        for service in self.made:
            if service.refresh is not None:
                with self._tasks.going_on(service.name, service.area):
                    service.refresh()

    async def prepare(self, core: Parts) -> None:
        """Make the services of the features that a policy uses before it is in force, so that they miss nothing.

        A feature that fails delays no policy: its follower makes its services again, and reports why it fails.
        """
        for feature in self._features:
            if _is_used(feature, core):
                with contextlib.suppress(Exception):
                    await self._services_of(feature, core)
        await self.policy_changed()

    async def running_part[Kind](self, kind: type[Kind], name: str, core: Parts) -> Kind:
        """Return the part of this kind that a feature's services have.

        They run from now on, whatever the policy says.
        """
        (feature,) = (each for each in self._features if each.name == name)
        services = await self._services_of(feature, core)
        if name not in self._asked_for:
            await self.policy_changed(name)
        return next(service.part for service in services if isinstance(service.part, kind))

    async def policy_changed(self, *asked_for: str) -> None:
        """Have the services started and stopped that another policy uses, or no longer uses.

        Those of the features in `asked_for` run from now on, whatever the policy says.
        """
        self._asked_for.update(asked_for)
        async with self._policy_changed:
            self._policy_changed.notify_all()

    def followers(self, core: Parts) -> tuple[ControlService, ...]:
        """Return one service for each feature, which runs the feature's own services while the policy uses it."""
        return tuple(
            ControlService(name=f"feature {feature.name}", area=Area.UPKEEP, run=partial(self._follow, feature, core))
            for feature in self._features
        )

    async def close(self) -> None:
        """Close all services, after the last record."""
        await self._close(self.made)

    async def _wait_until(self, is_used: bool, feature: Feature, core: Parts) -> None:
        async with self._policy_changed:
            await self._policy_changed.wait_for(
                lambda: (feature.name in self._asked_for or _is_used(feature, core)) is is_used
            )

    async def _follow(self, feature: Feature, core: Parts) -> None:
        while True:
            await self._wait_until(True, feature, core)
            services = await self._services_of(feature, core)
            await self._run(services, feature, core)
            self._set(feature, ())
            await self._close(services)

    async def _run(self, services: Sequence[ControlService], feature: Feature, core: Parts) -> None:
        try:
            for service in services:
                self._tasks.start(service.name, service.run, service.area, may_end=service.may_end)
            await self._wait_until(False, feature, core)
        finally:
            await self._tasks.stop(*(service.name for service in reversed(services)))

    async def _services_of(self, feature: Feature, core: Parts) -> tuple[ControlService, ...]:
        async with self._making:
            if not self._by_feature.get(feature.name):
                # The import of its libraries may take a second.
                self._set(feature, await asyncio.to_thread(lambda: tuple(self._make(feature, core))))
            return self._by_feature[feature.name]

    async def _close(self, services: Sequence[ControlService]) -> None:
        for service in reversed(services):
            if service.close is not None:
                with self._tasks.going_on(service.name, service.area):
                    await service.close()

    def _set(self, feature: Feature, services: tuple[ControlService, ...]) -> None:
        self._by_feature[feature.name] = services
        self.made = tuple(service for each in self._features for service in self._by_feature.get(each.name, ()))


def _is_used(feature: Feature, core: ProcessParts) -> bool:
    return core.policy is not None and feature.is_used(core.policy, core.settings.store, core.settings.state)
