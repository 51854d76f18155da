"""The supervisor of `hedgerow up`: starts the processes, restarts what dies, and reports when all are ready.

The command line forks the zygote, claims the ports (`startup`) and then supervises: it shares the memory of what it has
imported with the zygote and all its children. It holds the listening sockets, of which each child inherits those of its
slot, so that nothing is lost between a child and its successor. The zygote forks the children; without one, they are
started as new programs.

A child writes "ready" to its standard output once it serves, and ends when its standard input closes, so no child
outlives the supervisor. Its event loop also writes a heartbeat once a second; a child that falls silent is killed and
restarted. The supervisor reports to systemd's watchdog likewise. Deliberately absent: policy, lists, sockets that
serve.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from hedgerow.app.announcements import TroubleProcess, notify_systemd, ready_lines, show_welcome
from hedgerow.app.children import ChildProcess, Children, InspectorSockets, ManagedProcess, Zygote, ZygoteError
from hedgerow.app.gateway.config import addresses_for_devices
from hedgerow.app.heartbeats import Heartbeats
from hedgerow.app.ipc import (
    HEARTBEAT_INTERVAL_S,
    PROBLEM,
    READY,
    RENEW,
    RETIRE,
    WorkersFile,
    WorkersFileWriter,
    format_descriptors,
)
from hedgerow.app.settings import RunFiles, Settings, remove_memory_folder
from hedgerow.task_state import Area, TaskState
from hedgerow.ticks import next_tick, seconds_to_tick
from hedgerow.watched_tasks import WatchedTasks

log = logging.getLogger("hedgerow.supervisor")

STOP_TIMEOUT_S = 0.9
"""Seconds for the workers to end, and as many for control, so that a stop takes less than two seconds."""
START_TIMEOUT_S = 60.0
MAX_RESTART_DELAY_S = 1.0
MAX_FIRST_DELAY_S = 30.0
"""The same for a process that has never served: its cause is probably the disk, and each attempt takes the processor
from the others.
"""
ATTEMPTS = 2
"""Failed attempts after which the others start, or are announced, without a process."""
GIVE_UP_SOCKETS_AFTER = 5
"""Failed attempts in a row after which an inspector's socket is closed."""
CONTROL_PATIENCE_S = 3.0
"""Seconds for which the workers wait for control's snapshot, if there is an earlier one: clients wait too."""
WANTED_CHECK_INTERVAL_S = 1.0
ENFORCING = {"dns", "gate"}
TOGETHER_S, FILTERS_FIRST_S = 0.05, 5.0
"""Seconds in which several processes may end of one cause, and for which control and inspectors then wait for DNS and
gates.
"""
PREDECESSOR_WAIT_S = 2.0
"""Seconds for which a successor waits for a process that ends at once, so that a small machine need not hold both."""
_CRASHES = {-number for number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT)}
"""Exit statuses after which the next process must not have the same addresses: an attacker may be trying them out."""
STEADY_AFTER_S = 0.5
"""Seconds of serving after which a process that ends is restarted at once, since clients wait."""
PATIENCE_S = {"dns": 3, "gate": 3, "inspector": 3, "signer": 3, "zygote": 3, "gateway": 15, "control": 15}
"""Seconds without a heartbeat until a serving child is killed: short where nothing may hold the loop, longer where long
work may.
"""
START_PATIENCE_S = {"dns": 60, "gate": 60, "signer": 60, "zygote": 20, "gateway": 60, "inspector": 60, "control": 600}
"""The same for a child that starts; control may have a large journal to migrate."""


