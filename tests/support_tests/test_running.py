"""What starts Hedgerow in tests must itself notice a start that fails and an end that does not come."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from small_internet import running
from small_internet.running import StartFailure, running_hedgerow, wait_until

ON_TERM = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
READY = "print('hedgerow ready dns=127.0.0.1:53 proxy=[::1]:3128 web=http://127.0.0.1:8053', flush=True)\n"
WAIT = "signal.pause()\n"
CHILD = """
import subprocess
subprocess.Popen([sys.executable, "-c", "open('/proc/self/comm', 'w').write('hedgerow-dns'); import time; time.sleep(60)"])
"""  # noqa: E501


def stand_in(directory: Path, program: str) -> tuple[str]:
    """Return the command of a program of the test, in Hedgerow's place."""
    place = directory / "hedgerow"
    place.write_text(f"#!{sys.executable}\nimport sys\n{program}")
    place.chmod(0o755)
    return (str(place),)


def test_the_ready_line_is_read_and_sigterm_ends_it(tmp_path: Path) -> None:
    program = stand_in(tmp_path, "print('hello', file=sys.stderr, flush=True)\n" + ON_TERM + READY + WAIT)
    with running_hedgerow("", program=program) as started:
        assert (started.dns, started.proxy, started.web) == (("127.0.0.1", 53), ("::1", 3128), "http://127.0.0.1:8053")
        assert started.stderr == "hello\n"
        assert started.policy_path.read_text() == ""
        assert started.pids("dns") == []


def test_an_early_end_tells_status_and_log(tmp_path: Path) -> None:
    program = stand_in(tmp_path, "print('no port', file=sys.stderr)\nsys.exit(2)\n")
    with pytest.raises(StartFailure, match="no port") as failure, running_hedgerow("", program=program):
        pass
    assert failure.value.status == 2


def test_silence_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(running, "START_SECONDS", 0.3)
    program = stand_in(tmp_path, ON_TERM + WAIT)
    with pytest.raises(StartFailure) as failure, running_hedgerow("", program=program):
        pass
    assert failure.value.status is None


def test_a_program_that_does_not_end_fails_the_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(running, "END_SECONDS", 0.3)
    program = stand_in(tmp_path, ON_TERM.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN") + READY + WAIT)
    with pytest.raises(AssertionError, match="did not end"), running_hedgerow("", program=program):
        pass


def test_a_process_left_behind_fails_the_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(running, "DEATH_SECONDS", 0.3)
    program = stand_in(tmp_path, CHILD + ON_TERM + READY + WAIT)
    with pytest.raises(AssertionError, match="outlived"), running_hedgerow("", program=program) as started:
        (child,) = wait_until(lambda: started.pids("dns"), 5, "it has its name")
    wait_until(lambda: not running.command_of(child), 5, "the one left behind is killed")


def test_a_bad_exit_status_fails_the_test(tmp_path: Path) -> None:
    program = stand_in(tmp_path, ON_TERM.replace("exit(0)", "exit(1)") + READY + WAIT)
    with pytest.raises(AssertionError, match="status 1"), running_hedgerow("", program=program):
        pass
