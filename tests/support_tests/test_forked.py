"""Commands and `hedgerow up` that are forked from a prepared process are the same as the installed program, started."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.family import LISTS, family_policy
from small_internet.forked import ForkedProcess, can_fork, run_command, start_command
from small_internet.running import ROLES, Hedgerow, executable, running_hedgerow, wait_until, without_internet

RIGHTS = ("Umask", "Uid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")
SIGNALS = ("SigBlk", "SigIgn", "SigCgt")


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["no-such-command"],
        ["setup", "--state", "nowhere"],
        ["check", "hedgerow.yaml"],
        ["check", "nowhere.yaml"],
        ["explain", "--policy", "hedgerow.yaml", "--state", "nowhere", "tv", "x.example"],
        ["lists", "--help"],
    ],
)
def test_a_forked_command_says_the_same_and_ends_the_same(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "hedgerow.yaml").write_text("people: {mia: {age: 9, devices: [tv]}}\n")
    command, environment = [executable(), *words], {**without_internet(), "COLUMNS": "90"}
    forked = run_command(command, environment=environment, timeout=60, directory=tmp_path)
    started = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=environment
    )
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)


def test_a_killed_command_is_told_by_its_signal(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as log:
        words = [
            executable(),
            "up",
            "--state",
            str(tmp_path / "state"),
            *(f"--{each}=127.0.0.1:0" for each in ("dns", "proxy", "web")),
        ]
        process = start_command(words, stderr=log.fileno(), environment=without_internet(), directory=tmp_path)
    with process:
        assert process.stdout
        assert process.stdout.readline().startswith("hedgerow ready")
        assert process.poll() is None
        process.kill()
        assert process.wait(20) == -signal.SIGKILL


def test_what_is_read_once_at_a_programs_start_is_not_left_to_a_fork() -> None:
    assert can_fork({**os.environ, "HEDGEROW_STATE": "/x", "TZ": "Asia/Tokyo"})
    assert not can_fork({**os.environ, "LD_PRELOAD": "/x.so"})
    assert not can_fork({**os.environ, "PYTHONPATH": "/x"})


def libraries(pid: int) -> set[str]:
    lines = [line.split() for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]
    return {words[5] for words in lines if len(words) > 5 and ".so" in words[5]}


type SeenProcess = tuple[dict[str, str], set[str], set[str], str]


def seen_from_outside(running: Hedgerow) -> dict[str, SeenProcess]:
    """Return what the kernel shows of each role: rights, limits, libraries, and open files that are not in its state
    directory.
    """
    seen: dict[str, SeenProcess] = {}
    for role, pids in {
        "supervisor": [running.process.pid],
        **{role: running.pids(role) for role in (*ROLES, "zygote")},
    }.items():
        (pid,) = pids
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        targets = set[str]()
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it was closed meanwhile
                targets.add(str(each.readlink()).partition(":")[0])
        seen[role] = (
            {name: status[name].strip() for name in (*RIGHTS, *SIGNALS)},
            {target for target in targets if not target.startswith(str(running.directory))},
            libraries(pid),
            Path(f"/proc/{pid}/limits").read_text(),
        )
    return seen


def heeds_sigint(pid: int) -> bool:
    (ignored,) = re.findall(r"SigIgn:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    return not int(ignored, 16) >> (signal.SIGINT - 1) & 1


def test_a_forked_hedgerow_has_the_processes_of_a_started_one(whole_internet: SmallInternet) -> None:
    policy, seen = family_policy(whole_internet), []
    for program in ((), ("env", "--default-signal=HUP,INT,QUIT", executable())):
        with running_hedgerow(policy, lists=LISTS, program=program) as running:
            assert isinstance(running.process, ForkedProcess) is (program == ())
            assert Path(f"/proc/{running.process.pid}/comm").read_text() == "hedgerow\n"
            wait_until(lambda: running.run("devices").returncode == 0, 30)
            wait_until(partial(heeds_sigint, running.pids("signer")[0]), 30, "the signer is at work")
            seen.append(seen_from_outside(running))
    forked, started = seen
    imported_already = started["control"][2]
    for role, (rights, files, loaded, limits) in started.items():
        assert (*forked[role][:2], forked[role][3]) == (rights, files, limits), role
        assert forked[role][2] - imported_already == loaded - imported_already, role


LATE_IMPORTS = """
import ast, sys
from pathlib import Path
import small_internet.fork_server as fork_server
own, fork_server.OF_CONTROL = fork_server.OF_CONTROL, ()
fork_server.preload("up")
shared = dict(sys.modules)
for name in own:
    __import__(name)
further = sys.modules.keys() - shared.keys()
for name, module in shared.items():
    if not name.startswith("hedgerow.") or not module.__file__.endswith(".py"):
        continue
    for function in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.Import) and any(each.name in further for each in node.names):
                print(f"{name}.{function.name}")
            elif isinstance(node, ast.ImportFrom):
                if {node.module, *(f"{node.module}.{each.name}" for each in node.names)} & further:
                    print(f"{name}.{function.name}")
"""

LATE_IN_CONTROL = {
    *("hedgerow.app.processes.run_control", "hedgerow.app.processes.prepare_in_child"),
    *("hedgerow.app.processes.wait_for_store", "hedgerow.features.contract.extensions_of"),
    "hedgerow.blocklists.outgoing_guard.guard_connections",
    *("hedgerow.policies.text.locales._country_names", "hedgerow.policies.text.locales.time_zones_of"),
}
OF_FEATURES = re.compile(
    r"hedgerow\.features\.\w+\._(extensions|metrics|services|access_rule|sessions|confirm|gateway_leftovers)"
)
"""What features have in control, and in the gateway's process, which may read all files."""
LATE_IN_FILTERING_PROCESSES = {"hedgerow.proxy.sign_in.verify_password"}
"""`tests/e2e/test_signing_in.py` starts the installed command for it."""


def test_no_filtering_process_finds_a_module_already_that_it_imports_when_confined() -> None:
    """Functions that import what the fork server has imported for control run in control, or are tested with the
    installed command.
    """
    support = Path(__file__).parents[1] / "support"
    found = subprocess.run(
        [sys.executable, "-P", "-c", LATE_IMPORTS],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(support)},
    )
    names = {name for name in found.stdout.split() if not OF_FEATURES.fullmatch(name)}
    assert names == LATE_IN_CONTROL | LATE_IN_FILTERING_PROCESSES
