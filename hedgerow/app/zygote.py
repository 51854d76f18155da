"""The zygote: the process from which the supervisor's children are forked. It loads what they use, once, and they share that memory.

The command line imports all of it and forks the first one, before there are keys, locks and listening sockets (`fork_zygote`). The
supervisor starts others as `python -P -m hedgerow.app.zygote STATE`.

The zygote starts no thread and no event loop, keeps no file open, and never sees a secret. Each child closes what it should not have
inherited, and confines itself as it would alone. Control has it fork the processes that fetch and compile lists, and nothing else.
Deliberately absent: what only control needs, of which there is one.
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
from itertools import batched
from pathlib import Path
from types import CodeType
from typing import NoReturn

from hedgerow.app.ipc import FAILED, FORKED, HEARTBEAT, HEARTBEAT_INTERVAL_S, READY, REQUEST_OCTETS, parse_request
from hedgerow.app.logs import start_logs
from hedgerow.app.privileges import SUPERVISOR, keep_role_capabilities
from hedgerow.app.settings import Settings
from hedgerow.internals import resolve
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
    "hedgerow.app.control.list_jobs",
    "hedgerow.app.workers.gate_worker",
    "hedgerow.app.workers.inspector_worker",
)
"""Modules that are imported. Of some, a function is called.

It keeps data that ship with Hedgerow: every worker uses them, and would load them for itself otherwise.
"""

LIST_JOBS = frozenset({"fetch", "compile"})
"""The jobs that control may request, by a message on a connected pair of sockets, with the job's end of a pair to control."""

_MAX_DESCRIPTORS = 250  # of one message, by the kernel (unix(7))
_M_ARENA_MAX = -8  # of malloc.h
_CHUNK_SIZES = (*(1 << power for power in range(16, 10, -1)), *range(1024, 16, -16))
_MALLOC_INFO = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
_IMMORTAL = 0xFFFFFFFF  # a count that CPython never changes; any from 2 ** 31 on counts as such
_PR_SET_NAME = 15  # of linux/prctl.h
_ARG_START, _ARG_END = 45, 46  # fields after the name in proc_pid_stat(5)


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


def make_immortal() -> None:
    """Freeze the reference counts of all objects (PEP 683), before a fork: a child that uses an object would copy the page with its count.

    This does nothing if the counts are not where CPython keeps them, as in its builds without a global lock.
    """
    if sys.byteorder != "little" or sys.maxsize < 1 << 32:
        return
    counts = memoryview((ctypes.c_uint32 * (1 << 46)).from_address(0)).cast("B").cast("I")  # all memory
    probe = object()
    before, holders = counts[id(probe) >> 2], [probe] * 1000
    if counts[id(probe) >> 2] - before != len(holders):
        return
    gc.unfreeze()  # what the command line has imported; get_objects leaves out what is frozen
    unseen: list[object] = [gc.get_objects()]
    while unseen:
        found = []
        for some in batched(unseen, 1000):
            for each in gc.get_referents(*some):
                if sys.getrefcount(each) < 1 << 31:
                    counts[id(each) >> 2] = _IMMORTAL
                    found.append(each)
        unseen = found
        unseen += [(code.co_consts, code.co_names, code.co_name, code.co_qualname) for code in found if isinstance(code, CodeType)]


class _MallocInfo(ctypes.Structure):
    """The result of mallinfo(3)."""

    _fields_ = tuple((name, ctypes.c_int) for name in _MALLOC_INFO)


def fill_heap() -> None:
    """Return free pages, and take the free chunks between those in use, before a fork: a child that writes to one copies its page."""
    libc = ctypes.CDLL(None)
    libc.mallinfo.restype = _MallocInfo
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_size_t
    libc.malloc.argtypes = libc.free.argtypes = (ctypes.c_size_t,)
    libc.malloc_trim(0)
    info = libc.mallinfo()
    end, free = libc.sbrk(0) - info.keepcost, info.fordblks - info.keepcost
    for size in _CHUNK_SIZES:
        while free > 0:
            chunk = libc.malloc(size)
            if not chunk or chunk >= end:  # none of this size is left
                libc.free(chunk)
                break
            free -= size


def fork_zygote(state: Path, log_level: str, log_json: bool) -> tuple[int, socket.socket]:
    """Import, and fork this process, which has no threads.

    Returns the zygote's process id and the socket by which the supervisor reaches it. The zygote ends when that socket is closed. This
    process imports too, although it uses little: what the zygote wrote after the fork would not be shared.
    """
    if not sys.flags.safe_path:
        del sys.path[0]  # the directory of the command, or the current one
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # or control looks for some among all installed packages
    preload_all(lambda: None)
    make_immortal()
    ours, theirs = socket.socketpair()
    sys.stdout.flush()
    gc.freeze()
    fill_heap()
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
    name_process("zygote", 0, state)
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
        if what in LIST_JOBS and len(descriptors) == 1:
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
        """Return the process id of a child of the supervisor, which adopts it from a process between that ends at once. Raises OSError."""
        gc.freeze()
        fill_heap()
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

    def _leave_server(self, role: str, index: int, kept: Collection[int]) -> None:
        """Become a process of a role, in a process group and with descriptors of its own."""
        os.setpgid(0, 0)
        for each in (self._sock, self._control):
            if each is not None:
                each.detach()
        _close_all_but(kept)
        name_process(role, index, self._state)
        gc.enable()

    def _run_job_child(self, what: str, descriptor: int) -> None:
        self._leave_server(what, 0, {descriptor})
        importlib.import_module("hedgerow.app.control.list_jobs").serve_job(what, socket.socket(fileno=descriptor))

    def _run_child(self, request: _Request, listening: Collection[int]) -> None:
        for standard in (0, 1):
            os.dup2(request.descriptors[0], standard)
        self._leave_server(request.role, request.index, listening)
        if request.role == "signer":
            importlib.import_module("hedgerow.app.signer").run_signer(self._state)
        else:
            importlib.import_module("hedgerow.app.processes").run_process(request.role, request.index, self._state, listening)


def _send(sock: socket.socket, message: bytes) -> None:
    with contextlib.suppress(OSError):  # never wait for a supervisor that does not read; its end shows when we read
        sock.send(message, socket.MSG_DONTWAIT)


def _receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """Return a message and its descriptors; empty once the other side is gone."""
    try:
        data, descriptors, _, _ = socket.recv_fds(sock, REQUEST_OCTETS, _MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return b"", []
    return data, descriptors


def name_process(role: str, index: int, state: Path) -> None:
    """Have `ps` and `top` show this process by its role: in place of its command line, as far as there is room, and of its name."""
    words = [os.fsencode(word) for word in ("hedgerow", role, str(index), state)]
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    start, room = int(fields[_ARG_START]), int(fields[_ARG_END]) - int(fields[_ARG_START])
    if start and room > 0:  # neither where /proc hides or emulates them
        ctypes.memmove(start, b"\0".join(words)[: room - 1].ljust(room, b"\0"), room)
    # Not by /proc/self/comm, which belongs to root in a process whose program has file capabilities, as in a container.
    ctypes.CDLL(None).prctl(_PR_SET_NAME, f"hedgerow-{role}"[:15].encode("ascii"))


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
    make_immortal()
    _run_zygote(sock, state, settings.log_level, settings.log_json)


if __name__ == "__main__":
    main()
