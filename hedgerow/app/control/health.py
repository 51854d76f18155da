"""What the supervisor says of the workers, for the pages and the metrics."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

from hedgerow.dashboards.metrics import Metrics
from hedgerow.journal.recorder import Recorder, SystemEvent


class WorkerMonitor:
    """`rows` are as the supervisor wrote them last."""

    def __init__(self, file: Path, metrics: Metrics, recorder: Recorder) -> None:
        self._file, self._metrics, self._recorder = file, metrics, recorder
        self.rows: list[dict[str, object]] = []
        self._restarts: Counter[str] = Counter()
        self._renewals: Counter[str] = Counter()

    async def run(self) -> None:
        """Looks once a second, until cancelled."""
        while True:
            self._look()
            await asyncio.sleep(1)

    def _look(self) -> None:
        try:
            self.rows = json.loads(self._file.read_bytes())["workers"]
        except (OSError, ValueError, KeyError):
            pass  # what was said last holds until the supervisor says something else
        restarts, renewals = Counter[str](), Counter[str]()
        for row in self.rows:
            restarts[str(row["role"])] += int(str(row["restarts"]))
            renewals[str(row["role"])] += int(str(row["renewals"]))
        for role, number in (renewals - self._renewals).items():
            self._metrics.add("hedgerow_worker_renewals_total", (role,), number)
        for role, number in (restarts - self._restarts).items():
            self._metrics.add("hedgerow_worker_restarts_total", (role,), number)
            self._recorder.add([SystemEvent(time.time(), "restart", role, f"{number} since the last look")])
        self._restarts, self._renewals = restarts, renewals
