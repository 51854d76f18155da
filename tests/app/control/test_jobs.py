"""Processes for untrusted data are limited before they read any of it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from small_internet.running import wait_until

from hedgerow.app.control.jobs import LIST_MEMORY, SMALL_MEMORY, fork_job

JOBS = {
    ("hedgerow.app.control.lists.list_jobs", "fetch"): LIST_MEMORY,
    ("hedgerow.app.control.lists.list_jobs", "compile"): LIST_MEMORY,
    ("hedgerow.app.control.notices.sender",): SMALL_MEMORY,
}


@pytest.mark.parametrize("words", JOBS)
def test_a_job_has_limited_memory_and_the_highest_oom_score(words: tuple[str, ...]) -> None:
    with subprocess.Popen(
        [sys.executable, "-P", "-m", *words], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as job:
        proc = Path(f"/proc/{job.pid}")
        try:
            wait_until(lambda: (proc / "oom_score_adj").read_text() == "1000\n", 60, "it is the first to go")
            (limits,) = [
                line for line in (proc / "limits").read_text().splitlines() if line.startswith("Max address space")
            ]
            assert limits.split()[3:5] == [str(JOBS[words])] * 2
        finally:
            job.kill()


def test_a_confined_process_gets_no_more_memory() -> None:
    program = (
        f"from hedgerow.app.control.jobs import limit_resources; limit_resources({SMALL_MEMORY});"
        f" bytearray({SMALL_MEMORY})"
    )
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "MemoryError" in done.stderr


def test_a_job_that_nobody_waits_for_is_killed() -> None:
    """A shell stands for the job: it sends its process id, as jobs do, and never ends."""
    control, zygote = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    async def run() -> int:
        waiting = asyncio.create_task(fork_job(control, "fetch", b"an order"))
        await asyncio.sleep(0)
        what, (end,), _, _ = socket.recv_fds(zygote, 100, 1)
        assert what == b"fetch"
        job = await asyncio.create_subprocess_exec("sh", "-c", "echo $$; exec sleep 600", stdin=end, stdout=end)
        while not waiting.done() and not has_sent(end):  # noqa: ASYNC110  the kernel has no event for it
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)  # control's loop handles what it has read
        os.close(end)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        return await asyncio.wait_for(job.wait(), 60)

    def has_sent(end: int) -> bool:
        """The shell has written its id, since it is `sleep` by now, and control has read it."""
        unread = bytearray(4)
        fcntl.ioctl(end, termios.TIOCOUTQ, unread)
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        return not any(unread) and any(Path(f"/proc/{pid}/comm").read_text() == "sleep\n" for pid in children)

    with control, zygote:
        assert asyncio.run(run()) == -signal.SIGKILL
