"""The snapshots that the workers apply, so that a change can be confirmed once it is in force."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hedgerow.app.ipc import WorkersFile

PATIENCE_S = 2.0
"""Seconds to wait for the workers after a change. They look for a new snapshot ten times per second."""

_POINTS = {"dns": "dns", "gate": "proxy", "inspector": "proxy"}


class AppliedSnapshots:
    """Serial numbers of the snapshots that the workers reported. `workers_file` lists the workers."""

    def __init__(self, workers_file: Path) -> None:
        self._workers_file = workers_file
        self._serials: dict[str, int] = {}
        self._news = asyncio.Event()

    def note(self, worker: str, serial: int) -> None:
        """Note that a worker, such as `dns-0`, applies a snapshot. A worker that starts reads the newest one."""
        self._serials[worker] = serial
        self._news.set()

    def points_behind(self, serial: int) -> tuple[str, ...]:
        """Return the enforcement points, `dns` and `proxy`, with a worker that does not apply the snapshot."""
        try:
            rows = WorkersFile.load(self._workers_file).workers
        except (OSError, ValueError):
            rows = ()
        applying = {row.role for row in rows} & _POINTS.keys()
        late = {row.role for row in rows if not row.ready or self._serials.get(f"{row.role}-{row.index}") != serial} & _POINTS.keys()
        missing = {point for point in _POINTS.values() if point not in {_POINTS[role] for role in applying}}
        return tuple(sorted(missing | {_POINTS[role] for role in late}))

    async def wait(self, serial: int) -> None:
        """Wait until every worker applies the snapshot, at most `PATIENCE_S`."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while await asyncio.to_thread(self.points_behind, serial):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            pass
