"""Compiles lists in a process of its own, at low priority, so that neither its memory nor its work is felt by who answers queries.

Standard input: `{"sources": […], "out": "…"}`; standard output: the report, or nothing with exit status 1 and a sentence on standard error.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from hedgerow.blocklists.compile import CompileReport, compile_generation
from hedgerow.blocklists.sources import Source


class CompileError(Exception):
    """The lists could not be compiled: the disk's fault, or the process was killed. What was compiled before stays in force."""


@dataclass(frozen=True, slots=True)
class Job:
    sources: tuple[Source, ...]
    out: Path


_JOB = TypeAdapter(Job)
_REPORT = TypeAdapter(CompileReport)


async def compile_apart(sources: Sequence[Source], out: Path) -> CompileReport:
    """Compiles `sources` into `out` in another process and waits for it; raises CompileError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "hedgerow.app.compile_job"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate(_JOB.dump_json(Job(tuple(sources), out)))
    except asyncio.CancelledError:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode != 0:
        reason = errors.decode("utf-8", "replace").strip().rpartition("\n")[2] or f"it ended with status {process.returncode}"
        raise CompileError(f"The lists could not be compiled: {reason}")
    return _REPORT.validate_json(output)


def read_report(generation: Path) -> CompileReport | None:
    """What the compiler said of a generation; None where that was lost."""
    try:
        return _REPORT.validate_json((generation / "report.json").read_bytes())
    except (OSError, ValueError):
        return None


def main() -> None:
    os.nice(10)
    job = _JOB.validate_json(sys.stdin.buffer.read())
    try:
        report = compile_generation(job.sources, job.out)
    except FileExistsError:
        report = read_report(job.out) or sys.exit(f"{job.out} exists and can't be read")
    except OSError as error:
        sys.exit(f"{error.strerror or error}: {error.filename or job.out}")
    sys.stdout.buffer.write(_REPORT.dump_json(report))


if __name__ == "__main__":
    main()
