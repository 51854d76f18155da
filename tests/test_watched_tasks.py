"""Tasks that fail start again, are reported, and end when they are told to."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from hedgerow import watched_tasks
from hedgerow.task_state import Area, TaskState
from hedgerow.watched_tasks import WatchedTasks, note_unexpected


def in_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **names: Any) -> None:
        asyncio.run(test(*args, **names))

    return run


@contextlib.asynccontextmanager
async def watched(process: str) -> AsyncIterator[WatchedTasks]:
    tasks = WatchedTasks(process)
    try:
        yield tasks
    finally:
        await tasks.stop_all()


class Flaky:
    """A task that raises its errors one after another, and then runs. `None` is an end without an error."""

    def __init__(self, *errors: BaseException | None) -> None:
        self._errors = list(errors)
        self.runs = 0
        self.is_steady = asyncio.Event()
        self.was_cancelled = False

    async def run(self) -> None:
        self.runs += 1
        await asyncio.sleep(0)
        if self._errors:
            if (error := self._errors.pop(0)) is not None:
                raise error
            return
        self.is_steady.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched_tasks, "FIRST_PAUSE_S", 0.01)


@pytest.fixture
def usual_hooks() -> Iterator[None]:
    before = threading.excepthook, sys.unraisablehook
    yield
    threading.excepthook, sys.unraisablehook = before


ERRORS = {
    "a library's error": (
        TypeError("'NoneType' object is not iterable"),
        "TypeError: 'NoneType' object is not iterable (test_watched_tasks",
    ),
    "a full disk": (OSError(28, "No space left on device"), "OSError: [Errno 28] No space left on device ("),
    "an end": (None, "it has ended"),
    "an error in a group": (ExceptionGroup("of two", [KeyError("who")]), "KeyError: 'who'"),
    "another's cancellation": (asyncio.CancelledError(), "it was cancelled"),
    "no memory": (MemoryError(), "MemoryError ("),
}


@pytest.mark.parametrize("what", ERRORS)
@in_a_loop
async def test_whatever_ends_a_task_it_runs_again_and_the_reason_is_told(
    what: str, caplog: pytest.LogCaptureFixture
) -> None:
    error, reason = ERRORS[what]
    reports: list[TaskState] = []
    flaky = Flaky(error)
    async with watched("dns") as tasks:
        tasks.report_to(reports.append)
        tasks.start("snapshots", flaky.run, Area.RULES)
        await asyncio.wait_for(flaky.is_steady.wait(), 30)
        (state,) = tasks.states
    assert [(each.failures, each.is_running) for each in reports] == [(1, False), (1, True)]
    assert state.reason.startswith(reason)
    assert state.is_trouble(time.time())
    assert not state.is_failing, "it runs"
    assert flaky.was_cancelled
    lines = [
        record.getMessage()
        for record in caplog.records
        if record.name == "hedgerow.tasks" and record.levelno >= logging.ERROR
    ]
    assert lines == [f"The task snapshots has failed, and starts again: {state.reason}"]


@in_a_loop
async def test_a_task_that_keeps_failing_is_told_as_failing_and_one_that_runs_steadily_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watched_tasks, "STEADY_S", 0.2)
    flaky, mended = Flaky(*(ValueError(str(number)) for number in range(4))), asyncio.Event()
    async with watched("control") as tasks:
        tasks.start("backups", flaky.run, Area.UPKEEP)
        tasks.report_to(lambda state: mended.set() if state.failures and not state.in_a_row else None)
        await asyncio.wait_for(flaky.is_steady.wait(), 30)
        (state,) = tasks.states
        assert (state.failures, state.in_a_row, state.is_failing) == (4, 4, True)
        await asyncio.wait_for(mended.wait(), 30)
        (state,) = tasks.states
    assert (state.failures, state.in_a_row, state.is_failing) == (4, 0, False)


@in_a_loop
async def test_a_reporter_that_fails_does_not_end_the_task() -> None:
    def fail(_: TaskState) -> None:
        raise OSError(28, "No space left on device")

    flaky = Flaky(ValueError())
    async with watched("supervisor") as tasks:
        tasks.report_to(fail)
        tasks.start("watchdog", flaky.run, Area.PROCESSES)
        await asyncio.wait_for(flaky.is_steady.wait(), 30)
    assert tasks.errors.count == 2


@in_a_loop
async def test_a_late_reporter_learns_what_has_failed_before() -> None:
    flaky, reports = Flaky(ValueError()), list[TaskState]()
    async with watched("gate") as tasks:
        tasks.start("counters", flaky.run, Area.UPKEEP)
        tasks.start("neighbours", Flaky().run, Area.DEVICES)
        await asyncio.wait_for(flaky.is_steady.wait(), 30)
        tasks.report_to(reports.append)
    assert [state.name for state in reports] == ["counters"]


@in_a_loop
async def test_a_task_that_may_end_is_not_started_again() -> None:
    once = Flaky(None)
    async with watched("control") as tasks:
        tasks.start("preload", once.run, Area.PAGES, may_end=True)
        await asyncio.sleep(0.05)
        assert (once.runs, tasks.states[0].failures) == (1, 0)


def _in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(_raise)


def _in_a_dropped_task() -> None:
    async def work() -> None:
        _raise()

    asyncio.get_running_loop().call_soon(asyncio.ensure_future(work()).add_done_callback, lambda _: gc.collect())


def _in_a_thread() -> None:
    thread = threading.Thread(target=_raise, name="store")
    thread.start()
    thread.join()


def _in_a_finalizer() -> None:
    class Leaving:
        def __del__(self) -> None:
            _raise()

    Leaving()


def _by_hand() -> None:
    try:
        _raise()
    except ValueError:
        note_unexpected("A connection failed")


def _raise() -> None:
    raise ValueError("odd bytes")


@pytest.mark.usefixtures("usual_hooks")
@pytest.mark.parametrize("fail", [_in_a_callback, _in_a_dropped_task, _in_a_thread, _in_a_finalizer, _by_hand])
@in_a_loop
async def test_an_error_that_nobody_expects_is_one_line_and_counted(
    fail: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with watched("dns") as tasks:
        tasks.errors.watch_loop()
        tasks.errors.watch_process()
        for _ in range(3):
            fail()
            await asyncio.sleep(0.01)
            gc.collect()
        assert tasks.errors.count == 3
    (line,) = [
        record for record in caplog.records if record.name == "hedgerow.tasks" and record.levelno >= logging.ERROR
    ]
    assert "ValueError: odd bytes" in line.getMessage()
    assert line.exc_info is None, "tracebacks are for debugging"


@in_a_loop
async def test_stopping_no_task_stops_none() -> None:
    async with watched("control") as tasks:
        steady = Flaky()
        tasks.start("steady", steady.run, Area.RULES)
        await steady.is_steady.wait()
        await tasks.stop()
        assert not steady.was_cancelled
        await tasks.stop_all()
        assert steady.was_cancelled


@in_a_loop
async def test_a_task_that_is_stopped_fails_no_longer() -> None:
    async with watched("control") as tasks:
        reports: list[TaskState] = []
        tasks.report_to(reports.append)
        tasks.start("radius", Flaky(*[ValueError("no")] * 9).run, Area.DEVICES)
        async with asyncio.timeout(20):
            while not (reports and reports[-1].in_a_row > 1):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await tasks.stop("radius")
        assert not reports[-1].is_failing
        assert reports[-1].failures > 1
