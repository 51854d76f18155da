"""The spool: batches that wait on the disk while the server of the store is away, in the order in which they are to be written.

Each batch is a file of its own, which survives a restart of control and of the machine. The spool is bounded: the oldest make room.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from dataclasses import replace
from pathlib import Path

from hedgerow.codec import decode, encode
from hedgerow.journal.batch import Batch

log = logging.getLogger("hedgerow.journal")

SPOOL_BYTES = 256 << 20
"""Bytes of waiting batches: about a million decisions."""
UNSAVED_LIMIT = 50_000
"""Decisions that wait in memory while the disk is full."""


class Spool:
    """The files in `folder`, which is made when it is needed. Used by one thread at a time.

    What the disk does not take waits in memory, up to `UNSAVED_LIMIT` decisions.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = {path: path.stat().st_size for path in sorted(folder.glob("*.json"))}
        self._unsaved: list[Batch] = []
        self.dropped = 0
        """Decisions that had to make room."""
        self.problem = ""
        """The reason why the disk does not take batches."""

    def __len__(self) -> int:
        return len(self._files) + len(self._unsaved)

    def put(self, batch: Batch) -> None:
        """Add a batch behind the others."""
        self._unsaved.append(batch)
        try:
            while self._unsaved:
                self._save(self._unsaved[0])
                del self._unsaved[0]
            self.problem = ""
        except OSError as error:
            self.problem = error.strerror or str(error)
            self._make_room_in_memory()
        while sum(self._files.values()) > SPOOL_BYTES and len(self._files) > 1:
            oldest = next(iter(self._files))
            self.dropped += int(oldest.stem.partition("-")[2])
            self._remove(oldest)

    def oldest(self) -> Batch | None:
        """Return the batch that is next; None if none waits. A file that is no batch is set aside."""
        for path in list(self._files):
            try:
                return decode(Batch, path.read_bytes())
            except (OSError, ValueError) as error:
                log.error("%s can't be read and is set aside: %s", path, error)
                del self._files[path]
                with contextlib.suppress(OSError):
                    path.rename(path.with_suffix(".damaged"))
        return self._unsaved[0] if self._unsaved else None

    def remove_oldest(self) -> None:
        """Remove the batch that is next, since it was written or refused."""
        if self._files:
            self._remove(next(iter(self._files)))
        else:
            del self._unsaved[0]

    def _save(self, batch: Batch) -> None:
        data = encode(batch)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        last = next((int(path.stem.partition("-")[0]) for path in reversed(self._files)), 0)
        path = self._folder / f"{max(time.time_ns(), last + 1):020}-{len(batch.observations)}.json"
        partial = path.with_suffix(".partial")
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        self._files[path] = len(data)

    def _make_room_in_memory(self) -> None:
        excess = sum(len(batch.observations) for batch in self._unsaved) - UNSAVED_LIMIT
        for index, batch in enumerate(self._unsaved):
            if excess > 0 and batch.observations:
                excess -= len(batch.observations)
                self.dropped += len(batch.observations)
                self._unsaved[index] = replace(batch, observations=[])

    def _remove(self, path: Path) -> None:
        del self._files[path]
        with contextlib.suppress(OSError):
            path.unlink()
