"""The supervisor's children: their start, by fork of the zygote or as new programs, their messages and their ends.

A child's standard input and output are one end of a socket pair. The zygote (`zygote`) forks a child twice, so that it
becomes a child of the supervisor, which adopts orphans (`confinement.adopt_orphans`). Deliberately absent: when to
start what, and why.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hedgerow.app.ipc import FAILED, FORKED, WorkerRow, pack_request
from hedgerow.app.settings import Settings
from hedgerow.sockets import SocketPath, bind_datagrams

log = logging.getLogger("hedgerow.supervisor")

FORK_TIMEOUT_S = 60.0
"""Seconds for the zygote to fork: it may still import what the child needs."""
ABSENCE_TIMEOUT_S = 3.0
"""Seconds for which a child waits for another zygote before it is started as a new program."""


class ZygoteError(Exception):
    """The zygote can't fork a child."""


class ChildProcess:
    """A running child. It has the part of `asyncio.subprocess.Process` that the supervisor uses."""

    def __init__(
        self, pid: int, sock: socket.socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.pid = pid
        self.socket = sock
        self.stdout, self.stdin = reader, writer
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    async def read_line(self) -> bytes:
        """Return the next line that it wrote; empty once it has closed its output."""
        line = b""
        with contextlib.suppress(ConnectionError):  # it ended without having read its input
            line = await self.stdout.readline()
        if not line:
            self.stdin.close()
        return line

    async def wait(self) -> int:
        """Return its exit status, or the negative number of the signal that ended it."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it with its own children, which may hold its output open."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def end(self, seconds: float) -> bool:
        """End the process, and read no more of what it wrote.

        Returns False if it did not end within some seconds and was killed.
        """
        self.terminate()
        try:
            await asyncio.wait_for(self.wait(), seconds)
        except TimeoutError:
            self.kill()
            await self.wait()
            return False
        finally:
            self.stdin.close()
        return True

    def note_end(self, status: int) -> None:
        """Note that it has been reaped."""
        self.returncode = status
        self._ended.set()


@dataclass
class ManagedProcess:
    """A slot with a role and an index, filled by one process after another."""

    role: str
    index: int
    process: ChildProcess | None = None
    restarts: int = 0
    since: float = 0.0
    is_serving: bool = False
    is_starting: bool = True  # refers to the newest process
    failures: int = 0  # processes since the last one that served
    serving_since: float = 0.0  # monotonic, of the newest process
    ready: asyncio.Event = field(default_factory=asyncio.Event)  # set once the first process serves
    settled: asyncio.Event = field(default_factory=asyncio.Event)  # set once one serves, or `ATTEMPTS` have failed
    problem: str = ""
    renewals: int = 0
    is_wanted: Callable[[], bool] = lambda: True  # False: it does not run for now, and its end is not a failure
    # Processes that served here before and end by themselves.
    predecessors: dict[ChildProcess, asyncio.Task[int]] = field(default_factory=dict)

    @property
    def slot(self) -> str:
        return f"{self.role}-{self.index}"

    @property
    def has_process(self) -> bool:
        """True while the newest process runs, unless it waits for a successor."""
        return self.process is not None and self.process.returncode is None and self.process not in self.predecessors

    @property
    def processes(self) -> tuple[ChildProcess, ...]:
        """The processes of this slot, each of them once: the newest is a predecessor too until its successor starts."""
        newest = () if self.process is None else (self.process,)
        return tuple(dict.fromkeys((*newest, *self.predecessors)))

    @property
    def row(self) -> WorkerRow:
        pid = self.process.pid if self.process else None
        return WorkerRow(
            self.role, self.index, pid, self.since, self.is_serving, self.restarts, self.renewals, self.problem
        )

    def reload(self) -> None:
        """Have the process read its files again."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGHUP)


class InspectorSockets:
    """The sockets of the inspectors, in `sockets` by slot, bound again where somebody has removed or replaced their
    paths.
    """

    def __init__(self, settings: Settings, sockets: dict[str, Sequence[int]]) -> None:
        self._sockets = sockets
        paths = {f"inspector-{index}": settings.inspector_socket(index) for index in range(settings.inspectors)}
        self._places = {slot: SocketPath.of(path) for slot, path in paths.items() if slot in sockets}

    def restore(self, processes: Iterable[ManagedProcess]) -> None:
        """Bind sockets again, and have successors of the processes take them."""
        for managed in processes:
            place = self._places.get(managed.slot)
            if place is None or place.is_in_place or managed.slot not in self._sockets:
                continue
            try:
                place.path.parent.mkdir(mode=0o700, exist_ok=True)
                sock = bind_datagrams(place.path)
                self._places[managed.slot] = SocketPath.of(place.path)
            except OSError as error:
                log.error("%s was removed, and can't be made again: %s", place.path, error.strerror)
                continue
            for descriptor in self._sockets[managed.slot]:
                os.close(descriptor)
            self._sockets[managed.slot] = [sock.detach()]
            log.error(
                "%s was removed or replaced: it is made again, and inspector %d gets a successor",
                place.path,
                managed.index,
            )
            if managed.process is not None:
                managed.process.send_signal(signal.SIGUSR1)


class Children:
    """The supervisor's children: started and reaped here, as are orphans that were left to this process."""

    def __init__(self) -> None:
        self._running: dict[int, ChildProcess] = {}
        self._orphan = 0

    def watch(self) -> None:
        """Reap children as they end, from now on."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    async def spawn(self, command: Sequence[str], descriptors: Sequence[int] = ()) -> ChildProcess:
        """Start a program that inherits `descriptors` in addition to its standard streams. Raises OSError."""
        return await self.adopt(*_start_program(command, descriptors))

    async def adopt(self, pid: int, sock: socket.socket) -> ChildProcess:
        """Take over a child that exists, and whose standard input and output are at the other end of `sock`."""
        sock.setblocking(False)
        process = self._running[pid] = ChildProcess(pid, sock, *await asyncio.open_unix_connection(sock=sock))
        self._reap_child(process)  # it may have ended before it was known
        return process

    def _reap(self) -> None:
        for process in tuple(self._running.values()):
            self._reap_child(process)

    def _reap_child(self, process: ChildProcess) -> None:
        try:
            pid, status = os.waitpid(process.pid, os.WNOHANG)
        except ChildProcessError:  # somebody else has reaped it
            pid, status = process.pid, 0xFF00
        if pid:
            del self._running[pid]
            process.note_end(os.waitstatus_to_exitcode(status))

    def reap_orphan(self) -> None:
        """Reap a child that nobody waits for.

        Call it regularly: it reaps only a child that was dead at the last call.
        """
        try:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if found is not None and found.si_pid == self._orphan and found.si_pid not in self._running:
            os.waitpid(found.si_pid, 0)
        self._orphan = found.si_pid if found is not None else 0


def _start_program(command: Sequence[str], descriptors: Sequence[int]) -> tuple[int, socket.socket]:
    """Return the process id and the other end of its standard input and output. Raises OSError."""
    ours, theirs = socket.socketpair()
    # Duplicated onto itself, a descriptor becomes inheritable.
    copies = [(theirs.fileno(), 0), (theirs.fileno(), 1), *((descriptor, descriptor) for descriptor in descriptors)]
    with theirs:
        pid = os.posix_spawn(
            command[0],
            [*command],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, *each) for each in copies],
            setpgroup=0,  # Ctrl-C reaches the supervisor alone, which ends the others in order
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores these
        )
    return pid, ours


class Zygote:
    """The supervisor's side of the zygote.

    `first` is the process id and the socket of one that the command line forked.
    """

    def __init__(self, children: Children, state: Path, first: tuple[int, int] | None) -> None:
        self._children, self._state, self._first = children, state, first
        self._process: ChildProcess | None = None
        self._is_up = asyncio.Event()
        self._is_renewing = self._is_hopeless = False
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[int]] = {}

    async def start(self) -> ChildProcess:
        """Take over the first one, or start another. Raises OSError."""
        if self._first is not None:
            (pid, descriptor), self._first = self._first, None
            self._process = await self._children.adopt(pid, socket.socket(fileno=descriptor))
        else:
            self._process = await self._children.spawn(
                (sys.executable, "-P", "-m", "hedgerow.app.zygote", str(self._state))
            )
        self._is_up.set()
        return self._process

    async def fork(self, role: str, index: int, descriptors: Sequence[int]) -> ChildProcess:
        """Start a child that inherits `descriptors`. Raises ZygoteError."""
        if not (self._is_up.is_set() or self._is_hopeless):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._is_up.wait(), ABSENCE_TIMEOUT_S)
        if not self._is_up.is_set():
            raise ZygoteError("there is none")
        assert self._process is not None
        ours, theirs = socket.socketpair()
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            with theirs:
                socket.send_fds(
                    self._process.socket, [pack_request(number, role, index)], [theirs.fileno(), *descriptors]
                )
            pid = await asyncio.wait_for(answer, FORK_TIMEOUT_S)
        except (OSError, TimeoutError, ZygoteError) as error:
            ours.close()
            raise ZygoteError(str(error)) from None
        finally:
            del self._answers[number]
        return await self._children.adopt(pid, ours)

    def receive(self, line: bytes) -> None:
        """Take an answer of the process, and nothing else."""
        kind, number, text = [*line.split(maxsplit=2), b"", b""][:3]
        answer = self._answers.get(int(number)) if kind in (FORKED, FAILED) and number.isdigit() else None
        if answer is None or answer.done():
            return
        if kind == FORKED:
            answer.set_result(int(text))
        else:
            answer.set_exception(ZygoteError(text.decode(errors="replace").strip()))

    def lose(self, *, is_hopeless: bool) -> None:
        """Note that the process has ended. If no other can start, children stop waiting for one."""
        self._is_up.clear()
        self._is_hopeless, self._is_renewing = is_hopeless and not self._is_renewing, False
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(ZygoteError("it has ended"))

    def renew(self) -> None:
        """End the process: children of the next one have other memory addresses and other hash seeds."""
        self._is_up.clear()
        self._is_renewing = True
        if self._process is not None:
            self._process.terminate()
