"""Updates of the compiled lists: when to fetch, when to compile, and which generations to delete.

The directory of a generation is named by a hash of its inputs, so nothing is compiled twice, and a restart or a crash
finds the complete generations from before.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING

from hedgerow.app.control.lists.bundled_lists import BundledCopies, BundledGeneration, BundledListInstaller
from hedgerow.app.control.lists.list_jobs import (
    CompileError,
    CompileJob,
    FetchJob,
    ListFolders,
    compile_in_subprocess,
    fetch_in_subprocess,
    read_report,
    run_compile,
    run_fetch,
)
from hedgerow.app.control.lists.list_sources import (
    CopyStatuses,
    file_identities,
    fingerprint,
    modified_at,
    sources_of,
    wanted_categories,
)
from hedgerow.backoff import pause_after
from hedgerow.blocklists.catalogue import is_usable
from hedgerow.blocklists.compiler import CompileReport, SourceReport
from hedgerow.blocklists.download_store import CopyStatus, FetchResult, accept_held_copy
from hedgerow.blocklists.generation import read_meta
from hedgerow.blocklists.list_parser import ParseCache
from hedgerow.blocklists.outgoing_guard import OWN_PORTS
from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.sources import Source, correction_sources, publisher_of, starter_sources
from hedgerow.dashboards.coverage import CategoryCoverage, ListHealth, coverage_by_category
from hedgerow.journal.rule_versions import ListVersion
from hedgerow.policies.model import Policy

if TYPE_CHECKING:
    import socket

    from hedgerow.blocklists.downloader import ReportProgress

log = logging.getLogger("hedgerow.lists")

COMPILE_FIRST_BYTES = 16 << 20
"""Lists up to this size are compiled before serving starts, which takes a few seconds."""
FETCH_INTERVAL_S = 24 * 3600.0
FETCH_RETRY_S = 60.0
"""Pause after the first failure of a list; it doubles with each further failure."""
FETCH_AGAIN_AT_MOST_S = 3600.0
FETCH_FIRST_AT_MOST_S = 600.0
"""Bound of the pause while there is no copy of any list: on the first day the internet often comes later
than Hedgerow.
"""
COMPILE_INTERVAL_WHILE_FETCHING_S = 15.0
PAUSE_JITTER = 0.25
"""Part of a pause that is left to chance, so that many installations do not come back in the same second."""
DEAD_AFTER_S = 7 * 86400.0
"""Seconds without a successful download after which a list counts as dead."""
MANY_FAILURES = 3
"""Failures that are logged one by one; more become one line, and `hedgerow lists status` shows them all."""
REFRESH_FRACTION = 0.75
"""A list is fetched again after this part of its `refresh` time, before it counts as too old."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """A list whose last `times` downloads failed, the last at `at` on the monotonic clock and at `when` by the time of
    day.

    `luck` is a random number from 0 to 1.
    """

    at: float
    when: float
    times: int
    problem: Problem
    luck: float

    def pause(self, bound: float) -> float:
        """Seconds until the next attempt: twice as many after each failure, up to `bound`."""
        return pause_after(self.times, first=FETCH_RETRY_S, longest=bound) * (1 - PAUSE_JITTER * self.luck)


def _current_failure(failure: _Failure | None, copy: CopyStatus) -> _Failure | None:
    """Return a list's failure, unless another process, that of `hedgerow lists update`, has fetched the list since."""
    return None if failure and copy.checked and copy.checked > failure.when else failure


@dataclass(frozen=True, slots=True)
class ListProgress:
    """Callbacks for progress: each fetched list, the bytes of each download, the name of each compiled list."""

    fetched: Callable[[FetchResult], None]
    received: ReportProgress
    compiled: Callable[[str], None]