class Supervisor:
    """The supervisor of control and the workers; `run` returns the exit status.

    `on_ready` is called once all serve. Before that, it may be called with sentences that say which do not, while DNS
    or the proxy does. `sockets` are the descriptors of the listening sockets by slot. `zygote` is the process id and
    the socket of one that runs already.
    """

    def __init__(
        self,
        settings: Settings,
        on_ready: Callable[[Sequence[str]], None],
        *,
        has_terminal: bool = False,
        sockets: Mapping[str, Sequence[int]] | None = None,
        zygote: tuple[int, int] | None = None,
        tasks: WatchedTasks | None = None,
    ) -> None:
        self._settings = settings
        self._sockets = dict(sockets or {})
        self._on_ready = on_ready
        self._has_terminal = has_terminal
        self._control = ManagedProcess("control", 0)
        self._workers = [ManagedProcess("signer", 0)]
        self._workers += [ManagedProcess("inspector", index) for index in range(settings.inspectors)]
        self._workers += [ManagedProcess(role, index) for role in ("dns", "gate") for index in range(settings.workers)]
        self._gateway = ManagedProcess(
            "gateway", 0, is_wanted=lambda: settings.keeps_gateway and settings.gateway_file.exists()
        )
        self._children = Children()
        self._zygote = Zygote(self._children, settings.state, zygote)
        self._forking = ManagedProcess("zygote", 0)
        self._trouble = TroubleProcess(settings)
        self._files = RunFiles(settings)
        self._list = WorkersFileWriter(settings)
        self._tasks = tasks or WatchedTasks("supervisor")
        self._inspectors = InspectorSockets(settings, self._sockets)
        self._zygote_state = TaskState("zygote", "forking", Area.UPKEEP)
        self._stopping = asyncio.Event()
        self._status = 0
        self._heartbeats = Heartbeats(HEARTBEAT_INTERVAL_S)

    async def run(self) -> int:
        def supervise_each(processes: Sequence[ManagedProcess]) -> None:
            for managed in processes:
                self._tasks.start(
                    f"supervising {managed.slot}",
                    partial(self._supervise, managed),
                    Area.PROCESSES,
                    may_end=True,
                    longest_pause_s=MAX_RESTART_DELAY_S,
                )

        loop = asyncio.get_running_loop()
        self._children.watch()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._control.reload)
        self._tasks.errors.watch_loop()
        self._tasks.report_to(lambda _: self._write_workers())
        self._tasks.start("watchdog", self._watch_beats, Area.PROCESSES, longest_pause_s=HEARTBEAT_INTERVAL_S)
        supervise_each((self._forking, self._control))
        has_snapshot = (self._settings.published / "snapshot.json").exists()
        await _wait_settled([self._control], self._stopping, CONTROL_PATIENCE_S if has_snapshot else START_TIMEOUT_S)
        if not self._stopping.is_set():
            supervise_each((*self._workers, self._gateway))
            await _wait_settled([self._control, *self._workers], self._stopping, START_TIMEOUT_S)
            async with self._tasks.running("announcement", self._announce, Area.UPKEEP, may_end=True):
                await self._stopping.wait()
        notify_systemd("STOPPING=1")
        await self._tasks.stop("watchdog")
        # Workers first: their last reports go to control, which ends last.
        for group in ([*self._workers, self._gateway, self._forking], [self._control]):
            await asyncio.gather(*map(_end_processes, group))
        await self._trouble.hide()
        await self._tasks.wait(STOP_TIMEOUT_S)
        await self._tasks.stop_all()
        return self._status

    async def _announce(self) -> None:
        """Report that the processes serve, with problems as long as some don't.

        Ends the run if no DNS and no proxy does.
        """
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
            due = loop.time() + seconds_to_tick(HEARTBEAT_INTERVAL_S)
            await next_tick(HEARTBEAT_INTERVAL_S)
            notify_systemd("WATCHDOG=1")
            self._children.reap_orphan()
            if self._list.is_unwritten:  # the disk was full
                self._write_workers()
            self._inspectors.restore(self._workers)
            if loop.time() > due + HEARTBEAT_INTERVAL_S / 2:
                # This process was stopped or starved, and the children may have been too: start counting again.
                self._heartbeats.restart()
                continue
            for managed in (self._control, *self._workers, self._gateway, self._forking):
                for process in managed.processes:
                    self._kill_if_silent(managed, process)

    def _kill_if_silent(self, managed: ManagedProcess, process: ChildProcess) -> None:
        patience = (START_PATIENCE_S if managed.is_starting and process is managed.process else PATIENCE_S)[
            managed.role
        ]
        if not self._heartbeats.is_silent(process, patience):
            return
        log.error(
            "%s %d (process %d) has not answered for %d seconds: killed",
            managed.role,
            managed.index,
            process.pid,
            patience,
        )
        self._heartbeats.forget(process)  # it is being killed
        process.kill()

    def _fail(self, message: str) -> None:
        log.error("%s", message)
        self._status = 1
        self._stopping.set()

    async def _supervise(self, managed: ManagedProcess) -> None:
        """Restart the child whenever it ends: at once if it served for a while, else with growing pauses."""
        pause = 0.0
        while not self._stopping.is_set():
            if not managed.is_wanted():
                await _sleep_until(self._stopping, seconds_to_tick(WANTED_CHECK_INTERVAL_S))
                continue
            if not managed.has_process:  # it has one if this task failed and was started again
                await self._start(managed)
                if managed.process is not None:
                    managed.is_starting = True
                    self._heartbeats.watch(managed.process)
            if self._stopping.is_set():  # the others may have been ended meanwhile
                await _end_processes(managed)
                return
            status = await self._wait(managed)
            if self._stopping.is_set():
                return
            if not managed.is_wanted():
                managed.process = None
                self._write_workers()
                continue
            if status is None:
                await self._retire(managed)
                continue
            if status == 2 and not managed.ready.is_set():
                self._status = 2
                self._stopping.set()
                return
            if not self._settings.run.exists():
                self._fail(
                    f"{self._settings.run} was removed, without which no process can start: start Hedgerow again."
                )
                return
            await self._note_end(managed)
            if status in _CRASHES:
                self._zygote.renew()
            steady = not managed.is_starting and time.monotonic() - managed.serving_since > STEADY_AFTER_S
            longest = MAX_RESTART_DELAY_S if managed.ready.is_set() else MAX_FIRST_DELAY_S
            pause = 0.0 if steady else min(longest, pause * 2 + 0.05)
            log.warning("%s %d ended (%s); restarting it", managed.role, managed.index, _exit_text(status))
            await _sleep_until(self._stopping, pause)
            await self._let_filters_start(managed)

    async def _let_filters_start(self, managed: ManagedProcess) -> None:
        """Before another process is restarted, wait for DNS and gates that start again: a small machine would start all
        of them slowly.
        """
        if managed.role in {*ENFORCING, "zygote"}:
            return
        await _sleep_until(self._stopping, TOGETHER_S)
        deadline = time.monotonic() + FILTERS_FIRST_S
        while (
            time.monotonic() < deadline and not self._stopping.is_set() and any(map(_is_starting_again, self._workers))
        ):
            await _sleep_until(self._stopping, TOGETHER_S)

    async def _note_end(self, managed: ManagedProcess) -> None:
        managed.restarts += 1
        managed.failures = managed.failures + 1 if managed.is_starting else 0
        if managed.restarts >= ATTEMPTS:
            managed.settled.set()
        if managed is self._forking:
            self._zygote_state = replace(
                self._zygote_state, failures=managed.restarts, failed=time.time(), reason="it has ended"
            )
        if managed.failures >= GIVE_UP_SOCKETS_AFTER and managed.role == "inspector":
            # The clients in its socket would wait for ever, and the gates would not learn that nobody serves.
            for descriptor in self._sockets.pop(managed.slot, ()):
                os.close(descriptor)
        self._write_workers()
        if managed.failures >= ATTEMPTS and managed is self._control:
            await self._trouble.show(self._sockets.get(managed.slot, ()))

    async def _start(self, managed: ManagedProcess) -> None:
        self._files.check()
        if managed is self._forking:
            managed.process = await self._zygote.start()
            return
        descriptors = self._sockets.get(managed.slot, ())
        try:
            managed.process = await self._zygote.fork(managed.role, managed.index, descriptors)
        except ZygoteError as error:
            if self._stopping.is_set():
                return
            log.warning("The zygote does not fork %s %d: %s", managed.role, managed.index, error)
            module = "hedgerow.app.signer" if managed.role == "signer" else "hedgerow.app.processes"
            words = (managed.role, str(managed.index), str(self._settings.state), format_descriptors(descriptors))
            managed.process = await self._children.spawn((sys.executable, "-P", "-m", module, *words), descriptors)
        managed.since = time.time()
        self._write_workers()

    async def _wait(self, managed: ManagedProcess) -> int | None:
        """Return the exit status of the child's process; None when it still serves and asks for a successor."""
        process = managed.process
        assert process is not None
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
                    predecessor.stdin.write(RETIRE)
            elif line == RENEW:
                return None
            elif line.startswith(PROBLEM):
                managed.problem = line.removeprefix(PROBLEM).decode(errors="replace").strip()
            elif managed is self._forking:
                self._zygote.receive(line)
        if managed is self._forking:
            self._zygote.lose(is_hopeless=managed.is_starting and managed.failures > 0)
        managed.is_serving = any(predecessor.returncode is None for predecessor in managed.predecessors)
        return await process.wait()

    async def _read_message(self, process: ChildProcess) -> bytes:
        """Return the next line of a process, which counts as a sign of life; empty once the process has ended."""
        line = await process.read_line()
        if line:
            self._heartbeats.receive(process)
        else:
            self._heartbeats.forget(process)
        return line

    async def _retire(self, managed: ManagedProcess) -> None:
        """Let a process serve until its successor does; it then ends with its last connection.

        One without connections ends first.
        """
        predecessor = managed.process
        assert predecessor is not None
        managed.renewals += 1
        managed.predecessors[predecessor] = task = asyncio.create_task(self._wait_predecessor(predecessor))
        task.add_done_callback(lambda _: managed.predecessors.pop(predecessor, None))
        log.info("%s %d gets a successor", managed.role, managed.index)
        await asyncio.wait({task}, timeout=PREDECESSOR_WAIT_S)

    async def _wait_predecessor(self, predecessor: ChildProcess) -> int:
        while await self._read_message(predecessor):
            pass
        return await predecessor.wait()

    def _write_workers(self) -> None:
        """List the processes for control's status page and for people who look for a process id."""
        optional = [self._gateway] if self._gateway.process is not None else []
        rows = tuple(managed.row for managed in (self._control, *self._workers, *optional))
        zygote = replace(self._zygote_state, in_a_row=self._forking.failures, is_running=self._forking.is_serving)
        tasks = tuple(state for state in (*self._tasks.states, zygote) if state.failures)
        self._list.write(WorkersFile(os.getpid(), rows, tasks, self._tasks.errors.count))


