"""Restarts, the watchdog and the end of the supervisor's children."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from small_internet.fast_time import WallClock

from hedgerow.app.children import ManagedProcess
from hedgerow.app.ipc import HEARTBEAT_INTERVAL_S
from hedgerow.app.settings import Endpoint, Settings
from hedgerow.app.startup import prepare_run
from hedgerow.app.supervisor import PATIENCE_S, Supervisor

ANY = Endpoint("127.0.0.1", 0)


def settings_in(state: Path) -> Settings:
    return Settings(state, None, ANY, ANY, ANY, log_level="error")


class ScriptSupervisor(Supervisor):
    """The real supervisor over real processes that run a shell script."""

    script = ""

    async def _start(self, child: ManagedProcess) -> None:
        child.process = await self._children.spawn(("/bin/sh", "-c", self.script))
        self._write_workers()


def run_supervisor(
    tmp_path: Path, script: str, seconds: float, held: float = 0.0
) -> tuple[int, list[dict[str, object]]]:
    """Return the exit status after SIGTERM at `seconds`, and the last rows of the workers' file.

    The supervisor's own loop is blocked for `held` seconds.
    """
    settings, lock = prepare_run(replace(settings_in(tmp_path), workers=1))

    async def main() -> int:
        supervisor = ScriptSupervisor(settings, lambda _: None)
        supervisor.script = script
        asyncio.get_running_loop().call_later(seconds, os.kill, os.getpid(), signal.SIGTERM)
        asyncio.get_running_loop().call_later(1.0, time.sleep, held)
        return await supervisor.run()

    status = asyncio.run(main())
    lock.release()
    return status, json.loads(settings.workers_file.read_bytes())["workers"]


def test_a_removed_state_directory_ends_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings, lock = prepare_run(settings_in(tmp_path / "state"))
    supervisor = ScriptSupervisor(settings, lambda _: None)
    supervisor.script = f"echo ready; rm -rf {settings.state}; exit 3"
    assert asyncio.run(supervisor.run()) == 1
    lock.release()
    assert "start Hedgerow again" in caplog.text


def test_the_list_of_processes_is_written_once_the_disk_can_be_written_again(tmp_path: Path) -> None:
    settings, lock = prepare_run(settings_in(tmp_path / "state"))
    supervisor = ScriptSupervisor(settings, lambda _: None)
    supervisor.script = "echo ready; while :; do echo .; sleep 0.1; done"
    settings.workers_file.mkdir()  # cannot be replaced by a file

    async def main() -> int:
        running = asyncio.create_task(supervisor.run())
        await asyncio.sleep(0.5)
        settings.workers_file.rmdir()
        while not settings.workers_file.is_file():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)
        return await running

    assert asyncio.run(main()) == 0
    lock.release()
    assert json.loads(settings.workers_file.read_bytes())["workers"]


def test_a_dead_process_is_restarted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # for which control waits, as these never serve for long
    monkeypatch.setattr("hedgerow.app.supervisor.FILTERS_FIRST_S", 0.2)
    status, rows = run_supervisor(tmp_path, "echo ready; exit 3", 2.0)
    assert status == 0
    assert all(int(str(row["restarts"])) >= 2 for row in rows)


def test_a_process_that_cannot_start_ends_the_run(tmp_path: Path) -> None:
    started = time.monotonic()
    status, _ = run_supervisor(tmp_path, "exit 2", 20.0)
    assert status == 2
    assert time.monotonic() - started < 15


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hedgerow.app.supervisor.STOP_TIMEOUT_S", 0.3)
    status, rows = run_supervisor(tmp_path, "trap '' TERM; echo ready; while :; do sleep 0.1; done", 1.0)
    assert status == 0
    for row in rows:
        assert not Path(f"/proc/{row['pid']}").exists()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hedgerow.app.supervisor.HEARTBEAT_INTERVAL_S", 0.2)
    monkeypatch.setattr("hedgerow.app.supervisor.PATIENCE_S", dict.fromkeys(PATIENCE_S, 1.0))


@pytest.mark.usefixtures("impatient")
def test_a_silent_process_is_killed_and_restarted(tmp_path: Path) -> None:
    status, rows = run_supervisor(tmp_path, "echo ready; exec sleep 60", 4.0)
    assert status == 0
    assert all(int(str(row["restarts"])) >= 1 for row in rows)


def test_a_process_that_waits_for_its_successor_has_the_patience_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its beats come late, while the supervisor waits whether it ends by itself."""
    monkeypatch.setattr("hedgerow.app.supervisor.HEARTBEAT_INTERVAL_S", 0.1)
    monkeypatch.setattr("hedgerow.app.supervisor.PATIENCE_S", dict.fromkeys(PATIENCE_S, 1.5))
    settings, lock = prepare_run(replace(settings_in(tmp_path), workers=1))
    started = list[str]()

    class RenewedInspector(ScriptSupervisor):
        async def _start(self, child: ManagedProcess) -> None:
            beats = "while :; do echo .; sleep 0.1; done"
            is_elder = child.role == "inspector" and "inspector" not in started
            self.script = f"echo ready; echo renew; sleep 1.1; {beats}" if is_elder else f"echo ready; {beats}"
            if started.count("inspector") == 1 and child.role == "inspector":
                asyncio.get_running_loop().call_later(0.5, os.kill, os.getpid(), signal.SIGTERM)
            started.append(child.role)
            await super()._start(child)

    assert asyncio.run(RenewedInspector(settings, lambda _: None).run()) == 0
    lock.release()
    assert "has not answered" not in caplog.text
    assert started.count("inspector") == 2


