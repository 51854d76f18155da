"""The portions in which an origin's bytes are processed."""

from __future__ import annotations

import asyncio
import random
from time import perf_counter

from mitmproxy.connection import Server

from hedgerow.policies.model import DeviceId
from hedgerow.proxy.inspection.origin_pace import LARGEST, SMALLEST, OriginPace
from hedgerow.proxy.inspection.shares import TURN_SECONDS, DeviceShares


class Processing:
    """A pace whose portions cost `seconds` of work each, and what it has processed."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.portions: list[bytes] = []
        self.paused: set[Server] = set()
        self.origin = Server(address=("a.example", 443))
        shares = DeviceShares()
        self.pace = OriginPace(shares, shares.of(DeviceId("mia")), process=self._process, pause=self._pause)

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
        while self.pace.holds(self.origin):
            rounds += 1
            await asyncio.sleep(0)
        return rounds


def test_a_download_soon_passes_in_large_portions() -> None:
    async def main() -> None:
        processing = Processing()
        data = random.Random(1).randbytes(64 * LARGEST)
        for at in range(0, len(data), LARGEST):
            processing.pace.receive(processing.origin, data[at : at + LARGEST])
            await processing.drain()
        assert b"".join(processing.portions) == data
        assert len(processing.portions[0]) == SMALLEST
        assert max(map(len, processing.portions)) == LARGEST

    asyncio.run(main())


def test_bytes_that_cost_much_leave_turns_to_others() -> None:
    async def main() -> None:
        processing = Processing(2 * TURN_SECONDS)
        data = bytes(8 * SMALLEST)
        processing.pace.receive(processing.origin, data)
        assert processing.paused == {processing.origin}
        assert processing.portions == [data[:SMALLEST]], "the others follow in later turns"
        assert await processing.drain() >= 7
        assert [len(each) for each in processing.portions] == [SMALLEST] * 8
        assert not processing.paused

    asyncio.run(main())


def test_what_comes_later_follows_in_order_and_the_end_last() -> None:
    async def main() -> None:
        processing, ends = Processing(2 * TURN_SECONDS), list[int]()
        assert not processing.pace.defer(processing.origin, lambda: ends.append(0))
        processing.pace.receive(processing.origin, b"a" * 2 * SMALLEST)
        processing.pace.receive(processing.origin, b"b" * SMALLEST)
        assert processing.pace.defer(processing.origin, lambda: ends.append(len(processing.portions)))
        await processing.drain()
        assert b"".join(processing.portions) == b"a" * 2 * SMALLEST + b"b" * SMALLEST
        assert ends == [3]

    asyncio.run(main())


def test_nothing_is_processed_after_the_end_of_the_connection() -> None:
    async def main() -> None:
        processing = Processing(2 * TURN_SECONDS)
        processing.pace.receive(processing.origin, bytes(4 * SMALLEST))
        processing.pace.close()
        assert not processing.pace.holds(processing.origin)
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(processing.portions) == 1

    asyncio.run(main())
