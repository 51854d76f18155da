"""The queue of misses: one FIFO per client, bounded."""

from __future__ import annotations

import asyncio

import pytest

from hedgerow.client_classes import ClientClass
from hedgerow.dns.server import rate_limits
from hedgerow.dns.server.rate_limits import FairQueue


def test_clients_are_served_in_turn() -> None:
    done: list[str] = []

    async def main() -> None:
        held: FairQueue[str] = FairQueue(done.append, lambda: None)
        for number in range(100):
            held.add("greedy", ClientClass.UNNAMED, f"greedy {number}")
        held.add("modest", ClientClass.UNNAMED, "modest 0")
        held.turn()
        assert done.index("modest 0") == 1
        assert len(done) < 101
        held.add("later", ClientClass.UNNAMED, "later 0")
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(done) == 102
        assert done.index("later 0") <= done.index("greedy 40")
        held.close()

    asyncio.run(main())
    assert [each for each in done if each.startswith("greedy")] == [f"greedy {number}" for number in range(100)]


def test_queues_are_bounded_and_new_clients_still_get_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MAX_PER_CLIENT", 5)
    monkeypatch.setattr(rate_limits, "MAX_QUEUED", 8)
    away: list[None] = []
    held: FairQueue[int] = FairQueue(lambda _: None, lambda: away.append(None))
    for number in range(10):
        held.add("a", ClientClass.UNNAMED, number)
        held.add("b", ClientClass.UNNAMED, number)
    assert len(away) == 20 - 8
    held.add("c", ClientClass.UNNAMED, 0)
    assert len(away) == 20 - 8
    held.add("c", ClientClass.UNNAMED, 1)
    assert len(away) == 20 - 7
