"""A copy of the compiled lists in force, by which they are restored once they are removed or damaged.

To compile them again takes seconds, in which a worker that starts would have no rules.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hedgerow.app.control.lists.list_jobs import ListFolders
from hedgerow.app.snapshot import KEPT_LISTS
from hedgerow.backoff import pause_after
from hedgerow.blocklists.catalogue import is_usable
from hedgerow.ticks import next_tick

log = logging.getLogger(__name__)

INTERVAL_S: Final = 1.0
_ROOM: Final = 4  # times the size of the lists must be free for a copy

_FREE: Final = 4  # copies within an hour, after which there are pauses: a bad disk damages each
_FIRST_S: Final = 10.0
_HOUR_S: Final = 3600.0

type _Identity = dict[str, tuple[int, int, int]]


class KeptLists:
    """The copy in the state directory. `in_force` returns the directory of the lists, None before there are some."""

    def __init__(
        self, state: Path, in_force: Callable[[], Path | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._generations, self._place = ListFolders(state).generations, state / KEPT_LISTS
        self._in_force, self._clock = in_force, clock
        self._copied = list[float]()  # within the last hour
        self._waits_until = 0.0
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
        if self._clock() < self._waits_until:
            return
        copy = self._place / lists.name
        found = lists, _identity(lists), _identity(copy)
        if found == self._seen and not (self._lacks_room and _has_room(lists)):
            return
        is_right, has_copy, self._seen = is_usable(lists), is_usable(copy), None
        if has_copy and not is_right:
            self._note_copy()
            self._restore(lists)
        elif is_right and not has_copy and self._makes_room(lists):
            self._note_copy()
            self._place.mkdir(mode=0o700)
            shutil.copytree(lists, copy)
        else:
            self._seen, self._lacks_room = found, is_right and not has_copy

    def _note_copy(self) -> None:
        """Note that something is copied. What is damaged again and again has to wait, however quickly that goes."""
        now = self._clock()
        self._copied = [*(each for each in self._copied if now - each < _HOUR_S), now]
        if (excess := len(self._copied) - _FREE) >= 0:
            pause = pause_after(excess + 1, first=_FIRST_S, longest=_HOUR_S)
            self._waits_until = now + pause
            log.error(
                "The lists were copied %d times within an hour. The next copy waits for %.0f s",
                len(self._copied),
                pause,
            )

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
