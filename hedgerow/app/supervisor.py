"""The supervisor of `hedgerow up`: starts the processes, restarts what dies, and reports when all are ready.

The command line claims the ports (`startup`) and then becomes the supervisor (`python -m hedgerow.app.supervisor STATE`), a program
that has imported nothing but this module: it runs for months and should not carry what start-up needed for a second. It holds the
listening sockets, of which each child inherits those of its slot, so that nothing is lost between a child and its successor.

A child writes "ready" to its standard output once it serves, and ends when its standard input closes, so no child outlives the
supervisor. Its event loop also writes a beat once a second; a child that falls silent is killed and restarted. The supervisor reports
to systemd's watchdog likewise. Deliberately absent: policy, lists, sockets that serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hedgerow.app.announcements import TroubleProcess, notify_systemd, ready_lines, show_welcome
from hedgerow.app.files import write_atomically
from hedgerow.app.ipc import BEAT_EVERY_S, PROBLEM, READY, RENEW, RETIRE, WorkerRow, WorkersFile
from hedgerow.app.logs import start_logs
from hedgerow.app.run_files import RunFiles
from hedgerow.app.settings import Settings, remove_memory_folder
from hedgerow.codec import encode
from hedgerow.network.own_addresses import own_addresses

log = logging.getLogger("hedgerow.supervisor")

STOP_TIMEOUT_S = 0.9
"""Seconds for the workers to end, and as many for control, so that a stop takes less than two seconds."""
START_TIMEOUT_S = 60.0
MAX_RESTART_DELAY_S = 1.0
MAX_FIRST_DELAY_S = 30.0
"""The same for a process that has never served: its cause is probably the disk, and each attempt takes the processor from the others."""
ATTEMPTS = 2
"""Failed attempts after which the others start, or are announced, without a process."""
GIVE_UP_SOCKETS_AFTER = 5
"""Failed attempts in a row after which an inspector's socket is closed."""
CONTROL_PATIENCE_S = 3.0
"""Seconds for which the workers wait for control's snapshot, if there is an earlier one: clients wait too."""
WANTED_CHECK_INTERVAL_S = 0.2
ENFORCING = {"dns", "gate"}
TOGETHER_S, FILTERS_FIRST_S = 0.05, 5.0
"""Seconds in which several processes may end of one cause, and for which control and inspectors then wait for DNS and gates."""
STEADY_AFTER_S = 0.5
"""Seconds of serving after which a process that ends is restarted at once, since clients wait."""
PATIENCE_S = {"dns": 3, "gate": 3, "signer": 3, "gateway": 15, "inspector": 15, "control": 15}
"""Seconds without a beat until a serving child is killed: short where nothing may hold the loop, longer where long work may."""
START_PATIENCE_S = {"dns": 60, "gate": 60, "signer": 60, "gateway": 60, "inspector": 60, "control": 600}
"""The same for a child that starts; control may have a large journal to migrate."""


