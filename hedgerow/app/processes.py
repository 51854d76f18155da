"""The entry of every child of the supervisor:

`run_process` for those that the zygote forks. Without one, they are started as
`python -m hedgerow.app.processes ROLE INDEX STATE [DESCRIPTORS]`.

A child ends on SIGTERM, and when its standard input closes, which means that the supervisor is gone. The descriptors,
such as `5,6`, are those of the listening sockets that it inherits.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NoReturn

import uvloop

from hedgerow.app.ipc import (
    HEARTBEAT,
    HEARTBEAT_INTERVAL_S,
    PROBLEM,
    READY,
    RENEW,
    RETIRE,
    InheritedSockets,
    StartProblem,
    parse_descriptors,
)
from hedgerow.app.logs import start_logs
from hedgerow.app.privileges import confine_worker, keep_role_capabilities
from hedgerow.app.settings import Settings
from hedgerow.app.snapshot import LoadedSnapshot, Snapshot, SnapshotWatch, snapshot_folders
from hedgerow.app.workers.worker import Worker
from hedgerow.confinement import end_with_parent, name_process
from hedgerow.files import error_text
from hedgerow.internals import IncompatibleLibraryError
from hedgerow.task_state import Area, describe
from hedgerow.ticks import next_tick
from hedgerow.watched_tasks import WatchedTasks

log = logging.getLogger("hedgerow.processes")

STANDARD_INPUT, STANDARD_OUTPUT = 0, 1  # of the kernel: a forked child has not opened Python's

_AWAY = "away: "
_YOUNG_RUN_S, _FIRST_WAIT_S, _WAIT_S = 20.0, 2.0, 300.0

CONTROL_THREADS = 48
"""Threads of control that wait for disks and databases. One is started when all others are busy."""

UMASK = 0o077
"""Files that a process writes are for its owner alone."""


def notify_ready() -> None:
    """Tell the supervisor that this process serves.

    Exempt all current objects from garbage collection, since they stay.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
    notify_supervisor(READY)


async def serve_until_message() -> bytes:
    """Tell the supervisor that this process serves, and return its next message."""
    message = asyncio.ensure_future(wait_for_message())
    await asyncio.sleep(0)  # its handler of SIGTERM is there before anybody can know that this process serves
    notify_ready()
    return await message


def notify_supervisor(message: bytes) -> None:
    os.write(STANDARD_OUTPUT, message)


async def send_heartbeats() -> None:
    """Send the supervisor a heartbeat of this event loop once a second, until cancelled."""
    while True:
        with contextlib.suppress(OSError):  # never wait for a supervisor that does not read
            notify_supervisor(HEARTBEAT)
        await next_tick(HEARTBEAT_INTERVAL_S)


def tune_garbage_collector() -> None:
    """Collect rarely, and the young generation in small pieces: each collection delays all queries.

    The pieces are larger than what hundreds of queries in flight need, or that would pass for long-lived.
    """
    gc.set_threshold(5000, 2, 1000)


async def wait_for_message() -> bytes:
    """Return the supervisor's next message; empty for SIGTERM and for the supervisor's end."""
    loop = asyncio.get_running_loop()
    received = loop.create_future()

    def receive(message: bytes) -> None:
        if not received.done():
            received.set_result(message)

    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, receive, b"")

    def read() -> None:
        try:
            receive(os.read(STANDARD_INPUT, 100))
        except OSError:  # the supervisor ended without having read what we wrote
            receive(b"")

    loop.add_reader(STANDARD_INPUT, read)
    try:
        return bytes(await received)
    finally:
        loop.remove_reader(STANDARD_INPUT)


def make_worker(role: str, index: int, settings: Settings, sockets: InheritedSockets, tasks: WatchedTasks) -> Worker:
    """Confine this process, and return a worker with the snapshot in force or, if that can't be used, with one of last
    resort.

    Raises StartProblem and OSError.
    """
    watch = SnapshotWatch(*snapshot_folders(settings.state))
    view = watch.open_if_new() or open_fallback(settings)
    watch.is_denied = False  # another process would be denied it too
    confine_worker(role, settings, view.policy, view.snapshot.generation)
    return Worker(role, index, settings, view, watch, sockets, tasks)


