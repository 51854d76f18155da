"""The lab's machines: network namespaces with unique names, and the processes in them, which end with the test."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from small_internet.forked import ForkedProcess, start_command
from small_internet.running import wait_until

_NUMBERS = itertools.count()
PYTHON = (sys.executable, "-IS", "-c")
"""Python for a script that needs nothing but the standard library. It starts in a third of the time."""


class Space:
    """One machine. `files` replace the system's for its processes: {"/etc/resolv.conf": Path(...)}."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.files: dict[str, Path] = {}
        self._started: list[subprocess.Popen[str] | ForkedProcess] = []
        self._mounted: tuple[int, dict[str, Path]] | None = None
        self._lock = threading.Lock()

    @property
    def network(self) -> str:
        """The path of its network namespace."""
        return f"/run/netns/{self.name}"

    def run(self, *words: str, seconds: float = 15, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command and return it with any status. After `seconds` it is killed, with status 124."""
        command = self._inside(["timeout", "-k", "1", str(seconds), *words])
        return subprocess.run(command, capture_output=True, text=True, input=text, check=False, errors="replace")

    def must(self, *words: str) -> str:
        """Run a command and return its output. Raises AssertionError if it fails."""
        done = self.run(*words)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr or done.stdout}"
        return done.stdout

    def start(self, *words: str, stderr: Path | None = None) -> subprocess.Popen[str]:
        """Start a process, which ends with the lab at the latest."""
        with (stderr or Path(os.devnull)).open("w") as errors:
            process = subprocess.Popen(
                self._inside(words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        self._started.append(process)
        return process

    def start_hedgerow(
        self, *words: str, stderr: Path, directory: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> ForkedProcess:
        """Start a `hedgerow` command, which has its modules imported already. It ends with the lab at the latest."""
        with stderr.open("w") as errors:
            process = start_command(
                ["hedgerow", *words],
                stderr=errors.fileno(),
                environment=environment or dict(os.environ),
                directory=directory,
                network=self.network,
                files=self.files,
            )
        self._started.append(process)
        return process

    def ip(self, *words: str) -> None:
        self.must("ip", *words)

    def set_up(self, interface: str) -> None:
        """Set an interface up, and wait until it can send by IPv6: the kernel gives it an address a little later."""
        self.ip("link", "set", interface, "up")
        words = ("ip", "-6", "-o", "address", "show", "dev", interface, "scope", "link", "-tentative")
        wait_until(lambda: self.must(*words), 60, f"{interface} has an address")

    def _inside(self, words: Sequence[str]) -> list[str]:
        entered = ["nsenter", f"--net={self.network}"]
        if self.files:
            entered += [f"--mount=/proc/{self._process_with_files()}/ns/mnt", f"--wd={Path.cwd()}"]
        return [*entered, *words]

    def _process_with_files(self) -> int:
        """Return the id of a process for which the files are mounted. It is another one after `files` has changed."""
        with self._lock:
            if self._mounted is None or self._mounted[1] != self.files:
                mounts = " && ".join(f"mount --bind {path} {place}" for place, path in self.files.items())
                words = ["unshare", "--mount", "sh", "-c", f"{mounts} && echo && exec sleep infinity"]
                process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
                self._started.append(process)
                assert process.stdout
                assert process.stdout.readline() == "\n"
                self._mounted = process.pid, dict(self.files)
            return self._mounted[0]

    def end_processes(self) -> None:
        """End all processes, by SIGTERM and then by SIGKILL."""
        for process in self._started:
            process.terminate()
        for process in self._started:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()
        self._started.clear()
        self._mounted = None


@contextlib.contextmanager
def spaces(*roles: str) -> Iterator[list[Space]]:
    """Create one machine per role, and remove them afterwards with their processes."""
    _sweep()
    made: list[Space] = []
    try:
        for role in roles:
            name = f"hedgerow-{os.getpid()}-{next(_NUMBERS)}-{role}"
            subprocess.run(["ip", "netns", "add", name], check=True)
            made.append(Space(name))
            made[-1].ip("link", "set", "lo", "up")
            # An address is usable at once: nobody else in the lab has the same.
            made[-1].must("sysctl", "-qw", *(f"net.ipv6.conf.{each}.accept_dad=0" for each in ("all", "default")))
        yield made
    finally:
        for space in reversed(made):
            space.end_processes()
            subprocess.run(["ip", "netns", "delete", space.name], check=True)


def _sweep() -> None:
    """Delete the empty machines that a killed run left."""
    for place in Path("/run/netns").glob("hedgerow-*-*-*"):
        owner = place.name.split("-")[1]
        if owner.isdigit() and not Path("/proc", owner).exists():
            inside = subprocess.run(
                ["ip", "netns", "pids", place.name], capture_output=True, text=True, check=False
            ).stdout.split()
            if not inside:
                subprocess.run(["ip", "netns", "delete", place.name], capture_output=True, check=False)


def connect(first: Space, name: str, second: Space, other_name: str, mac: str | None = None) -> None:
    """Connect two machines by a cable. The second end gets `mac`."""
    peer = ["peer", "name", other_name, *(["address", mac] if mac else []), "netns", second.name]
    subprocess.run(["ip", "link", "add", name, "netns", first.name, "type", "veth", *peer], check=True)
    first.ip("link", "set", name, "up")
    second.set_up(other_name)
