"""The supervisor's list of workers, for the pages and the metrics."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from pathlib import Path

from hedgerow.app.ipc import WorkerRow, WorkersFile
from hedgerow.dashboards.metrics import Metrics
from hedgerow.journal.recorder import Recorder, SystemEvent


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
        """Count restarts once a second, until cancelled."""
        while True:
            self._update()
            await asyncio.sleep(1)

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
