"""Publishing of snapshots: policy, lists, grants, pauses, sessions, spent budgets and host names."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from hedgerow.app.control.lists.updater import ListUpdater
from hedgerow.app.control.snapshots.budgets import BudgetTracker
from hedgerow.app.control.snapshots.delivery import AppliedSnapshots, SnapshotFiles
from hedgerow.app.control.snapshots.live_state import LiveStateReader
from hedgerow.app.control.snapshots.policy_of_today import GrowthOf, PolicyOfToday
from hedgerow.app.control.snapshots.sites_seen import SitesSeenFile
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import CLOCK_TOLERANCE_S, LoadedSnapshot, Snapshot, StartClock, identity_of
from hedgerow.blocklists.rules import Problem
from hedgerow.dashboards.edits.policy_editor import CheckedPolicy
from hedgerow.files import error_text
from hedgerow.journal.access_store import GrantStore
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.remembered_sites import RememberedSiteStore
from hedgerow.journal.rule_versions import RuleVersions
from hedgerow.journal.store import Store, cause_of
from hedgerow.journal.usage import UsageStore
from hedgerow.policies.model import Policy
from hedgerow.policies.reading.load import PolicyError, load_policy
from hedgerow.policies.time_model import ActiveMinute, SpentBudget

log = logging.getLogger("hedgerow.control")

_RETRY_S = 2.0
_FRESH_MARKS_S = 3 * 3600.0  # minutes that another node may have added since the last look


class SnapshotPublisher:
    """All parts of a snapshot, and its publication. `view` is the one in force, None before the first `publish`.

    `problem` says why the last one could not be written to the disk, until one is. `is_enforced` is False while it is
    not even in memory.

    Raises PolicyError if neither the policy file nor its last snapshot can be used.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        zygote: socket.socket | None = None,
        *,
        more_problems: Callable[[], tuple[Problem, ...]] = tuple,
        leases: Callable[[], dict[str, str]] = dict,
        growth: GrowthOf = lambda _policy: {},
        hold: Callable[[Policy], Policy] = lambda policy: policy,
        announce: Callable[[], None] = lambda: None,
    ) -> None:
        self._state = settings.state
        self.reader, self.ledger, self.usage = JournalReader(store), GrantStore(store), UsageStore(store)
        self.budgets = BudgetTracker(self.usage)
        self.live = LiveStateReader(store, self.budgets)
        self.versions = RuleVersions(store)
        self.sites = RememberedSiteStore(store)
        self.lists = ListUpdater(settings.state, one_job=settings.footprint.one_list_job, zygote=zygote)
        policy, loaded, self._serial = _load_last_good(settings)
        self.policy_file = PolicyFile(
            settings.policy,
            policy,
            loaded,
            calendars=settings.calendars,
            prepare=self.budgets.book,
            more_problems=more_problems,
        )
        self.clock = StartClock(_last_publication(settings.state))
        self._today = PolicyOfToday(growth, lambda: self.clock.at_least(time.time()), hold)
        self.sites_seen = SitesSeenFile(settings.published, lambda: self.clock.at_least(time.time()))
        self.view: LoadedSnapshot | None = None
        self.problem = ""
        self.is_enforced = True
        self.applied = AppliedSnapshots(settings.workers_files, lambda: self._serial)
        self._spent: tuple[SpentBudget, ...] = ()
        self._hashed: Policy | None = None
        self.policy_hash = ""
        """A hash of the policy of the last snapshot, empty before the first."""
        self._version = ("", "", 0)  # digest, generation and id of what was described last
        self._names: dict[str, str] = {}
        self._generation: Path | None = None
        self._files = SnapshotFiles(settings.state, settings.server_name)
        self._publishing = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._leases, self._announce = leases, announce
        self.request = self._wanted.set
        """Publish soon."""

    @property
    def policy(self) -> Policy:
        """The policy in force, with the ages of today."""
        return self._today.of(self.policy_file.policy)

    @property
    def is_ahead_of_clock(self) -> bool:
        """True if the snapshot seems to be published in the future, since the clock was set back."""
        return self.view is not None and time.time() < self.view.snapshot.published - CLOCK_TOLERANCE_S

    def last_generation(self) -> Path | None:
        """The generation of the last snapshot, also that of an earlier run."""
        try:
            return Snapshot.in_force(self._state).generation
        except (OSError, ValueError):
            return None

    async def publish(self) -> None:
        """Publish the current state. If the disk fails, a copy in memory is in force, and the disk is tried again.

        Raises OSError if there is no memory either. Calls run one after the other, so that serial numbers have the
        order of publication.
        """
        async with self._publishing:
            try:
                problem = await self._publish()
            except OSError as error:
                self.problem, self.is_enforced = error_text(error), False
                raise
            if problem and problem != self.problem:
                log.error("The snapshot is in force, but can't be saved: %s", problem)
            self.problem, self.is_enforced = problem, True

    async def publish_first(self) -> None:
        """Publish or, if that fails, go on with the last snapshot and retry. Raises OSError if there is none."""
        try:
            await self.publish()
        except OSError:
            try:
                self.view = LoadedSnapshot(Snapshot.in_force(self._state))
            except ValueError:
                pass
            if self.view is None:
                raise
            log.error("The snapshot can't be written, the last one stays in force: %s", self.problem)
            self._wanted.set()

    async def put_in_force(self) -> None:
        """Publish, and wait for a moment until every worker applies it.

        If it can't be written, it is published once it can.
        """
        try:
            await self.publish()
        except OSError as error:
            log.error("The snapshot can't be written, the last one stays in force: %s", error)
            self._wanted.set()
            return
        await self.applied.wait(self._serial)

    async def publish_with_retry(self) -> None:
        """Publish, and retry while it can't be written. Meanwhile the last snapshot stays in force."""
        while True:
            before = self.problem
            try:
                return await self.publish()
            except OSError:
                if self.problem != before:
                    log.error("The snapshot can't be written, the last one stays in force: %s", self.problem)
                await asyncio.sleep(_RETRY_S)

    async def write_again_if_damaged(self) -> None:
        """Write the snapshot to the disk again if it was damaged or removed there, or never saved."""
        if self.view is None or not self.is_enforced or self._files.is_on_disk:
            return
        async with self._publishing:
            self.problem = await asyncio.to_thread(self._files.save_on_disk, self.view.snapshot)
        if not self.problem:
            log.warning(
                "snapshot %d was damaged, removed or not saved before: it is on the disk again",
                self.view.snapshot.serial,
            )

    async def publish_on_request(self) -> None:
        """Publish on request until cancelled: after changes that `update_host_names` and `count` find, and for
        `request`.
        """
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await self.publish_with_retry()

    def update_host_names(self, names: dict[str, str]) -> None:
        """Set the host names by MAC and IP address. A snapshot is published if the policy names one of them."""
        before, self._names = _policy_host_names(self.policy, self._names), names
        if _policy_host_names(self.policy, names) != before:
            self._wanted.set()

    async def count(self, used: list[ActiveMinute]) -> None:
        """Count minutes. If they use up a budget, a snapshot is published before its end."""
        if not self.budgets.record(used):
            return
        if self.budgets.spent(self.policy, time.time()) != self._spent:
            self._wanted.set()
        await asyncio.to_thread(self.budgets.save)

    async def refresh(self) -> None:
        """Read the journal, and publish if anything differs from the last reading. Raises DatabaseError."""
        now = time.time()
        marks = await asyncio.to_thread(self.budgets.read_marks, *((_FRESH_MARKS_S,) if self.live.is_live else ()))
        self.budgets.add_marks(marks)
        live = await asyncio.to_thread(self.live.read, now, self.clock, self.policy.network.timezone)
        if (
            not self.live.is_live
            or (self.view is not None and self.view.policy is not self.policy)
            or live != self.live.newest
            or self.budgets.spent(self.policy, self.clock.at_least(now)) != self._spent
        ):
            self._wanted.set()

    async def _publish(self) -> str:
        """Publish.

        Returns the reason if the snapshot is in memory only, else an empty text. Raises OSError if it is nowhere.
        """
        generation = self.lists.generation
        if generation is None:
            generation = Snapshot.in_force(self._state).generation
        now = time.time()
        policy = self.policy
        live = await asyncio.to_thread(self.live.read_for_snapshot, now, self.clock, policy.network.timezone)
        self._spent = self.budgets.spent(policy, self.clock.at_least(now))
        version = await asyncio.to_thread(self._record_version, policy, generation, now)
        self._serial += 1
        state = (live.grants, live.pauses, self._spent, live.sessions, _policy_host_names(policy, self._names))
        seen = await asyncio.to_thread(self.sites_seen.prepare, policy)
        found = (version, live.denied, live.remembered, seen, self._leases())
        snapshot = Snapshot(
            self._serial, self.clock.at_least(now), policy, generation, *state, *found, live.denial_reasons
        )
        view = await asyncio.to_thread(lambda: LoadedSnapshot(snapshot, before=self.view))
        problem = await asyncio.to_thread(self._files.save, snapshot)
        self.view = view
        self._announce()
        log.info("snapshot %d published", snapshot.serial)
        if generation != self._generation:
            # A worker may still be opening the previous one.
            await asyncio.to_thread(self.lists.prune, {generation, self._generation})
            self._generation = generation
        return problem

    def _record_version(self, policy: Policy, generation: Path, now: float) -> int:
        """Describe the rules and lists in the journal.

        Returns the id of the description, 0 if the journal cannot be written.
        """
        if policy is not self._hashed:
            self._hashed, self.policy_hash = (
                policy,
                hashlib.sha256(self._files.codec.encode_policy(policy)).hexdigest()[:16],
            )
        texts = self.policy_file.texts if policy is self.policy else {}
        try:
            version = self.versions.record(now, self.policy_hash, generation.name, texts, self.lists.versions)
        except DatabaseError as error:
            log.warning("The version of the rules can't be recorded: %s", cause_of(error))
            return self._version[2] if self._version[:2] == (self.policy_hash, generation.name) else 0
        self._version = (self.policy_hash, generation.name, version)
        return version


