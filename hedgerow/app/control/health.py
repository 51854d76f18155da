"""Health of a run: the workers, for the pages, the metrics and health checks, and repair of the snapshot and the lists
that they read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

from hedgerow.app.control.snapshots.publisher import SnapshotPublisher
from hedgerow.app.ipc import WorkerRow, WorkersFile, is_alive
from hedgerow.blocklists.catalogue import is_usable
from hedgerow.dashboards.control import WorkerHealth
from hedgerow.dashboards.deferred_app import RunHealth
from hedgerow.dashboards.metrics import Metrics
from hedgerow.journal.recorder import RESERVED_BYTES, Recorder, SystemEvent
from hedgerow.task_state import TaskState
from hedgerow.ticks import next_tick, seconds_to_tick
from hedgerow.watched_tasks import WatchedTasks

_DELAYS, _MEMORY_EVERY = 60, 10  # seconds
_PAGE = os.sysconf("SC_PAGE_SIZE")
_UNEXPECTED, _MAX_TASKS = "hedgerow_unexpected_errors_total", 1000
log = logging.getLogger("hedgerow.control")

CHECK_INTERVAL_S = 1.0


class WorkerMonitor:
    """The restarts of workers, and the list of those that serve."""

    def __init__(self, files: Sequence[Path], metrics: Metrics, recorder: Recorder, own: WatchedTasks) -> None:
        self._files, self._metrics, self._recorder, self._own = files, metrics, recorder, own
        self.tasks = TaskMonitor(metrics)
        own.report_to(partial(self.tasks.note, "control", "control"))
        self._rows: tuple[WorkerRow, ...] = ()
        self._restarts: Counter[str] = Counter()
        self._renewals: Counter[str] = Counter()

    @property
    def rows(self) -> tuple[WorkerRow, ...]:
        """The workers as the supervisor lists them now; if its list can't be read, as it listed them last."""
        self._load()
        return self._rows

    @property
    def health(self) -> tuple[WorkerHealth, ...]:
        """The workers as the pages and health checks show them."""
        return tuple(map(_health_of, self.rows))

    async def run(self) -> None:
        """Count restarts once a second, and measure memory and the event loop's delay, until cancelled."""
        loop, delays = asyncio.get_running_loop(), deque[float](maxlen=_DELAYS)
        for number in count():
            self._update()
            if number % _MEMORY_EVERY == 0:
                self._metrics.set_all(
                    "hedgerow_process_memory_bytes", await asyncio.to_thread(_memory_by_role, self._rows)
                )
            due = loop.time() + seconds_to_tick(CHECK_INTERVAL_S)
            await next_tick(CHECK_INTERVAL_S)
            delays.append(max(0.0, loop.time() - due))
            self._metrics.set("hedgerow_control_delay_seconds", (), max(delays))

    def _load(self) -> WorkersFile | None:
        with contextlib.suppress(OSError, ValueError):
            file = WorkersFile.load(self._files)
            self._rows = file.workers
            return file
        return None

    def _update(self) -> None:
        if (file := self._load()) is not None:
            for state in file.tasks:
                self.tasks.note("supervisor", state.process, state)
            self._metrics.set_total(_UNEXPECTED, ("supervisor",), file.unexpected)
        self._metrics.set_total(_UNEXPECTED, ("control",), self._own.errors.count)
        restarts, renewals = Counter[str](), Counter[str]()
        for row in self._rows:
            restarts[row.role] += row.restarts
            renewals[row.role] += row.renewals
        for role, number in (renewals - self._renewals).items():
            self._metrics.add("hedgerow_worker_renewals_total", (role,), number)
        for role, number in (restarts - self._restarts).items():
            self._metrics.add("hedgerow_worker_restarts_total", (role,), number)
            self._recorder.add([SystemEvent(time.time(), "restart", role, f"{number} restarts")])
        self._restarts, self._renewals = restarts, renewals


