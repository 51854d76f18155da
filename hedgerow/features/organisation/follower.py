"""The levels above a site, as a store or a signed bundle distributes them: their files are kept in step, and a store
gets reports.

What was taken over last is also in the state directory: the files are put back if somebody changes them, also while the
store is away. A version under which this site's own file has a mistake is not taken over, so that what is in force
stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from hedgerow import __version__
from hedgerow.app.bundles import (
    MAX_BUNDLE,
    OBJECTS,
    BundleError,
    LatestBundle,
    check_age,
    check_text,
    open_bundle,
    public_key,
)
from hedgerow.app.control.shared_policy import OwnAnswer
from hedgerow.blocklists.categories import builtin_categories
from hedgerow.blocklists.rules import Problem
from hedgerow.codec import decode, encode
from hedgerow.dashboards.control import Status
from hedgerow.dashboards.coverage import oldest_age_hours, wanted_states
from hedgerow.dashboards.deferred_app import health_of, readiness_problems
from hedgerow.features.contract import ControlService, Core
from hedgerow.features.organisation.answers import describe_refusal
from hedgerow.features.organisation.levels import ORGANISATION, OrganisationStore, SiteState
from hedgerow.files import error_text, write_atomically
from hedgerow.journal.policy_history import MAIN_FILE
from hedgerow.journal.reader import JournalReader
from hedgerow.journal.store import Store, cause_of
from hedgerow.policies.model import Policy, Verdict
from hedgerow.policies.network import BundleSource
from hedgerow.policies.reading.levels import LEVELS, level_file
from hedgerow.policies.reading.load import PolicyError, parse_policy
from hedgerow.policies.text.yaml_tree import MAX_BYTES
from hedgerow.task_state import Area

log = logging.getLogger("hedgerow.policy")

FILE_NAME = "organisation"
CHECK_S = 2.0
"""Seconds between two looks at the files."""
REPORT_S, DAY_S = 30.0, 86400.0
UNUSABLE = "a newer policy of the organisation can't be used here"
"""Problem that a site reports while it keeps the last good versions."""
ANSWER_S = 2.0
"""Seconds until a version that was taken over or refused is reported. By then, it is in force."""
RETRY_S = 60.0
"""Seconds until a version that this site can't use is tried again: its own file may have changed."""


BUNDLE_S = 60.0
"""Seconds between two looks at a bundle, of which a part is left to chance."""
PATIENCE_S = 86400.0
"""Seconds for which a bundle may be out of reach until that counts as a problem."""
_FETCH_S = 20.0


@dataclass(frozen=True, slots=True)
class TakenLevels:
    """The levels that were taken over last: their versions, and the texts of their files.

    `bundle` is the number of the newest one seen.
    """

    versions: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    bundle: int = 0


