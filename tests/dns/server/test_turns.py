"""Sharing of the event loop among connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from hedgerow.client_classes import named_client, unnamed_client
from hedgerow.dns.server.turns import SLICE_SECONDS, TurnScheduler


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def with_turns(
    use: Callable[[TurnScheduler, Callable[[str, float], Callable[[], None]], list[str]], None],
    turns_later: list[list[str]],
) -> None:
    """Run `use`, and compare what was done then and in each turn of the loop after it."""
    clock, done = Clock(), list[str]()

    def work(name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            done.append(name)
            clock.now += seconds

        return run

    async def main() -> None:
        turns = TurnScheduler(clock)
        use(turns, work, done)
        seen = [list(done)]
        while turns.all_waiting:
            done.clear()
            await asyncio.sleep(0)
            seen.append(list(done))
        assert seen == turns_later

    asyncio.run(main())


def test_work_is_done_at_once_until_the_slice_is_used_up() -> None:
    def use(turns: TurnScheduler, work: Callable[[str, float], Callable[[], None]], _: list[str]) -> None:
        for name in "abcd":
            turns.run(unnamed_client(name), work(name, 0.6 * SLICE_SECONDS))

    with_turns(use, [["a", "b"], ["c", "d"]])


def test_clients_are_served_in_turn() -> None:
    """One portion of each per turn, however much one of them has."""

    def use(turns: TurnScheduler, work: Callable[[str, float], Callable[[], None]], _: list[str]) -> None:
        turns.run(unnamed_client("greedy"), work("long", 2 * SLICE_SECONDS))
        for number in range(3):
            turns.run(unnamed_client("greedy"), work(f"greedy{number}", 2 * SLICE_SECONDS))
        turns.run(unnamed_client("other"), work("other", 0.0))

    with_turns(use, [["long"], ["greedy0"], ["other", "greedy1"], ["greedy2"]])


def test_a_named_client_has_every_second_portion() -> None:
    def use(turns: TurnScheduler, work: Callable[[str, float], Callable[[], None]], _: list[str]) -> None:
        turns.run(unnamed_client("first"), work("first", 2 * SLICE_SECONDS))
        for number in range(3):
            turns.run(unnamed_client(f"stranger{number}"), work(f"stranger{number}", 2 * SLICE_SECONDS))
        for number in range(2):
            turns.run(named_client("mias-tablet"), work(f"mia{number}", 2 * SLICE_SECONDS))

    with_turns(use, [["first"], ["mia0"], ["stranger0"], ["mia1"], ["stranger1"], ["stranger2"]])


def test_failing_work_does_not_stop_the_rest() -> None:
    def fail() -> None:
        raise RuntimeError("as a fault of ours")

    async def main() -> None:
        problems: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["exception"]))
        turns, done = TurnScheduler(), list[str]()
        turns.queue(unnamed_client("a"), fail)
        turns.queue(unnamed_client("b"), lambda: done.append("b"))
        while turns.all_waiting:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0)
        assert (done, len(problems)) == (["b"], 1)
        with pytest.raises(RuntimeError):
            turns.run(unnamed_client("a"), fail)
        turns.queue(unnamed_client("a"), lambda: done.append("never"))
        turns.close()
        await asyncio.sleep(0)
        assert done == ["b"]

    asyncio.run(main())
