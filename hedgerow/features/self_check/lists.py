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
from hedgerow.ticks import next_tick

log = logging.getLogger(__name__)

INTERVAL_S: Final = 1.0
_ROOM: Final = 4  # times the size of the lists must be free for a copy

type _Identity = dict[str, tuple[int, int, int]]


class KeptLists:
    """The copy in the state directory. `in_force` returns the directory of the lists, None before there are some."""

    def __init__(self, state: Path, in_force: Callable[[], Path | None]) -> None:
        self._generations, self._place = ListFolders(state).generations, state / KEPT_LISTS
        self._in_force = in_force
        # The lists and their copy when nothing was left to do. What was made is checked the next time.
        self._seen: tuple[Path, _Identity, _Identity] | None = None
        self._lacks_room = False

    async def run(self) -> None:
        """Copy what comes into force, and restore it, until cancelled. Raises OSError."""
        while True:
            await asyncio.to_thread(self.check)
            await next_tick(INTERVAL_S)

    def check(self) -> None:
        """Look at the lists in force and their copy, which takes some system calls unless they have changed.

        Raises OSError.
        """
        lists = self._in_force()
        if lists is None or lists.parent != self._generations:  # others are in memory, of a run without a snapshot
            return
        copy = self._place / lists.name
        found = lists, _identity(lists), _identity(copy)
        if found == self._seen and not (self._lacks_room and _has_room(lists)):
            return
        is_right, has_copy, self._seen = is_usable(lists), is_usable(copy), None
        if has_copy and not is_right:
            self._restore(lists)
        elif is_right and not has_copy and self._makes_room(lists):
            self._place.mkdir(mode=0o700)
            shutil.copytree(lists, copy)
        else:
            self._seen, self._lacks_room = found, is_right and not has_copy

    def _makes_room(self, lists: Path) -> bool:
        """Remove what takes room for nothing, and return whether there is enough for a copy."""
        shutil.rmtree(self._place, ignore_errors=True)
        return _has_room(lists)

    def _restore(self, lists: Path) -> None:
        log.error("The compiled lists %s were removed or damaged: a copy takes their place", lists)
        fresh = self._place / ".fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(self._place / lists.name, fresh)
        shutil.rmtree(lists, ignore_errors=True)
        self._generations.mkdir(mode=0o700, exist_ok=True)
        fresh.rename(lists)


def _has_room(lists: Path) -> bool:
    size = sum(size for _inode, _changed, size in _identity(lists).values())
    return shutil.disk_usage(lists).free >= _ROOM * size


def _identity(folder: Path) -> _Identity:
    """Return the inode, the time of the last change and the size of each file and folder."""
    found: _Identity = {}
    with contextlib.suppress(OSError):
        for file in folder.rglob("*"):
            status = file.stat()
            found[str(file)] = status.st_ino, status.st_mtime_ns, status.st_size
    return found
