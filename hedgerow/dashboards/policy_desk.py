"""Where the pages change the policy file: edit, check, write, remember. The file stays the truth.

A change is written only if the whole file is good after it, and only over the file that was read; what others wrote meanwhile stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.api.control import Unfit
from hedgerow.dashboards.policy_text import EMPTY, Edit, edited
from hedgerow.journal.changes import ChangeStore, PolicyChange
from hedgerow.policies.load import PolicyError, parse_policy

type TakeUp = Callable[[Path], Awaitable[None]]
"""Puts the file into force; returns when it holds."""


class PolicyDesk:
    """One for a running Hedgerow, on its event loop. One change at a time."""

    def __init__(self, path: Path, store: ChangeStore, take_up: TakeUp, clock: Callable[[], float] = time.time) -> None:
        """`path` need not be there yet: then the first change makes it."""
        self.path = path
        self.store = store
        self._take_up = take_up
        self._clock = clock
        self._lock = asyncio.Lock()

    async def change(self, giver: str, summary: str, *edits: Edit) -> PolicyChange | None:
        """Makes the edits; None where nothing had to change. Raises `Unfit`."""
        async with self._lock:
            before = await run_in_threadpool(self._read)
            try:
                after = edited(before or EMPTY, edits)
            except ValueError as error:
                raise Unfit(str(error)) from None
            if after == (before or EMPTY):
                return None
            return await self._write(giver, summary, before, after)

    async def undo(self, change_id: int, giver: str) -> PolicyChange:
        """Brings back the file before a change, if nothing was changed since. Raises `Unfit` and `NoSuchEntry`."""
        async with self._lock:
            change = await run_in_threadpool(self.store.change, change_id)
            if await run_in_threadpool(self._read) != change.after:
                raise Unfit("The file was changed again after that. Undo the later changes first, the newest before the others.")
            return await self._write(giver, f"Undone: {change.summary}", change.after, change.before, undoes=change.id)

    async def _write(self, giver: str, summary: str, before: str, after: str, undoes: int | None = None) -> PolicyChange:
        try:
            await run_in_threadpool(parse_policy, after.encode(), self.path)
        except PolicyError as error:
            raise Unfit("That would not be a good policy: " + "; ".join(problem.message for problem in error.problems[:3])) from None
        # Remembered first: one that is in the file and that nobody knows of could not be undone.
        change = await run_in_threadpool(self.store.add, self._clock(), giver, summary, before, after, undoes)
        try:
            await run_in_threadpool(self._replace, before, after)
        except Unfit:
            await run_in_threadpool(self.store.forget, change.id, undoes)
            raise
        await self._take_up(self.path)
        return change

    def _read(self) -> str:
        try:
            return self.path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise Unfit(f"{self.path} cannot be read: {getattr(error, 'strerror', 'it is not UTF-8')}.") from None

    def _replace(self, before: str, after: str) -> None:
        target = self.path.resolve()  # a link stays a link
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
            with fresh.open("w", encoding="utf-8", newline="") as file:
                os.fchmod(file.fileno(), mode)
                file.write(after)
                file.flush()
                os.fsync(file.fileno())
            if self._read() != before:
                raise Unfit("Somebody else changed the file just now. Look at it, and try again.")
            fresh.replace(target)
        except OSError as error:
            raise Unfit(f"{self.path} cannot be written: {error.strerror}. Nothing was changed.") from None
        finally:
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)