def open_fallback(settings: Settings) -> LoadedSnapshot:
    """Make and open the snapshot of last resort.

    Raises StartProblem. A process makes it, since the compiler needs much memory.
    """
    command = (sys.executable, "-P", "-m", "hedgerow.app.fallback", str(settings.state))
    made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    try:
        if made.returncode != 0:
            raise OSError(made.stderr.strip().rpartition("\n")[2])
        view = LoadedSnapshot(Snapshot.load(Path(made.stdout.removesuffix("\n"))))
    except (OSError, ValueError) as error:
        raise StartProblem(
            f"There is no usable snapshot in {settings.state}, and none can be made: {error_text(error)}"
        ) from None
    log.error(
        "There is no usable snapshot in %s: %s is in force with the lists %s.",
        settings.state,
        f"the policy {view.policy.path}" if view.policy.path else "the built-in policy for children",
        view.catalogue.version,
    )
    return view


def prepare_in_child(settings: Settings) -> str:
    """Prepare the journal in a process of its own, as the migration tools would stay in memory for months.

    Returns an empty string, or why the store can't be opened now. Raises StartProblem for any other problem.
    """
    from hedgerow.app.control.upkeep.journal_setup import StoreAwayProblem, prepare_journal, prepare_store

    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        problem = "the journal can't be prepared"
        try:
            end_with_parent()
            if settings.store:
                prepare_store(settings)
            else:
                prepare_journal(settings.journal)
            problem = ""
        except StoreAwayProblem as error:
            problem = f"{_AWAY}{error}"
        except StartProblem as error:
            problem = str(error)
        except BaseException as error:
            log.error("The journal can't be prepared: %s", describe(error))
            log.debug("The journal can't be prepared", exc_info=error)
        finally:
            os.write(writing, problem.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        problem = pipe.read()
    if os.waitpid(pid, 0)[1] or (problem and not problem.startswith(_AWAY)):
        raise StartProblem(problem or "the process that prepares the journal was killed")
    return problem.removeprefix(_AWAY)


async def wait_for_store(settings: Settings, problem: str) -> NoReturn:
    """Keep the events of workers until the store can be opened, then end this process.

    Its successor uses the store. Raises StartProblem.

    The first attempts are short, so that the supervisor starts the workers and shows the reason.
    """
    from hedgerow.app.control.upkeep.journal_setup import keep_events

    gc.enable()
    heartbeats = asyncio.create_task(send_heartbeats())
    text = " ".join(problem.split())
    with contextlib.suppress(OSError):
        notify_supervisor(PROBLEM + text[:500].encode() + b"\n")
    is_young = time.time() - (settings.run / "settings.json").stat().st_mtime < _YOUNG_RUN_S
    waiting = asyncio.create_task(keep_events(settings, _FIRST_WAIT_S if is_young else _WAIT_S))
    stopped = asyncio.create_task(wait_for_message())
    await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if stopped.done():
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        os._exit(0)
    heartbeats.cancel()
    raise StartProblem("the store can be opened again" if waiting.result() else text)


async def run_control(settings: Settings, _index: int, sockets: InheritedSockets, tasks: WatchedTasks) -> None:
    keep_role_capabilities("control", settings.state)
    # Threads render long pages and read policies. By default each of the loop's steps would wait 5 ms for the
    # interpreter's lock.
    sys.setswitchinterval(0.0005)
    # By default there are a few more threads than processors, which as many slow requests to the pages would use up.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(CONTROL_THREADS, "work"))

    from sqlalchemy.exc import DatabaseError

    from hedgerow.app.control.lists.list_jobs import CompileError
    from hedgerow.app.control.process import ControlProcess
    from hedgerow.journal.store import JournalError
    from hedgerow.policies.reading.load import PolicyError

    try:
        control = ControlProcess(settings, sockets, tasks)
        await control.start()
    except (CompileError, DatabaseError, JournalError, PolicyError) as error:
        raise StartProblem(str(getattr(error, "orig", None) or error)) from error
    await serve_until_message()
    await control.close()


async def run_dns(settings: Settings, index: int, sockets: InheritedSockets, tasks: WatchedTasks) -> None:
    from hedgerow.app.workers.dns_worker import serve_dns

    worker = make_worker("dns", index, settings, sockets, tasks)
    with _ending_on_incompatible_library():
        async with serve_dns(worker), worker.running():
            tune_garbage_collector()
            await serve_until_message()


async def run_gate(settings: Settings, index: int, sockets: InheritedSockets, tasks: WatchedTasks) -> None:
    from hedgerow.app.workers.gate_worker import serve_gate

    worker = make_worker("gate", index, settings, sockets, tasks)
    async with serve_gate(worker), worker.running():
        await serve_until_message()


@contextlib.contextmanager
def _ending_on_incompatible_library() -> Iterator[None]:
    try:
        yield
    except IncompatibleLibraryError as error:
        log.error("%s", error)
        sys.exit(2)  # the supervisor then ends, since another attempt would fail too


async def run_inspector(settings: Settings, index: int, sockets: InheritedSockets, tasks: WatchedTasks) -> None:
    from hedgerow.proxy.inspection.engine import compatibility

    with _ending_on_incompatible_library():
        compatibility.check()

    from hedgerow.app.workers.inspector_worker import (
        is_any_unreadable,
        request_successor,
        serve_inspector,
        start_launcher,
    )

    launcher = start_launcher() if settings.has_jobs_identity else None
    worker = make_worker("inspector", index, settings, sockets, tasks)
    async with serve_inspector(worker, launcher) as inspector, worker.running():
        growth = settings.footprint.inspector_growth

        def is_outdated() -> bool:
            return is_any_unreadable(worker.view.policy.phrase_lists) or (launcher is not None and launcher.is_gone)

        without_clients = asyncio.Event()

        def ask_for_successor() -> None:
            notify_supervisor(RENEW)
            if inspector.is_idle:  # then it ends first, so that there are never two without need
                without_clients.set()

        request = partial(request_successor, ask_for_successor, growth, is_outdated)
        async with tasks.running("renewal", request, Area.UPKEEP):
            ordered, ending = asyncio.create_task(serve_until_message()), asyncio.create_task(without_clients.wait())
            await asyncio.wait({ordered, ending}, return_when=asyncio.FIRST_COMPLETED)
            message = ordered.result() if ordered.done() else RETIRE
            ordered.cancel()
            ending.cancel()
        if message == RETIRE:
            stopped, retired = asyncio.create_task(wait_for_message()), asyncio.create_task(inspector.retire())
            await asyncio.wait({stopped, retired}, return_when=asyncio.FIRST_COMPLETED)
            for task in (stopped, retired):
                task.cancel()


async def run_gateway(settings: Settings, _index: int, _sockets: InheritedSockets, tasks: WatchedTasks) -> None:
    from hedgerow.app.gateway.process import serve_gateway, wait_until_removed

    keep_role_capabilities("gateway", settings.state)
    async with serve_gateway(settings, tasks):
        notify_ready()
        stopped, removed = asyncio.create_task(wait_for_message()), asyncio.create_task(wait_until_removed(settings))
        await asyncio.wait({stopped, removed}, return_when=asyncio.FIRST_COMPLETED)
        for task in (stopped, removed):
            task.cancel()


ROLES: dict[str, Callable[[Settings, int, InheritedSockets, WatchedTasks], Awaitable[None]]] = {
    "control": run_control,
    "dns": run_dns,
    "gate": run_gate,
    "gateway": run_gateway,
    "inspector": run_inspector,
}


def _loop_factory(role: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if role != "gate":
        return uvloop.new_event_loop
    from hedgerow.proxy.poller import PollerLoop

    return PollerLoop


def run_process(role: str, index: int, state: Path, descriptors: Iterable[int]) -> None:
    """Serve in a role until the supervisor ends it. Raises SystemExit if it can't."""
    sockets = InheritedSockets(descriptors)
    os.umask(UMASK)
    settings = Settings.load(state)
    start_logs(role, settings.log_level, settings.log_json)

    async def run() -> None:
        tasks = WatchedTasks(role)
        tasks.errors.watch_loop()
        tasks.errors.watch_process()
        async with tasks.running("heartbeats", send_heartbeats, Area.UPKEEP):
            await ROLES[role](settings, index, sockets, tasks)
        # All is closed and saved. Only threads may be left, such as one that waits for a silent resolver, and Python
        # would wait for them.
        logging.shutdown()
        os._exit(0)

    os.set_blocking(STANDARD_OUTPUT, False)
    # until it serves: what it makes stays, and a collector that looks at it each time takes a tenth of control's start
    gc.disable()
    try:
        if role == "control" and (problem := prepare_in_child(settings)):
            uvloop.run(wait_for_store(settings, problem))
        asyncio.run(run(), loop_factory=_loop_factory(role))
    except (StartProblem, OSError) as error:
        text = " ".join(error_text(error).split())
        log.error("can't serve: %s", text)
        with contextlib.suppress(OSError):
            notify_supervisor(PROBLEM + text[:500].encode() + b"\n")
        sys.exit(1)
    except Exception as error:
        log.error("This process ends by an error: %s", describe(error))
        log.debug("This process ends by an error", exc_info=error)
        sys.exit(1)


def main() -> None:
    name_process(sys.argv[1])
    run_process(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), parse_descriptors("".join(sys.argv[4:5])))


if __name__ == "__main__":
    main()