def _last_publication(state: Path) -> tuple[float, ...]:
    try:
        return (Snapshot.in_force(state).published,)
    except (OSError, ValueError):
        return ()


def _policy_host_names(policy: Policy, names: dict[str, str]) -> dict[str, str]:
    """Return the names, by MAC and IP address, that the policy uses."""
    wanted = {name for device in policy.devices.values() for name in device.hostnames}
    return {key: name for key, name in names.items() if name in wanted}


def _load_last_good(settings: Settings) -> tuple[Policy, float, int]:
    """Load the policy of the last snapshot of this policy file, which may have mistakes by now; without one, the file.

    Returns the policy, the time at which it was loaded, and the serial number of the last snapshot.

    Raises PolicyError if neither can be used.
    """
    try:
        snapshot = Snapshot.in_force(settings.state)
    except (OSError, ValueError):
        return _load_usable(settings), time.time(), 0
    if snapshot.policy.path != (str(settings.policy) if settings.policy else None):
        return _load_usable(settings), time.time(), snapshot.serial
    return snapshot.policy, snapshot.published, snapshot.serial


def _load_usable(settings: Settings) -> Policy:
    try:
        return load_policy(settings.policy, settings.calendars)
    except PolicyError as error:
        if error.usable is None:
            raise
        return error.usable


