"""Where the pages change the policy: edit, check, write, remember. The files stay the truth.

A change is written only if the whole policy is good after it, and only over the files that were read; what others wrote meanwhile stays.
What stands in an included file is changed there; what is new goes to the main file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.yaml_text import NEW_FILE_HEADER, Edit, apply_edits_to_files
from hedgerow.journal.policy_history import PolicyChange, PolicyHistory
from hedgerow.policies.reading.load import PolicyError, included_files, parse_policy

type ApplyPolicy = Callable[[Path], Awaitable[None]]
"""Puts the policy into force; returns when it holds."""

type Texts = dict[str, str]
"""What stands in files, by their name from the main file's folder; a file that is not there yet is empty."""


class PolicyEditor:
    """One for a running Hedgerow, on its event loop. One change at a time."""

    def __init__(self, path: Path, store: PolicyHistory, apply_policy: ApplyPolicy, clock: Callable[[], float] = time.time) -> None:
        """`path` need not be there yet: then the first change makes it."""
        self.path = path
        self.store = store
        self._apply_policy = apply_policy
        self._clock = clock
        self._lock = asyncio.Lock()

    async def change(self, actor: str, summary: str, *edits: Edit) -> PolicyChange | None:
        """Makes the edits; None where nothing had to change. Raises `InvalidInput`."""
        async with self._lock:
            before = await run_in_threadpool(self._read_all)
            texts = {name: text or NEW_FILE_HEADER for name, text in before.items()}
            try:
                after = await run_in_threadpool(apply_edits_to_files, texts, edits)
            except ValueError as error:
                raise InvalidInput(str(error)) from None
            changed = [name for name in texts if after[name] != texts[name]]
            if not changed:
                return None
            return await self._write(actor, summary, {name: before[name] for name in changed}, {name: after[name] for name in changed})

    async def undo(self, change_id: int, actor: str, wording: str = "Undone: %(summary)s") -> PolicyChange:
        """Brings back the files before a change, if nothing was changed since. Raises `InvalidInput` and `NoSuchEntry`."""
        async with self._lock:
            change = await run_in_threadpool(self.store.change, change_id)
            # Only what the policy is made of: in a journal that was restored, somebody may have named any file of this machine.
            now = await run_in_threadpool(self._read_all)
            if change.before.keys() != change.after.keys() or any(now.get(name) != text for name, text in change.after.items()):
                raise InvalidInput("The file was changed again after that. Undo the later changes first, the newest before the others.")
            summary = wording % {"summary": change.summary}
            return await self._write(actor, summary, dict(change.after), dict(change.before), undoes=change.id)

    async def _write(self, actor: str, summary: str, before: Texts, after: Texts, undoes: int | None = None) -> PolicyChange:
        try:
            await run_in_threadpool(self._check, after)
        except PolicyError as error:
            told = "; ".join(problem.message for problem in error.problems[:3])
            raise InvalidInput("The policy would be invalid: %(problems)s", problems=told) from None
        # Remembered first: one that is in the file and that nobody knows of could not be undone.
        change = await run_in_threadpool(self.store.add, self._clock(), actor, summary, before, after, undoes)
        try:
            await run_in_threadpool(self._replace, before, after)
        except InvalidInput:
            await run_in_threadpool(self.store.forget, change.id, undoes)
            raise
        await self._apply_policy(self.path)
        return change

    def _check(self, after: Mapping[str, str]) -> None:
        main = after[self.path.name] if self.path.name in after else self._read(self.path.name)
        parse_policy(main.encode(), self.path, texts={str(self._place(name)): text.encode() for name, text in after.items()})

    def _place(self, name: str) -> Path:
        return (self.path.parent / name).absolute()

    def _read_all(self) -> Texts:
        """The main file first, then those that it includes, in their order."""
        main = self._read(self.path.name)
        folder = self.path.parent.absolute()
        names = [str(file.relative_to(folder, walk_up=True)) for file in included_files(main.encode(), folder)]
        return {self.path.name: main} | {name: self._read(name) for name in names}

    def _read(self, name: str) -> str:
        place = self._place(name)
        try:
            return place.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput("%(file)s cannot be read: %(why)s.", file=place, why=getattr(error, "strerror", "it is not UTF-8")) from None

    def _replace(self, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        """All files are written beside their places first; if one cannot take its place, those that have taken theirs go back."""
        with contextlib.ExitStack() as cleaning:
            fresh = {}
            for name, text in after.items():
                fresh[name] = self._write_beside(name, text)
                cleaning.callback(_remove, fresh[name])
            if any(self._read(name) != before[name] for name in after):
                raise InvalidInput("Somebody else has just changed the file. Look at it and try again.")
            done: list[str] = []
            try:
                for name, file in fresh.items():
                    file.replace(self._place(name).resolve())
                    done.append(name)
            except OSError as error:
                for name in done:
                    self._write_beside(name, before[name]).replace(self._place(name).resolve())
                raise self._unwritable(name, error) from None

    def _write_beside(self, name: str, text: str) -> Path:
        target = self._place(name).resolve()  # a link stays a link
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
            with fresh.open("w", encoding="utf-8", newline="") as file:
                os.fchmod(file.fileno(), mode)
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            _remove(fresh)
            raise self._unwritable(name, error) from None
        return fresh

    def _unwritable(self, name: str, error: OSError) -> InvalidInput:
        return InvalidInput("%(file)s cannot be written: %(why)s. Nothing was changed.", file=self._place(name), why=error.strerror)


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink(missing_ok=True)
