"""Processes of their own for work on what strangers send: lists, calendars, answers of notice services.

They run at low priority, with a bound on their memory, and are the first that the kernel ends when there is too little of it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

LIST_MEMORY = 3 << 30
"""Bytes of address space for compiling lists: that of five million names takes 150 MB, and maps its files and those of the last beside."""
SMALL_MEMORY = 1 << 30
"""The same for what comes in kilobytes; most of it is what libraries map and never touch."""


class JobError(Exception):
    """The process failed; the text is the last line that it said."""


def confine(memory: int) -> None:
    """Bound this process and those that it starts. `memory` is in bytes of address space."""
    os.nice(10)
    _, hardest = resource.getrlimit(resource.RLIMIT_AS)
    limit = memory if hardest == resource.RLIM_INFINITY else min(memory, hardest)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with contextlib.suppress(OSError):  # where /proc cannot be written, the limit remains
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


async def run_job(module: str, *words: str, given: bytes, more: Mapping[str, str] | None = None) -> bytes:
    """What `python -m MODULE WORDS` writes for `given` as its input, with `more` in its environment. Raises JobError; the process ends
    with the task that waits for it."""
    import asyncio  # here: the process that is started has no use for it

    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module, *words),
        env={**os.environ, **(more or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate(given)
    except asyncio.CancelledError:
        if process.returncode is None:
            process.kill()
            await process.wait()
        raise
    if process.returncode != 0:
        raise JobError(errors.decode("utf-8", "replace").strip().rpartition("\n")[2] or f"it ended with status {process.returncode}")
    return output