@dataclass
class ManagedProcess:
    """A slot with a role and an index, filled by one process after another."""

    role: str
    index: int
    process: asyncio.subprocess.Process | None = None
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
    is_wanted: Callable[[], bool] = lambda: True  # False: it does not run for now, and its end is no failure
    # Processes that served here before and end by themselves.
    predecessors: dict[asyncio.subprocess.Process, asyncio.Task[int]] = field(default_factory=dict)

    @property
    def slot(self) -> str:
        return f"{self.role}-{self.index}"

    @property
    def row(self) -> WorkerRow:
        pid = self.process.pid if self.process else None
        return WorkerRow(self.role, self.index, pid, self.since, self.is_serving, self.restarts, self.renewals, self.problem)

    def reload(self) -> None:
        """Have the process read its files again."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGHUP)


class Supervisor:
    """Runs control first, then the workers; `run` returns the exit status.

    `on_ready` is called once all serve. Before that, it may be called with sentences that say which do not, while DNS or the proxy does.
    `sockets` are the descriptors of the listening sockets by slot.
    """

    def __init__(
        self,
        settings: Settings,
        on_ready: Callable[[Sequence[str]], None],
        *,
        has_terminal: bool = False,
        sockets: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self._settings = settings
        self._sockets = dict(sockets or {})
        self._on_ready = on_ready
        self._has_terminal = has_terminal
        self._control = ManagedProcess("control", 0)
        self._workers = [ManagedProcess("signer", 0)]
        self._workers += [ManagedProcess("inspector", index) for index in range(settings.inspectors)]
        self._workers += [ManagedProcess(role, index) for role in ("dns", "gate") for index in range(settings.workers)]
        self._gateway = ManagedProcess("gateway", 0, is_wanted=settings.gateway_file.exists)
        self._trouble = TroubleProcess(settings)
        self._files = RunFiles(settings)
        self._has_unwritten = False
        self._stopping = asyncio.Event()
        self._status = 0
        self._silent: dict[asyncio.subprocess.Process, int] = {}
        """Ticks of this loop since the last message of each process. Ticks, since any clock jumps when a machine sleeps."""

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._control.reload)
        watchdog = asyncio.create_task(self._watch_beats())
        supervising = [asyncio.create_task(self._supervise(self._control))]
        has_snapshot = (self._settings.published / "snapshot.json").exists()
        await self._wait_settled([self._control], CONTROL_PATIENCE_S if has_snapshot else START_TIMEOUT_S)
        if not self._stopping.is_set():
            supervising += [asyncio.create_task(self._supervise(managed)) for managed in (*self._workers, self._gateway)]
            await self._wait_settled([self._control, *self._workers], START_TIMEOUT_S)
            announcing = asyncio.create_task(self._announce())
            await self._stopping.wait()
            announcing.cancel()
        notify_systemd("STOPPING=1")
        watchdog.cancel()
        # Workers first: their last reports go to control, which ends last.
        for group in ([*self._workers, self._gateway], [self._control]):
            processes = [(managed, process) for managed in group for process in (managed.process, *managed.predecessors)]
            await asyncio.gather(*(_end_process(managed, process) for managed, process in processes))
        await self._trouble.hide()
        await asyncio.gather(*supervising)
        return self._status

    async def _wait_settled(self, processes: Sequence[ManagedProcess], seconds: float) -> None:
        """Wait until each of them serves or has failed, until the run ends, or for this many seconds."""

        async def wait() -> None:
            for managed in processes:
                await managed.settled.wait()

        waits = {asyncio.create_task(wait()), asyncio.create_task(self._stopping.wait())}
        _, left = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()

    async def _announce(self) -> None:
        """Report that the processes serve, with problems as long as some don't. Ends the run if no DNS and no proxy does."""
        everything = (self._control, *self._workers)
        late = [managed for managed in everything if not managed.ready.is_set()]
        if late and not any(managed.role in ENFORCING and managed.ready.is_set() for managed in self._workers):
            self._fail(f"can't start: {' '.join(map(_problem_of, late))}")
            return
        if late:
            problems = tuple(map(_problem_of, late))
            for problem in problems:
                log.error("Filtering with limits: %s", problem)
            self._on_ready(problems)
            notify_systemd(f"READY=1\nSTATUS=Filtering with limits: {' '.join(problems)}")
        while not all(managed.is_serving for managed in everything):  # noqa: ASYNC110 (each of them may also end again meanwhile)
            await asyncio.sleep(0.05)
        self._on_ready(())
        notify_systemd(f"READY=1\nSTATUS={self._settings.problem}" if late or self._settings.problem else "READY=1")
        if self._has_terminal:
            await show_welcome(self._settings)

    async def _watch_beats(self) -> None:
        """Kill children whose event loops are silent, and feed systemd's watchdog, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + BEAT_EVERY_S
            await asyncio.sleep(BEAT_EVERY_S)
            notify_systemd("WATCHDOG=1")
            if self._has_unwritten:  # the disk was full; the health check would tell of processes that have ended
                self._write_workers()
            if loop.time() > due + BEAT_EVERY_S / 2:
                # This process was stopped or starved, and the children may have been too: start counting afresh.
                self._silent = dict.fromkeys(self._silent, 0)
                continue
            for managed in (self._control, *self._workers, self._gateway):
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
            os.killpg(process.pid, signal.SIGKILL)  # with its own children, which may hold its output open

    def _fail(self, message: str) -> None:
        log.error("%s", message)
        self._status = 1
        self._stopping.set()

    async def _supervise(self, managed: ManagedProcess) -> None:
        """Restart the child whenever it ends: at once if it served for a while, else with growing pauses."""
        pause = 0.0
        while not self._stopping.is_set():
            if not managed.is_wanted():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), WANTED_CHECK_INTERVAL_S)
                continue
            await self._start(managed)
            status = await self._wait(managed)
            if self._stopping.is_set():
                return
            if not managed.is_wanted():
                managed.process = None
                self._write_workers()
                continue
            if status is None:
                self._retire(managed)
                continue
            if status == 2 and not managed.ready.is_set():
                self._status = 2
                self._stopping.set()
                return
            if not self._settings.run.exists():
                self._fail(f"{self._settings.run} was removed, without which no process can start: start Hedgerow again.")
                return
            await self._note_end(managed)
            steady = not managed.is_starting and time.monotonic() - managed.serving_since > STEADY_AFTER_S
            longest = MAX_RESTART_DELAY_S if managed.ready.is_set() else MAX_FIRST_DELAY_S
            pause = 0.0 if steady else min(longest, pause * 2 + 0.05)
            log.warning("%s %d ended (%s); restarting it", managed.role, managed.index, _exit_text(status))
            await asyncio.sleep(pause)
            await _let_filters_start(managed, self._workers)

    async def _note_end(self, managed: ManagedProcess) -> None:
        managed.restarts += 1
        managed.failures = managed.failures + 1 if managed.is_starting else 0
        if managed.restarts >= ATTEMPTS:
            managed.settled.set()
        if managed.failures >= GIVE_UP_SOCKETS_AFTER and managed.role == "inspector":
            # The clients in its socket would wait for ever, and the gates would not learn that nobody serves.
            for descriptor in self._sockets.pop(managed.slot, ()):
                os.close(descriptor)
        self._write_workers()
        if managed.failures >= ATTEMPTS and managed is self._control:
            await self._trouble.show(self._sockets.get(managed.slot, ()))

    async def _start(self, managed: ManagedProcess) -> None:
        self._files.check()
        descriptors = self._sockets.get(managed.slot, ())
        module = "hedgerow.app.signer" if managed.role == "signer" else "hedgerow.app.processes"
        managed.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module, managed.role, str(managed.index), str(self._settings.state)),
            ",".join(map(str, descriptors)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=descriptors,
            process_group=0,  # Ctrl-C reaches the supervisor alone, which ends the others in order.
        )
        managed.since = time.time()
        self._write_workers()

    async def _wait(self, managed: ManagedProcess) -> int | None:
        """Return the exit status of the child's process; None when it still serves and asks for a successor."""
        process = managed.process
        assert process is not None
        managed.is_starting, self._silent[process] = True, 0
        while line := await self._read_message(process):
            if line == READY:
                managed.is_serving, managed.is_starting, managed.problem = True, False, ""
                managed.serving_since = time.monotonic()
                managed.ready.set()
                managed.settled.set()
                self._write_workers()
                if managed is self._control:
                    await self._trouble.hide()
                for predecessor in managed.predecessors:
                    if predecessor.stdin is not None:
                        predecessor.stdin.write(RETIRE)
            elif line == RENEW:
                return None
            elif line.startswith(PROBLEM):
                managed.problem = line.removeprefix(PROBLEM).decode(errors="replace").strip()
        managed.is_serving = any(predecessor.returncode is None for predecessor in managed.predecessors)
        return await process.wait()

    async def _read_message(self, process: asyncio.subprocess.Process) -> bytes:
        """Return the next line of a process, which counts as a sign of life; empty once the process has ended."""
        assert process.stdout is not None
        line = await process.stdout.readline()
        if line and process in self._silent:  # otherwise it is being killed
            self._silent[process] = 0
        elif not line:
            self._silent.pop(process, None)
        return line

    def _retire(self, managed: ManagedProcess) -> None:
        """Let a process serve until its successor does; it then ends with its last connection."""
        predecessor = managed.process
        assert predecessor is not None
        managed.renewals += 1
        managed.predecessors[predecessor] = task = asyncio.create_task(self._wait_predecessor(predecessor))
        task.add_done_callback(lambda _: managed.predecessors.pop(predecessor, None))
        log.info("%s %d gets a successor", managed.role, managed.index)

    async def _wait_predecessor(self, predecessor: asyncio.subprocess.Process) -> int:
        while await self._read_message(predecessor):
            pass
        return await predecessor.wait()

    def _write_workers(self) -> None:
        """List the processes for control's status page and for people who look for a process id."""
        optional = [self._gateway] if self._gateway.process is not None else []
        content = WorkersFile(os.getpid(), tuple(managed.row for managed in (self._control, *self._workers, *optional)))
        self._has_unwritten = False
        try:
            write_atomically(self._settings.workers_file, encode(content))
        except OSError as error:
            self._has_unwritten = True
            log.warning("Can't write %s: %s", self._settings.workers_file, error.strerror)


