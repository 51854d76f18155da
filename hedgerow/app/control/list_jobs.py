"""Fetches and compiles lists in a process of its own, at low priority, so that neither its memory nor its work is felt by who
answers queries.

    python -m hedgerow.app.control.list_jobs fetch|compile

Standard input: a `FetchJob` or a `CompileJob` as JSON; standard output: the result, or nothing with exit status 1 and a sentence
on standard error. One process of each kind at a time works in a state directory; the next one waits.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hedgerow.app.control.jobs import LIST_MEMORY, JobError, confine, run_job
from hedgerow.app.files import chown_to_owner
from hedgerow.blocklists.compiler import CompileReport, compile_generation
from hedgerow.blocklists.download_store import FetchResult
from hedgerow.blocklists.list_parser import ParseCache
from hedgerow.blocklists.plausibility import refusal_of_copy
from hedgerow.blocklists.sources import Source
from hedgerow.codec import decode, encode

if TYPE_CHECKING:
    from hedgerow.blocklists.downloader import ReportProgress


_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(128 << 10)}
"""To glibc: large pieces of memory go back to the system at once. By itself it soon keeps all below 32 MB, with holes where they were."""


class CompileError(Exception):
    """Lists could not be fetched or compiled: the disk's fault, or the process was killed. What was compiled before stays in force."""


@dataclass(frozen=True, slots=True)
class ListFolders:
    """Where a state directory keeps its lists."""

    state: Path

    @property
    def downloads(self) -> Path:
        return self.state / "lists"

    @property
    def parsed(self) -> Path:
        return self.state / "parsed"

    @property
    def generations(self) -> Path:
        return self.state / "generations"

    def chown_to_owner(self) -> None:
        """Gives what root has written here to whose state directory it is, who could not renew it."""
        tops = (*self.state.glob("*.lock"), self.downloads, self.parsed, self.generations)
        chown_to_owner(self.state, (path for top in tops for path in (top, *top.rglob("*")) if path.exists()))

    @contextlib.contextmanager
    def locked(self, wait: bool = True, what: str = "lists") -> Iterator[bool]:
        """Alone in these folders, or alone with `what` in them, unless it yields False; the kernel opens the lock when the
        process ends, however it ends."""
        self.state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.state / f"{what}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class FetchJob:
    sources: tuple[Source, ...]
    state: Path


@dataclass(frozen=True, slots=True)
class CompileJob:
    sources: tuple[Source, ...]
    out: Path
    state: Path


async def fetch_in_subprocess(job: FetchJob) -> tuple[FetchResult, ...]:
    """`run_fetch` in another process; raises CompileError."""
    return decode(tuple[FetchResult, ...], await _run_subprocess("fetch", encode(job)))


async def compile_in_subprocess(job: CompileJob) -> CompileReport:
    """`run_compile` in another process; raises CompileError."""
    return decode(CompileReport, await _run_subprocess("compile", encode(job)))


def run_fetch(
    job: FetchJob, progress: Callable[[FetchResult], None] | None = None, received: ReportProgress | None = None
) -> tuple[FetchResult, ...]:
    """Downloads the sources; a copy that the guards do not trust is held back. Raises OSError."""
    from hedgerow.blocklists.downloader import fetch_all, ignore_progress  # here: who compiles has no use for an HTTP client

    folders = ListFolders(job.state)
    # A slow server must not keep the lists that have come from being compiled: all is locked only while a copy is put away.
    with folders.locked(what="fetch"):
        lists = ParseCache(folders.parsed)
        fetched = fetch_all(
            job.sources, folders.downloads, progress=progress, check=lambda new, good: refusal_of_copy(lists, new, good),
            received=received or ignore_progress, lock=folders.locked,
        )  # fmt: skip
        return tuple(fetched)


def run_compile(job: CompileJob, progress: Callable[[str], None] | None = None) -> CompileReport:
    """Compiles the sources, unless that was done before. Raises OSError."""
    folders = ListFolders(job.state)
    with folders.locked():
        known = read_report(job.out)
        return known or compile_generation(job.sources, job.out, progress, folders.parsed)


async def _run_subprocess(what: str, job: bytes) -> bytes:
    try:
        return await run_job("hedgerow.app.control.list_jobs", what, given=job, more=_MALLOC)
    except JobError as error:
        raise CompileError(f"The lists could not be {what}{'ed' if what == 'fetch' else 'd'}: {error}") from None


def read_report(generation: Path) -> CompileReport | None:
    """What the compiler said of a generation; None where that was lost."""
    try:
        return decode(CompileReport, (generation / "report.json").read_bytes())
    except (OSError, ValueError):
        return None


def main() -> None:
    confine(LIST_MEMORY)
    given = sys.stdin.buffer.read()
    try:
        is_fetch = sys.argv[1:] == ["fetch"]
        output = encode(run_fetch(decode(FetchJob, given))) if is_fetch else encode(run_compile(decode(CompileJob, given)))
    except OSError as error:
        sys.exit(f"{error.strerror or error}: {error.filename or ''}")
    except MemoryError:
        sys.exit(f"they take more than {LIST_MEMORY >> 20} MB of memory")
    sys.stdout.buffer.write(output)


if __name__ == "__main__":
    main()
