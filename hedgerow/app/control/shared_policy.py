"""One policy for the nodes of a site: the store holds its versions, and each node brings its files in step with the
newest one.

A node shares the policy once `policy-version` is in its state directory, which names the version that its files were
last in step with. `hedgerow join` and `hedgerow invite` write it, and so does a node whose role manages its site. A
change of the files on one node becomes the next version. A version that this node can't use is refused: the files stay,
and so does what is in force. Where two nodes changed the policy at once, or one of them without the store, the version
that came first stays, and the other text is kept next to the file.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sqlalchemy.exc import DatabaseError

from hedgerow.app.settings import STORE_URL, Settings
from hedgerow.blocklists.rules import Problem
from hedgerow.codec import decode, encode
from hedgerow.dashboards.accounts import COMMAND_LINE
from hedgerow.dashboards.control import InvalidInput
from hedgerow.dashboards.edits.policy_editor import PolicyEditor, Texts
from hedgerow.files import error_text, write_atomically
from hedgerow.journal.policy_history import MAIN_FILE, PolicyVersion, PolicyVersions, VersionConflict
from hedgerow.journal.store import cause_of
from hedgerow.policies.reading.load import PolicyError

log = logging.getLogger("hedgerow.policy")

FILE_NAME = "policy-version"
RETRY_S = 60.0
"""Seconds until a version that this node can't use is tried again: what it needs may have come meanwhile."""
STORE_RETRY_S = 5.0