class ListUpdater:
    """The lists of the policy, fetched and compiled when due.

    `generation` is the directory in force, None until one exists.

    With `progress` it works in this process instead of a subprocess, which `zygote` forks if possible. With `one_job`
    it never compiles and fetches at the same time, which saves memory, but a slow server then delays the use of other
    lists.
    """

    def __init__(
        self,
        state: Path,
        progress: ListProgress | None = None,
        *,
        one_job: bool = False,
        zygote: socket.socket | None = None,
    ) -> None:
        self._folders = ListFolders(state)
        self._progress = progress
        self._one_job = one_job
        self._zygote = zygote
        self._job_lock: AbstractAsyncContextManager[object] = asyncio.Lock() if one_job else nullcontext()
        self._copies = self._own_copies = CopyStatuses(self._folders.downloads)
        self.bundled = BundledListInstaller(self._folders, self._own_copies)
        self._failed: dict[Source, _Failure] = {}
        self._compiled: tuple[Source, ...] = ()
        self._compiled_at = 0.0
        self._is_fetching = False
        self.generation: Path | None = None
        self.report: CompileReport | None = None
        self.versions: tuple[ListVersion, ...] = ()
        self.problem = ""

    def is_worth_compiling(self, policy: Policy) -> bool:
        """Return True if it is time to compile. While lists are being fetched, they are compiled in batches."""
        is_too_soon = self._is_fetching and (
            self._one_job or time.monotonic() - self._compiled_at < COMPILE_INTERVAL_WHILE_FETCHING_S
        )
        return not is_too_soon and self.is_stale(policy)

    def is_stale(self, policy: Policy) -> bool:
        """Return True if the inputs differ from those of the generation in force."""
        if (bundled := self.bundled.for_policy(policy, self.generation, self._failed)) is not None:
            return self.generation != bundled.folder
        return (
            self.generation is None
            or fingerprint(self._own_copies.with_paths(sources_of(policy))) != self.generation.name
        )

    async def load_first_generation(self, policy: Policy, before: Path | None) -> bool:
        """Make or find a generation to start with; the rest follows later. Returns False on failure.

        That is all lists if they are small, else the generation `before` of an earlier run, else the starter lists.
        """
        if (bundled := self.bundled.for_policy(policy, before, ())) is not None:
            self.generation = bundled.folder
            return await self.compile(policy)
        sources = self._copies.with_paths(sources_of(policy))
        size = sum(size for source in sources for _name, _date, size in file_identities(source))
        is_known = _usable_report(self._folders.generations / fingerprint(sources)) is not None
        if is_known or size - _size_of_starter_lists() <= COMPILE_FIRST_BYTES:
            return await self.compile(policy)
        if before is not None and (report := _usable_report(before)) is not None:
            self.generation, self.report, self._compiled = before, report, _reported_sources(report, sources)
            return True
        return await self._compile((*starter_sources(), *correction_sources()))

    async def compile(self, policy: Policy) -> bool:
        """Compile the policy's lists, or use those of the bundle.

        Returns False on failure; the generation in force then stays.
        """
        bundled = self.bundled.for_policy(policy, self.generation, self._failed)
        self._copies = BundledCopies(bundled) if bundled is not None else self._own_copies
        return await self._compile(self._copies.with_paths(sources_of(policy)), bundled)

    async def _compile(self, sources: tuple[Source, ...], bundled: BundledGeneration | None = None) -> bool:
        out = bundled.folder if bundled is not None else self._folders.generations / fingerprint(sources)
        started = time.monotonic()
        report = _usable_report(out)
        if bundled is not None:
            self.bundled.is_damaged = report is None
            if report is None:
                return False
            sources = _reported_sources(report, sources)
        elif report is None:
            shutil.rmtree(out, ignore_errors=True)
            job = CompileJob(sources, out, self._folders.state)
            try:
                async with self._job_lock:
                    report = (
                        run_compile(job, self._progress.compiled)
                        if self._progress
                        else await compile_in_subprocess(job, self._zygote)
                    )
            except (CompileError, OSError) as error:
                self._fail(error)
                return False
            log.info("%d domains compiled in %.1f s", report.domains, time.monotonic() - started)
            for each in report.sources:
                if each.corrections:
                    log.warning(
                        "%s: taken without %s, which it names by mistake", each.name, ", ".join(each.corrections)
                    )
        # A failed download has been logged already.
        missing = {source.name for source in sources if source.url and source.path is None}
        for problem in [problem for problem in report.problems if problem.source not in missing][:20]:
            log.warning("%s", problem)
        self.problem = ""
        self.generation, self.report, self._compiled, self._compiled_at = out, report, sources, time.monotonic()
        self.versions = tuple(starmap(_list_version, zip(sources, report.sources, strict=False)))
        return True

    async def fetch_if_due(self, policy: Policy, every: bool = False) -> None:
        """Download the lists that are due, or `every` list with a URL.

        None is due while the bundle's compiled lists are in use.
        """
        if not every and self.bundled.for_policy(policy, None, ()) is not None:
            return
        remote = [source for source in sources_of(policy) if source.url]
        bound = (
            FETCH_AGAIN_AT_MOST_S
            if any(self._own_copies.status(source).path for source in remote)
            else FETCH_FIRST_AT_MOST_S
        )
        wanted = tuple(source for source in remote if every or self._is_due(source, bound))
        if not wanted:
            return
        job = FetchJob(wanted, self._folders.state, policy.network.own_places, os.environ.get(OWN_PORTS, ""))
        luck = random.random()  # noqa: S311 (no secret); one for all, so that lists that failed together are retried together
        self._is_fetching = True
        try:
            async with self._job_lock:
                fetched = (
                    run_fetch(job, self._progress.fetched, self._progress.received)
                    if self._progress
                    else await fetch_in_subprocess(job, self._zygote)
                )
        except (CompileError, OSError) as error:
            self._fail(error)
            for source in wanted:
                self._note_failure(source, Problem(source.name, None, None, self.problem, source.place), luck)
            return
        finally:
            self._is_fetching = False
        self.problem = ""
        new_problems = []
        for source, each in zip(wanted, fetched, strict=True):
            if each.problem is None:
                self._failed.pop(source, None)
            elif self._note_failure(source, each.problem, luck):
                new_problems.append(each.problem)
        if self._progress is None:  # otherwise the callbacks have reported it
            _warn(new_problems, len(wanted))

    def _note_failure(self, source: Source, problem: Problem, luck: float) -> bool:
        """Remember a failure. Returns False if the list failed before too and nothing new is held back."""
        before = _current_failure(self._failed.get(source), self._own_copies.status(source))
        self._failed[source] = _Failure(time.monotonic(), time.time(), before.times + 1 if before else 1, problem, luck)
        is_held = bool(self._own_copies.status(source).held)
        return before is None or (is_held and before.problem.message != problem.message)

    def accept(self, policy: Policy, name: str) -> bool:
        """Use the copy of a list that is held back. Returns False if there is none.

        Accesses the disk. Raises OSError, and BlockingIOError while lists are being compiled.
        """
        source = next((each for each in sources_of(policy) if each.url and each.name == name), None)
        if source is None:
            return False
        with self._folders.locked(wait=False) as alone:
            if not alone:
                raise BlockingIOError
            return accept_held_copy(source, self._folders.downloads)

    def _fail(self, error: CompileError | OSError) -> None:
        self.problem = (
            f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.strerror else str(error)
        )
        if self._progress is None:
            log.error("%s", self.problem)

    def _is_due(self, source: Source, bound: float) -> bool:
        copy = self._own_copies.status(source)
        if (failure := _current_failure(self._failed.get(source), copy)) and not copy.held:
            return time.monotonic() - failure.at > failure.pause(bound)
        every = min(FETCH_INTERVAL_S, REFRESH_FRACTION * source.refresh) if source.refresh else FETCH_INTERVAL_S
        return copy.checked is None or time.time() - copy.checked > every

    def problems(self, policy: Policy) -> tuple[Problem, ...]:
        """The current problems of the lists."""
        current = [
            Problem(each.name, None, None, text, each.place)
            for each in sources_of(policy)
            if (text := self._problem(each))
        ]
        # reported by the fetcher
        missing = {source.name for source in self._compiled if source.url and source.path is None}
        return (
            *current,
            *(each for each in (self.report.problems if self.report else ()) if each.source not in missing),
        )

    def _problem(self, source: Source) -> str:
        """The problem of a source as a whole, as opposed to its lines; empty if there is none."""
        copy = self._copies.status(source)
        if copy.held:
            return f"held back: {copy.held} (to use it: `hedgerow lists accept '{source.name}'`)"
        failed = failure.problem.message if (failure := _current_failure(self._failed.get(source), copy)) else ""
        if (seconds := self._copies.failing_for(source)) > DEAD_AFTER_S:
            return f"its server has not sent it for {seconds / 86400:.0f} days{failed and ': '}{failed}"
        age = self._copies.age(source)
        if source.refresh is not None and age is not None and age > source.refresh:
            return f"not refreshed for {age / 3600:,.0f} hours, while its limit is {source.refresh / 3600:,.0f}"
        return failed

    def health(self, policy: Policy, *, with_those_in_force: bool = True) -> Iterator[ListHealth]:
        """Yield the health of each list, without the corrections, which block nothing.

        While a newer copy waits for the compiler, the figures are those of the copy in force.
        """
        rows = zip(self._compiled, self.report.sources, strict=False) if self.report else ()
        reports = {
            replace(each, path=None) if each.url else each: report for each, report in rows if each.path is not None
        }
        known = [(source, reports.get(source)) for source in sources_of(policy) if source not in correction_sources()]
        for source, report in known:
            if with_those_in_force or not _is_in_force(report):
                yield _health_of(source, self._copies, self._problem(source), report, self._compiled)

    def prune(self, keep: Collection[Path | None]) -> None:
        """Delete all other generations and their parse caches, unless a compiler is running.

        Files that a worker still has open exist until it closes them.
        """
        with self._folders.locked(wait=False) as alone:
            if not alone:
                return
            for folder in self._folders.generations.iterdir():
                if folder not in keep and (self.bundled.newest is None or folder != self.bundled.newest.folder):
                    shutil.rmtree(folder, ignore_errors=True)
            used: set[str] = set()
            for generation in keep:
                with suppress(OSError, ValueError, KeyError, TypeError):
                    used.update(source.parsed for source in read_meta(generation).sources) if generation else None
            ParseCache(self._folders.parsed).prune(used)


