"""Fair shares of an inspector's time."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import cast
from unittest.mock import Mock

import pytest

from hedgerow.frame_budget import MAX_TOKENS
from hedgerow.policies.model import DeviceId
from hedgerow.proxy.inspection import handshake
from hedgerow.proxy.inspection.handshake import ClientHandshake, _HandshakeStream
from hedgerow.proxy.inspection.shares import (
    CONNECTIONS,
    FREE_SECONDS,
    PART,
    ROUND_SECONDS,
    TURN_SECONDS,
    DeviceShares,
    DeviceTokens,
)

TABLET, PHONE = DeviceId("tablet"), DeviceId("phone")


async def rounds(count: int) -> None:
    """Let the event loop run some rounds."""
    for _ in range(count):
        await asyncio.sleep(0)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time by which work is charged."""
    clock = Clock()
    monkeypatch.setattr(handshake, "perf_counter", clock)
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


def test_a_device_that_is_ahead_waits_until_it_has_idled() -> None:
    share = DeviceShares().of(TABLET)
    share.charge(FREE_SECONDS + 0.01, 100.0)
    assert share.is_ahead(100.0)
    assert not share.is_ahead(100.0 + 0.011 / PART)


def test_little_work_of_a_device_that_is_ahead_is_done_at_once_in_each_round() -> None:
    async def run() -> None:
        shares = DeviceShares()
        share = shares.of(TABLET)
        assert not shares.must_wait(share, 100.0)
        share.charge(10 * FREE_SECONDS, 100.0)
        for _ in range(2):
            assert not shares.must_wait(share, 100.0)
            assert not shares.must_wait(share, 100.0 + TURN_SECONDS / 2)
            assert shares.must_wait(share, 100.0 + TURN_SECONDS), "others must be served"
            await rounds(1)

    asyncio.run(run())


def test_a_device_that_is_ahead_does_not_overtake_those_that_wait() -> None:
    async def run() -> None:
        shares = DeviceShares()
        share = shares.of(TABLET)
        share.charge(10 * FREE_SECONDS, 100.0)
        shares.wait(shares.of(PHONE), lambda: None)
        assert shares.must_wait(share, 100.0)
        await rounds(2)
        assert not shares.must_wait(share, 100.0)

    asyncio.run(run())


def test_turns_alternate_between_devices_however_many_connections_one_has() -> None:
    async def run() -> list[str]:
        shares, done = DeviceShares(), list[str]()
        for number in range(4):
            shares.wait(shares.of(TABLET), lambda number=number: done.append(f"tablet {number}"))  # type: ignore[misc]
        shares.wait(shares.of(PHONE), lambda: done.append("phone"))
        await rounds(10)
        return done

    assert asyncio.run(run()) == ["tablet 0", "phone", "tablet 1", "tablet 2", "tablet 3"]


def test_devices_without_a_name_have_one_part_together() -> None:
    shares = DeviceShares()
    for number in range(30):
        shares.of(DeviceId(f"192.168.1.{number}"), is_named=False).charge(FREE_SECONDS / 10, 100.0)
    assert shares.of(DeviceId("192.168.1.99"), is_named=False).is_ahead(100.0)
    assert not shares.of(TABLET).is_ahead(100.0)
    assert not shares.of(DeviceId("192.168.1.99"), is_named=False).is_ahead(101.0)


def test_every_second_turn_is_of_a_named_device(clock: Clock) -> None:
    async def run() -> list[str]:
        shares, done = DeviceShares(), list[str]()
        for number in range(4):
            share = shares.of(DeviceId(f"192.168.1.{number}"), is_named=False)
            share.charge(1.0, clock.now)
            shares.wait(share, lambda number=number: done.append(f"stranger {number}"))  # type: ignore[misc]
        for number in range(2):
            shares.of(TABLET).charge(1.0, clock.now)
            shares.wait(shares.of(TABLET), lambda number=number: done.append(f"tablet {number}"))  # type: ignore[misc]
        await rounds(10)
        return done

    assert asyncio.run(run()) == ["tablet 0", "stranger 0", "tablet 1", "stranger 1", "stranger 2", "stranger 3"]


