"""Changes of the policy files by the pages and the API, with undo.

A change is written only if the whole policy is valid afterwards, if its author may change all keys that it changes, and
if nobody else has changed the files meanwhile. Entries of an included file are changed there; new ones go to the main
file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import DatabaseError
from starlette.concurrency import run_in_threadpool

from hedgerow.blocklists.rules import Problem
from hedgerow.dashboards.accounts import Principal
from hedgerow.dashboards.control import DangerousOpening, InvalidInput
from hedgerow.dashboards.edits.reserved_keys import check_author, check_undo
from hedgerow.dashboards.words.languages import message
from hedgerow.files import read_named_file
from hedgerow.journal.policy_history import PolicyChange, PolicyHistory
from hedgerow.policies.access_subject import AccessSubject
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.key_scopes import UnreadableText, is_open
from hedgerow.policies.reading.load import PolicyError, included_files, parse_policy

if TYPE_CHECKING:
    from hedgerow.dashboards.edits.yaml_text import Edit

NEW_FILE_HEADER = "# Written by Hedgerow's pages; yours to edit. `hedgerow check` explains every mistake.\n"


@dataclass(frozen=True, slots=True)
class CheckedPolicy:
    """A policy that was parsed from `texts`, by the paths of its files.

    Files of other kinds and levels above are not among them.
    """

    policy: Policy
    texts: Mapping[str, str]


type ApplyPolicy = Callable[[Path, CheckedPolicy], Awaitable[None]]
"""Put the policy into force, and return when every worker applies it."""

type FindDangers = Callable[[Policy], Iterable[tuple[AccessSubject, Sequence[str]]]]
"""Returns what a policy opens that is dangerous and that the one in force does not, with its dangerous categories."""

type Texts = dict[str, str]
"""Contents of files by their path relative to the main file. A missing file is empty."""


type Rewrite = Callable[[Texts], Texts]
"""Returns the new texts of the same files. It may raise ValueError with a sentence, or `InvalidInput`."""


class InvalidPolicy(InvalidInput):
    """The policy would be invalid after the change."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        messages = "; ".join(problem.message for problem in problems[:3])
        super().__init__(message("The policy would be invalid: %(problems)s"), problems=messages)
        self.problems = problems


