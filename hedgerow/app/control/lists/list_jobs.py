"""Downloading and compiling of lists in a low-priority process, so that the processes that answer queries are not
affected.

    python -m hedgerow.app.control.lists.list_jobs fetch|compile

Standard input is a `FetchJob` or a `CompileJob` as JSON, and standard output the result. On failure the exit status is
1, with a sentence on standard error. Where there is a zygote, the process is forked from it instead (`serve_job`). Only
one process of each kind works in a state directory at a time; the next one waits.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hedgerow.app.control.jobs import LIST_MEMORY, ForkError, JobError, answer_job, fork_job, limit_resources, run_job
from hedgerow.app.privileges import confine_job
from hedgerow.blocklists.archives import files_of
from hedgerow.blocklists.catalogue import is_usable
from hedgerow.blocklists.compiler import CompileReport, compile_generation
from hedgerow.blocklists.download_store import FetchResult
from hedgerow.blocklists.list_parser import ParseCache
from hedgerow.blocklists.outgoing_guard import OWN_PORTS
from hedgerow.blocklists.plausibility import refusal_of_copy
from hedgerow.blocklists.sources import Source
from hedgerow.codec import decode, encode
from hedgerow.files import chown_to_owner

if TYPE_CHECKING:
    import socket

    from hedgerow.blocklists.downloader import ReportProgress


_MMAP_THRESHOLD = 128 << 10
"""Makes glibc return blocks of this size to the system at once.

Its dynamic threshold would keep blocks below 32 MB, with fragmentation.
"""

_M_MMAP_THRESHOLD = -3  # of malloc.h


class CompileError(Exception):
    """Lists could not be fetched or compiled: a disk error, or the process was killed.

    The last generation stays in force.
    """


@dataclass(frozen=True, slots=True)
class ListFolders:
    """The directories of lists in a state directory."""

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
        """Give files that root wrote here to the owner of the state directory, who could not replace them otherwise."""
        tops = (*self.state.glob("*.lock"), self.downloads, self.parsed, self.generations)
        chown_to_owner(self.state, (path for top in tops for path in (top, *top.rglob("*")) if path.exists()))

    @contextlib.contextmanager
    def locked(self, wait: bool = True, what: str = "lists") -> Iterator[bool]:
        """Hold the lock `what` of these directories. Yields False if it is taken and `wait` is False.

        The kernel releases the lock when the process ends, in whatever way.
        """
        self.state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.state / f"{what}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
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
    """Lists to download. `local` are the policy's own names and networks, `own_ports` the ports of this run."""

    sources: tuple[Source, ...]
    state: Path
    local: frozenset[str] = frozenset()
    own_ports: str = ""


@dataclass(frozen=True, slots=True)
class CompileJob:
    sources: tuple[Source, ...]
    out: Path
    state: Path


async def fetch_in_subprocess(job: FetchJob, zygote: socket.socket | None) -> tuple[FetchResult, ...]:
    """`run_fetch` in another process, forked from the zygote if possible; raises CompileError."""
    return decode(tuple[FetchResult, ...], await _run_subprocess("fetch", encode(job), zygote))


async def compile_in_subprocess(job: CompileJob, zygote: socket.socket | None) -> CompileReport:
    """`run_compile` in another process, forked from the zygote if possible; raises CompileError."""
    return decode(CompileReport, await _run_subprocess("compile", encode(job), zygote))


def run_fetch(
    job: FetchJob, progress: Callable[[FetchResult], None] | None = None, received: ReportProgress | None = None
) -> tuple[FetchResult, ...]:
    """Download the sources. An implausible copy is held back. Raises OSError."""
    # imported late: the compiler needs no HTTP client
    from hedgerow.blocklists.downloader import fetch_all, ignore_progress

    os.environ[OWN_PORTS] = job.own_ports  # a forked process has not inherited them
    folders = ListFolders(job.state)
    # `lists` is locked only while a copy is saved, so that a slow server does not delay the compilation of other lists.
    with folders.locked(what="fetch"):
        lists = ParseCache(folders.parsed)
        fetched = fetch_all(
            job.sources,
            folders.downloads,
            local=job.local,
            progress=progress,
            check=lambda new, good: refusal_of_copy(lists, new, good),
            received=received or ignore_progress,
            lock=folders.locked,
        )
        return tuple(fetched)


