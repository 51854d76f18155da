"""Keeps the compiled lists in step with the policy and the files: when to fetch, when to compile, which generations to throw away.

A generation's folder is named after all that went into it, so nothing is compiled twice, a restart finds what it needs, and a
crash leaves the generations that were whole before.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from hedgerow.app.compile_job import CompileError, compile_apart, read_report
from hedgerow.blocklists.compile import CompileReport
from hedgerow.blocklists.fetch import fetch_all, kept_copies
from hedgerow.blocklists.generation import LAYOUT
from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.sources import Source, starter_sources
from hedgerow.dashboards.api.control import ListHealth
from hedgerow.policies.model import Policy

log = logging.getLogger("hedgerow.lists")

FETCH_EVERY_S = 24 * 3600.0
FETCH_AGAIN_S = 15 * 60.0


def sources_of(policy: Policy) -> tuple[Source, ...]:
    """The starter lists and those of the policy."""
    own = (
        Source(each.name, each.category, Path(each.path) if each.path else None, each.url, each.format or "auto") for each in policy.lists
    )
    return (*starter_sources(), *own)


def fingerprint(sources: Sequence[Source]) -> str:
    """Names what would be compiled: changes when a source, or the file of one, does."""
    digest = hashlib.sha256(f"{LAYOUT}".encode())
    for source in sources:
        digest.update(repr((source.name, source.category, source.format, source.url, str(source.path), _identity(source.path))).encode())
    return digest.hexdigest()[:20]


def _identity(path: Path | None) -> tuple[int, int] | None:
    try:
        status = path.stat() if path else None
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if status else None


class ListKeeper:
    """`generation` is the folder in force, None until the first one is there."""

    def __init__(self, state: Path) -> None:
        self._generations = state / "generations"
        self._downloads = state / "lists"
        self._copies: dict[Source, Source] = {}
        self._tried: dict[Source, Problem | None] = {}
        self._fetch_at = 0.0
        self.generation: Path | None = None
        self.report: CompileReport | None = None
        self.problem = ""

    def _sources(self, policy: Policy) -> tuple[Source, ...]:
        """The policy's sources with the copies on disk, whose checksums were verified when they were last looked up."""
        sources = sources_of(policy)
        unknown = [source for source in sources if source.url and source not in self._copies]
        self._copies |= dict(zip(unknown, kept_copies(unknown, self._downloads), strict=True))
        return tuple(self._copies.get(source, source) for source in sources)

    def is_stale(self, policy: Policy) -> bool:
        """Whether something else would be compiled now than what is in force."""
        return self.generation is None or fingerprint(self._sources(policy)) != self.generation.name

    async def compile(self, policy: Policy) -> bool:
        """Makes what `is_stale` asks for; False where that failed, and then all stays as it was."""
        sources = self._sources(policy)
        out = self._generations / fingerprint(sources)
        started = time.monotonic()
        report = read_report(out) if out.exists() else None
        if report is None:
            shutil.rmtree(out, ignore_errors=True)
            try:
                report = await compile_apart(sources, out)
            except CompileError as error:
                self.problem = str(error)
                log.error("%s", error)
                return False
            log.info("%d domains compiled in %.1f s", report.domains, time.monotonic() - started)
        for problem in report.problems[:20]:
            log.warning("%s", problem)
        self.problem = ""
        self.generation, self.report = out, report
        return True

    async def fetch_if_due(self, policy: Policy) -> None:
        """Downloads the lists with a URL once a day, and sooner again where one failed."""
        wanted = [source for source in sources_of(policy) if source.url]
        is_new = any(source not in self._tried for source in wanted)
        if not wanted or (time.monotonic() < self._fetch_at and not is_new):
            return
        try:
            fetched = await asyncio.to_thread(fetch_all, wanted, self._downloads)
        except OSError as error:
            self.problem = f"Lists can't be stored in {self._downloads}: {error.strerror}"
            log.error("%s", self.problem)
            return
        self._tried = {source: each.problem for source, each in zip(wanted, fetched, strict=True)}
        self._copies |= {source: each.source for source, each in zip(wanted, fetched, strict=True)}
        failed = [problem for problem in self._tried.values() if problem]
        for problem in failed:
            log.warning("%s", problem)
        self._fetch_at = time.monotonic() + (FETCH_AGAIN_S if failed else FETCH_EVERY_S)

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the lists now."""
        return tuple(problem for problem in self._tried.values() if problem) + (self.report.problems if self.report else ())

    def health(self, policy: Policy) -> tuple[ListHealth, ...]:
        """A line for each list."""
        reports = {report.name: report for report in self.report.sources} if self.report else {}
        first_problem: dict[str, str] = {}
        for problem in self.problems():
            first_problem.setdefault(problem.source, problem.message)
        return tuple(
            ListHealth(
                source.name,
                source.category,
                reports[source.name].names if source.name in reports else 0,
                source.path.stat().st_mtime if source.path and source.path.exists() else None,
                first_problem.get(source.name, ""),
            )
            for source in self._sources(policy)
        )

    def prune(self, keep: set[Path | None]) -> None:
        """Throws away all other generations; those that a worker still holds open live on until it lets go."""
        for folder in self._generations.iterdir():
            if folder not in keep:
                shutil.rmtree(folder, ignore_errors=True)


async def prepare_generation(policy: Policy, state: Path, fetch: bool = False) -> Path:
    """A generation for a command that works without a running Hedgerow; raises CompileError."""
    keeper = ListKeeper(state)
    if fetch:
        await keeper.fetch_if_due(policy)
    if not await keeper.compile(policy) or keeper.generation is None:
        raise CompileError(keeper.problem)
    return keeper.generation