@dataclass(frozen=True, slots=True)
class SharedVersion:
    """The version that a node's files were last in step with. `id` 0: none yet."""

    id: int
    files: dict[str, str]

    def save(self, state: Path) -> None:
        """Write it to the state directory, from which on the node shares the policy. Raises OSError."""
        write_atomically(state / FILE_NAME, encode(self))

    @staticmethod
    def load(state: Path) -> SharedVersion | None:
        """Read it; None if this node does not share the policy."""
        try:
            return decode(SharedVersion, (state / FILE_NAME).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            log.error("The policy is not shared, since %s can't be read: %s", state / FILE_NAME, error_text(error))
            return None


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """Answer of this node to the versions of its site: the one that it has taken over last, and the one that it
    refuses, for the mistakes in `problems`. 0: none.
    """

    taken: int = 0
    refused: int = 0
    problems: tuple[Problem, ...] = ()


class SharedPolicy:
    """Synchronisation of the policy files with the newest version.

    `problem` says why they are not, empty while they are. `answer` is for whoever has published a version.
    """

    def __init__(
        self, state: Path, versions: PolicyVersions, editor: PolicyEditor, clock: Callable[[], float] = time.time
    ) -> None:
        self._state, self._versions, self._editor, self._clock = state, versions, editor, clock
        self._wanted = asyncio.Event()
        self.request = self._wanted.set
        """Compare the files and the newest version soon."""
        self.is_taking_over = False
        self.problem = ""
        self.answer = OwnAnswer()
        self._refused, self._retry_at = 0, 0.0
        self._refused_with: Texts = {}

    async def run(self) -> None:
        """Compare at the start and on request, until cancelled."""
        is_unread = False
        while True:
            try:
                await self.compare()
                is_unread = False
            except DatabaseError as error:
                if not is_unread:
                    log.warning("The versions of the policy can't be read or written yet: %s", cause_of(error))
                is_unread = True
                asyncio.get_running_loop().call_later(STORE_RETRY_S, self.request)
            except (InvalidInput, OSError) as error:
                self._report(f"The policy file can't be brought in step with the other nodes: {error}")
            await self._wanted.wait()
            self._wanted.clear()

    async def compare(self) -> None:
        """Share a change of the files, or take over the newest version.

        Raises DatabaseError, OSError and `InvalidInput`.
        """
        base = await asyncio.to_thread(SharedVersion.load, self._state)
        if base is None:
            if not self._versions.is_of_manager or (self._state / FILE_NAME).exists():
                return
            base = SharedVersion(0, {})
        newest = await asyncio.to_thread(self._versions.newest)
        files = shared_names(await self._editor.texts(), self._editor.path.name)
        if newest is not None and files == newest.files:
            await self._note(newest.id, files)
        elif (
            newest is not None and newest.id == self._refused and files != self._refused_with and self._versions.may_add
        ):
            await self._share(files, newest.id)  # somebody who knows of the refusal has changed the policy here
        elif newest is not None and (newest.id != base.id or not self._versions.may_add):
            await self._take_over(newest, files, kept=files != base.files)
        elif files != base.files or newest is None:
            await self._share(files, newest.id if newest is not None else 0)

    async def _share(self, files: Texts, follows: int) -> None:
        try:
            check_names(files)
            await self._editor.preview(lambda texts: texts, COMMAND_LINE)
        except PolicyError:
            return  # the last good policy stays in force, here and there
        except ValueError as error:
            self._report(f"The policy can't be shared with the other nodes: {error}")
            return
        actor, summary = await asyncio.to_thread(self._author, files) if follows else (self._versions.site, "")
        version = PolicyVersion(0, self._clock(), actor, summary, socket.gethostname(), follows, files)
        try:
            number = await asyncio.to_thread(self._versions.add, version)
        except VersionConflict:
            self.request()
            return
        await self._note(number, files)

    async def _take_over(self, newest: PolicyVersion, files: Texts, *, kept: bool) -> None:
        """Replace `files` by those of a version.

        With `kept`, they were changed here too: what they were stays next to them.
        """
        if self._refused == newest.id and time.monotonic() < self._retry_at:
            return
        name = f"version {newest.id} of the policy, by {newest.actor} on {newest.node},"
        try:
            check_names(newest.files)
            suffix = f".not-shared-{time.strftime('%Y%m%d-%H%M%S', time.localtime(self._clock()))}" if kept else ""
            self.is_taking_over = True
            policy = await self._editor.adopt(local_names(newest.files, self._editor.path.name), suffix)
        except InvalidInput:  # the disk, or a file that was changed at this moment
            raise
        except (PolicyError, ValueError) as error:
            causes = "; ".join(map(str, error.problems[:3])) if isinstance(error, PolicyError) else str(error)
            self._report(f"{name} can't be used here, so the last good one stays until you change it: {causes}")
            self._refused, self._refused_with, self._retry_at = newest.id, files, time.monotonic() + RETRY_S
            problems = error.problems[:3] if isinstance(error, PolicyError) else (Problem("", None, None, str(error)),)
            self.answer = OwnAnswer(self.answer.taken, newest.id, tuple(problems))
            return
        finally:
            self.is_taking_over = False
        if kept:
            log.error("%s holds; the other text from here is kept beside the file", name)
        log.info("%s is that of this node", name)
        await asyncio.to_thread(self._keep_store, policy.network.store)
        await self._note(newest.id, dict(newest.files))

    def _keep_store(self, named: str) -> None:
        """Keep this machine's own role in the store if the first version that it takes over names another store.

        Waits for the disk.
        """
        if SharedVersion.load(self._state) is None and (own := Settings.load(self._state).store) not in ("", named):
            write_atomically(self._state / STORE_URL, own.encode())

    async def _note(self, number: int, files: Texts) -> None:
        self.problem, self.answer = "", OwnAnswer(number)
        version = SharedVersion(number, files)
        if await asyncio.to_thread(SharedVersion.load, self._state) != version:
            await asyncio.to_thread(version.save, self._state)

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            log.error("%s", problem)
        self.problem = problem

    def current_problems(self) -> tuple[Problem, ...]:
        """Return the problem as those of the policy file are shown."""
        return (Problem(str(self._editor.path), None, None, self.problem),) if self.problem else ()

    def _author(self, files: Mapping[str, str]) -> tuple[str, str]:
        """Return the author and summary of the change on the pages or by the API that led to these texts."""
        change = next(iter(self._editor.store.latest(1)), None)
        after = shared_names(change.after, self._editor.path.name) if change is not None else {}
        if change is not None and all(files.get(name) == text for name, text in after.items()):
            return change.actor, change.summary
        return "file", ""


def shared_names(texts: Mapping[str, str], main: str) -> Texts:
    """Return the files of a node whose main file is called `main` by their names in a version."""
    return {MAIN_FILE if name == main else name: text for name, text in texts.items()}


def local_names(files: Mapping[str, str], main: str) -> Texts:
    """Return the files of a version by their names at a node whose main file is called `main`."""
    return {main if name == MAIN_FILE else name: text for name, text in files.items()}


def check_names(names: Mapping[str, str]) -> None:
    """Raise ValueError unless all names are those of YAML files next to the main file or below its directory."""
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.suffix not in (".yaml", ".yml") or not name.isprintable():
            raise ValueError(f"'{name}' is not the name of a policy file beside {MAIN_FILE}")
    if MAIN_FILE not in names:
        raise ValueError(f"it has no {MAIN_FILE}")