class PolicyEditor:
    """The editor of the policy files.

    It makes one change at a time, and there is one for a running Hedgerow, on its event loop.
    """

    def __init__(
        self,
        path: Path,
        store: PolicyHistory,
        apply_policy: ApplyPolicy,
        clock: Callable[[], float] = time.time,
        find_dangers: FindDangers = lambda _policy: (),
    ) -> None:
        """`path` is the main file. The first change creates it."""
        self.path = path
        self.store = store
        self._apply_policy = apply_policy
        self._clock, self._find_dangers = clock, find_dangers
        self._lock = asyncio.Lock()
        self.is_replacing = False
        """True while files are replaced one after the other, so that they are not a policy."""

    async def change(self, author: Principal, summary: str, *edits: Edit, sure: bool = False) -> PolicyChange | None:
        """Apply the edits; None if they change nothing.

        Raises `InvalidInput`, and `DangerousOpening` if they open something dangerous, unless `sure`.
        """
        # with its library, which most runs never need
        from hedgerow.dashboards.edits.yaml_text import apply_edits_to_files

        # The comparison reads the files twice, which takes a while with many devices.
        are_open = all(is_open(edit.path) for edit in edits)
        return await self.rewrite(
            author, summary, lambda texts: apply_edits_to_files(texts, edits), is_open=are_open, sure=sure
        )

    async def texts(self) -> Texts:
        """Return the texts of the main file and of the files that it includes, as `rewrite` passes them on.

        Raises `InvalidInput`.
        """
        async with self._lock:  # not while files are replaced one after the other
            return {name: text or NEW_FILE_HEADER for name, text in (await run_in_threadpool(self._read_all)).items()}

    async def preview(self, rewrite: Rewrite, author: Principal) -> tuple[Texts, Policy]:
        """Return the texts and the policy as `rewrite` would leave them, and change nothing.

        Raises `InvalidInput` and `PolicyError`.
        """
        before = await self.texts()
        after = await run_in_threadpool(_rewritten, rewrite, before)
        await run_in_threadpool(_check_author, author, before, after)
        return after, (await run_in_threadpool(self._check, after)).policy

    async def rewrite(
        self, author: Principal, summary: str, rewrite: Rewrite, *, is_open: bool = False, sure: bool = False
    ) -> PolicyChange | None:
        """Replace the files by what `rewrite` makes of them, in a thread; None if it changes nothing.

        Raises `InvalidInput`, and `DangerousOpening` if that opens something dangerous, unless `sure`.

        With `is_open`, it changes no reserved keys, so they need not be compared.
        """
        async with self._lock:
            before = await run_in_threadpool(self._read_all)
            texts = {name: text or NEW_FILE_HEADER for name, text in before.items()}
            after = await run_in_threadpool(_rewritten, rewrite, texts)
            changed = [name for name in texts if after[name] != texts[name]]
            if not changed:
                return None
            if not is_open:
                await run_in_threadpool(_check_author, author, before, after)
            return await self._write(author, summary, before, {name: after[name] for name in changed}, sure=sure)

    async def undo(self, change_id: int, author: Principal, text: str = "Undone: %(summary)s") -> PolicyChange:
        """Restore the files as before a change, if they have not changed since.

        Raises `InvalidInput` and `NoSuchEntry`.
        """
        async with self._lock:
            change = await run_in_threadpool(self.store.change, change_id)
            # Only files of the policy: a restored journal might name any file of this machine.
            now = await run_in_threadpool(self._read_all)
            if change.before.keys() != change.after.keys() or any(
                now.get(name) != text for name, text in change.after.items()
            ):
                raise InvalidInput(
                    "The file was changed again after that. Undo the later changes first, the newest before the others."
                )
            summary = text % {"summary": change.summary}
            with contextlib.suppress(UnreadableText):  # as in `_check_author`
                await run_in_threadpool(check_undo, author, change, self.store)
            return await self._write(author, summary, now, dict(change.before), undoes=change.id, sure=True)

    async def adopt(self, files: Texts, suffix: str) -> Policy:
        """Replace all files by those of another node.

        What was here is kept next to each file under `suffix`, unless that is empty.

        Returns the new policy. Raises `InvalidInput` and PolicyError, and changes nothing then.
        """
        async with self._lock:
            before = await run_in_threadpool(self._read_all)
            self.is_replacing = True
            try:
                checked = await run_in_threadpool(self._adopt, before, files, suffix)
            except OSError as error:
                raise _unwritable(error) from None
            finally:
                self.is_replacing = False
            await self._apply_policy(self.path, checked)
            return checked.policy

    def _adopt(self, before: Texts, after: Texts, suffix: str) -> CheckedPolicy:
        """Replace all files.

        Patterns of `include` look at the disk, so files come and go before the new policy is checked.
        """
        gone = [self._place(name) for name in before if name not in after and ".." not in Path(name).parts]
        hidden = [place.with_name(f".{place.name}.gone") for place in gone]
        with contextlib.ExitStack() as undoing:
            for place, aside in zip(gone, hidden, strict=True):
                place.replace(aside)
                undoing.callback(aside.replace, place)
            for place in (self._place(name) for name in after if not self._place(name).exists()):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch(mode=0o600)
                undoing.callback(_remove, place)
            checked = self._check(after)
            for name in (name for name in after if suffix and before.get(name) not in (None, "", after[name])):
                shutil.copy2(self._place(name), self._place(f"{name}{suffix}"))
            self._replace({name: before.get(name, "") for name in after}, after)
            undoing.pop_all()
        for place, aside in zip(gone, hidden, strict=True):
            aside.replace(place.with_name(f"{place.name}{suffix}")) if suffix else _remove(aside)
        return checked

    async def _write(
        self, author: Principal, summary: str, now: Texts, after: Texts, *, sure: bool, undoes: int | None = None
    ) -> PolicyChange:
        """Replace the files of `after`. `now` has the texts of all files."""
        before = {name: now[name] for name in after}
        try:
            checked = await run_in_threadpool(self._check, now | after)
        except PolicyError as error:
            raise InvalidPolicy(error.problems) from None
        if not sure:
            await run_in_threadpool(_check_dangers, self._find_dangers, checked.policy)
        # Recorded first: a change in the file without a record could not be undone.
        try:
            change = await run_in_threadpool(self.store.add, self._clock(), author.name, summary, before, after, undoes)
        except DatabaseError as error:
            raise InvalidInput("The change cannot be recorded: %(why)s. Nothing was changed.", why=error.orig) from None
        self.is_replacing = True
        try:
            await run_in_threadpool(self._replace, before, after)
        except InvalidInput:
            await run_in_threadpool(self.store.forget, change.id, undoes)
            raise
        finally:
            self.is_replacing = False
        await self._apply_policy(self.path, checked)
        return change

    def _check(self, after: Texts) -> CheckedPolicy:
        texts = {str(self._place(name)): text for name, text in after.items() if name != self.path.name}
        main = after[self.path.name]
        policy = parse_policy(main.encode(), self.path, texts={place: text.encode() for place, text in texts.items()})
        return CheckedPolicy(policy, {str(self.path): main} | texts)

    def _place(self, name: str) -> Path:
        return (self.path.parent / name).absolute()

    def _read_all(self) -> Texts:
        """Return the main file, then the files that it includes, in order."""
        main = self._read(self.path.name)
        folder = self.path.parent.absolute()
        names = [str(file.relative_to(folder, walk_up=True)) for file in included_files(main.encode(), folder)]
        return {self.path.name: main} | {name: self._read(name) for name in names}

    def _read(self, name: str) -> str:
        place = self._place(name)
        try:
            return read_named_file(place).decode("utf-8-sig")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(
                "The policy file cannot be read: %(why)s.", why=getattr(error, "strerror", "it is not UTF-8")
            ) from None

    def _replace(self, before: Mapping[str, str], after: Mapping[str, str]) -> None:
        """Replace all files or none. New contents are written next to the files first, then renamed."""
        with contextlib.ExitStack() as cleaning:
            fresh: dict[str, Path] = {}
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
                raise _unwritable(error) from None

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
            raise _unwritable(error) from None
        return fresh


def _check_author(author: Principal, before: Texts, after: Texts) -> None:
    with contextlib.suppress(UnreadableText):  # such a policy is refused with the place of its mistake
        check_author(author, before, after)


def _check_dangers(find_dangers: FindDangers, policy: Policy) -> None:
    """Raise `DangerousOpening` if a policy opens something dangerous that the one in force does not."""
    if opened := list(find_dangers(policy)):
        what = ", ".join(dict.fromkeys(subject.what for subject, _ in opened))
        dangers = tuple(dict.fromkeys(each for _, found in opened for each in found))
        raise DangerousOpening(replace(opened[0][0], what=what), dangers)


def _rewritten(rewrite: Rewrite, texts: Texts) -> Texts:
    try:
        return rewrite(texts)
    except InvalidInput:
        raise
    except ValueError as error:
        raise InvalidInput(str(error)) from None


def _unwritable(error: OSError) -> InvalidInput:
    return InvalidInput("The policy file cannot be written: %(why)s. Nothing was changed.", why=error.strerror)


def _remove(file: Path) -> None:
    with contextlib.suppress(OSError):
        file.unlink(missing_ok=True)
