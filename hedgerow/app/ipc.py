"""Messages between the supervisor and its children, the sockets that these inherit, and the file in which it lists
them.

Messages are lines on a child's standard output and input, and requests to the zygote in blocks of one size. Other
programs of this machine use the API over a Unix socket in the state directory, without a secret: only root and the user
that runs Hedgerow can listen or connect.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hedgerow.app.settings import Endpoint, Settings, make_memory_folder
from hedgerow.codec import decode, encode
from hedgerow.files import write_atomically
from hedgerow.task_state import TaskState

if TYPE_CHECKING:  # `hedgerow up` calls no API
    import httpx

log = logging.getLogger("hedgerow.supervisor")

READY = b"ready\n"
"""From a child: it serves."""

RENEW = b"renew\n"
"""From a child: it serves, and asks for a successor."""

HEARTBEAT = b".\n"
"""From a child: its event loop runs."""

HEARTBEAT_INTERVAL_S = 1.0
"""Seconds between two `HEARTBEAT`s of a child."""

PROBLEM = b"problem "
"""From a child that can't serve and ends: the reason follows, as one line of UTF-8."""

RETIRE = b"retire\n"
"""To a child: its successor serves, so it should end with its last connection."""


FORKED = b"forked"
"""From the zygote: the request's number and a process id follow."""

FAILED = b"failed"
"""From the zygote: the request's number and the reason follow."""

REQUEST_OCTETS = 64


def pack_request(number: int, role: str, index: int) -> bytes:
    """Return a request to the zygote for a child.

    The descriptors that it inherits go with it, first that of its standard streams.
    """
    return f"{number} {role} {index}".encode().ljust(REQUEST_OCTETS)


def parse_request(data: bytes) -> tuple[int, str, int]:
    """Return a request's number, role and index.

    >>> parse_request(pack_request(7, "dns", 0))
    (7, 'dns', 0)
    """
    number, role, index = data.decode().split()
    return int(number), role, int(index)


class InheritedSockets:
    """The listening sockets that a child inherits, by their descriptors, each to be taken once.

    A slot whose sockets the supervisor has given up gets none: its processes open their own.
    """

    def __init__(self, descriptors: Iterable[int] = ()) -> None:
        self._sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        for each in self._sockets:
            each.setblocking(False)

    def take(self, endpoint: Endpoint, kind: socket.SocketKind) -> socket.socket | None:
        """Return the socket that is bound to an endpoint, or None."""
        host = endpoint.host.partition("%")[0]
        for each in self._sockets:
            if each.family != socket.AF_UNIX and each.type == kind:
                own_host, port = each.getsockname()[:2]
                if (own_host.partition("%")[0], port) == (host, endpoint.port):
                    return self._remove(each)
        return None

    def take_local(self) -> socket.socket | None:
        """Return the Unix socket, or None."""
        return next((self._remove(each) for each in self._sockets if each.family == socket.AF_UNIX), None)

    def close(self) -> None:
        """Close the sockets that nobody took."""
        while self._sockets:
            self._sockets.pop().close()

    def _remove(self, sock: socket.socket) -> socket.socket:
        self._sockets.remove(sock)
        return sock


def format_descriptors(descriptors: Iterable[int]) -> str:
    """Return descriptors as a word of a command line, such as `5,6`."""
    return ",".join(map(str, descriptors))


def parse_descriptors(text: str) -> tuple[int, ...]:
    """Parse a word of `format_descriptors`."""
    return tuple(int(number) for number in text.split(",") if number)


