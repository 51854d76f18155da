"""Long-running tasks of a process, each started again when it ends, and the errors that no code expects.

A task that fails is logged in one line, counted and reported, and starts again after a pause that grows while it keeps
failing. A process makes one `WatchedTasks` and passes it to whatever runs for as long as the process does. Work that
ends by itself, such as a connection or a lookup, is no such task: its errors reach `UnexpectedErrors` unless it handles
them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any

from hedgerow.backoff import pause_after
from hedgerow.task_state import Area, TaskState, describe

log = logging.getLogger("hedgerow.tasks")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 60.0
"""Seconds until a task starts again after its first failure, and at most."""

STEADY_S = 60.0
"""Seconds after which a task that was started again counts as repaired."""

_LOG_AGAIN_S = 60.0
_MAX_LINES = 1000

type Run = Callable[[], Coroutine[Any, Any, object]]
"""A coroutine function. It runs until it is cancelled, and can be called again."""


class UnexpectedErrors:
    """The log and the count of errors that no code expects. The same line is logged at most once a minute."""

    def __init__(self) -> None:
        self.count = 0
        self._logged: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def watch_loop(self) -> None:
        """Handle errors in callbacks and dropped tasks of the running loop."""
        asyncio.get_running_loop().set_exception_handler(self.handle_loop_error)

    def watch_process(self) -> None:
        """Handle errors in threads and finalizers, until the process ends."""
        threading.excepthook = self._handle_thread_error
        sys.unraisablehook = self._handle_unraisable

    def handle_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log and count an error that reached the event loop (`loop.set_exception_handler`)."""
        self.note(str(context.get("message", "An error in the event loop")), context.get("exception"))

    def _handle_thread_error(self, found: threading.ExceptHookArgs) -> None:
        if found.exc_type is not SystemExit:
            self.note(f"The thread {found.thread.name if found.thread else '?'} has ended by an error", found.exc_value)

    def _handle_unraisable(self, found: sys.UnraisableHookArgs) -> None:
        self.note(found.err_msg or "An error in a finalizer", found.exc_value)

    def note(self, text: str, error: BaseException | None) -> None:
        """Count and log an error."""
        self.count += 1
        self.log("Unexpected error: %s%s", f"{text}: {describe(error)}" if error is not None else text)
        log.debug("%s", text, exc_info=error)

    def log(self, template: str, text: str) -> None:
        """Log a text, but the same one at most once a minute, with the number of those left out.

        The process' limit of lines with one template lets no error hide those of a task.
        """
        line = template % (text, "")
        now = time.monotonic()
        if now - self._logged.get(line, -_LOG_AGAIN_S) < _LOG_AGAIN_S:
            self._unlogged[line] = self._unlogged.get(line, 0) + 1
            return
        if len(self._logged) >= _MAX_LINES:
            self._logged.clear()
            self._unlogged.clear()
        self._logged[line] = now
        left_out = self._unlogged.pop(line, 0)
        log.error(template, text, f" (and {left_out} times more in the last minutes)" if left_out else "")