class OrganisationFollower:
    """Follower of the levels above, whose files it keeps in step with the store.

    `problem` says why they are not, empty while they are.
    """

    def __init__(
        self,
        state: Path,
        store: Store,
        policy_path: Callable[[], Path | None],
        status: Callable[[], Status],
        policy: Callable[[], Policy],
        seats_in_use: Callable[[], int],
        reload: Callable[[], None],
        clock: Callable[[], float] = time.time,
        bundle: LatestBundle | None = None,
        own_answer: Callable[[], OwnAnswer] = OwnAnswer,
    ) -> None:
        self._file, self._store, self._path = state / FILE_NAME, store, policy_path
        self._status, self._policy, self._seats_in_use, self._clock = status, policy, seats_in_use, clock
        self._organisation, self._reload = OrganisationStore(store), reload
        self._wanted = asyncio.Event()
        self.request = self._wanted.set
        """Look at the store soon."""
        self.problem = ""
        self.latest = bundle or LatestBundle()
        self._taken: TakenLevels | None = None
        self._retry_at: float | None = None  # while a version is refused
        self._refused: dict[str, int] = {}
        self._refusal = ""
        self._report_at = 0.0
        self._own_answer, self._own = own_answer, OwnAnswer()
        self._bundle: BundleSource | None = None
        self._look_at = 0.0  # at the bundle
        self._seen_at = time.monotonic()

    async def run(self) -> None:
        """Take over versions and report, until cancelled.

        Does nothing without a store for several sites or a bundle.
        """
        self.request()
        while True:
            try:
                await self._follow()
            except DatabaseError as error:
                log.debug("The organisation's policy can't be read: %s", cause_of(error))
                asyncio.get_running_loop().call_later(CHECK_S, self.request)
            except OSError as error:
                self._report(f"The files of the organisation's policy can't be written: {error_text(error)}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), CHECK_S)
                await asyncio.sleep(0.05)  # several changes at once are one
            if self._retry_at is not None and time.monotonic() > self._retry_at:
                self._wanted.set()

    async def _follow(self) -> None:
        bundle, is_shared = self._policy().network.bundle, self._store.dialect.is_partitioned
        if bundle is not None and (time.monotonic() > self._look_at or bundle != self._bundle):
            self._bundle, self._look_at = bundle, time.monotonic() + BUNDLE_S * random.uniform(0.75, 1)  # noqa: S311 (no secret)
            await asyncio.to_thread(self.take_bundle, bundle)
            self.latest.has_looked = True
        if self._wanted.is_set() and bundle is None and is_shared:
            self._wanted.clear()
            await asyncio.to_thread(self.take_over)
        self._wanted.clear() if bundle is not None or not is_shared else None
        if bundle is not None or is_shared:
            await asyncio.to_thread(self.restore)
        if (own := self._own_answer()) != self._own:
            self._own = own
            self._report_at = min(self._report_at, time.monotonic() + ANSWER_S)
        if is_shared and time.monotonic() > self._report_at:
            self._report_at = time.monotonic() + REPORT_S
            state = replace(
                self.state(), blocked=await asyncio.to_thread(blocked_since, self._store, self._clock() - DAY_S)
            )
            await asyncio.to_thread(self._organisation.report, socket.gethostname(), self._clock(), state)

    def take_over(self) -> None:
        """Take over the newest versions of the store if this site can use them.

        Waits for the disk. Raises DatabaseError and OSError.
        """
        versions = self._organisation.levels()
        self._take(
            {level: version.id for level, version in versions.items()}, lambda level: versions[level].files[MAIN_FILE]
        )

    def take_bundle(self, source: BundleSource) -> None:
        """Take over a bundle if it is good and this site can use it; the last good one stays otherwise.

        Waits. Raises OSError.
        """
        known = self._known()
        try:
            local = self._policy().network.own_places
            manifest = open_bundle(_fetched(source.url, MAX_BUNDLE, local), public_key(source.key))
            check_age(manifest, known.bundle, self._clock())
            names = {"organisation": ORGANISATION} | ({"group": ORGANISATION + source.group} if source.group else {})
            levels = {level: manifest.levels[name] for level, name in names.items() if name in manifest.levels}
            if "group" in names and "group" not in levels:
                raise BundleError(f"it has no group {source.group}")
            objects = source.url.rpartition("/")[0] + f"/{OBJECTS}/"

            def text_of(level: str) -> str:
                return check_text(levels[level], _fetched(objects + levels[level].digest, MAX_BYTES, local))

            self._take({level: each.version for level, each in levels.items()}, text_of, manifest.number)
            self.latest.seen = source, manifest
        except BundleError as error:
            problem = (
                f"The organisation's bundle at {source.url} is not taken over, and the last good one stays: {error}"
            )
            if not error.may_pass or time.monotonic() - self._seen_at > PATIENCE_S:
                self._report(problem)
            elif not self.problem:
                log.info("%s", problem)
        else:
            self._seen_at = time.monotonic()

    def _take(self, numbers: dict[str, int], text_of: Callable[[str], str], bundle: int = 0) -> None:
        path, known = self._path(), self._known()
        if path is None or (numbers == known.versions and bundle == known.bundle):
            self._retry_at, self._refused = None, {}
            self._report("")
            return
        texts = {level: text_of(level) for level in numbers}
        if texts != known.texts and (problems := _problems_of(path, texts)):
            self._retry_at = time.monotonic() + RETRY_S
            self._refuse(numbers, problems)
            problem = "; ".join(map(str, problems))
            self._report(f"{_named(numbers)} can't be used here, so the last good one stays: {problem}")
            return
        self._taken, self._retry_at, self._refused = TakenLevels(numbers, texts, bundle), None, {}
        self._report_at = min(self._report_at, time.monotonic() + ANSWER_S)
        write_atomically(self._file, encode(self._taken))
        self.restore()
        self._report("")
        if numbers != known.versions:
            log.info("in force above this site's own policy: %s", _named(numbers))

    def _refuse(self, numbers: dict[str, int], problems: tuple[Problem, ...]) -> None:
        policy, known = self._policy(), self._known().versions
        refused = {level: number for level, number in numbers.items() if number != known.get(level)}
        if refused != self._refused:
            self._report_at = min(self._report_at, time.monotonic() + ANSWER_S)
        self._refused, self._refusal = refused, describe_refusal(problems, {*policy.people, *policy.devices})

    def restore(self) -> None:
        """Write the files of the levels again where they differ from those taken over.

        Waits for the disk. Raises OSError.
        """
        path, known = self._path(), self._known()
        if path is None or (not known.texts and not known.versions and not self._file.exists()):
            return
        for level in LEVELS:
            file, text = level_file(path, level), known.texts.get(level)
            if text is None and file.exists():
                file.unlink()
            elif text is not None and (not file.exists() or file.read_bytes() != text.encode()):
                file.parent.mkdir(exist_ok=True)
                write_atomically(file, text.encode(), 0o644)
            else:
                continue
            self._reload()

    def current_problems(self) -> tuple[Problem, ...]:
        """Return the problem as those of the policy file are shown."""
        return (Problem(str(self._path() or ""), None, None, self.problem),) if self.problem else ()

    def state(self) -> SiteState:
        """Return the report of this node. Problems are told without the names in a policy."""
        status, policy = self._status(), self._policy()
        problems = readiness_problems(health_of(status)) + ([UNUSABLE] if self._retry_at is not None else [])
        return SiteState(
            __version__,
            status.policy_hash,
            self._known().versions,
            oldest_age_hours(status.lists, self._clock()),
            wanted_states(status.coverage),
            sum(device.is_seat for device in policy.devices.values()),
            self._seats_in_use(),
            tuple(problems),
            refused=self._refused,
            refusal=self._refusal if self._refused else "",
            own=self._own.taken,
            own_refused=self._own.refused,
            own_refusal=describe_refusal(self._own.problems, {*policy.people, *policy.devices}),
        )

    def _known(self) -> TakenLevels:
        if self._taken is None:
            try:
                self._taken = decode(TakenLevels, self._file.read_bytes())
            except (OSError, ValueError):
                self._taken = TakenLevels()
        return self._taken

    def _report(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.error("%s", problem)
        self.problem = problem


def follower_service(core: Core) -> ControlService:
    """Return the service that keeps the levels above this site in step."""
    follower = OrganisationFollower(
        core.settings.state,
        core.store,
        policy_path=lambda: core.snapshots.policy_file.path,
        status=core.control.status,
        policy=lambda: core.policy,
        seats_in_use=lambda: sum(each.person is None for each in core.times.sessions()),
        reload=core.reload_policy,
        clock=core.clock,
        bundle=core.bundle,
        own_answer=core.own_answer,
    )
    return ControlService(
        name="organisation",
        run=follower.run,
        area=Area.MACHINES,
        refresh=follower.request,
        policy_problems=follower.current_problems,
    )


def blocked_since(store: Store, since: float) -> dict[str, int]:
    """Count what the site has blocked by category.

    Names of rules may be those of visited sites, and are left out. Raises DatabaseError.
    """
    known, found = {category.name for category in builtin_categories()}, Counter[str]()
    for row in JournalReader(store).reasons(since):
        if row.verdict is Verdict.BLOCK and row.what in known:
            found[row.what] += row.count
    return dict(found)


def _problems_of(path: Path, texts: Mapping[str, str]) -> tuple[Problem, ...]:
    """Return the first mistakes of a site's policy below these levels, none if it is good. Raises OSError."""
    replaced = {str(level_file(path, level)): texts.get(level, "").encode() for level in LEVELS}
    try:
        parse_policy(path.read_bytes(), path, texts=replaced)
    except PolicyError as error:
        return error.problems[:3]
    return ()


def _fetched(url: str, limit: int, local: Collection[str]) -> bytes:
    """Download a file of a bundle. `local` are the policy's own names and networks. Raises BundleError."""
    from hedgerow.blocklists.outgoing import download_small  # few sites have a bundle
    from hedgerow.blocklists.outgoing_guard import OutgoingGuard, RefusedError

    try:
        return download_small(url, limit, _FETCH_S, OutgoingGuard(local=local))
    except (RefusedError, OSError) as error:
        problem = BundleError(f"{url} can't be fetched: {error}")
        problem.may_pass = not isinstance(error, RefusedError)
        raise problem from None


def _named(numbers: Mapping[str, int]) -> str:
    named = " and ".join(f"version {number} of the {level}'s policy" for level, number in numbers.items())
    return named or "no policy of an organisation"
