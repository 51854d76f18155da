"""Bodies that are checked whole: collected, queued by device, decided once per content, and never for longer than the
deadline.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import toy_scanner
import uvloop

from hedgerow.client_classes import ClassedClient, named_client, unnamed_client
from hedgerow.features.pictures import whole_bodies
from hedgerow.features.pictures.whole_bodies import MAX_WHOLE, SMALLEST_BODY, WholeBodies
from hedgerow.policies.content import ContentRules, ScoreRule
from hedgerow.policies.model import Decision
from hedgerow.proxy.inspection.engine.flows import HeaderFields
from hedgerow.proxy.inspection.response import ResponseScanning
from hedgerow.proxy.pages.response import ProxyResponse
from hedgerow.proxy.policy import Counters
from hedgerow.proxy.scanners import body
from hedgerow.proxy.scanners.response_scanner import BodyScanner
from hedgerow.proxy.scanners.scanner import Head, ScanRules, ScoringScanner
from hedgerow.proxy.scanners.workers import ScanPool

PICTURE = Head("https://a.example/x", "image/png")
RULES = ScanRules(ContentRules())
TOY = (sys.executable, toy_scanner.__file__, "--whole")
TABLET, PHONE = named_client("tablet"), named_client("phone")
MISSED = "too long to be weighed"


@pytest.fixture(autouse=True)
def _with_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "SCANNERS", (toy_scanner.WholeScanner,))
    monkeypatch.setattr(whole_bodies, "PROCESSES", 1)


class Picture:
    """A picture on its way to a device. `decision` is there once `decided` is set."""

    def __init__(self, queue: WholeBodies, client: ClassedClient = TABLET) -> None:
        self.decision: Decision | None = None
        self.scanner = BodyScanner(
            PICTURE, RULES, ScanPool(), self._refuse, lambda *_: None, {toy_scanner.WholeScanner: queue}, client
        )

    def _refuse(self, decision: Decision) -> ProxyResponse:
        self.decision = decision
        return ProxyResponse(403, (), b"")

    def send(self, data: bytes, *, is_last: bool = True) -> None:
        self.scanner.feed(data, is_last=is_last)

    async def decided(self) -> str | None:
        """Return what the decision says, None if the picture is shown."""
        if self.scanner.is_busy:
            ready = asyncio.Event()
            self.scanner.when_ready(ready.set)
            await ready.wait()
        self.scanner.result()
        return self.decision.what if self.decision is not None else None


def picture(first: bytes, number: int = 0) -> bytes:
    return first + number.to_bytes(4) + bytes(SMALLEST_BODY)


@contextlib.asynccontextmanager
async def queue_of(outcomes: list[str] | None = None) -> AsyncIterator[WholeBodies]:
    queue = WholeBodies(outcomes.append if outcomes is not None else lambda _: None, TOY)
    try:
        yield queue
    finally:
        queue.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    uvloop.run(main())


def test_a_body_is_decided_once_per_content() -> None:
    async def test() -> None:
        outcomes: list[str] = []
        async with queue_of(outcomes) as queue:
            first, second, other = Picture(queue), Picture(queue, PHONE), Picture(queue)
            bad = picture(toy_scanner.BAD)
            for at in range(0, len(bad), 300):
                assert not first.scanner.is_busy
                first.send(bad[at : at + 300], is_last=at + 300 >= len(bad))
            assert await first.decided() == f"picture {queue.pools[0].pid}"
            second.send(bad)
            assert not second.scanner.is_busy, "the content is known"
            assert await second.decided() == await first.decided()
            other.send(picture(b"good"))
            assert await other.decided() is None
            assert outcomes == ["hidden", "hidden", "shown"]

    run(test)


def test_small_bodies_pass_and_the_beginning_of_a_long_one_decides() -> None:
    async def test() -> None:
        async with queue_of() as queue:
            small, long = Picture(queue), Picture(queue)
            small.send(toy_scanner.BAD * 100)
            assert (small.scanner.is_busy, await small.decided()) == (False, None)
            long.send(toy_scanner.BAD + bytes(MAX_WHOLE // 2), is_last=False)
            assert not long.scanner.is_busy
            long.send(bytes(MAX_WHOLE), is_last=False)
            assert await long.decided() == f"picture {queue.pools[0].pid}"

    run(test)


def test_a_page_goes_on_if_the_processes_for_its_pictures_cannot_start() -> None:
    async def test() -> None:
        queue = WholeBodies(command=("/no/such/program",))
        queue.start()
        with pytest.raises(FileNotFoundError):
            Picture(queue).send(picture(b"good"))

    run(test)


def test_each_device_has_its_turn() -> None:
    async def test() -> None:
        async with queue_of() as queue:
            order: list[str] = []

            async def wait(name: str, each: Picture) -> None:
                await each.decided()
                order.append(name)

            flood = [Picture(queue) for _ in range(6)]
            for number, each in enumerate(flood):
                each.send(picture(b"good", number))
            other = Picture(queue, PHONE)
            other.send(picture(b"good", 99))
            await asyncio.gather(*(wait("flood", each) for each in flood), wait("other", other))
            assert order == ["flood", "other", *["flood"] * 5], "only the one that the process has begun is before it"

    run(test)


def test_the_next_body_is_with_the_process_before_the_first_is_done() -> None:
    async def test() -> None:
        async with queue_of() as queue:
            pictures = [Picture(queue) for _ in range(4)]
            for number, each in enumerate(pictures):
                each.send(picture(b"good", number))
            assert len(queue.pools[0]._jobs) == whole_bodies.JOBS
            assert [await each.decided() for each in pictures] == [None] * 4

    run(test)


def test_a_missed_deadline_has_a_fixed_answer_and_nothing_is_kept_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        outcomes: list[str] = []
        async with queue_of(outcomes) as queue:
            monkeypatch.setattr(whole_bodies, "DEADLINE_SECONDS", 0.2)
            hangs, behind = Picture(queue), Picture(queue)
            hangs.send(picture(toy_scanner.HANGS))
            behind.send(picture(b"good"))
            assert [await hangs.decided(), await behind.decided()] == [MISSED, MISSED]
            assert outcomes == ["unchecked", "unchecked"]
            monkeypatch.setattr(whole_bodies, "DEADLINE_SECONDS", 30.0)
            again = Picture(queue)
            again.send(picture(b"good"))  # when the limit on CPU time has ended the process
            assert await again.decided() is None

    run(test)


@pytest.mark.parametrize("first", [toy_scanner.EXHAUSTS_MEMORY, toy_scanner.DIES])
def test_a_body_that_ends_its_process_is_not_checked_and_the_next_is(first: bytes) -> None:
    async def test() -> None:
        async with queue_of() as queue:
            hostile, harmless = Picture(queue), Picture(queue)
            hostile.send(picture(first))
            harmless.send(picture(b"good"))
            assert [await hostile.decided(), await harmless.decided()] == [MISSED, None]

    run(test)


def test_room_is_limited_per_device_and_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with queue_of() as queue:
            monkeypatch.setattr(whole_bodies, "MAX_DEVICE_BYTES", 10_000)
            half, too_much, other = Picture(queue), Picture(queue), Picture(queue, PHONE)
            half.send(b"g" * 6_000, is_last=False)
            too_much.send(b"g" * 6_000, is_last=False)
            assert await too_much.decided() == MISSED
            other.send(picture(b"good"))
            assert await other.decided() is None
            del half
            gc.collect()
            later = Picture(queue)
            later.send(b"g" * 9_000)
            assert await later.decided() is None

    run(test)


def test_devices_without_a_name_leave_half_of_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_bodies, "MAX_BYTES", 20_000)

    async def test() -> None:
        async with queue_of() as queue:
            strangers = [Picture(queue, unnamed_client(f"192.168.1.{number}")) for number in range(4)]
            for stranger in strangers:
                stranger.send(b"g" * 4_000, is_last=False)
            assert [stranger.scanner.is_done for stranger in strangers] == [False, False, True, True]
            named = Picture(queue)
            named.send(b"g" * 9_000)
            assert await named.decided() is None

    run(test)


def test_a_body_that_nobody_waits_for_is_not_checked() -> None:
    async def test() -> None:
        async with queue_of() as queue:
            first, second, gone = Picture(queue), Picture(queue), Picture(queue)
            first.send(picture(b"good", 1))
            second.send(picture(b"good", 4))
            gone.send(picture(toy_scanner.DIES, 2))
            del gone
            gc.collect()
            last = Picture(queue)
            last.send(picture(b"good", 3))
            assert [await each.decided() for each in (first, second, last)] == [None] * 3
            assert queue.pools[0].pid is not None

    run(test)


def test_a_body_that_waits_when_the_key_is_switched_off_is_still_checked() -> None:
    async def test() -> None:
        async with queue_of() as queue:
            scoring = ScoringScanner(
                key="toy",
                kind=toy_scanner.WholeScanner,
                queue=lambda _count, _start: queue,
                counter="toys",
                is_exempt=lambda _host: False,
            )
            policy = SimpleNamespace(scoring=(scoring,), find_client=lambda _address: None, phrase_lists=())
            clients: Any = SimpleNamespace(policy=policy)
            scanning = ResponseScanning(clients, Counters(), ScanPool())
            asked = SimpleNamespace(host="a.example", url="https://a.example/x", initiator="")
            active: Any = SimpleNamespace(
                ruleset=SimpleNamespace(content=ContentRules(scores=(ScoreRule("toy", True, 50),))),
                requests=(asked,),
                address="192.168.1.2",
                is_explicitly_allowed=False,
            )
            response = SimpleNamespace(status_code=200, headers=HeaderFields([(b"content-type", b"image/png")]))
            flow: Any = SimpleNamespace(request=SimpleNamespace(headers=HeaderFields()), response=response, metadata={})
            scanning.scan(flow, active, lambda _decision: ProxyResponse(403, (), b""))
            assert flow.metadata
            waiting, begun = Picture(queue), Picture(queue)
            waiting.send(picture(toy_scanner.BAD))
            begun.send(toy_scanner.BAD, is_last=False)
            policy.scoring = ()
            scanning.swap()
            begun.send(picture(toy_scanner.BAD, 1))
            assert await waiting.decided() == await begun.decided() == f"picture {queue.pools[0].pid}"

    run(test)
