"""The supervisor's list of workers, for the pages and the metrics."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter, deque
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from hedgerow.app.ipc import WorkerRow, WorkersFile
from hedgerow.dashboards.metrics import Metrics
from hedgerow.journal.recorder import Recorder, SystemEvent

_DELAYS, _MEMORY_EVERY = 60, 10  # seconds
_PAGE = os.sysconf("SC_PAGE_SIZE")


class WorkerMonitor:
    """Counts restarts of workers, and tells which of them serve."""

    def __init__(self, file: Path, metrics: Metrics, recorder: Recorder) -> None:
        self._file, self._metrics, self._recorder = file, metrics, recorder
        self._rows: tuple[WorkerRow, ...] = ()
        self._restarts: Counter[str] = Counter()
        self._renewals: Counter[str] = Counter()

    @property
    def rows(self) -> tuple[WorkerRow, ...]:
        """The workers as the supervisor lists them now; if its list can't be read, as it listed them last."""
        with contextlib.suppress(OSError, ValueError):
            self._rows = WorkersFile.load(self._file).workers
        return self._rows

    async def run(self) -> None:
        """Count restarts once a second, and measure memory and the event loop's delay, until cancelled."""
        loop, delays = asyncio.get_running_loop(), deque[float](maxlen=_DELAYS)
        for number in count():
            self._update()
            if number % _MEMORY_EVERY == 0:
                self._metrics.set_all("hedgerow_process_memory_bytes", await asyncio.to_thread(_memory_by_role, self._rows))
            due = loop.time() + 1
            await asyncio.sleep(1)
            delays.append(max(0.0, loop.time() - due))
            self._metrics.set("hedgerow_control_delay_seconds", (), max(delays))

    def _update(self) -> None:
        restarts, renewals = Counter[str](), Counter[str]()
        for row in self.rows:
            restarts[row.role] += row.restarts
            renewals[row.role] += row.renewals
        for role, number in (renewals - self._renewals).items():
            self._metrics.add("hedgerow_worker_renewals_total", (role,), number)
        for role, number in (restarts - self._restarts).items():
            self._metrics.add("hedgerow_worker_restarts_total", (role,), number)
            self._recorder.add([SystemEvent(time.time(), "restart", role, f"{number} restarts")])
        self._restarts, self._renewals = restarts, renewals


def _memory_by_role(rows: Iterable[WorkerRow]) -> dict[tuple[str, ...], float]:
    """Return the resident memory in bytes of the processes of each role, as far as this process may read it."""
    found: Counter[tuple[str, ...]] = Counter()
    for role, pid in (("control", os.getpid()), *((row.role, row.pid) for row in rows)):
        if pid is not None and (pid == os.getpid()) is (role == "control"):
            with contextlib.suppress(OSError, IndexError, ValueError):
                found[(role,)] += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE
    return {labels: float(octets) for labels, octets in found.items()}
