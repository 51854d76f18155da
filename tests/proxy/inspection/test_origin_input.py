"""The portions in which an origin's bytes are processed."""

from __future__ import annotations

import asyncio
import random
from time import perf_counter

from mitmproxy.connection import Server

from hedgerow.policies.model import DeviceId
from hedgerow.proxy.inspection.origin_input import LARGEST, SMALLEST, OriginInputQueue
from hedgerow.proxy.inspection.shares import FREE_SECONDS, TURN_SECONDS, DeviceShares


class Processing:
    """An input queue whose portions cost `seconds` of work each, and what it has processed."""

    def __init__(self, seconds: float = 0.0, shares: DeviceShares | None = None) -> None:
        self.seconds = seconds
        self.portions: list[bytes] = []
        self.takes_whole = False
        self.paused: set[Server] = set()
        self.origin = Server(address=("a.example", 443))
        self.shares = shares = shares or DeviceShares()
        self.share = shares.of(DeviceId("mia"))
        self.queue = OriginInputQueue(
            shares, self.share, process_whole=self._process_whole, process=self._process, pause=self._pause
        )

    def _process_whole(self, origin: object, data: bytes) -> bool:
        if self.takes_whole:
            self._process(origin, data)
        return self.takes_whole

    def _process(self, _origin: object, data: bytes) -> None:
        self.portions.append(data)
        ends = perf_counter() + self.seconds
        while perf_counter() < ends:
            pass

    def _pause(self, origin: object, is_paused: bool) -> None:
        assert isinstance(origin, Server)
        (self.paused.add if is_paused else self.paused.discard)(origin)

    async def drain(self) -> int:
        """Return the rounds of the event loop until nothing is held."""
        rounds = 0
        while self.queue.holds(self.origin):
            rounds += 1
            await asyncio.sleep(0)
        return rounds


def test_a_download_soon_passes_in_large_portions() -> None:
    async def main() -> None:
        processing = Processing()
        data = random.Random(1).randbytes(64 * LARGEST)
        for at in range(0, len(data), LARGEST):
            processing.queue.receive(processing.origin, data[at : at + LARGEST])
            await processing.drain()
        assert b"".join(processing.portions) == data
        assert len(processing.portions[0]) == SMALLEST
        assert max(map(len, processing.portions)) == LARGEST

    asyncio.run(main())


def test_bytes_that_cost_much_leave_turns_to_others() -> None:
    async def main() -> None:
        processing = Processing(2 * TURN_SECONDS)
        data = bytes(8 * SMALLEST)
        processing.queue.receive(processing.origin, data)
        assert processing.paused == {processing.origin}
        assert processing.portions == [data[:SMALLEST]], "the others follow in later turns"
        assert await processing.drain() >= 7
        assert [len(each) for each in processing.portions] == [SMALLEST] * 8
        assert not processing.paused

    asyncio.run(main())


def test_what_comes_later_follows_in_order_and_the_end_last() -> None:
    async def main() -> None:
        processing, ends = Processing(2 * TURN_SECONDS), list[int]()
        assert not processing.queue.defer(processing.origin, lambda: ends.append(0))
        processing.queue.receive(processing.origin, b"a" * 2 * SMALLEST)
        processing.queue.receive(processing.origin, b"b" * SMALLEST)
        assert processing.queue.defer(processing.origin, lambda: ends.append(len(processing.portions)))
        await processing.drain()
        assert b"".join(processing.portions) == b"a" * 2 * SMALLEST + b"b" * SMALLEST
        assert ends == [3]

    asyncio.run(main())


def test_nothing_is_processed_after_the_end_of_the_connection() -> None:
    async def main() -> None:
        processing = Processing(2 * TURN_SECONDS)
        processing.queue.receive(processing.origin, bytes(4 * SMALLEST))
        processing.queue.close()
        assert not processing.queue.holds(processing.origin)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(processing.portions) == 1

    asyncio.run(main())


def test_answers_on_many_connections_of_one_device_take_turns_of_one_each() -> None:
    """An event loop hands over the answers of all connections at once.

    Other devices are served in between all the same.
    """

    async def main() -> None:
        shares, done = DeviceShares(), list[str]()
        connections = [Processing(4 * FREE_SECONDS, shares) for _ in range(4)]
        connections[0].share.charge(1.0, perf_counter())
        for each in connections:
            each.takes_whole = True
            each.queue.receive(each.origin, b"page")
        assert [len(each.portions) for each in connections] == [1, 0, 0, 0]
        assert [each.origin in each.paused for each in connections] == [False, True, True, True]
        while any(each.queue.holds(each.origin) for each in connections):
            done.append("another device")
            before = sum(len(each.portions) for each in connections)
            await asyncio.sleep(0)
            assert sum(len(each.portions) for each in connections) <= before + 1
        assert [each.portions for each in connections] == [[b"page"]] * 4
        assert len(done) >= 3
        assert not any(each.paused for each in connections)

    asyncio.run(main())


def test_an_answer_that_waits_for_its_turn_keeps_its_order_and_its_end() -> None:
    async def main() -> None:
        processing, ends = Processing(), list[int]()
        processing.takes_whole = True
        processing.share.charge(1.0, perf_counter())
        processing.shares.wait(processing.shares.of(DeviceId("tom")), lambda: None)
        processing.queue.receive(processing.origin, b"an")
        processing.queue.receive(processing.origin, b"swer")
        assert processing.queue.defer(processing.origin, lambda: ends.append(len(processing.portions)))
        assert processing.portions == []
        await processing.drain()
        assert (processing.portions, ends) == ([b"answer"], [1])

    asyncio.run(main())


def test_what_an_idle_origin_sends_does_not_wait() -> None:
    """A request that came meanwhile would seem to be answered by it."""

    async def main() -> None:
        processing = Processing()
        processing.takes_whole = True
        processing.share.charge(1.0, perf_counter())
        processing.shares.wait(processing.shares.of(DeviceId("tom")), lambda: None)
        processing.queue.receive(processing.origin, b"unasked", may_wait=False)
        assert processing.portions == [b"unasked"]

    asyncio.run(main())
