"""Health and order of upstreams that fail, also before the network is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from struct import pack

import pytest

from hedgerow.dns import wire
from hedgerow.dns.upstreams.pool import UpstreamPool
from hedgerow.dns.upstreams.responses import Response
from hedgerow.dns.upstreams.upstream import MessageCallback, UpstreamError, UpstreamQuestion
from hedgerow.policies.network import UpstreamStrategy


class Unreachable:
    """A channel over a network that is not there."""

    secure = accepts_late_answers = False

    def __init__(self, name: str) -> None:
        self.name = name

    def send(self, ask: UpstreamQuestion, written: bytes, reported: MessageCallback) -> Callable[[], None]:
        raise OSError(101, "Network is unreachable")

    async def close(self) -> None: ...


@pytest.mark.parametrize("number", [1, 2, 4])
def test_unreachable_network_is_an_error(number: int) -> None:
    async def main() -> None:
        upstreams = UpstreamPool([Unreachable(f"udp://{last}") for last in range(number)])
        for _ in range(2):
            with pytest.raises(UpstreamError, match="no upstream answered"):
                await upstreams.ask(UpstreamQuestion(wire.name_of("example.com") + pack("!HH", wire.A, wire.IN)))
        await upstreams.close()

    asyncio.run(main())


class Silent(Unreachable):
    """A channel on which nothing comes back until it is told to."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.reported: list[tuple[UpstreamQuestion, MessageCallback]] = []

    def send(self, ask: UpstreamQuestion, written: bytes, reported: MessageCallback) -> Callable[[], None]:
        self.reported.append((ask, reported))
        return lambda: None

    def answer_all(self) -> None:
        for ask, reported in self.reported:
            reported(bytes(2) + b"\x81\x80" + pack("!HHHH", 1, 0, 0, 0) + ask.question)
        self.reported.clear()

    def fail_all(self) -> None:
        reported, self.reported = self.reported, []
        for _, tell in reported:
            tell(UpstreamError("connection closed"))


def start_asking(upstreams: UpstreamPool, names: Iterable[str]) -> None:
    for name in names:
        upstreams.start(UpstreamQuestion(wire.name_of(name) + pack("!HH", wire.A, wire.IN)), lambda _: None)


def test_simultaneous_failures_count_once() -> None:
    async def main() -> None:
        first, second, now = Silent("first"), Silent("second"), 100.0
        upstreams = UpstreamPool([first, second], clock=lambda: now)
        start_asking(upstreams, (f"n{number}.example" for number in range(50)))
        now += 1.0
        first.fail_all()
        assert (upstreams.health["first"].fails, upstreams.health["first"].backoff_until) == (1, now + 1.0)
        assert len(second.reported) == 50
        await upstreams.close()

    asyncio.run(main())


def test_one_question_probes_a_failed_upstream() -> None:
    async def main() -> None:
        first, second, now = Silent("first"), Silent("second"), 100.0
        upstreams = UpstreamPool([first, second], clock=lambda: now)
        start_asking(upstreams, ["a.example"])
        first.fail_all()
        now += 2.0
        start_asking(upstreams, ["b.example", "c.example", "d.example"])
        assert (len(first.reported), len(second.reported)) == (1, 3)
        first.answer_all()
        start_asking(upstreams, ["e.example"])
        assert len(first.reported) == 1
        await upstreams.close()

    asyncio.run(main())


def test_upstream_that_never_answered_is_not_fastest() -> None:
    async def main() -> None:
        dead, good, now = Silent("dead"), Silent("good"), 100.0
        upstreams = UpstreamPool([dead, good], clock=lambda: now, strategy=UpstreamStrategy.FASTEST)
        start_asking(upstreams, ["a.example"])
        dead.fail_all()
        now += 0.01
        good.answer_all()
        for _ in range(10):
            now += 40.0
            start_asking(upstreams, [f"n{now}.example"])
            assert good.reported
            good.answer_all()
            dead.reported.clear()
        await upstreams.close()

    asyncio.run(main())


def test_upstream_that_lost_a_race_is_not_asked_alone() -> None:
    async def main() -> None:
        slow, good, now = Silent("slow"), Silent("good"), 100.0
        upstreams = UpstreamPool([slow, good], clock=lambda: now, strategy=UpstreamStrategy.FASTEST)
        start_asking(upstreams, ["a.example"])
        assert (len(slow.reported), len(good.reported)) == (1, 1)  # nobody knows either
        now += 0.01
        good.answer_all()
        start_asking(upstreams, ["b.example"])
        assert (len(slow.reported), len(good.reported)) == (1, 1)
        await upstreams.close()

    asyncio.run(main())


def test_failure_of_an_upstream_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        upstream, now = Silent("tls://dns.example:853"), 100.0
        upstreams = UpstreamPool([upstream], clock=lambda: now)
        for number in range(5):
            now += 100.0
            start_asking(upstreams, [f"n{number}.example"])
            while upstream.reported:
                upstream.fail_all()
        start_asking(upstreams, ["last.example"])
        upstream.answer_all()
        await upstreams.close()

    with caplog.at_level("INFO"):
        asyncio.run(main())
    assert caplog.messages == [
        "The upstream tls://dns.example:853 does not answer: connection closed",
        "The upstream tls://dns.example:853 answers again",
    ]


class Refusing(Silent):
    """A channel whose upstream has failed to resolve the name."""

    def answer_all(self) -> None:
        for ask, reported in self.reported:
            reported(bytes(2) + b"\x81\x82" + pack("!HHHH", 1, 0, 0, 0) + ask.question)
        self.reported.clear()


@pytest.mark.parametrize("strategy", UpstreamStrategy)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_refusal_does_not_wait_for_an_upstream_that_is_dead(strategy: UpstreamStrategy, *, is_first: bool) -> None:
    async def main() -> None:
        dead, refusing, now = Silent("dead"), Refusing("refusing"), 100.0
        upstreams = UpstreamPool(
            [dead, refusing] if is_first else [refusing, dead], clock=lambda: now, strategy=strategy
        )
        upstreams.health["dead"].failed(now, now)
        asked = asyncio.create_task(upstreams.ask(UpstreamQuestion(wire.name_of("a.example") + pack("!HH", 1, 1))))
        await asyncio.sleep(0)
        refusing.answer_all()
        async with asyncio.timeout(30):
            with pytest.raises(UpstreamError, match="the upstream failed"):
                await asked
        assert upstreams.health["dead"].fails == 1, "its time was not over"
        await upstreams.close()

    asyncio.run(main())


def test_a_refusal_waits_for_an_upstream_that_works() -> None:
    async def main() -> None:
        refusing, working = Refusing("refusing"), Silent("working")
        upstreams = UpstreamPool([refusing, working])
        asked = asyncio.create_task(upstreams.ask(UpstreamQuestion(wire.name_of("a.example") + pack("!HH", 1, 1))))
        await asyncio.sleep(0)
        refusing.answer_all()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asked), 0.3)  # longer than for one that is dead
        working.answer_all()
        assert isinstance(await asked, Response)
        await upstreams.close()

    asyncio.run(main())
