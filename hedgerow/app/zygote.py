"""The zygote: the process from which the supervisor's children are forked.

It loads what they use, once, and they share that memory.

The command line imports all of it and forks the first one, before there are keys, locks and listening sockets
(`fork_zygote`). The supervisor starts others as `python -P -m hedgerow.app.zygote STATE`.

The zygote starts no thread and no event loop, keeps no file open, and never sees a secret. Each child closes what it
should not have inherited, and confines itself as it would alone. Control has it fork the processes that fetch and
compile lists, and those that send notices under a user id of their own, and nothing else. Deliberately absent: what
only control needs, of which there is one.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import logging
import os
import select
import socket
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hedgerow.app.control.jobs import NOTICE, SENDER, serve_as_program
from hedgerow.app.identities import JOBS, become
from hedgerow.app.ipc import FAILED, FORKED, HEARTBEAT, HEARTBEAT_INTERVAL_S, READY, REQUEST_OCTETS, parse_request
from hedgerow.app.logs import start_logs
from hedgerow.app.privileges import SUPERVISOR, keep_role_capabilities
from hedgerow.app.settings import Settings
from hedgerow.confinement import name_process
from hedgerow.internals import resolve
from hedgerow.port_binder import receive_descriptors
from hedgerow.sockets import raise_descriptor_limit
from hedgerow.task_state import describe

log = logging.getLogger("hedgerow.zygote")

PRELOADED = (
    "hedgerow.app.processes",
    "hedgerow.app.workers.dns_worker",
    "hedgerow.policies.host_facts:HostFactIndex.load",
    "hedgerow.blocklists.names:load_public_suffixes",
    "hedgerow.dns.tunnel_detector:trusted_domains",
    "hedgerow.app.signer",
    "hedgerow.app.control.lists.list_jobs",
    "hedgerow.app.workers.gate_worker",
    "hedgerow.app.workers.inspector_worker",
)
"""Modules that are imported. Of some, a function is called.

