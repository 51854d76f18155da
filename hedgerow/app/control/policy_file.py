"""The policy file as control follows it: what is in force, and what is wrong with a newer one that is not."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from hedgerow.blocklists.rules import Problem
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import PolicyError, load_policy

log = logging.getLogger("hedgerow.policy")


class PolicyFile:
    """`policy` is in force; `problems` are those of a newer file that was not taken; instants are seconds since the epoch.

    `calendars` is the folder with copies of calendars that are given by URL.
    """

    def __init__(self, path: Path | None, policy: Policy, loaded: float, calendars: Path | None = None) -> None:
        self.path, self._calendars = path, calendars
        self.policy = policy
        self.loaded = loaded
        self.problems: tuple[Problem, ...] = ()
        self._seen: tuple[object, ...] | None = None

    def has_changed(self) -> bool:
        """Whether the file is another one than at the last `reload`. An editor may take it away for a moment: that is no change."""
        identity = self._identity()
        return identity is not None and identity != self._seen

    async def reload(self) -> bool:
        """Takes the file as it is now, in a thread; False where it holds mistakes, all of which are logged and kept in `problems`."""
        before = self._identity()
        try:
            policy = await asyncio.to_thread(load_policy, self.path, self._calendars)
        except PolicyError as error:
            self.problems = error.problems
            self._remember(before)
            for problem in error.problems:
                log.error("%s", problem)
            log.error("The policy of %s stays in force.", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.loaded)))
            return False
        self.policy, self.problems, self.loaded = policy, (), time.time()
        self._remember(before)
        return True

    def _remember(self, before: tuple[object, ...] | None) -> None:
        """What the file was put together from is known only once it is read; if it changed meanwhile, it is read again."""
        after = self._identity()
        self._seen = after if before is None or (after is not None and after[0] == before[0]) else before

    def _identity(self) -> tuple[object, ...] | None:
        """Of the file, of those it was put together from, and of the folders in which more of them may appear."""
        own = _identity_of(self.path) if self.path is not None else None
        if own is None:
            return None
        others = {Path(file) for file in self.policy.files} | {Path(problem.source) for problem in self.problems}
        folders = {other.parent for other in others if other.is_absolute()} - {self.path.parent if self.path else Path()}
        return (own, *((str(other), _identity_of(other)) for other in sorted(others | folders)))


def _identity_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size)
