"""The daily check of the host names of safe search."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from small_internet import Fault, SmallInternet

from hedgerow.app.control.upkeep.safe_search import SafeSearchMonitor
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.journal.recorder import SystemEvent
from hedgerow.policies.network import NetworkSettings


def test_a_change_is_reported_once(internet: SmallInternet, tmp_path: Path) -> None:
    place, reported = Endpoint("127.0.0.1", 1), list[SystemEvent]()

    def record(events: Sequence[SystemEvent]) -> None:
        reported.extend(events)

    settings = Settings(tmp_path, None, place, place, place)
    monitor = SafeSearchMonitor(settings, lambda: NetworkSettings(upstream=(internet.nameserver.upstream,)), record)

    async def check() -> None:
        await monitor.check()

    asyncio.run(check())
    assert reported == []
    for _ in range(2):
        with internet.nameserver.misbehaving(Fault.REFUSED, "strict.bing.com"):
            asyncio.run(check())
    assert [event.detail.rpartition(" ")[2] for event in reported] == ["strict.bing.com"]
    with internet.nameserver.misbehaving(Fault.REFUSED):  # nothing resolves, which says nothing about the engines
        asyncio.run(check())
    assert len(reported) == 1
    asyncio.run(check())
    assert reported[1].detail == "all resolve"