@pytest.mark.usefixtures("impatient")
def test_a_slow_start_is_not_taken_for_silence(tmp_path: Path) -> None:
    status, rows = run_supervisor(tmp_path, "sleep 2.5; echo ready; while :; do echo .; sleep 0.1; done", 4.0)
    assert status == 0
    assert [row["restarts"] for row in rows if row["role"] == "control"] == [0]


@pytest.mark.usefixtures("impatient")
def test_a_blocked_supervisor_kills_nobody(tmp_path: Path) -> None:
    status, rows = run_supervisor(tmp_path, "echo ready; while :; do echo .; sleep 0.1; done", 5.0, held=3.0)
    assert status == 0
    assert [row["restarts"] for row in rows] == [0] * len(rows)


STEPPING = """
import asyncio, signal, sys
from pathlib import Path
from hedgerow.app.settings import Settings
from hedgerow.app import supervisor
supervisor.PATIENCE_S = dict.fromkeys(supervisor.PATIENCE_S, 2.0)
settings = Settings.load(Path(sys.argv[1]))
child = "import asyncio, os, uvloop; from hedgerow.app import processes as p; os.write(1, p.READY); uvloop.run(p.send_heartbeats())"

class BeatingSupervisor(supervisor.Supervisor):
    async def _start(self, managed):
        managed.process = await self._children.spawn((sys.executable, "-c", child))
        self._write_workers()

sys.exit(asyncio.run(BeatingSupervisor(settings, lambda _: print("ready", flush=True)).run()))
"""  # noqa: E501


def test_a_stepping_wall_clock_kills_nobody(tmp_path: Path) -> None:
    """Only ticks and beats count, also where the clock on the wall jumps by hours, forward and back, for supervisor and
    children.
    """
    settings, lock = prepare_run(settings_in(tmp_path / "state"))
    clock = WallClock(tmp_path, time.time())
    words = [sys.executable, "-P", "-c", STEPPING, str(settings.state)]
    with subprocess.Popen(words, env=clock.environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        for step in range(25):
            clock.forward(3600 * (7 if step % 2 else -5))
            time.sleep(HEARTBEAT_INTERVAL_S / 5)
        running.terminate()
        assert running.wait() == 0
    lock.release()
    rows = json.loads(settings.workers_file.read_bytes())["workers"]
    assert [row["restarts"] for row in rows] == [0] * len(rows)


WAITING = """
import asyncio, sys, threading
from hedgerow.app import processes

async def wait(_settings, _index, _sockets, _tasks):
    waiting = threading.Event()
    asyncio.get_running_loop().run_in_executor(None, lambda: (waiting.set(), threading.Event().wait()))
    await asyncio.to_thread(waiting.wait)
    await processes.serve_until_message()

processes.ROLES["dns"] = wait
sys.argv = ["", "dns", "0", sys.argv[1]]
processes.main()
"""


def test_a_process_ends_although_a_thread_waits_for_ever(tmp_path: Path) -> None:
    """As for a resolver that does not answer."""
    settings, lock = prepare_run(settings_in(tmp_path))
    words = [sys.executable, "-P", "-c", WAITING, str(settings.state)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while process.stdout.readline() != b"ready\n":
            assert process.poll() is None
        process.terminate()
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()
    lock.release()


def test_a_process_that_can_not_start_does_not_delay_the_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do DNS and gate, which end first: a process waits for them before it is started again."""
    monkeypatch.setattr("hedgerow.app.supervisor.FILTERS_FIRST_S", 3600.0)
    monkeypatch.setattr("hedgerow.app.supervisor.MAX_FIRST_DELAY_S", 3600.0)
    settings, lock = prepare_run(replace(settings_in(tmp_path), workers=1))

    class FailingControl(ScriptSupervisor):
        async def _start(self, child: ManagedProcess) -> None:
            self.script = "exit 1" if child.role == "control" else "echo ready; exec sleep 60"
            await super()._start(child)

    async def main() -> None:
        stopped = FailingControl(settings, lambda _: os.kill(os.getpid(), signal.SIGTERM))  # once the others serve
        async with asyncio.timeout(60):
            assert await stopped.run() == 0

    asyncio.run(main())
    lock.release()