class PolicyFile:
    """The policy file. `policy` is in force; `problems` are the mistakes of a newer file that was refused.

    `texts` holds what was read of the file and of those that it includes, by path; it is empty where that is not known.
    `prepare` is called with a new policy in the thread that has read it, before it is in force.
    `more_problems` returns those of other nodes and levels. `loaded` is in seconds since the epoch, and `calendars` is
    the directory with copies of calendars from URLs.
    """

    def __init__(
        self,
        path: Path | None,
        policy: Policy,
        loaded: float,
        *,
        calendars: Path | None = None,
        prepare: Callable[[Policy], object] = lambda _policy: None,
        more_problems: Callable[[], tuple[Problem, ...]] = tuple,
    ) -> None:
        self.path, self._calendars = path, calendars
        self._prepare, self._more_problems = prepare, more_problems
        self.policy = policy
        self.loaded = loaded
        self.texts: dict[str, str] = {}
        self.problems: tuple[Problem, ...] = ()
        self._seen: tuple[object, ...] | None = None
        self._others = _other_files(path, policy, ())

    def has_changed(self) -> bool:
        """Return True if the file has changed since the last `reload`.

        An editor may remove it for a moment, which does not count.
        """
        identity = self._identity()
        return identity is not None and identity != self._seen

    async def reload(self, checked: CheckedPolicy | None = None) -> bool:
        """Load the file, in a thread. Returns False if it has mistakes, which are logged and kept in `problems`.

        The policy that an editor has `checked` is taken instead, if the files are what it was parsed from.
        """
        before = self._identity()
        try:
            policy, texts = await asyncio.to_thread(self._read, checked)
        except PolicyError as error:
            self.problems = error.problems
            self._remember(before)
            for problem in error.problems:
                log.error("%s", problem)
            log.error(
                "The policy of %s stays in force.", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.loaded))
            )
            return False
        self.policy, self.problems, self.loaded = policy, (), time.time()
        self._remember(before)
        self.texts = texts if self._seen == self._identity() else {}
        return True

    def _read(self, checked: CheckedPolicy | None) -> tuple[Policy, dict[str, str]]:
        texts = {} if checked is None else _read_texts(self.path, checked.policy)
        if checked is not None and texts == checked.texts and len(texts) == 1 + len(checked.policy.files):
            policy = checked.policy
        else:
            policy = load_policy(self.path, self._calendars)
            if problems := _emptied_files(self.policy, policy):
                raise PolicyError(problems)
            texts = _read_texts(self.path, policy)
        self._prepare(policy)
        return policy, texts

    def current_problems(self) -> tuple[Problem, ...]:
        """Return the mistakes of the file as it is on the disk; a missing file is one."""
        if self.path is not None and not self.path.exists():
            return (Problem(str(self.path), None, None, "the file is missing"),)
        return self.problems + self._more_problems()

    def _remember(self, before: tuple[object, ...] | None) -> None:
        """Remember the identity of all included files, known only after reading.

        If the file changed meanwhile, it is read again.
        """
        self._others = _other_files(self.path, self.policy, self.problems)
        after = self._identity()
        self._seen = after if before is None or (after is not None and after[0] == before[0]) else before

    def _identity(self) -> tuple[object, ...] | None:
        """The identities of the file and of the others, None without the file."""
        own = identity_of(self.path) if self.path is not None else None
        return None if own is None else (own, *((other, identity_of(other)) for other in self._others))


def _other_files(path: Path | None, policy: Policy, problems: Iterable[Problem]) -> tuple[str, ...]:
    """Return the files that are read in addition to the policy file, and the directories in which more may appear."""
    others = {Path(file) for file in policy.files} | {Path(problem.source) for problem in problems}
    folders = {other.parent for other in others if other.is_absolute()} - {path.parent if path else Path()}
    return tuple(sorted(map(str, others | folders)))


def _emptied_files(before: Policy, after: Policy) -> tuple[Problem, ...]:
    """Return a mistake for each file that has lost all of its entries, as editors leave it on a full disk."""
    had_entries = {before.path, *before.files} - set(before.empty)
    message = "the file is empty and had entries before: write {} for none"
    return tuple(Problem(file, None, None, message) for file in after.empty if file in had_entries)


def _read_texts(path: Path | None, policy: Policy) -> dict[str, str]:
    """Return the text of a policy's YAML files by path."""
    texts = {}
    for file in (str(path or ""), *policy.files):
        if file.endswith((".yaml", ".yml")):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                texts[file] = Path(file).read_text(encoding="utf-8-sig")
    return texts
