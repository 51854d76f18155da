"""Hedgerow as its user starts it: the installed command, in a process of its own, seen only from outside."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from no_publishers import no_internet
from server_logs import watched

from small_internet.clients import Address, curl
from small_internet.forked import ForkedProcess, can_fork, run_command, start_command
from small_internet.whole import SmallInternet

LEAST_PATIENCE_S = 60.0
START_SECONDS = 150.0
END_SECONDS = 30.0
DEATH_SECONDS = 10.0
ROLES = ("dns", "gate", "signer", "inspector", "control")
_READY = re.compile(r"hedgerow ready dns=(\S+) proxy=(\S+) web=(http://\S+)(?: \w+=\S+)*\s*")
_READY_OR_LIMITED = re.compile(
    r"hedgerow (?:ready|filters with limits) dns=(\S+) proxy=(\S+)(?: web=)?(\S*)(?: \w+=\S+)*\s*"
)


type Process = subprocess.Popen[str] | ForkedProcess


class StartFailure(Exception):
    """`hedgerow up` ended, or printed no ready line in time.

    `status` is its exit status, None if it had to be killed.
    """

    def __init__(self, message: str, status: int | None, stderr: str) -> None:
        super().__init__(f"{message}\n--- standard error ---\n{stderr[-6000:]}")
        self.status, self.stderr = status, stderr


class Hedgerow:
    """A running `hedgerow up`.

    Made by `running_hedgerow(...)`. `web` answers with 503 while it runs with limits, without pages.
    """

    def __init__(self, process: Process, ready: re.Match[str], directory: Path, log: Path) -> None:
        self.process, self._log = process, log
        self.ready_line = ready[0].strip()
        self.dns, self.proxy = parse_address(ready[1]), parse_address(ready[2])
        self.web = ready[3]
        self.directory = directory
        self.state = directory / "state"
        self.policy_path = directory / "hedgerow.yaml"

    @property
    def stderr(self) -> str:
        """All that was logged so far."""
        return self._log.read_text(errors="replace")

    @property
    def setup_code(self) -> str:
        """The code for the first password; printed by `hedgerow setup`."""
        return setup_code(self.state)

    @functools.cached_property
    def cookies(self) -> dict[str, str]:
        """The cookie of the owner's session, begun by setting the first password with the setup code."""
        form = ["--data", "name=owner", "--data", "password=four words and more", "--data", f"code={self.setup_code}"]
        made = curl(f"{self.web}/start/password", headers=[f"Origin: {self.web}"], options=form)
        name, _, rest = made.headers["set-cookie"][0].partition("=")
        return {name: rest.partition(";")[0]}

    @property
    def authority(self) -> Path:
        """The certificate that a device trusts when it trusts this Hedgerow's CA; printed by `hedgerow ca export`."""
        place = self.directory / "ca.pem"
        if not place.exists():
            place.write_text(hedgerow_command("ca", "export", "--state", str(self.state)).stdout)
        return place

    def edit_policy(self, text: str) -> None:
        """Replaces the policy file as an editor does: a new file renamed over the old one."""
        fresh = self.policy_path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.policy_path)

    def pids(self, role: str) -> list[int]:
        """The processes of one role (`ROLES` and "zygote") that live now, as the process table shows them."""
        assert role in (*ROLES, "zygote"), role
        return [pid for pid, _ in _descendants(self.process.pid) if has_role(pid, role)]

    def all_pids(self) -> list[int]:
        return [self.process.pid, *(pid for pid, _ in _descendants(self.process.pid))]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs another `hedgerow` command with this one's state, and policy where it takes one:

        `run("explain", "tv", "x.example")`.
        """
        command, *rest = arguments
        policy = ("--policy", str(self.policy_path)) if command == "explain" else ()
        return hedgerow_command(command, *policy, "--state", str(self.state), *rest)


def wait_until[T](condition: Callable[[], T], seconds: float, what: str = "") -> T:
    """Calls `condition` until what it returns is true, and returns that. Raises AssertionError after `seconds`, and
    not before a minute: a busy machine is slow. What Hedgerow promises is measured by `promises.Stopwatch`.

    The longer it has waited, and the longer a look takes, the longer are its pauses: a condition that starts a program
    or loads a page each time takes a processor from all others.
    """
    began = time.monotonic()
    while True:
        looked = time.monotonic()
        if found := condition():
            return found
        now = time.monotonic()
        assert now - began < max(seconds, LEAST_PATIENCE_S), f"not within {now - began:.0f} s: {what or condition}"
        time.sleep(min(max(0.05, (now - began) / 6, 3 * (now - looked)), 0.25))


def parse_address(text: str) -> Address:
    """Reads ADDR:PORT or [ADDR]:PORT."""
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def hedgerow_command(
    *arguments: str, cwd: Path | None = None, timeout: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Runs `hedgerow ARGUMENTS` to its end, whatever its exit status."""
    return run_command([executable(), *arguments], environment=without_internet(), timeout=timeout, directory=cwd)