def test_between_two_turns_of_a_device_that_is_ahead_the_loop_serves_others() -> None:
    async def run() -> list[str]:
        shares, done = DeviceShares(), list[str]()
        share, loop = shares.of(TABLET), asyncio.get_running_loop()
        for number in range(3):
            shares.wait(share, lambda number=number: done.append(f"turn {number}"))  # type: ignore[misc]
        loop.call_soon(lambda: done.append("somebody else"))
        await rounds(10)
        return done

    assert asyncio.run(run()) == ["turn 0", "somebody else", "turn 1", "turn 2"]


def test_handshakes_of_a_device_that_opens_many_connections_at_once_wait_for_their_turns(clock: Clock) -> None:
    """And are not read meanwhile: other devices are served between any two."""

    async def main() -> list[str]:
        done, shares = list[str](), DeviceShares()

        def work(name: str) -> None:
            done.append(name)
            clock.now += ROUND_SECONDS

        share = shares.of(TABLET)
        owner = cast(ClientHandshake, SimpleNamespace(share=share, shares=shares))
        streams = [_HandshakeStream(owner) for _ in range(4)]
        for stream in streams:
            stream.transport = Mock(is_closing=lambda: False)  # which counts the pauses
        streams[0].in_turn(owner, lambda: done.append("first"))
        share.charge(1.0, clock.now)
        assert not shares.must_wait(share, clock.now - TURN_SECONDS), "the device's work of this round is over now"
        for number, stream in enumerate(streams[1:], 1):
            stream.in_turn(owner, lambda number=number: work(f"handshake {number}"))  # type: ignore[misc]
            cast(Mock, stream.transport).pause_reading.assert_called_once()
        streams[2].is_lost = True
        for _ in range(4):
            done.append("others")
            await asyncio.sleep(0)
        assert [cast(Mock, each.transport).resume_reading.call_count for each in streams] == [0, 1, 0, 1]
        return done

    assert asyncio.run(main()) == ["first", "others", "handshake 1", "others", "handshake 3", "others", "others"]


def test_short_turns_of_a_device_that_is_ahead_share_a_round(clock: Clock) -> None:
    async def run() -> list[str]:
        shares, done = DeviceShares(), list[str]()
        share, loop = shares.of(TABLET), asyncio.get_running_loop()
        share.charge(1.0, clock.now)
        for number in range(3):
            shares.wait(share, lambda number=number: done.append(f"turn {number}"))  # type: ignore[misc]
        loop.call_soon(lambda: done.append("somebody else"))
        await rounds(2)
        return done

    assert asyncio.run(run()) == ["turn 0", "turn 1", "turn 2", "somebody else"]


def test_a_cancelled_turn_is_not_run() -> None:
    async def run() -> list[str]:
        shares, done = DeviceShares(), list[str]()
        shares.wait(shares.of(TABLET), lambda: done.append("never")).cancel()
        shares.wait(shares.of(TABLET), lambda: done.append("second"))
        await rounds(10)
        return done

    assert asyncio.run(run()) == ["second"]


def test_a_device_that_overspent_opens_no_connection_until_time_has_passed() -> None:
    tokens = DeviceTokens()
    tokens.refill(0.0)
    tokens.charge(CONNECTIONS * MAX_TOKENS - 1)
    assert not tokens.are_spent(0.0), "little is left, which is no offence"
    tokens.charge(2)
    assert [tokens.are_spent(now) for now in (0.0, 1.0, 30.0)] == [True, True, False]


def test_the_share_outlives_its_connections() -> None:
    shares = DeviceShares()
    shares.of(TABLET).tokens.charge(CONNECTIONS * MAX_TOKENS + 1)
    assert shares.of(TABLET).tokens.are_spent(0.0)
    assert not shares.of(PHONE).tokens.are_spent(0.0)