class StartProblem(Exception):
    """The reason why a child can't serve, as text for people. It is logged and sent to the supervisor."""


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """One child: `since` is its start in seconds since the epoch. `pid` is None before the first start.

    `problem` says why it can't serve, as far as it said so.
    """

    role: str
    index: int
    pid: int | None
    since: float
    ready: bool
    restarts: int
    renewals: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class WorkersFile:
    """The content of `Settings.workers_file`; `supervisor` is a process id.

    `tasks` are those of the supervisor and the zygote that have failed, `unexpected` counts the supervisor's unexpected
    errors.
    """

    supervisor: int
    workers: tuple[WorkerRow, ...]
    tasks: tuple[TaskState, ...] = ()
    unexpected: int = 0

    @staticmethod
    def load(paths: Iterable[Path]) -> WorkersFile:
        """Read the first of `paths`, as `Settings.workers_files` names them, that is ours.

        Raises OSError or ValueError.
        """
        *copies, file = paths
        for copy in copies:
            with contextlib.suppress(OSError, ValueError):  # any user could have made a file of that name
                if copy.lstat().st_uid in {os.geteuid(), file.parent.stat().st_uid}:
                    return decode(WorkersFile, copy.read_bytes())
        return decode(WorkersFile, file.read_bytes())


class WorkersFileWriter:
    """The writer of `Settings.workers_files`: while the disk does not take the list, it is in memory."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.is_unwritten = False
        """True after an attempt that has to be repeated."""

    def write(self, content: WorkersFile) -> None:
        """Write the list, which is logged once if it fails."""
        (copy, file), data = self._settings.workers_files, encode(content)
        try:
            write_atomically(file, data)
        except OSError as error:
            if not self.is_unwritten:
                log.warning("Can't write %s, which is kept in memory meanwhile: %s", file, error.strerror)
            self.is_unwritten = True
            with contextlib.suppress(OSError):
                write_atomically(make_memory_folder(self._settings.state) / copy.name, data)
            return
        self.is_unwritten = False
        if copy != file:  # equal while the state directory can't be written
            with contextlib.suppress(OSError):  # it may be of another user
                copy.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Return True if a process exists and is neither stopped nor dead.

    The supervisor notices that only a little later.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return _exists(pid)  # the kernel may hide the signer (hidepid in proc(5))
    return status.rpartition(")")[2].split()[0] not in "TtZX"  # proc_pid_stat(5)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def restart_inspectors(state: Path) -> int:
    """End the inspectors of the Hedgerow that runs on `state`; the supervisor restarts them.

    Returns how many were running.
    """
    try:
        file = WorkersFile.load(Settings.load(state).workers_files)
    except (OSError, ValueError):
        return 0
    count = 0
    for row in file.workers:
        if row.role == "inspector" and row.pid is not None and _is_child(row.pid, file.supervisor):
            with contextlib.suppress(ProcessLookupError):
                os.kill(row.pid, signal.SIGTERM)
                count += 1
    return count


def _is_child(pid: int, parent: int) -> bool:
    """Guard against a process id that was reused since the file was written."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return int(status.rpartition(")")[2].split()[1]) == parent  # proc_pid_stat(5)


def problem_of_control(settings: Settings) -> str:
    """Return the reason why control does not run, as far as the supervisor knows; else an empty text."""
    try:
        rows = WorkersFile.load(settings.workers_files).workers
    except (OSError, ValueError):
        return ""
    return next((row.problem for row in rows if row.role == "control"), "")


def control_hangs(settings: Settings, seconds: float) -> bool:
    """Return True if control is ready, as far as the supervisor knows, but for these seconds neither answers nor uses
    the processor, as one that is stopped or waits for a disk.
    """
    import httpx

    try:
        rows = WorkersFile.load(settings.workers_files).workers
        pid = next(row.pid for row in rows if row.role == "control" and row.ready)
        before = _cpu_time(pid)
        with control_client(settings, seconds) as client:
            client.get("/healthz")
    except httpx.ReadTimeout:
        return 0 < _cpu_time(pid) == before
    except (OSError, ValueError, StopIteration, httpx.HTTPError):
        pass  # the request itself tells
    return False


def _cpu_time(pid: int | None) -> int:
    """Return the nanoseconds for which a process's main thread has run, 0 if unknown."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def control_client(settings: Settings, timeout: float) -> httpx.Client:
    """Return a client for relative URLs of the pages and the API, to be closed by the caller.

    `timeout` is in seconds.
    """
    import httpx

    return httpx.Client(
        base_url="http://localhost",
        transport=httpx.HTTPTransport(uds=str(settings.control_socket)),
        trust_env=False,
        timeout=timeout,
    )
