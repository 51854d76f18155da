"""Delivery of snapshots to the workers: files on the disk and in memory, and the workers that apply them."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from hedgerow.app.ipc import WorkersFile
from hedgerow.app.settings import make_memory_folder, memory_folder
from hedgerow.app.snapshot import FILE_NAME, Snapshot, SnapshotCodec, identity_of
from hedgerow.files import error_text, make_private_folder, write_atomically

PATIENCE_S = 2.0
"""Seconds to wait for the workers after a change. They look for a new snapshot ten times per second."""

_POINTS = {"dns": "dns", "gate": "proxy", "inspector": "proxy"}
"""The enforcement point of each role of a worker."""


class SnapshotFiles:
    """The files of a snapshot, on the disk and in memory. Its methods wait for the disk: call them from a thread."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._written: tuple[int, int, int] | None = None
        self.codec = SnapshotCodec()

    @property
    def is_on_disk(self) -> bool:
        """True if the disk has the last snapshot as it was written."""
        return self._written is not None and identity_of(self._state / FILE_NAME) == self._written

    def save(self, snapshot: Snapshot) -> str:
        """Write to memory and to the disk. Returns why the disk failed, empty if it did not. Raises OSError if both failed."""
        try:
            _write(make_memory_folder(self._state), self.codec.encode(snapshot))
            is_in_memory = True
        except OSError:
            is_in_memory = False
            with contextlib.suppress(OSError):  # an older copy would count as newer than what comes after a restart
                (memory_folder(self._state) / FILE_NAME).unlink(missing_ok=True)
        problem = self.save_on_disk(snapshot)
        if problem and not is_in_memory:
            raise OSError(problem)
        return problem

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

    `workers_file` lists the workers.
    """

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