It keeps data that ship with Hedgerow: every worker uses them, and would load them for itself otherwise.
"""

LIST_JOBS = frozenset({"fetch", "compile"})
"""The jobs that control may request, by a message on a connected pair of sockets, with the job's end of a pair to
control; `NOTICE` too.
"""

_MAX_DESCRIPTORS = 250  # of one message, by the kernel (unix(7))
_M_ARENA_MAX = -8  # of malloc.h


def preload(place: str) -> None:
    """Import a module, and call the function in it that is named after a colon, if any."""
    found = resolve(place)
    if ":" in place:
        found()


def preload_all(after_each: Callable[[], None]) -> None:
    """Preload all. Leaves the garbage collector off: it would write to memory that is shared."""
    gc.disable()
    for place in PRELOADED:
        try:
            preload(place)
        except Exception as error:  # a child tries again, and tells why it can't serve
            log.warning("can't import %s: %s", place, error)
        after_each()


def fork_zygote(state: Path, log_level: str, log_json: bool) -> tuple[int, socket.socket]:
    """Import, and fork this process, which has no threads.

    Returns the zygote's process id and the socket by which the supervisor reaches it. The zygote ends when that socket
    is closed. This process imports too, although it uses little: what the zygote wrote after the fork would not be
    shared.
    """
    if not sys.flags.safe_path:
        del sys.path[0]  # the directory of the command, or the current one
    # or control looks for some among all installed packages
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    preload_all(lambda: None)
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    gc.freeze()
    pid = os.fork()
    if pid == 0:
        _run_to_the_end(lambda: _run_zygote(theirs, state, log_level, log_json))
    theirs.close()
    gc.enable()
    return pid, ours


def _run_zygote(sock: socket.socket, state: Path, log_level: str, log_json: bool) -> None:
    os.setpgid(0, 0)  # Ctrl-C reaches the supervisor alone
    _close_all_but({sock.fileno()})
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(null, standard)
    os.close(null)
    start_logs("zygote", log_level, log_json)
    keep_role_capabilities(SUPERVISOR)
    name_process("zygote")
    raise_descriptor_limit()
    if os.environ.setdefault("MALLOC_ARENA_MAX", "1") == "1":  # too late for this process, in time for its children
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    ForkServer(sock, state).run()


def _close_all_but(kept: Collection[int]) -> None:
    """Close all file descriptors but `kept` and the standard ones."""
    for number in [int(name) for name in os.listdir("/proc/self/fd")]:
        if number > 2 and number not in kept:
            with contextlib.suppress(OSError):  # the descriptor of the listing itself is closed already
                os.close(number)


@dataclass(frozen=True, slots=True)
class _Request:
    number: int
    role: str
    index: int
    descriptors: tuple[int, ...]


class ForkServer:
    """A server that forks a child for each request on `sock`, and a job for each request of control."""

    def __init__(self, sock: socket.socket, state: Path) -> None:
        self._sock, self._state = sock, state
        self._control: socket.socket | None = None  # the end that is ours of the newest control's pair

    def run(self) -> None:
        """Serve until the supervisor is gone."""
        _send(self._sock, READY)
        while self._serve(HEARTBEAT_INTERVAL_S):
            _send(self._sock, HEARTBEAT)

    def _serve(self, seconds: float) -> bool:
        """Fork the processes requested now or within some seconds. Returns False once the supervisor is gone."""
        while ready := self._wait(seconds):
            seconds = 0
            if self._control is not None and self._control.fileno() in ready:
                self._take_job(self._control)
            if self._sock.fileno() not in ready:
                continue
            data, descriptors = _receive(self._sock)
            if not data:
                return False
            self._answer(_Request(*parse_request(data), tuple(descriptors)))
        return True

    def _wait(self, seconds: float) -> set[int]:
        """Return the descriptors that can be read now or within some seconds."""
        poll = select.poll()
        for each in (self._sock, self._control):
            if each is not None:
                poll.register(each, select.POLLIN)
        return {descriptor for descriptor, _ in poll.poll(seconds * 1000)}

    def _take_job(self, control: socket.socket) -> None:
        data, descriptors = _receive(control)
        what = data.decode(errors="replace")
        if (what in LIST_JOBS or what == NOTICE) and len(descriptors) == 1:
            with contextlib.suppress(OSError):  # control sees the end of the connection, and starts a program
                self._fork(lambda: self._run_job_child(what, descriptors[0]))
        for descriptor in descriptors:
            os.close(descriptor)
        if not data:
            control.close()
            self._control = None

    def _answer(self, request: _Request) -> None:
        try:
            if request.role == "control":
                pid = self._fork_control(request)
            else:
                pid = self._fork(lambda: self._run_child(request, request.descriptors[1:]))
        except OSError as error:
            _send(self._sock, b"%s %d %s\n" % (FAILED, request.number, str(error.strerror).encode()))
        else:
            _send(self._sock, b"%s %d %d\n" % (FORKED, request.number, pid))
        for descriptor in request.descriptors:
            os.close(descriptor)

    def _fork_control(self, request: _Request) -> int:
        """Fork control, with one end of a pair by which it requests jobs. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            pid = self._fork(lambda: self._run_child(request, (*request.descriptors[1:], theirs.fileno())))
        if self._control is not None:
            self._control.close()
        self._control = ours
        return pid

    def _fork(self, become: Callable[[], None]) -> int:
        """Return the process id of a child of the supervisor, which adopts it from a process between that ends at once.

        Raises OSError.
        """
        gc.freeze()
        reading, writing = os.pipe()
        try:
            between = os.fork()
            if not between:
                _run_to_the_end(lambda: self._fork_again(become, writing))
            os.waitpid(between, 0)
            os.set_blocking(reading, False)
            return int(os.read(reading, 20))
        finally:
            os.close(reading)
            os.close(writing)

    def _fork_again(self, become: Callable[[], None], writing: int) -> None:
        pid = os.fork()
        if not pid:
            _run_to_the_end(become)
        with contextlib.suppress(OSError):  # the child has done so itself
            os.setpgid(pid, pid)
        os.write(writing, str(pid).encode())

    def _leave_server(self, role: str, kept: Collection[int]) -> None:
        """Become a process of a role, in a process group and with descriptors of its own."""
        os.setpgid(0, 0)
        for each in (self._sock, self._control):
            if each is not None:
                each.detach()
        _close_all_but(kept)
        name_process(role)
        gc.enable()

    def _run_job_child(self, what: str, descriptor: int) -> None:
        self._leave_server(what, {descriptor})
        if what == NOTICE:
            become(JOBS)
            serve_as_program(SENDER, descriptor)
        importlib.import_module("hedgerow.app.control.lists.list_jobs").serve_job(
            what, socket.socket(fileno=descriptor)
        )

    def _run_child(self, request: _Request, listening: Collection[int]) -> None:
        for standard in (0, 1):
            os.dup2(request.descriptors[0], standard)
        self._leave_server(request.role, listening)
        if request.role == "signer":
            importlib.import_module("hedgerow.app.signer").run_signer(self._state)
        else:
            importlib.import_module("hedgerow.app.processes").run_process(
                request.role, request.index, self._state, listening
            )


def _send(sock: socket.socket, message: bytes) -> None:
    with contextlib.suppress(OSError):  # never wait for a supervisor that does not read; its end shows when we read
        sock.send(message, socket.MSG_DONTWAIT)


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Return a message and its descriptors; empty once the other side is gone."""
    try:
        return receive_descriptors(sock, REQUEST_OCTETS, _MAX_DESCRIPTORS)
    except ConnectionError:
        return b"", []


def _run_to_the_end(part: Callable[[], None]) -> NoReturn:
    """Run a part in a forked process, then end the process without the exit handlers of its parent."""
    status = 1
    try:
        part()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException as error:
        log.error("This process ends by an error: %s", describe(error))
        log.debug("This process ends by an error", exc_info=error)
    finally:
        os._exit(status)


def main() -> None:
    state = Path(sys.argv[1])
    settings = Settings.load(state)
    sock = socket.socket(fileno=os.dup(0))
    preload_all(lambda: _send(sock, HEARTBEAT))
    _run_zygote(sock, state, settings.log_level, settings.log_json)


if __name__ == "__main__":
    main()
