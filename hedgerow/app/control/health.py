"""The supervisor's list of workers, for the pages and the metrics."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

from hedgerow.app.ipc import WorkerRow, WorkersFile
from hedgerow.dashboards.metrics import Metrics
from hedgerow.journal.recorder import Recorder, SystemEvent


class WorkerMonitor:
    """`rows` are the workers as the supervisor last listed them."""

    def __init__(self, file: Path, metrics: Metrics, recorder: Recorder) -> None:
        self._file, self._metrics, self._recorder = file, metrics, recorder
        self.rows: tuple[WorkerRow, ...] = ()
        self._restarts: Counter[str] = Counter()
        self._renewals: Counter[str] = Counter()

    async def run(self) -> None:
        """Read the list once a second, until cancelled."""
        while True:
            self._update()
            await asyncio.sleep(1)

    def _update(self) -> None:
        try:
            self.rows = WorkersFile.load(self._file).workers
        except (OSError, ValueError):
            pass  # the last list stays
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
