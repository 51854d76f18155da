"""The daily look at the names that safe search leads to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from small_internet import Fault, SmallInternet

from hedgerow.app.control.safe_search import SafeSearchMonitor
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.journal.recorder import SystemEvent
from hedgerow.policies.network import NetworkSettings


def test_what_has_changed_is_told_once(internet: SmallInternet, tmp_path: Path) -> None:
    place, told = Endpoint("127.0.0.1", 1), list[SystemEvent]()

    def record(events: Sequence[SystemEvent]) -> None:
        told.extend(events)

    settings = Settings(tmp_path, None, place, place, place)
    watch = SafeSearchMonitor(settings, lambda: NetworkSettings(upstream=(internet.nameserver.upstream,)), record)

    async def look() -> None:
        await watch.look()

    asyncio.run(look())
    assert told == []
    for _ in range(2):
        with internet.nameserver.misbehaving(Fault.REFUSED, "strict.bing.com"):
            asyncio.run(look())
    assert [event.detail.rpartition(" ")[2] for event in told] == ["strict.bing.com"]
    with internet.nameserver.misbehaving(Fault.REFUSED):  # nothing resolves: that says nothing of the engines
        asyncio.run(look())
    assert len(told) == 1
    asyncio.run(look())
    assert told[1].detail == "all resolve"
