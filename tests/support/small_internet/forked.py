"""`hedgerow` commands that start at once: forked from processes that have imported all of it already (`fork_server`).

What they do is the same as that of the installed command: its entry point runs with its own words, directory,
environment and standard files. Only /proc/PID/cmdline differs. Whoever needs another program around it, such as
libfaketime, starts the installed command.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO

from no_publishers import check_start

_FIXED_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "OPENSSL_", "SSL_", "GLIBC_")
"""Beginnings of variables that Python, its libraries or the loader read once, when a program starts."""


class ForkedProcess:
    """A started command, as `subprocess.Popen` shows one. `stdout` is there if it was not directed to a file."""

    stdin: IO[str] | None = None

    def __init__(self, pid: int, status: int, words: Sequence[str], stdout: IO[str] | None) -> None:
        self.pid, self.args, self.stdout = pid, words, stdout
        self.returncode: int | None = None
        self._status = status

    def __enter__(self) -> ForkedProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.stdout:
            self.stdout.close()
        self.wait()

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status, negative if a signal ended it.

        Raises subprocess.TimeoutExpired after `timeout` seconds.
        """
        if self.returncode is None:
            if not wait([self._status], timeout):
                raise subprocess.TimeoutExpired(list(self.args), timeout or 0)
            told = os.read(self._status, 4)
            os.close(self._status)
            assert len(told) == 4, "the fork server was killed"
            self.returncode = int.from_bytes(told, signed=True)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Server:
    """A fork server of this process, which ends with it."""

    def __init__(self, kind: str) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, "-P", str(Path(__file__).with_name("fork_server.py")), kind, str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )
        atexit.register(self._end)

    def _end(self) -> None:
        self._requests.close()
        self._process.terminate()
        self._process.wait()

    def start(self, request: Mapping[str, object], standard: Sequence[int]) -> tuple[int, int]:
        """Return the process id of a new command, and the descriptor that tells its end."""
        reading, writing = os.pipe()
        try:
            socket.send_fds(self._requests, [json.dumps(request).encode()], [writing, *standard])
        finally:
            os.close(writing)
        return int.from_bytes(os.read(reading, 4)), reading


@functools.cache
def _server(kind: str) -> _Server:
    return _Server(kind)


def can_fork(environment: Mapping[str, str]) -> bool:
    """Return True if a program with this environment does not have to be started anew to see it."""
    return all(
        environment.get(name) == os.environ.get(name)
        for name in {*environment, *os.environ}
        if name.startswith(_FIXED_AT_START)
    )


def start_command(
    words: Sequence[str],
    *,
    stderr: int,
    environment: Mapping[str, str],
    stdin: int | None = None,
    stdout: int | None = None,
    directory: Path | None = None,
    network: str = "",
    files: Mapping[str, Path] | None = None,
    has_capabilities: bool = True,
) -> ForkedProcess:
    """Start `words`, of which the first is the command's name.

    Without descriptors it reads nothing, and writes to a pipe.

    `network` is the path of a network namespace that it enters, `files` are bound over the system's for it. Without
    `has_capabilities` root can do no more than other users.
    """
    check_start(["hedgerow", *words[1:]], environment, network=network)
    request = {
        "words": list(words),
        "directory": str(directory or Path.cwd()),
        "environment": dict(environment),
        "network": network,
        "files": [(str(path), place) for place, path in (files or {}).items()],
        "has_capabilities": has_capabilities,
    }
    with contextlib.ExitStack() as ends:
        if stdin is None:
            stdin = os.open(os.devnull, os.O_RDONLY)
            ends.callback(os.close, stdin)
        reading = None
        if stdout is None:
            reading, stdout = os.pipe()
            ends.callback(os.close, stdout)
        kind = "up" if words[1:2] == ["up"] else "commands"
        pid, status = _server(kind).start(request, (stdin, stdout, stderr))
    return ForkedProcess(pid, status, words, None if reading is None else os.fdopen(reading, encoding="utf-8"))


def run_command(
    words: Sequence[str],
    *,
    environment: Mapping[str, str],
    timeout: float,
    directory: Path | None = None,
    network: str = "",
    files: Mapping[str, Path] | None = None,
    has_capabilities: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and return what it wrote.

    Raises subprocess.TimeoutExpired after `timeout` seconds, when it is killed.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = start_command(
            words,
            stdout=output.fileno(),
            stderr=errors.fileno(),
            environment=environment,
            directory=directory,
            network=network,
            files=files,
            has_capabilities=has_capabilities,
        )
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        written = []
        for file in (output, errors):
            file.seek(0)
            written.append(file.read().decode())
    return subprocess.CompletedProcess(list(words), process.wait(), *written)
