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

_LOOK_EVERY_S = 0.5


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
        self, features: Sequence[Feature], tasks: WatchedTasks, make: Callable[[Feature, Parts], Sequence[ControlService]]
    ) -> None:
        self._features, self._tasks, self._make = features, tasks, make
        self._by_feature: dict[str, tuple[ControlService, ...]] = {}
        self._making = asyncio.Lock()
        self.made: tuple[ControlService, ...] = ()

    def copy(self, messages: list[RecordedMessage]) -> None:
        """Give the services what is recorded. May be called from any thread."""
        for service in self.made:
            if service.copies is not None:
                service.copies(messages)

    def status(self) -> tuple[StatusRow, ...]:
        """Return what the services report to people."""
        return tuple(row for service in self.made for row in service.status())

    async def prepare(self, core: Parts) -> None:
        """Make the services of the features that a policy uses before it is in force, so that they miss nothing.

        One that fails holds no policy back: its follower makes it again, and tells.
        """
        for feature in self._features:
            if _is_used(feature, core):
                with contextlib.suppress(Exception):
                    await self._services_of(feature, core)

    def followers(self, core: Parts) -> tuple[ControlService, ...]:
        """Return one service for each feature, which runs the feature's own services while the policy uses it."""
        return tuple(
            ControlService(name=f"feature {feature.name}", area=Area.UPKEEP, run=partial(self._follow, feature, core))
            for feature in self._features
        )

    async def close(self) -> None:
        """Close all services, after the last record."""
        await _close(self.made)

    async def _follow(self, feature: Feature, core: Parts) -> None:
        while True:
            if _is_used(feature, core):
                services = await self._services_of(feature, core)
                await self._run(services, feature, core)
                self._set(feature, ())
                await _close(services)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _run(self, services: Sequence[ControlService], feature: Feature, core: Parts) -> None:
        try:
            for service in services:
                self._tasks.start(service.name, service.run, service.area, may_end=service.may_end)
            while _is_used(feature, core):  # noqa: ASYNC110 (the policy is a file)
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            await self._tasks.stop(*(service.name for service in reversed(services)))

    async def _services_of(self, feature: Feature, core: Parts) -> tuple[ControlService, ...]:
        async with self._making:
            if not self._by_feature.get(feature.name):
                self._set(feature, await asyncio.to_thread(self._make_all, feature, core))
            return self._by_feature[feature.name]

    def _make_all(self, feature: Feature, core: Parts) -> tuple[ControlService, ...]:
        """Return a feature's services, after the import of its libraries, which may take a second."""
        return tuple(self._make(feature, core))

    def _set(self, feature: Feature, services: tuple[ControlService, ...]) -> None:
        self._by_feature[feature.name] = services
        self.made = tuple(service for each in self._features for service in self._by_feature.get(each.name, ()))


def _is_used(feature: Feature, core: ProcessParts) -> bool:
    return core.policy is not None and feature.is_used(core.policy, core.settings.store)


async def _close(services: Sequence[ControlService]) -> None:
    for service in reversed(services):
        if service.close is not None:
            await service.close()
