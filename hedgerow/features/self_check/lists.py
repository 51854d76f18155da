"""A copy of the compiled lists in force, by which they are restored once they are removed or damaged.

To compile them again takes seconds, in which a worker that starts would have no rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hedgerow.app.control.lists.list_jobs import ListFolders
from hedgerow.app.snapshot import KEPT_LISTS
from hedgerow.blocklists.catalogue import is_usable

log = logging.getLogger(__name__)

INTERVAL_S: Final = 0.5
_ROOM: Final = 4  # times the size of the lists must be free for a copy

type _Identity = dict[str, tuple[int, int, int]]


class KeptLists:
    """The copy in the state directory. `in_force` returns the directory of the lists, None before there are some."""

    def __init__(self, state: Path, in_force: Callable[[], Path | None]) -> None:
        self._generations, self._place = ListFolders(state).generations, state / KEPT_LISTS
        self._in_force = in_force
        self._seen: tuple[Path, _Identity] | None = None

    async def run(self) -> None:
        """Copy what comes into force, and restore it, until cancelled. Raises OSError."""
        while True:
            await asyncio.to_thread(self.check)
            await asyncio.sleep(INTERVAL_S)

    def check(self) -> None:
        """Look at the lists in force, which takes some system calls unless they have changed. Raises OSError."""
        lists = self._in_force()
        if lists is None or lists.parent != self._generations:  # others are in memory, of a run without a snapshot
            return
        found = lists, _identity(lists)
        if found == self._seen:
            return
        if is_usable(lists):
            self._copy(lists)
        elif is_usable(self._place / lists.name):
            self._restore(lists)
        self._seen = lists, _identity(lists)

    def _copy(self, lists: Path) -> None:
        target = self._place / lists.name
        if not is_usable(target):
            shutil.rmtree(self._place, ignore_errors=True)
            size = sum(size for _inode, _changed, size in _identity(lists).values())
            if shutil.disk_usage(lists).free >= _ROOM * size:
                self._place.mkdir(mode=0o700)
                shutil.copytree(lists, target)

    def _restore(self, lists: Path) -> None:
        log.error("The compiled lists %s were removed or damaged: a copy takes their place", lists)
        fresh = self._place / ".fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(self._place / lists.name, fresh)
        shutil.rmtree(lists, ignore_errors=True)
        self._generations.mkdir(mode=0o700, exist_ok=True)
        fresh.rename(lists)


def _identity(folder: Path) -> _Identity:
    """Return the inode, the time of the last change and the size of each file and folder."""
    found: _Identity = {}
    with contextlib.suppress(OSError):
        for file in folder.rglob("*"):
            status = file.stat()
            found[str(file)] = status.st_ino, status.st_mtime_ns, status.st_size
    return found
