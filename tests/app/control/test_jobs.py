"""Processes for untrusted data are limited before they read any of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from small_internet.running import wait_until

from hedgerow.app.control.jobs import LIST_MEMORY, SMALL_MEMORY

JOBS = {
    ("hedgerow.app.control.list_jobs", "fetch"): LIST_MEMORY,
    ("hedgerow.app.control.list_jobs", "compile"): LIST_MEMORY,
    ("hedgerow.app.control.notice_sender",): SMALL_MEMORY,
}


@pytest.mark.parametrize("words", JOBS)
def test_a_job_has_limited_memory_and_the_highest_oom_score(words: tuple[str, ...]) -> None:
    with subprocess.Popen([sys.executable, "-P", "-m", *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as job:
        proc = Path(f"/proc/{job.pid}")
        try:
            wait_until(lambda: (proc / "oom_score_adj").read_text() == "1000\n", 60, "it is the first to go")
            (limits,) = [line for line in (proc / "limits").read_text().splitlines() if line.startswith("Max address space")]
            assert limits.split()[3:5] == [str(JOBS[words])] * 2
        finally:
            job.kill()


def test_a_confined_process_gets_no_more_memory() -> None:
    program = f"from hedgerow.app.control.jobs import limit_resources; limit_resources({SMALL_MEMORY}); bytearray({SMALL_MEMORY})"
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr
