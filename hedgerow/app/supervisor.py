"""`hedgerow up`: claims the ports, starts the processes, restarts what dies, says when all is ready.

The command line claims the ports and then becomes the supervisor (`python -m hedgerow.app.supervisor STATE`), a program that
has imported nothing but this module: what stays for months should not carry what was needed for a second.

A child says "ready" on its standard output once it serves, and ends when its standard input closes; so no child outlives
the supervisor, however that ends. It also sends a beat from its event loop once a second; one that falls silent is killed and
started again. To systemd the supervisor answers in the same way. What is absent: policy, lists, sockets that serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import NoReturn

from hedgerow.app.files import FolderLock, make_private_folder, write_atomically
from hedgerow.app.ipc import BEAT_EVERY_S, READY, RENEW, RETIRE
from hedgerow.app.logs import start_logs
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.network.own_addresses import own_addresses
from hedgerow.policies.transports import LISTENERS, shared_ports

log = logging.getLogger("hedgerow.supervisor")

STOP_TIMEOUT_S = 5.0
START_TIMEOUT_S = 60.0
MAX_RESTART_DELAY_S = 1.0
STEADY_AFTER_S = 5.0
ANY_PORT_TRIES = 20
PATIENCE_S = {"dns": 3, "gate": 3, "inspector": 15, "control": 15}
"""Seconds that a serving child may be silent: two missed beats where nothing may hold the loop, more where long work may."""
START_PATIENCE_S = {"dns": 60, "gate": 60, "inspector": 60, "control": 600}
"""The same for a child that starts; control may have a large journal to convert."""


class StartError(Exception):
    """Hedgerow can't start for a reason that the person at the keyboard can mend; the text is one plain sentence."""


def claim_endpoint(endpoint: Endpoint, purpose: str, kinds: tuple[socket.SocketKind, ...]) -> Endpoint:
    """Checks that nobody else serves on `endpoint` and settles port 0; raises StartError.

    Workers share their ports by SO_REUSEPORT, under which a second Hedgerow would silently take half of the queries: so the
    check is made without it.
    """
    tries = ANY_PORT_TRIES if endpoint.port == 0 else 1
    while True:
        tries -= 1
        try:
            return replace(endpoint, port=_claim_port(endpoint, kinds))
        except OSError as error:
            # A port that is free for one kind of socket may be in use for another.
            if error.errno != errno.EADDRINUSE or tries <= 0:
                raise StartError(_bind_error_text(endpoint, purpose, error)) from None


def _claim_port(endpoint: Endpoint, kinds: tuple[socket.SocketKind, ...]) -> int:
    """Binds every socket that `endpoint` stands for at one time, and lets go of them. Returns the port; raises OSError."""
    port = endpoint.port
    with contextlib.ExitStack() as held:
        for one in endpoint.every_family():
            for kind in kinds:
                family = socket.AF_INET6 if ":" in one.host else socket.AF_INET
                probe = held.enter_context(socket.socket(family, kind))
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                if kind is socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((one.host, port))
                port = probe.getsockname()[1]
    return port


def _bind_error_text(endpoint: Endpoint, purpose: str, error: OSError) -> str:
    option = f"choose another with --{purpose} ADDRESS:PORT"
    if error.errno == errno.EADDRINUSE:
        return f"Port {endpoint.port} on {endpoint.host} ({purpose}) is in use by another program: stop that program, or {option}."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"No permission to use port {endpoint.port} ({purpose}): run as root, or {option} above 1023."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"This machine has no address {endpoint.host} ({purpose}): {option}."
    return f"Can't listen on {endpoint} ({purpose}): {error.strerror}."


def prepare_run(settings: Settings) -> tuple[Settings, FolderLock]:
    """Makes the state directory, takes its lock and settles every port; raises StartError."""
    _refuse_shared_ports(settings)
    try:
        make_private_folder(settings.state)
        make_private_folder(settings.run)
        lock = FolderLock(settings.state)
        owner = lock.acquire()
        if owner is not None:
            raise StartError(f"Another Hedgerow (process {owner}) already uses the state directory {settings.state}.")
        write_atomically(settings.pass_key, secrets.token_bytes(32))
    except OSError as error:
        raise StartError(
            f"Can't write to the state directory {settings.state}: {error.strerror}. Choose another with --state DIR."
        ) from None
    claimed = {name: claim_endpoint(endpoint, name, LISTENERS[name]) for name, endpoint in settings.listeners.items()}
    settings = replace(
        settings,
        dns=claimed["dns"],
        proxy=claimed["proxy"],
        web=claimed["web"],
        encrypted={name: claimed[name] for name in settings.encrypted},
        transparent=claimed.get("transparent"),
        page=tuple(place for place in settings.page if _is_free_for_page(place, settings)),
    )
    settings.save()
    return settings, lock


def _refuse_shared_ports(settings: Settings) -> None:
    """Our workers share their ports, so that the kernel lets two parts have the same one. Raises StartError."""
    places = settings.listeners
    for one, other in shared_ports({name: str(place) for name, place in places.items()}):
        raise StartError(f"Port {places[other].port} is wanted for {one} and for {other}: choose another with --{other} ADDRESS:PORT.")


def _is_free_for_page(place: Endpoint, settings: Settings) -> bool:
    """Can the block page be shown there? Filtering goes on without it, and another server may be meant to show one."""
    others = [other for name, other in settings.listeners.items() if name != "dns" and socket.SOCK_STREAM in LISTENERS[name]]
    if any(other.port == place.port and other.host in (place.host, "0.0.0.0", "::") for other in others):  # noqa: S104
        log.warning("No block page at %s: another part of Hedgerow listens there. Give block_page an address of its own.", place)
        return False
    try:
        _claim_port(place, (socket.SOCK_STREAM,))
    except OSError as error:
        log.warning("No block page at %s: %s. Something else must show one there.", place, error.strerror)
        return False
    return True


@dataclass
class ManagedProcess:
    """A place in the family: one role and number, filled by one process after another."""

    role: str
    index: int
    process: asyncio.subprocess.Process | None = None
    restarts: int = 0
    since: float = 0.0
    is_serving: bool = False
    is_starting: bool = True  # as for the newest process
    ready: asyncio.Event = field(default_factory=asyncio.Event)  # was so once
    renewals: int = 0
    # Who served here before, and end by themselves.
    predecessors: dict[asyncio.subprocess.Process, asyncio.Task[int]] = field(default_factory=dict)


class Supervisor:
    """Runs control first, then the workers; `run` returns the exit status."""

    def __init__(self, settings: Settings, on_ready: Callable[[], None]) -> None:
        self._settings = settings
        self._on_ready = on_ready
        self._control = ManagedProcess("control", 0)
        self._workers = [ManagedProcess("inspector", index) for index in range(settings.inspectors)]
        self._workers += [ManagedProcess(role, index) for role in ("dns", "gate") for index in range(settings.workers)]
        self._stopping = asyncio.Event()
        self._status = 0
        self._silent: dict[asyncio.subprocess.Process, int] = {}
        """Ticks of this loop since the last word of each process: no clock, which jumps when a machine sleeps."""

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        watch = asyncio.create_task(self._watch_beats())
        supervising = [asyncio.create_task(self._supervise(self._control))]
        if await self._all_ready([self._control]):
            supervising += [asyncio.create_task(self._supervise(managed)) for managed in self._workers]
            if await self._all_ready(self._workers):
                self._on_ready()
                tell_systemd("READY=1")
        await self._stopping.wait()
        tell_systemd("STOPPING=1")
        watch.cancel()
        # Workers first: what they still have to report goes to control, which ends last.
        for group in (self._workers, [self._control]):
            await asyncio.gather(*(self._end(managed) for managed in group))
        await asyncio.gather(*supervising)
        return self._status

    def _reload(self) -> None:
        if self._control.process is not None and self._control.process.returncode is None:
            self._control.process.send_signal(signal.SIGHUP)

    async def _all_ready(self, processes: list[ManagedProcess]) -> bool:
        """False when the run ends before all of them are ready, or when one of them can't start at all."""

        async def wait_ready() -> None:
            for managed in processes:
                await managed.ready.wait()

        ready = asyncio.create_task(wait_ready())
        stopping = asyncio.create_task(self._wait_stopping())
        await asyncio.wait({ready, stopping}, timeout=START_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if ready.done():
            return True
        ready.cancel()
        if not self._stopping.is_set():
            late = ", ".join(managed.role for managed in processes if not managed.ready.is_set())
            self._fail(f"not ready after {START_TIMEOUT_S:.0f} seconds: {late}")
        return False

    async def _watch_beats(self) -> None:
        """Kill children whose event loops are silent, and show systemd that this one is not, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT_EVERY_S
            await asyncio.sleep(BEAT_EVERY_S)
            tell_systemd("WATCHDOG=1")
            if loop.time() > due + BEAT_EVERY_S / 2:
                # Stopped or starved itself, so that others may have been too: all begin anew.
                self._silent = dict.fromkeys(self._silent, 0)
                continue
            for managed in (self._control, *self._workers):
                for process in (managed.process, *managed.predecessors):
                    if process is not None:
                        self._kill_if_silent(managed, process)

    def _kill_if_silent(self, managed: ManagedProcess, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None or process not in self._silent:
            return
        self._silent[process] += 1
        patience = (START_PATIENCE_S if managed.is_starting and process is managed.process else PATIENCE_S)[managed.role]
        if self._silent[process] * BEAT_EVERY_S <= patience:
            return
        log.error("%s %d (process %d) has not answered for %d seconds: killed", managed.role, managed.index, process.pid, patience)
        del self._silent[process]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started: that may hold its output open

    async def _wait_stopping(self) -> None:
        await self._stopping.wait()

    def _fail(self, message: str) -> None:
        log.error("%s", message)
        self._status = 1
        self._stopping.set()

    async def _supervise(self, managed: ManagedProcess) -> None:
        """Starts the child again whenever it ends, at once the first time, then with growing pauses while it keeps failing."""
        pause = 0.0
        while not self._stopping.is_set():
            started = time.monotonic()
            await self._start(managed)
            status = await self._wait(managed)
            if self._stopping.is_set():
                return
            if status is None:
                self._retire(managed)
                continue
            if status == 2 and not managed.ready.is_set():
                self._status = 2
                self._stopping.set()
                return
            managed.restarts += 1
            self._write_workers()
            steady = time.monotonic() - started > STEADY_AFTER_S
            pause = 0.0 if steady else min(MAX_RESTART_DELAY_S, pause * 2 + 0.05)
            log.warning("%s %d ended (%s); starting it again", managed.role, managed.index, _exit_text(status))
            await asyncio.sleep(pause)

    async def _start(self, managed: ManagedProcess) -> None:
        managed.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "hedgerow.app.processes", managed.role, str(managed.index), str(self._settings.state)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            process_group=0,  # Ctrl-C reaches the supervisor alone, which ends the others in order.
        )
        managed.since = time.time()
        self._write_workers()

    async def _wait(self, managed: ManagedProcess) -> int | None:
        """The exit status of the child's process; None when it serves on and wants a successor."""
        process = managed.process
        assert process is not None
        managed.is_starting, self._silent[process] = True, 0
        while line := await self._read_word(process):
            if line == READY:
                managed.is_serving, managed.is_starting = True, False
                managed.ready.set()
                self._write_workers()
                for predecessor in managed.predecessors:
                    if predecessor.stdin is not None:
                        predecessor.stdin.write(RETIRE)
            elif line == RENEW:
                return None
        managed.is_serving = any(predecessor.returncode is None for predecessor in managed.predecessors)
        return await process.wait()

    async def _read_word(self, process: asyncio.subprocess.Process) -> bytes:
        """The next line that the process says, each of which shows that it is alive; empty once it has ended."""
        assert process.stdout is not None
        line = await process.stdout.readline()
        if line and process in self._silent:  # else it is being killed
            self._silent[process] = 0
        elif not line:
            self._silent.pop(process, None)
        return line

    def _retire(self, managed: ManagedProcess) -> None:
        """Its process serves until its successor does, and then ends with its last connection."""
        predecessor = managed.process
        assert predecessor is not None
        managed.renewals += 1
        managed.predecessors[predecessor] = task = asyncio.create_task(self._outlive(predecessor))
        task.add_done_callback(lambda _: managed.predecessors.pop(predecessor, None))
        log.info("%s %d gets a successor", managed.role, managed.index)

    async def _outlive(self, predecessor: asyncio.subprocess.Process) -> int:
        while await self._read_word(predecessor):
            pass
        return await predecessor.wait()

    async def _end(self, managed: ManagedProcess) -> None:
        await asyncio.gather(*(self._end_process(managed, process) for process in (managed.process, *managed.predecessors)))

    async def _end_process(self, managed: ManagedProcess, process: asyncio.subprocess.Process | None) -> None:
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            log.warning("%s %d did not end in %.0f seconds: killed", managed.role, managed.index, STOP_TIMEOUT_S)
            process.kill()
            await process.wait()

    def _write_workers(self) -> None:
        """Who runs now, for control's status page and for people with a process id to look up."""
        rows = [
            {
                "role": managed.role,
                "index": managed.index,
                "pid": managed.process.pid if managed.process else None,
                "since": managed.since,
                "ready": managed.is_serving,
                "restarts": managed.restarts,
                "renewals": managed.renewals,
            }
            for managed in (self._control, *self._workers)
        ]
        try:
            write_atomically(self._settings.workers_file, json.dumps({"supervisor": os.getpid(), "workers": rows}).encode())
        except OSError as error:
            log.warning("Can't write %s: %s", self._settings.workers_file, error.strerror)


def tell_systemd(state: str) -> None:
    """Send a line of sd_notify(3) if systemd, or who else started us, asked for that."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as notify:
        notify.sendto(state.encode(), "\0" + place[1:] if place.startswith("@") else place)


def _exit_text(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


def exec_supervisor(settings: Settings, lock: FolderLock) -> NoReturn:
    """Ends this program and starts the supervisor in its place: same process id, standard streams, umask and lock."""
    lock.keep_across_exec()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "hedgerow.app.supervisor", str(settings.state)])  # noqa: S606


def ready_lines(settings: Settings, addresses: Sequence[str]) -> list[str]:
    """The ready line, whose web address opens in a browser on this machine, and one with those for other devices, if there are any.

    `addresses` are this machine's own.
    """
    optional = {"transparent": settings.transparent} if settings.transparent else {}
    more = "".join(f" {name}={place}" for name, place in (optional | settings.encrypted).items())
    ready = f"hedgerow ready dns={settings.dns} proxy={settings.proxy} web=http://{settings.web.from_here}{more}"
    known = [ip_address(address) for address in addresses] if settings.web.is_everywhere else []
    versions = {ip_address(place.host).version for place in settings.web.every_family()}
    near = sorted((each for each in known if each.is_private and not each.is_loopback and each.version in versions), key=_by_family)
    others = [f"http://{Endpoint(str(address), settings.web.port)}" for address in near]
    return [ready, f"from other devices: {' '.join(others)}"] if others else [ready]


def _by_family(address: IPv4Address | IPv6Address) -> tuple[int, int]:
    return address.version, int(address)


def _print_ready(settings: Settings) -> None:
    print(*ready_lines(settings, own_addresses()), sep="\n", flush=True)


def main() -> None:
    settings = Settings.load(Path(sys.argv[1]))
    start_logs("supervisor", settings.log_level, settings.log_json)
    sys.exit(asyncio.run(Supervisor(settings, lambda: _print_ready(settings)).run()))


if __name__ == "__main__":
    main()