def run_compile(job: CompileJob, progress: Callable[[str], None] | None = None) -> CompileReport:
    """Compile the sources, unless `out` already exists. Raises OSError."""
    folders = ListFolders(job.state)
    with folders.locked():
        known = read_report(job.out)
        return known or compile_generation(job.sources, job.out, progress, folders.parsed)


async def _run_subprocess(what: str, job: bytes, zygote: socket.socket | None) -> bytes:
    try:
        if zygote is not None:
            with contextlib.suppress(ForkError):
                return await fork_job(zygote, what, job)
        malloc = {"MALLOC_MMAP_THRESHOLD_": str(_MMAP_THRESHOLD)}
        return await run_job("hedgerow.app.control.lists.list_jobs", what, stdin=job, environment=malloc)
    except JobError as error:
        raise CompileError(f"The lists could not be {what}{'ed' if what == 'fetch' else 'd'}: {error}") from None


def read_report(generation: Path) -> CompileReport | None:
    """The compiler's report of a generation; None if it can't be read."""
    try:
        return decode(CompileReport, (generation / "report.json").read_bytes())
    except (OSError, ValueError):
        return None


def newest_generation(folders: ListFolders) -> Path | None:
    """The latest usable generation of any run."""
    with contextlib.suppress(OSError):
        return max(
            (path for path in folders.generations.iterdir() if not path.name.startswith(".") and is_usable(path)),
            key=lambda path: path.stat().st_mtime,
            default=None,
        )
    return None


def _confine(job: FetchJob | CompileJob) -> None:
    """Confine this process to the directories of lists. Raises OSError."""
    folders = ListFolders(job.state)
    scratch = folders.downloads / ".scratch"
    made = (folders.downloads, folders.parsed, folders.generations, scratch)
    for folder in made:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("lists", "fetch"):
        # creates the file, which is next to the secrets of the state directory
        with folders.locked(wait=False, what=name):
            pass
    tempfile.tempdir = str(scratch)
    locks = [folders.state / f"{name}.lock" for name in ("lists", "fetch")]
    confine_job(_local_files(job.sources, folders.downloads), [*made, *locks], job.state)


def _local_files(sources: Sequence[Source], downloads: Path) -> Iterator[Path]:
    """Yield the files of lists that the policy names by path, and those that they include."""
    for source in sources:
        if source.path is not None and not source.path.is_relative_to(downloads):
            yield source.path
            with contextlib.suppress(OSError):
                yield from files_of(source.path, source.format)


def _run(what: str, read: Callable[[], bytes]) -> bytes:
    """Limit this process, `read` its job, and do it. Returns the result as JSON. Raises JobError."""
    limit_resources(LIST_MEMORY)
    try:
        job = decode(FetchJob, read()) if what == "fetch" else decode(CompileJob, read())
        _confine(job)
        return encode(run_fetch(job)) if isinstance(job, FetchJob) else encode(run_compile(job))
    except OSError as error:
        raise JobError(f"{error.strerror or error}: {error.filename or ''}") from error
    except MemoryError:
        raise JobError(f"they need more than {LIST_MEMORY >> 20} MB of memory") from None


def serve_job(what: str, connection: socket.socket) -> None:
    """Do a job in a process that the zygote has forked for it."""
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
    answer_job(connection, lambda read: _run(what, read))


def main() -> None:
    try:
        output = _run(sys.argv[1], sys.stdin.buffer.read)
    except JobError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(output)


if __name__ == "__main__":
    main()
