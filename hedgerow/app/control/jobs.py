"""Separate processes for work on untrusted data: lists, calendars, responses of notice services.

They run at low priority with limited memory, and the kernel's OOM killer takes them first. `privileges.confine_job` limits their files.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

LIST_MEMORY = 3 << 30
"""Bytes of address space for compiling lists. Five million names take 150 MB, and the files of two generations are mapped as well."""
SMALL_MEMORY = 1 << 30
"""Bytes of address space for small downloads; libraries map most of it and never touch it."""


class JobError(Exception):
    """The process failed; the text is the last line of its standard error."""


def limit_resources(memory: int) -> None:
    """Limit this process and its children. `memory` is in bytes of address space."""
    os.nice(10)
    _, hardest = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory if hardest == resource.RLIM_INFINITY else min(memory, hardest)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with contextlib.suppress(OSError):  # where /proc cannot be written, the limit remains
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


async def run_job(module: str, *words: str, stdin: bytes, environment: Mapping[str, str] | None = None) -> bytes:
    """Run `python -m MODULE WORDS` and return its output. `environment` is added to ours.

    Raises JobError. The process is killed when the waiting task is cancelled.
    """
    import asyncio  # imported late: the started process does not need it

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, *words),
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate(stdin)
    except asyncio.CancelledError:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode != 0:
        raise JobError(errors.decode("utf-8", "replace").strip().rpartition("\n")[2] or f"it ended with status {process.returncode}")
    return output
