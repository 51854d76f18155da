"""The files of a snapshot: one on the disk, and a copy in memory that is in force while the disk fails."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hedgerow.app.files import error_text, make_private_folder, write_atomically
from hedgerow.app.settings import make_memory_folder, memory_folder
from hedgerow.app.snapshot import FILE_NAME, Snapshot, SnapshotCodec, identity_of


class SnapshotFiles:
    """Writes snapshots, and knows whether the disk still has the last one. Its methods wait for the disk: call them from a thread."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._written: tuple[int, int, int] | None = None
        self._codec = SnapshotCodec()

    @property
    def is_on_disk(self) -> bool:
        """True if the disk has the last snapshot as it was written."""
        return self._written is not None and identity_of(self._state / FILE_NAME) == self._written

    def save(self, snapshot: Snapshot) -> str:
        """Write to memory and to the disk. Returns why the disk failed, empty if it did not. Raises OSError if both failed."""
        try:
            _write(make_memory_folder(self._state), self._codec.encode(snapshot))
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
            _write(self._state, self._codec.encode(snapshot))
        except OSError as error:
            self._written = None
            return error_text(error)
        self._written = identity_of(self._state / FILE_NAME)
        return ""


def _write(folder: Path, data: bytes) -> None:
    make_private_folder((folder / FILE_NAME).parent)
    write_atomically(folder / FILE_NAME, data)