def _reported_sources(report: CompileReport, sources: Sequence[Source]) -> tuple[Source, ...]:
    """Return the lists of a report in its order; those that are not among `sources` have no path."""
    known = {(source.name, source.category): source for source in sources}
    return tuple(known.get((each.name, each.category)) or Source(each.name, each.category) for each in report.sources)


def _list_version(source: Source, report: SourceReport) -> ListVersion:
    return ListVersion(source.name, source.category, modified_at(source), report.names)


def coverage_of(
    report: CompileReport | None, policy: Policy, lists: Iterable[ListHealth]
) -> tuple[CategoryCoverage, ...]:
    """The coverage of each category by `lists`, the health of each list; `report` is of the generation in force."""
    return coverage_by_category(tuple(lists), report.categories if report else {}, wanted_categories(policy))


def _is_in_force(report: SourceReport | None) -> bool:
    return report is not None and bool(report.names or report.url_rules)


def _health_of(
    source: Source, copies: CopyStatuses, problem: str, report: SourceReport | None, compiled: Collection[Source]
) -> ListHealth:
    """The health of one list.

    `problem` is that of the list as a whole; problems of its lines come from the compiler's report.
    """
    stored = copies.with_paths((source,))[0]
    is_held = bool(copies.status(source).held)
    problems = report.problems if report else {}
    lines = ""
    if not problem and problems:
        kind, count = next(iter(problems.items()))
        lines = kind if count == 1 else f"{count:,} × {kind}"
    return ListHealth(
        source=source.name,
        category=source.category,
        domains=report.names if report else 0,
        fetched=copies.status(source).checked if source.url else modified_at(source),
        problem=problem or lines,
        unique=report.unique if report else 0,
        url_rules=report.url_rules if report else 0,
        format=report.format if report else "",
        problems=problems,
        ignored=report.ignored if report else {},
        held=is_held,
        failed=bool(problem) and not is_held,
        starter=source in starter_sources(),
        is_remote=source.url is not None,
        waiting=not _is_in_force(report) and not problem and (stored.path is None or stored not in compiled),
        dead=copies.failing_for(source) > DEAD_AFTER_S,
        publisher=publisher_of(source),
        corrections=report.corrections if report else {},
    )