class WatchedTasks:
    """The watched tasks of one process, for one event loop.

    `errors` are those outside of them, once it watches for them.
    """

    def __init__(self, process: str) -> None:
        self.process = process
        self.errors = UnexpectedErrors()
        self._states: dict[str, TaskState] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._reporters: list[Callable[[TaskState], None]] = []

    @property
    def states(self) -> tuple[TaskState, ...]:
        """The state of each task that was started, in that order."""
        return tuple(self._states.values())

    def report_to(self, report: Callable[[TaskState], None]) -> None:
        """Call `report` with the state of each task that has failed, now and whenever it changes."""
        self._reporters.append(report)
        for state in self.states:
            if state.failures:
                report(state)

    def start(
        self,
        name: str,
        run: Run,
        area: Area,
        *,
        may_end: bool = False,
        ends_process: bool = False,
        longest_pause_s: float = LONGEST_PAUSE_S,
    ) -> None:
        """Run a task until it is stopped. `name` is unique in this process.

        With `may_end`, it may return. With `ends_process`, it can't start again in this process, which therefore ends
        by SIGTERM.
        """
        if name in self._keepers:
            raise ValueError(f"the task {name} runs already")
        self._states.setdefault(name, TaskState(self.process, name, area, pid=os.getpid()))
        keep = self._keep(name, run, may_end=may_end, ends_process=ends_process, longest_pause_s=longest_pause_s)
        self._keepers[name] = asyncio.get_running_loop().create_task(keep, name=name)

    async def stop(self, *names: str) -> None:
        """Cancel the named tasks, and wait until they have ended.

        They count as failing no longer. Unknown names are ignored.
        """
        keepers = {name: self._keepers.pop(name) for name in names if name in self._keepers}
        for keeper in keepers.values():
            keeper.cancel()
        await asyncio.gather(*keepers.values(), return_exceptions=True)
        for name in keepers:
            if self._states[name].is_failing:
                self._change(name, in_a_row=0, is_running=True)

    async def stop_all(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        await self.stop(*self._keepers)

    async def wait(self, seconds: float) -> None:
        """Wait until all tasks have ended by themselves, at most for some seconds."""
        if self._keepers:
            await asyncio.wait(self._keepers.values(), timeout=seconds)

    @contextlib.asynccontextmanager
    async def running(self, name: str, run: Run, area: Area, *, may_end: bool = False) -> AsyncIterator[None]:
        """Run a task inside the block."""
        self.start(name, run, area, may_end=may_end)
        try:
            yield
        finally:
            await self.stop(name)

    @contextlib.contextmanager
    def going_on(self, name: str, area: Area) -> Iterator[None]:
        """Log, count and report an error inside the block, which is a part of the work of a task. The task goes on."""
        try:
            yield
        except Exception as error:
            reason = describe(error)
            log.debug("The task %s could not do a part of its work", name, exc_info=error)
            self.errors.log(f"The task {name} could not do a part of its work, and goes on: %s%s", reason)
            state = self._states.setdefault(name, TaskState(self.process, name, area, pid=os.getpid()))
            self._change(name, failures=state.failures + 1, failed=time.time(), reason=reason)

    async def _keep(self, name: str, run: Run, *, may_end: bool, ends_process: bool, longest_pause_s: float) -> None:
        own, steady = asyncio.current_task(), None
        while True:
            try:
                await run()
                if may_end:
                    return
                reason = "it has ended"
            except asyncio.CancelledError:
                if own is None or own.cancelling():
                    raise
                reason = "it was cancelled"  # by something that it waited for
            except Exception as error:
                reason = describe(error)
                log.debug("The task %s has failed", name, exc_info=error)
            finally:
                if steady is not None:
                    steady.cancel()
            in_a_row = self._note_failure(name, reason)
            if ends_process:
                log.error("The task %s has failed, and this process ends: %s", name, reason)
                os.kill(os.getpid(), signal.SIGTERM)
                return
            self.errors.log(f"The task {name} has failed, and starts again: %s%s", reason)
            await asyncio.sleep(pause_after(in_a_row, first=FIRST_PAUSE_S, longest=longest_pause_s))
            self._change(name, is_running=True)
            steady = asyncio.get_running_loop().call_later(STEADY_S, self._note_steady, name)

    def _note_failure(self, name: str, reason: str) -> int:
        """Return how many times the task has failed in a row."""
        before = self._states[name]
        in_a_row = before.in_a_row + 1
        self._change(
            name, failures=before.failures + 1, in_a_row=in_a_row, failed=time.time(), reason=reason, is_running=False
        )
        return in_a_row

    def _note_steady(self, name: str) -> None:
        log.info("The task %s runs steadily again", name)
        self._change(name, in_a_row=0)

    def _change(self, name: str, **values: Any) -> None:
        self._states[name] = state = replace(self._states[name], **values)
        for report in self._reporters:
            try:
                report(state)
            except Exception as error:
                self.errors.note("The state of a task could not be reported", error)


def note_unexpected(text: str) -> None:
    """Have the running loop's handler log and count the exception that is being handled.

    Others' work goes on after it.
    """
    loop = None
    with contextlib.suppress(RuntimeError):  # in a thread or before the loop runs
        loop = asyncio.get_running_loop()
    if loop is not None and loop.get_exception_handler() is not None:
        loop.call_exception_handler({"message": text, "exception": sys.exception()})
    else:
        log.exception("%s", text)