def setup_code(state: Path) -> str:
    """The setup code of the Hedgerow that runs with this state directory."""
    return str(json.loads(hedgerow_command("setup", "--json", "--state", str(state)).stdout)["code"])


def without_internet(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a program that may reach this machine only; `environment` None: that of this one."""
    return {**(os.environ if environment is None else environment), **no_internet()}


def executable() -> str:
    return str(Path(sys.executable).parent / "hedgerow")


def network_section(
    net: SmallInternet, *, timezone: str = "UTC", lan: Sequence[str] = ("127.0.0.0/8", "::1/128")
) -> str:
    """The `network:` part of a policy for the small internet; a test writes its people and devices below it."""
    ports = sorted({80, 443, *net.origins.ports})
    return (
        "network:\n"
        f"  timezone: {timezone}\n"
        "  lists: starter\n"
        f"  lan: [{', '.join(f'"{each}"' for each in lan)}]\n"
        f'  upstream: ["{net.nameserver.upstream}"]\n'
        "  reachable: [127.0.0.0/8]\n"
        f"  ports: [{', '.join(map(str, ports))}]\n"
    )


@contextlib.contextmanager
def running_hedgerow(
    policy_text: str,
    *,
    lists: Mapping[str, str | bytes] | None = None,
    workers: int = 1,
    dns: str = "127.0.0.1:0",
    proxy: str = "127.0.0.1:0",
    web: str = "127.0.0.1:0",
    options: Sequence[str] = (),
    upstream_authority: Path | None = None,
    prepare: Callable[[Path], None] | None = None,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    publishers: Mapping[str, str] | None = None,
    program: Sequence[str] = (),
) -> Iterator[Hedgerow]:
    """Starts `hedgerow up` in a temporary directory, waits for the ready line, and ends it with SIGTERM.

    In a `directory` that the test gives, a second start goes on with the state of the first.

    `lists` are files written beside the policy, by relative path; a policy names them as `path: lists/x.txt`. `prepare`
    may change the directory before the start. `upstream_authority` is the CA that origins' certificates are checked
    against. `publishers` is the environment of a `ListMirror`, without which no publisher of lists is reached.
    `program` runs in place of the installed command. Raises StartFailure; on leaving, AssertionError if it does not end
    within 30 s or leaves a process behind.
    """
    with contextlib.ExitStack() as stack:
        directory = directory or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hedgerow-test-")))
        (directory / "hedgerow.yaml").write_text(policy_text)
        for relative, content in (lists or {}).items():
            place = directory / relative
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        if prepare:
            prepare(directory)
        command = [
            *(program or (executable(),)),
            "up",
            "--policy",
            str(directory / "hedgerow.yaml"),
            "--state",
            str(directory / "state"),
        ]
        command += ["--dns", dns, "--proxy", proxy, "--web", web, "--workers", str(workers), *options]
        command += ["--upstream-ca", str(upstream_authority)] if upstream_authority else []
        with _start(
            command, directory, directory / "stderr.txt", without_internet(environment) | dict(publishers or {})
        ) as process:
            yield from _supervised(process, directory, directory / "stderr.txt", _READY)


@contextlib.contextmanager
def hedgerow_again(directory: Path, log: Path) -> Iterator[Hedgerow]:
    """Starts Hedgerow on what an earlier run left in `directory`, also with limits. Its log goes to the file `log`."""
    command = [executable(), "up", "--policy", str(directory / "hedgerow.yaml"), "--state", str(directory / "state")]
    command += [word for name in ("dns", "proxy", "web") for word in (f"--{name}", "127.0.0.1:0")]
    with _start(command, directory, log, without_internet()) as process:
        yield from _supervised(process, directory, log, _READY_OR_LIMITED)


def _start(command: Sequence[str], directory: Path, log: Path, environment: Mapping[str, str]) -> Process:
    with log.open("w") as errors:
        if command[0] == executable() and can_fork(environment):
            return start_command(command, stderr=errors.fileno(), environment=environment, directory=directory)
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=directory, env=environment
        )


def _supervised(process: Process, directory: Path, stderr: Path, awaited: re.Pattern[str]) -> Iterator[Hedgerow]:
    try:
        with watched(stderr):
            yield Hedgerow(process, _wait_for_ready(process, stderr, awaited), directory, stderr)
    except BaseException as error:
        error.add_note(f"--- hedgerow's standard error ---\n{stderr.read_text(errors='replace')[-6000:]}")
        _end(process)
        raise
    left = _end(process)
    assert not left, (
        f"processes outlived hedgerow up, or it did not end within {END_SECONDS} "
        f"s: {left}\n{stderr.read_text()[-6000:]}"
    )
    assert process.returncode == 0, f"hedgerow up ended with status {process.returncode}\n{stderr.read_text()[-6000:]}"


def _wait_for_ready(process: Process, stderr: Path, awaited: re.Pattern[str]) -> re.Match[str]:
    assert process.stdout
    # A silent program must fail the test rather than hang it, and reading a line cannot time out.
    watchdog = threading.Timer(START_SECONDS, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:
            if ready := awaited.fullmatch(line):
                return ready
    finally:
        watchdog.cancel()
        watchdog.join()
    status = process.wait()
    raise StartFailure(
        "hedgerow up printed no ready line", None if status < 0 else status, stderr.read_text(errors="replace")
    )


def _end(process: Process) -> list[str]:
    """Ends the supervisor by SIGTERM; what then still runs of it is named, and killed."""
    family = _descendants(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
    # The kernel kills a process whose parent ends, and on a busy machine it dies only when it has a processor again.
    deadline = time.monotonic() + DEATH_SECONDS
    while any(command_of(pid) == words for pid, words in family) and time.monotonic() < deadline:
        time.sleep(0.01)
    left = [f"{pid}, {name_of(pid)}: {' '.join(words)}" for pid, words in family if command_of(pid) == words]
    if process.poll() is None:
        left.append(f"{process.pid}: the supervisor")
        process.kill()
    for pid, words in family:
        if command_of(pid) == words:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    process.wait()
    return left


def _descendants(parent: int) -> list[tuple[int, list[str]]]:
    """All processes below `parent`, with their command lines; zombies left out."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(entry.name)] = int(fields[1])
    found: list[int] = []
    wave = [parent]
    while wave:
        wave = [pid for pid, above in parents.items() if above in wave]
        found += wave
    return [(pid, words) for pid in sorted(found) if (words := command_of(pid))]


def has_role(pid: int, role: str) -> bool:
    """Return whether a process has the name of a role. A forked one has the command line of `hedgerow up`."""
    return name_of(pid) == f"hedgerow-{role}"[:15]


def name_of(pid: int) -> str:
    """The name of a process, as `ps -o comm` shows it; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").rstrip("\n")
    except OSError:
        return ""


def command_of(pid: int) -> list[str]:
    """The words of a process's command line; none when it has ended, zombies included."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0")
    except OSError:
        return []
    return words.split("\0") if words else []