def _warn(problems: Sequence[Problem], asked: int) -> None:
    """Log each of a few problems. Many failures become one line, since they probably have one cause: no internet."""
    if len(problems) <= MANY_FAILURES:
        for problem in problems:
            log.warning("%s", problem)
        return
    summary = (
        f"{len(problems)} of {asked} lists could not be fetched; the last copies stay in use, and the downloads are"
        " retried"
    )
    log.warning("%s. The first: %s", summary, problems[0])


def _size_of_starter_lists() -> int:
    return sum(source.path.stat().st_size for source in starter_sources() if source.path)


def _usable_report(generation: Path) -> CompileReport | None:
    """The compiler's report of a usable generation; None if it must be compiled again."""
    return read_report(generation) if is_usable(generation) else None


async def prepare_generation(
    policy: Policy, state: Path, fetch: bool = False, progress: ListProgress | None = None
) -> Path:
    """Make a generation for a command that works without a running Hedgerow. Raises CompileError."""
    updater = ListUpdater(state, progress)
    if fetch:
        if updater.bundled.for_policy(policy, None, ()) is not None:
            raise CompileError(
                "The bundle's lists are in use. To fetch lists here, write `lists: false` into network.bundle."
            )
        await updater.fetch_if_due(policy, every=True)
    if not await updater.compile(policy) or updater.generation is None:
        raise CompileError(updater.problem)
    return updater.generation
