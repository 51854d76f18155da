"""Delivery of snapshots to the workers: files on the disk and in memory, and the workers that apply them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from hedgerow.app.ipc import WorkerRow, WorkersFile
from hedgerow.app.settings import make_memory_folder, memory_folder
from hedgerow.app.snapshot import FILE_NAME, Snapshot, SnapshotCodec, identity_of
from hedgerow.files import error_text, make_private_folder, write_atomically

PATIENCE_S = 2.0
"""Seconds to wait for the workers after a change. They are told of each new snapshot."""

START_PATIENCE_S = 15.0
"""The same while one is starting, or has not been heard from since control started."""

_LOOK_EVERY_S = 0.2  # for workers that begin to serve

_POINTS = {"dns": "dns", "gate": "proxy", "inspector": "proxy"}
"""The enforcement point of each role of a worker."""


class SnapshotFiles:
    """The files of a snapshot, on the disk and in memory. Its methods wait for the disk: call them from a thread."""

    def __init__(self, state: Path, server_name: Path) -> None:
        self._state, self._server_name = state, server_name
        self._name: str | None = None
        self._written: tuple[int, int, int] | None = None
        self.codec = SnapshotCodec()

    @property
    def is_on_disk(self) -> bool:
        """True if the disk has the last snapshot as it was written."""
        return self._written is not None and identity_of(self._state / FILE_NAME) == self._written

    def save(self, snapshot: Snapshot) -> str:
        """Write to memory and to the disk.

        Returns why the disk failed, empty if it did not. Raises OSError if both failed.
        """
        try:
            _write(make_memory_folder(self._state), self.codec.encode(snapshot))
            is_in_memory = True
        except OSError:
            is_in_memory = False
            with contextlib.suppress(OSError):  # an older copy would count as newer than what comes after a restart
                (memory_folder(self._state) / FILE_NAME).unlink(missing_ok=True)
        self._save_server_name(snapshot.policy.network.server_name or "")
        problem = self.save_on_disk(snapshot)
        if problem and not is_in_memory:
            raise OSError(problem)
        return problem

    def _save_server_name(self, name: str) -> None:
        """Write the name of our pages for the signer. While the disk fails, the last one stays."""
        if name != self._name:
            with contextlib.suppress(OSError):
                write_atomically(self._server_name, name.encode(), shared=True)
                self._name = name

    def save_on_disk(self, snapshot: Snapshot) -> str:
        """Write to the disk. Returns why that failed, empty if it did not."""
        try:
            _write(self._state, self.codec.encode(snapshot))
        except OSError as error:
            self._written = None
            return error_text(error)
        self._written = identity_of(self._state / FILE_NAME)
        return ""


def _write(folder: Path, data: bytes) -> None:
    make_private_folder((folder / FILE_NAME).parent)
    write_atomically(folder / FILE_NAME, data)


class AppliedSnapshots:
    """Serial numbers of the snapshots that the workers apply, so that a change can be confirmed once it is in force.

    `workers_files` list the workers. `newest` returns the serial number of the newest snapshot: a higher one is of an
    earlier run.
    """

    def __init__(self, workers_files: Sequence[Path], newest: Callable[[], int]) -> None:
        self._workers_files, self._newest = workers_files, newest
        self._serials: dict[str, int] = {}
        self._change = 0
        self._news = asyncio.Event()

    def note(self, worker: str, serial: int) -> None:
        """Note that a worker, such as `dns-0`, applies a snapshot. A worker that starts reads the newest one."""
        self._serials[worker] = serial
        self._news.set()

    def points_behind(self) -> tuple[str, ...]:
        """Return the enforcement points, `dns` and `proxy`, with a worker that does not apply the last change for which
        somebody waited.
        """
        return self._points_behind(self._rows(), self._change)

    async def wait(self, serial: int) -> None:
        """Wait until every worker applies this snapshot or a newer one, at most `PATIENCE_S` or, while one starts,
        `START_PATIENCE_S`.
        """
        self._change = max(self._change, serial)
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            self._news.clear()
            rows = await asyncio.to_thread(self._rows)
            patience = START_PATIENCE_S if any(map(self._is_starting, rows)) else PATIENCE_S
            if not self._points_behind(rows, serial) or loop.time() - began >= patience:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), _LOOK_EVERY_S)

    async def settle(self) -> None:
        """Wait until every worker applies the last change for which somebody waits, and one that follows meanwhile."""
        waited = -1
        for _ in range(2):
            if waited < self._change and self.points_behind():
                waited = self._change
                await self.wait(waited)

    def _rows(self) -> tuple[WorkerRow, ...]:
        try:
            return WorkersFile.load(self._workers_files).workers
        except (OSError, ValueError):
            return ()

    def _points_behind(self, rows: Sequence[WorkerRow], serial: int) -> tuple[str, ...]:
        workers = [row for row in rows if row.role in _POINTS]
        missing = set(_POINTS.values()) - {_POINTS[row.role] for row in workers}
        late = {
            _POINTS[row.role]
            for row in workers
            if not row.ready or not serial <= self._serial_of(row) <= self._newest()
        }
        return tuple(sorted(missing | late))

    def _is_starting(self, row: WorkerRow) -> bool:
        """Return whether a worker starts for the first time, or serves and has not yet been heard from since control
        started.
        """
        return row.role in _POINTS and (self._serial_of(row) < 0 if row.ready else not row.restarts)

    def _serial_of(self, row: WorkerRow) -> int:
        return self._serials.get(f"{row.role}-{row.index}", -1)
