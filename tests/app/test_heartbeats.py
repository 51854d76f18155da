"""The silence of children: real hangs are found in seconds, and who waits for a processor has not hung."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import cast

import pytest
from small_internet.running import wait_until

from hedgerow.app.children import ChildProcess, ManagedProcess
from hedgerow.app.heartbeats import Heartbeats, ProcessorUse, read_processor_use

PATIENCE_S = 3.0


class Child:
    """What the record needs of a child."""

    pid, returncode = 1, None


def ticks_until_silent(use: Callable[[float], ProcessorUse | None], most: int = 50) -> int:
    """Return the number of ticks after which a child that sends nothing is silent. `use` is that after some seconds."""
    passed = 0
    heartbeats, child = Heartbeats(1.0, lambda _: use(passed)), cast("ChildProcess", Child())
    heartbeats.watch(child)
    for passed in range(1, most):
        if heartbeats.is_silent(child, PATIENCE_S):
            return passed
    return most


@pytest.mark.parametrize(
    ("use", "ticks"),
    [
        pytest.param(lambda _: ProcessorUse(5.0, 1.0, is_runnable=False), 4, id="blocked"),
        pytest.param(lambda s: ProcessorUse(s, 1.0, is_runnable=True), 4, id="loops-for-ever"),
        pytest.param(lambda _: None, 4, id="the-kernel-tells-nothing"),
        pytest.param(lambda s: ProcessorUse(s / 2, s / 2, is_runnable=True), 5, id="loops-for-ever-on-a-busy-machine"),
        pytest.param(lambda s: ProcessorUse(s / 10, s * 0.9, is_runnable=True), 13, id="has-a-tenth-of-a-processor"),
        pytest.param(lambda _: ProcessorUse(5.0, 1.0, is_runnable=True), 50, id="gets-no-processor-at-all"),
    ],
)
def test_only_time_in_which_a_process_could_answer_counts(
    use: Callable[[float], ProcessorUse | None], ticks: int
) -> None:
    assert ticks_until_silent(use) == ticks


def test_a_wait_is_excused_once() -> None:
    """A process that waited long, ran, and then hung."""
    uses = {2: 0.0, 3: 20.0}
    assert ticks_until_silent(lambda s: ProcessorUse(s, uses.get(int(s), 20.0), is_runnable=False)) == 5


def test_a_message_and_a_late_supervisor_begin_the_count_anew() -> None:
    heartbeats, child = Heartbeats(1.0, lambda _: None), cast("ChildProcess", Child())
    assert not heartbeats.is_silent(child, 0), "nobody watches it"
    heartbeats.watch(child)
    for begin_anew in (lambda: heartbeats.receive(child), heartbeats.restart, lambda: None):
        assert [heartbeats.is_silent(child, PATIENCE_S) for _ in range(3)] == [False] * 3
        begin_anew()
    assert heartbeats.is_silent(child, PATIENCE_S)
    heartbeats.forget(child)
    heartbeats.receive(child)  # written before it was killed
    assert not heartbeats.is_silent(child, 0)


def test_a_process_that_waits_for_its_successor_is_asked_once() -> None:
    """It was counted twice per tick, and killed after half of the time."""
    child, other = cast("ChildProcess", Child()), cast("ChildProcess", Child())
    task = cast("object", None)
    managed = ManagedProcess("inspector", 0, child, predecessors={child: task, other: task})  # type: ignore[dict-item]
    assert managed.processes == (child, other)
    assert ManagedProcess("inspector", 0).processes == ()


@pytest.fixture
def busy_processor() -> Iterator[int]:
    """A processor on which a program computes all the time. Its number."""
    number = min(os.sched_getaffinity(0))
    with subprocess.Popen(["taskset", "-c", str(number), "sh", "-c", "while :; do :; done"]) as program:
        yield number
        program.kill()


def test_the_kernel_tells_who_waits_for_a_processor(busy_processor: int) -> None:
    words = ["taskset", "-c", str(busy_processor), "nice", "-n", "19", "sh", "-c", "while :; do :; done"]
    with subprocess.Popen(words) as starved:
        try:
            first = read_processor_use(starved.pid)
            assert first, "as on all kernels of distributions"

            def waits() -> bool:
                now = read_processor_use(starved.pid)
                return bool(now and now.is_runnable and now.waited_s > first.waited_s + 0.2)

            wait_until(waits, 60, "its wait is counted")
            os.kill(starved.pid, signal.SIGSTOP)
            wait_until(
                lambda: not (use := read_processor_use(starved.pid)) or not use.is_runnable, 60, "a hang is no wait"
            )
        finally:
            starved.kill()
    assert read_processor_use(starved.pid) is None, "it has ended"
