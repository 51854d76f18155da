"""Separate processes for work on untrusted data: lists, calendars, responses of notice services.

They run at low priority with limited memory, and the kernel's OOM killer takes them first. `privileges.confine_job`
limits their files.

Jobs are programs (`run_job`). Those that are frequent and large are forked from the zygote where there is one, and
share its memory (`fork_job`, and `answer_job` in the forked process). Control and job then speak over a connected pair
of sockets: the job sends its process id as a line, reads its order up to the end, and sends `+` with its output, or `-`
with a sentence that says why there is none. A job with a user id of its own is a program that the zygote's child
becomes (`serve_as_program`).
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

LIST_MEMORY = 3 << 30
"""Bytes of address space for compiling lists.

Five million names take 150 MB, and the files of two generations are mapped as well.
"""
SMALL_MEMORY = 1 << 30
"""Bytes of address space for small downloads; libraries map most of it and never touch it."""


NOTICE, SENDER = "notice", "hedgerow.app.control.notices.sender"
"""The job that sends a notice, and its program."""
_PROGRAM_SECONDS = 90
"""Seconds after which the kernel ends a job that control can't end, since it has another user id."""


class JobError(Exception):
    """The process failed; the text says why, as far as it said so."""


class ForkError(Exception):
    """There is no zygote that could fork a job."""


def limit_resources(memory: int, data: int = LIST_MEMORY) -> None:
    """Limit this process and its children. `memory` is in bytes of address space, `data` in those that can be written
    and are of no file.
    """
    os.nice(10)
    for kind, wanted in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_DATA, data)):
        _, hardest = resource.getrlimit(kind)
        limit = wanted if hardest == resource.RLIM_INFINITY else min(wanted, hardest)
        resource.setrlimit(kind, (limit, limit))
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
        raise JobError(
            errors.decode("utf-8", "replace").strip().rpartition("\n")[2]
            or f"it ended with status {process.returncode}"
        )
    return output


async def fork_job(zygote: socket.socket, what: str, order: bytes) -> bytes:
    """Have the zygote fork a job, and return its output.

    `zygote` is control's end of the pair that `zygote.ForkServer` made.

    Raises JobError and ForkError. The process is killed when the waiting task is cancelled.
    """
    import asyncio

    ours, theirs = socket.socketpair()
    try:
        with theirs:
            socket.send_fds(zygote, [what.encode()], [theirs.fileno()])
    except OSError as error:
        ours.close()
        raise ForkError from error
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    pid = answer = b""
    try:
        with contextlib.suppress(ConnectionError):  # it ended before it had read everything
            writer.write(order)
            writer.write_eof()
            pid = await reader.readline()
            answer = await reader.read()
    except asyncio.CancelledError:
        if pid:  # it runs, since it has not closed its end
            with contextlib.suppress(ProcessLookupError, PermissionError):  # that of another user ends by itself
                os.kill(int(pid), signal.SIGKILL)
        raise
    finally:
        writer.close()
    if not pid:
        raise ForkError
    if not answer.startswith(b"+"):
        raise JobError(answer[1:].decode("utf-8", "replace") or "it ended early")
    return answer[1:]


def answer_job(connection: socket.socket, run: Callable[[Callable[[], bytes]], bytes]) -> None:
    """Do a job in a process that was forked for it.

    `run` gets a function that reads the order, and may raise JobError.
    """
    connection.sendall(b"%d\n" % os.getpid())
    with connection.makefile("rb") as order:
        try:
            answer = b"+" + run(order.read)
        except JobError as error:
            answer = b"-" + str(error).encode()
    connection.sendall(answer)


def serve_as_program(module: str, descriptor: int) -> NoReturn:
    """Become the program of a job, with its end of the pair as standard input and output. Raises OSError."""
    os.write(descriptor, b"%d\n" % os.getpid())
    for standard, opened in enumerate((descriptor, descriptor, os.open(os.devnull, os.O_WRONLY))):
        os.dup2(opened, standard)
    signal.alarm(_PROGRAM_SECONDS)
    os.chdir("/")
    os.execv(sys.executable, (sys.executable, "-P", "-m", module))  # noqa: S606 (none is needed)