async def _wait_settled(processes: Sequence[ManagedProcess], stopping: asyncio.Event, seconds: float) -> None:
    """Wait until each of them serves or has failed, until the run ends, or for this many seconds."""

    async def wait() -> None:
        for managed in processes:
            await managed.settled.wait()

    waits = {asyncio.create_task(wait()), asyncio.create_task(stopping.wait())}
    _, left = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()


async def _sleep_until(stopping: asyncio.Event, seconds: float) -> None:
    """Sleep for this long, or until the run ends."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)


async def _end_processes(managed: ManagedProcess) -> None:
    async def end(process: ChildProcess) -> None:
        if not await process.end(STOP_TIMEOUT_S):
            log.warning("%s %d did not end in %.1f seconds: killed", managed.role, managed.index, STOP_TIMEOUT_S)

    await asyncio.gather(*(end(process) for process in managed.processes))


def _is_starting_again(managed: ManagedProcess) -> bool:
    return managed.role in ENFORCING and managed.ready.is_set() and not managed.is_serving


def _problem_of(managed: ManagedProcess) -> str:
    return f"{managed.role} does not run: {managed.problem or 'see the log'}."


def _exit_text(status: int) -> str:
    return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


def supervise(
    settings: Settings, sockets: Mapping[str, Sequence[socket.socket]], zygote: tuple[int, socket.socket]
) -> int:
    """Run all processes until this one is told to stop. Returns the exit status."""
    tasks = WatchedTasks("supervisor")
    tasks.errors.watch_process()
    supervisor = Supervisor(
        settings,
        lambda problems: print(
            *ready_lines(settings, addresses_for_devices(settings.state), problems), sep="\n", flush=True
        ),
        has_terminal=sys.stdout.isatty(),
        sockets={slot: [each.detach() for each in of_slot] for slot, of_slot in sockets.items()},
        zygote=(zygote[0], zygote[1].detach()),
        tasks=tasks,
    )
    status = asyncio.run(supervisor.run())
    remove_memory_folder(settings.state)
    return status