class TaskMonitor:
    """The watched tasks of all processes that have failed, by the worker that reports them."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        self._metrics, self._clock = metrics, clock
        self._states: dict[tuple[str, str, str], TaskState] = {}

    def note(self, worker: str, role: str, state: TaskState) -> None:
        """Note the state of a task of a process."""
        key = worker, role, state.name
        before = self._states.get(key)
        counted = before.failures if before is not None and before.pid == state.pid else 0
        if before is None and len(self._states) >= _MAX_TASKS:
            return
        self._states[key] = replace(state, process=role)
        if state.failures > counted:
            self._metrics.add("hedgerow_task_failures_total", (role, state.name), state.failures - counted)
        self._metrics.set("hedgerow_tasks_failing", (role, state.name), float(state.is_failing), worker)

    def forget(self, worker: str) -> None:
        """Note that a process has left: its successor's tasks have not failed."""
        for key, state in self._states.items():
            if key[0] == worker:
                self._states[key] = replace(state, in_a_row=0, is_running=True)

    @property
    def troubles(self) -> tuple[TaskState, ...]:
        """The tasks that people should know about, newest failure first."""
        now = self._clock()
        found = (state for state in self._states.values() if state.is_trouble(now))
        return tuple(sorted(found, key=lambda state: -state.failed))

    @property
    def keep_rules(self) -> bool:
        """False while a task fails without which the newest rules may not be enforced."""
        return not any(state.is_failing and state.area.is_for_filtering for state in self._states.values())


def _health_of(row: WorkerRow) -> WorkerHealth:
    state = "running" if row.ready else "starting"
    if row.ready and row.pid is not None and not is_alive(row.pid):
        state = "stopped"
    return WorkerHealth(f"{row.role}-{row.index}", row.role, state, row.since, row.pid, row.restarts)


def health_of_run(workers: WorkerMonitor, publisher: SnapshotPublisher, state: Path) -> RunHealth:
    """Return what health checks go by, without a look at lists that are in force: load balancers ask each second."""
    policy, lists = publisher.policy_file, publisher.lists
    are_missing = any(each.is_missing for each in lists.health(policy.policy, with_those_in_force=False))
    return RunHealth(
        workers.health,
        policy.current_problems(),
        publisher.is_enforced,
        are_missing,
        workers.tasks.keep_rules,
        is_disk_full=shutil.disk_usage(state).free < RESERVED_BYTES,
    )


def _memory_by_role(rows: Iterable[WorkerRow]) -> dict[tuple[str, ...], float]:
    """Return the resident memory in bytes of the processes of each role, as far as this process may read it."""
    found: Counter[tuple[str, ...]] = Counter()
    for role, pid in (("control", os.getpid()), *((row.role, row.pid) for row in rows)):
        if pid is not None and (pid == os.getpid()) is (role == "control"):
            with contextlib.suppress(OSError, IndexError, ValueError):
                found[(role,)] += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    return {labels: float(octets) for labels, octets in found.items()}


class SnapshotRepair:
    """Repair of the snapshot whenever the disk does not have it as it was written, and of lists that are suspected of
    damage.
    """

    def __init__(self, publisher: SnapshotPublisher) -> None:
        self._publisher = publisher
        self._is_suspect = False
        self._was_behind = publisher.clock.is_behind
        if self._was_behind:
            log.error(
                "The clock is wrong: it shows less than when Hedgerow ran last. Until it is right, whatever a time"
                " closes is closed, and grants that end some time do not hold"
            )

    def suspect(self) -> None:
        """Check the files of the lists soon: a worker could not use them."""
        self._is_suspect = True

    async def run(self) -> None:
        """Repair until cancelled."""
        while True:
            await next_tick(CHECK_INTERVAL_S)
            if self._is_suspect:
                self._is_suspect = False
                await self._repair_lists()
            await self._publisher.write_again_if_damaged()
            was_behind, self._was_behind = self._was_behind, self._publisher.clock.is_behind
            if was_behind and not self._was_behind:
                log.warning("The clock is right now: times and grants hold again")
            if (was_behind or self._publisher.is_ahead_of_clock) and not self._was_behind:
                await self._publisher.publish_with_retry()

    async def _repair_lists(self) -> None:
        """Compile damaged lists again. A worker without a usable snapshot gets a new one in any case."""
        lists, policy = self._publisher.lists, self._publisher.policy
        if (
            lists.generation is not None
            and not await asyncio.to_thread(is_usable, lists.generation)
            and await lists.compile(policy)
        ):
            log.error("The compiled lists were damaged: they were compiled again")
        await self._publisher.publish_with_retry()
