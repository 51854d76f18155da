"""Services of features: they run while the policy uses the feature, also after a change of the policy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

from pydantic.fields import FieldInfo

from hedgerow.app.feature_services import FeatureServices
from hedgerow.features.contract import ControlService, Core, Feature
from hedgerow.journal.recorder import RecordedMessage, SystemEvent
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.feature_keys import FeatureKey
from hedgerow.task_state import Area, StatusRow
from hedgerow.watched_tasks import WatchedTasks

EVENT = SystemEvent(1.0, "restart", "dns-0")
USED = Policy(features={"network.clock": "{}"})


@dataclass(frozen=True)
class ClockSettings:
    KEY: ClassVar[str] = "network.clock"


@dataclass(frozen=True)
class WordSettings:
    KEY: ClassVar[str] = "network.words"


CLOCK = FeatureKey(
    settings=ClockSettings, kind=str, declaration=FieldInfo(), read=lambda _raw, _reader: ClockSettings()
)


@dataclass
class House:
    """A core of which only the policy counts, and what its service has seen."""

    policy: Policy = field(default_factory=Policy)
    seen: list[str] = field(default_factory=list)
    settings: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(store="", state=Path("/nonexistent")))

    def services(self, _core: Core) -> Sequence[ControlService]:
        self.seen.append("made")
        return (
            ControlService(
                name="clock", area=Area.UPKEEP, run=self.run, copies=self.copy, part=self.seen, close=self.close
            ),
        )

    async def run(self) -> None:
        self.seen.append("running")
        try:
            await asyncio.Event().wait()
        finally:
            self.seen.append("stopped")

    def copy(self, messages: list[RecordedMessage]) -> None:
        self.seen += [message.subject for message in messages if isinstance(message, SystemEvent)]

    async def close(self) -> None:
        self.seen.append("closed")


async def until(house: House, *seen: str) -> None:
    async with asyncio.timeout(20):
        while house.seen != list(seen):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def follow(house: House, services: FeatureServices[Core], policy: Policy) -> None:
    """Have a policy read, as control does."""
    house.policy = policy
    await services.prepare(cast(Any, house))


def _services(feature: Feature, core: Core) -> Sequence[ControlService]:
    return feature.services(core)


def services_of(house: House) -> tuple[FeatureServices[Core], WatchedTasks, Core]:
    tasks = WatchedTasks("control")
    feature = Feature(name="clock", summary="A clock", policy_keys=lambda: (CLOCK,), services=house.services)
    return FeatureServices((feature,), tasks, _services), tasks, cast(Any, house)


def test_a_feature_whose_part_is_asked_for_runs_from_then_on() -> None:
    async def day() -> None:
        house = House()
        services, tasks, core = services_of(house)
        await services.prepare(core)
        for service in services.followers(core):
            tasks.start(service.name, service.run, service.area)
        assert services.made == ()
        assert await services.running_part(list, "clock", core) is house.seen
        assert await services.running_part(list, "clock", core) is house.seen
        await until(house, "made", "running")
        await follow(house, services, Policy())
        assert house.seen == ["made", "running"]
        await tasks.stop("feature clock")

    asyncio.run(day())


def test_a_feature_runs_while_the_policy_uses_it() -> None:
    async def day() -> None:
        house = House()
        services, tasks, core = services_of(house)
        await services.prepare(core)
        services.copy([EVENT])  # nobody wants it
        (follower,) = services.followers(core)
        tasks.start(follower.name, follower.run, follower.area)
        await follow(house, services, USED)
        await until(house, "made", "running")
        services.copy([EVENT])
        await follow(house, services, Policy())
        await until(house, "made", "running", "dns-0", "stopped", "closed")
        await follow(house, services, USED)
        await until(house, "made", "running", "dns-0", "stopped", "closed", "made", "running")
        await tasks.stop_all()
        await services.close()
        await until(house, "made", "running", "dns-0", "stopped", "closed", "made", "running", "stopped", "closed")

    asyncio.run(day())


def test_a_feature_that_is_in_use_from_the_start_misses_no_record() -> None:
    async def start() -> None:
        house = House(USED)
        services, tasks, core = services_of(house)
        await services.prepare(core)
        services.copy([EVENT])
        (follower,) = services.followers(core)
        tasks.start(follower.name, follower.run, follower.area)
        await until(house, "made", "dns-0", "running")
        await tasks.stop_all()

    asyncio.run(start())


def test_a_feature_that_cannot_start_holds_no_policy_back() -> None:
    def fail(_core: Core) -> Sequence[ControlService]:
        raise OSError("no library")

    broken = Feature(name="broken", summary="A broken one", policy_keys=lambda: (CLOCK,), services=fail)
    services = FeatureServices((broken,), WatchedTasks("control"), _services)
    asyncio.run(services.prepare(cast(Any, House(USED))))
    assert services.made == ()


def test_the_end_of_a_feature_without_services_stops_nothing_else() -> None:
    async def day() -> None:
        house = House(Policy(features={"network.clock": "{}", "network.words": "{}"}))
        clock = Feature(name="clock", summary="A clock", policy_keys=lambda: (CLOCK,), services=house.services)
        words_key = replace(CLOCK, settings=WordSettings)
        words = Feature(name="words", summary="Words on pages", policy_keys=lambda: (words_key,))
        tasks, core = WatchedTasks("control"), cast(Any, house)
        services = FeatureServices((clock, words), tasks, _services)
        await services.prepare(core)
        for follower in services.followers(core):
            tasks.start(follower.name, follower.run, follower.area)
        await until(house, "made", "running")
        await follow(house, services, USED)
        await follow(house, services, Policy())
        await until(house, "made", "running", "stopped", "closed")
        await tasks.stop_all()

    asyncio.run(day())


def test_a_feature_that_fails_costs_nothing_but_its_own_part() -> None:
    """Neither the journal, the pages nor the end of control suffer from an error of a service."""

    class Broken(House):
        def services(self, core: Core) -> Sequence[ControlService]:
            (service,) = super().services(core)
            broken = replace(service, name="broken", copies=fail, status=fail, close=fail)
            return broken, replace(service, status=lambda: [StatusRow("clock", "It is late", "Wait")])

    def fail(*_: object) -> Any:
        raise RuntimeError("no clock")

    async def day() -> None:
        house = Broken(USED)
        services, tasks, core = services_of(house)
        await services.prepare(core)
        services.copy([EVENT])
        assert [row.about for row in services.status()] == ["clock"]
        await services.close()
        assert house.seen == ["made", "dns-0", "closed"]
        assert [(state.name, state.failures) for state in tasks.states] == [("broken", 3)]

    asyncio.run(day())
