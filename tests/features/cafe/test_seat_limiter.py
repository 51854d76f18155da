"""The limits of seats go with the last seat, whatever happened before. A stand-in for nftables has their table."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hedgerow.app.feature_services import FeatureServices
from hedgerow.app.gateway import reconciling
from hedgerow.app.gateway.config import GatewayConfig
from hedgerow.app.gateway.process import take_over_leftovers
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.features.cafe import FEATURE, seat_limiter
from hedgerow.features.cafe.seat_limiter import SeatLimiter
from hedgerow.features.contract import ControlService, Feature, GatewayCore
from hedgerow.journal.event_sender import MetricSeries
from hedgerow.network import gateway
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import parse_policy
from hedgerow.policies.ruleset import Rulesets
from hedgerow.watched_tasks import WatchedTasks

POLICY = b"""
cafe: {bandwidth: {child: 8}}
seats: {seat-1: {mac: "02:00:00:00:00:01"}}
"""
RATE = ("hedgerow_seat_bytes_per_second", "seat-1", "down")


@dataclass
class Kernel:
    """The table of seats, through which something passes between two looks, and what was reported."""

    state: Path
    has_table: bool = False
    octets: int = 0
    reported: dict[MetricSeries, float] = field(default_factory=dict)

    def nft(self, *_words: str, text: str | None = None) -> str | None:
        if text is not None:
            self.has_table = '"chain"' in text
        self.octets += 1000
        counter = {"counter": {"name": "down-1", "bytes": self.octets}}
        return json.dumps({"nftables": [counter]}) if self.has_table or text is not None else None

    def core(self, view: object) -> GatewayCore:
        settings: Any = SimpleNamespace(state=self.state, store="")
        seen: Any = view
        writer: Any = None
        return GatewayCore(
            settings=settings, view=lambda: seen, guarded_tunnel=tuple, report=self.reported.update, writer=writer
        )


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    found = Kernel(tmp_path)
    monkeypatch.setattr(gateway, "_nft", found.nft)
    monkeypatch.setattr(reconciling, "RECONCILE_INTERVAL_S", 0.01)
    monkeypatch.setattr(seat_limiter, "LOOK_EVERY_S", 0.0)
    return found


@pytest.fixture
def limiter(kernel: Kernel, catalogue: Catalogue) -> SeatLimiter:
    rulesets = Rulesets(parse_policy(POLICY, Path("hedgerow.yaml")), (), (), catalogue)
    return SeatLimiter(kernel.core(SimpleNamespace(policy=rulesets.policy, rulesets=rulesets)))


def _services_of(feature: Feature, core: GatewayCore) -> Sequence[ControlService]:
    return feature.gateway_services(core) if feature.gateway_services is not None else ()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def run_until(limiter: SeatLimiter, condition: Callable[[], bool]) -> None:
    """Run it until something is so, and have it stop as when the last seat is removed from the policy."""
    running = asyncio.create_task(limiter.run())
    await until(condition)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await limiter.close()


def test_nothing_moves_any_more(kernel: Kernel, limiter: SeatLimiter) -> None:
    GatewayConfig(("no-such-port",)).save(kernel.state)
    asyncio.run(run_until(limiter, lambda: kernel.reported.get(RATE, 0.0) > 0.0))
    assert kernel.reported[RATE] == 0.0
    assert not kernel.has_table


def test_what_a_killed_run_left_is_removed_without_a_seat_in_the_policy(kernel: Kernel) -> None:
    async def start() -> None:
        tasks, core = WatchedTasks("gateway"), kernel.core(SimpleNamespace(policy=Policy()))
        services = FeatureServices[GatewayCore]((FEATURE,), tasks, _services_of)
        for each in services.followers(core):
            tasks.start(each.name, each.run, each.area)
        await take_over_leftovers(services, (FEATURE,))
        assert services.made == (), "there is nothing to do"
        kernel.has_table = True
        await take_over_leftovers(services, (FEATURE,))
        await until(lambda: not kernel.has_table)
        await tasks.stop_all()
        await services.close()

    asyncio.run(start())
