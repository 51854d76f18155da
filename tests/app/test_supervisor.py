"""Ports are claimed before anything starts, and each failure is one sentence that says what to do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hedgerow.app.settings import Endpoint, Settings
from hedgerow.app.supervisor import ManagedProcess, StartError, Supervisor, claim_endpoint, prepare_run

BOTH = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
ANY = Endpoint("127.0.0.1", 0)


def settings_in(state: Path) -> Settings:
    return Settings(state, None, ANY, ANY, ANY, log_level="error")


def test_any_port_becomes_a_real_one() -> None:
    found = claim_endpoint(ANY, "dns", BOTH)
    assert found.host == ANY.host
    assert found.port > 0


@pytest.mark.parametrize("kind", BOTH)
def test_a_port_in_use_is_named_even_if_it_could_be_shared(kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=rf"Port {port} on 127.0.0.1 \(dns\) is in use .* --dns ADDRESS:PORT"):
            claim_endpoint(Endpoint("127.0.0.1", port), "dns", BOTH)


@pytest.mark.parametrize(("dot", "doh"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::1", "0.0.0.0")])
def test_two_parts_of_ours_do_not_share_a_port(tmp_path: Path, dot: str, doh: str) -> None:
    settings = replace(settings_in(tmp_path), encrypted={"dot": Endpoint(dot, 853), "doh": Endpoint(doh, 853)})
    with pytest.raises(StartError, match=r"Port 853 is wanted for dot and for doh: choose another with --doh ADDRESS:PORT"):
        prepare_run(settings)


def test_one_port_is_enough_for_different_addresses_and_for_tcp_and_udp(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = replace(
        settings_in(tmp_path),
        encrypted={name: Endpoint(host, port) for name, host in (("dot", "127.0.0.1"), ("doh", "127.0.0.2"), ("doq", "127.0.0.1"))},
    )
    _, lock = prepare_run(places)
    lock.release()


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(StartError, match=r"no address 192\.0\.2\.1 \(web\)"):
        claim_endpoint(Endpoint("192.0.2.1", 0), "web", (socket.SOCK_STREAM,))


def test_a_state_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StartError, match=r"Can't write to the state directory .*state: .* --state DIR"):
        prepare_run(settings_in(tmp_path / "state"))


def test_a_second_run_on_one_state_directory_is_refused(tmp_path: Path) -> None:
    _, lock = prepare_run(settings_in(tmp_path))
    with pytest.raises(StartError, match=rf"process {os.getpid()}\) already uses"):
        prepare_run(settings_in(tmp_path))
    lock.release()


def test_the_key_of_passes_is_new_and_private_at_each_start(tmp_path: Path) -> None:
    keys = []
    for _ in range(2):
        settings, lock = prepare_run(settings_in(tmp_path))
        keys.append(settings.pass_key.read_bytes())
        assert settings.pass_key.stat().st_mode & 0o777 == 0o600
        lock.release()
    assert keys[0] != keys[1]


class Family(Supervisor):
    """The real supervisor over one real process that is no Hedgerow: what it does when that ends is what is tested."""

    script = ""

    async def _start(self, child: ManagedProcess) -> None:
        child.process = await asyncio.create_subprocess_exec(
            "sh", "-c", self.script, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, process_group=0
        )
        self._write_workers()


def run_family(tmp_path: Path, script: str, seconds: float, held: float = 0.0) -> tuple[int, list[dict[str, object]]]:
    """The exit status after SIGTERM at `seconds`, and what the workers' file says at the end. The supervisor's own loop is held up
    for `held` seconds."""
    settings, lock = prepare_run(replace(settings_in(tmp_path), workers=1))

    async def main() -> int:
        family = Family(settings, lambda: None)
        family.script = script
        asyncio.get_running_loop().call_later(seconds, os.kill, os.getpid(), signal.SIGTERM)
        asyncio.get_running_loop().call_later(1.0, time.sleep, held)
        return await family.run()

    status = asyncio.run(main())
    lock.release()
    return status, json.loads(settings.workers_file.read_bytes())["workers"]


def test_what_dies_is_started_again(tmp_path: Path) -> None:
    status, rows = run_family(tmp_path, "echo ready; exit 3", 2.0)
    assert status == 0
    assert all(int(str(row["restarts"])) >= 2 for row in rows)


def test_what_cannot_start_ends_the_run(tmp_path: Path) -> None:
    started = time.monotonic()
    status, _ = run_family(tmp_path, "exit 2", 20.0)
    assert status == 2
    assert time.monotonic() - started < 15


def test_what_does_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hedgerow.app.supervisor.STOP_TIMEOUT_S", 0.3)
    status, rows = run_family(tmp_path, "trap '' TERM; echo ready; while :; do sleep 0.1; done", 1.0)
    assert status == 0
    for row in rows:
        assert not Path(f"/proc/{row['pid']}").exists()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hedgerow.app.supervisor.BEAT_EVERY_S", 0.2)
    monkeypatch.setattr("hedgerow.app.supervisor.PATIENCE_S", dict.fromkeys(("dns", "gate", "inspector", "control"), 1.0))


@pytest.mark.usefixtures("impatient")
def test_what_falls_silent_is_killed_and_started_again(tmp_path: Path) -> None:
    status, rows = run_family(tmp_path, "echo ready; sleep 60", 4.0)
    assert status == 0
    assert all(int(str(row["restarts"])) >= 1 for row in rows)


@pytest.mark.usefixtures("impatient")
def test_what_is_slow_to_start_is_not_taken_for_silent(tmp_path: Path) -> None:
    status, rows = run_family(tmp_path, "sleep 2.5; echo ready; while :; do echo .; sleep 0.1; done", 4.0)
    assert status == 0
    assert [row["restarts"] for row in rows if row["role"] == "control"] == [0]


@pytest.mark.usefixtures("impatient")
def test_a_supervisor_that_was_held_up_itself_blames_nobody(tmp_path: Path) -> None:
    status, rows = run_family(tmp_path, "echo ready; while :; do echo .; sleep 0.1; done", 5.0, held=3.0)
    assert status == 0
    assert [row["restarts"] for row in rows] == [0] * len(rows)