async def _end_process(managed: ManagedProcess, process: asyncio.subprocess.Process | None) -> None:
    if process is None or process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        log.warning("%s %d did not end in %.1f seconds: killed", managed.role, managed.index, STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _let_filters_start(managed: ManagedProcess, workers: Sequence[ManagedProcess]) -> None:
    """Before another process is restarted, wait for DNS and gates that start again: a small machine would start all of them slowly."""
    if managed.role in ENFORCING:
        return
    await asyncio.sleep(TOGETHER_S)
    deadline = time.monotonic() + FILTERS_FIRST_S
    while time.monotonic() < deadline and any(map(_is_starting_again, workers)):  # noqa: ASYNC110 (several may end meanwhile)
        await asyncio.sleep(TOGETHER_S)


def _is_starting_again(managed: ManagedProcess) -> bool:
    return managed.role in ENFORCING and managed.ready.is_set() and not managed.is_serving


def _problem_of(managed: ManagedProcess) -> str:
    return f"{managed.role} does not run: {managed.problem or 'see the log'}."


def _exit_text(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


def _parse_sockets(words: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Parse words such as `dns-0=5,6`."""
    slots = (word.partition("=") for word in words)
    return {slot: tuple(int(number) for number in numbers.split(",") if number) for slot, _, numbers in slots}


def main() -> None:
    settings = Settings.load(Path(sys.argv[1]))
    start_logs("supervisor", settings.log_level, settings.log_json)
    supervisor = Supervisor(
        settings,
        lambda problems: print(*ready_lines(settings, own_addresses(), problems), sep="\n", flush=True),
        has_terminal=sys.stdout.isatty(),
        sockets=_parse_sockets(sys.argv[2:]),
    )
    status = asyncio.run(supervisor.run())
    remove_memory_folder(settings.state)
    sys.exit(status)


if __name__ == "__main__":
    main()
