"""The Hedgerow under the drills: a family's, on free loopback ports that stay the same over restarts, with users who
never stop asking.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from service_manager import ServiceManager
from small_internet import SmallInternet
from small_internet.clients import curl
from small_internet.family import COMPUTER, LISTS, PEOPLE, TABLET, family_policy
from small_internet.running import command_of, executable, has_role, hedgerow_command, without_internet

from chaos.users import DnsUsers, Page, PageUsers, Question, dns_users, free_port

RATE = 500.0
"""Queries per second."""
PHONES = tuple(f"127.0.0.{number}" for number in range(20, 30))
"""Ana's, who is grown up. Devices without a name would share each child's pause."""
_ANA = f"  ana: {{age: 40, devices: [phone]}}\ndevices:\n  phone: {{ip: [{', '.join(PHONES)}]}}\n"
PAUSED = "127.0.0.3"
"""Tom's laptop, paused for the whole run: any answer with an address is a pause that was lost."""
BLOCKED = ("news.example", "adult.example", "chat.example")
ALLOWED = ("bank.example", "www.school.example", "files.example", "games.example", "helpline.example")
START_S = 90.0


class Household:
    """A Hedgerow that is broken and started again. `problems` are expectations that did not come true.

    `paused` are the addresses of devices that a drill pauses in the present round: their users may find everything
    closed.
    """

    def __init__(self, internet: SmallInternet, folder: Path) -> None:
        self.internet, self.folder, self.state = internet, folder, folder / "state"
        self.policy = folder / "hedgerow.yaml"
        self.places = {name: ("127.0.0.1", free_port()) for name in ("dns", "proxy", "web")}
        self.problems: list[str] = []
        self.paused: set[str] = set()
        self._process: subprocess.Popen[str] | None = None
        self._systemd = ServiceManager(folder.parent / "notify")
        self._log = folder.parent / "log.txt"  # not on the disk that gets full
        self.policy.write_text(family_policy(internet, people=PEOPLE.replace("devices:\n  mia", f"{_ANA}  mia")))
        for relative, content in LISTS.items():
            (folder / relative).parent.mkdir(parents=True, exist_ok=True)
            (folder / relative).write_text(content)

    @classmethod
    @contextlib.contextmanager
    def running(cls, internet: SmallInternet, folder: Path) -> Iterator[Household]:
        """A household that is ended with the block. What it logged last is printed if the block fails."""
        house = cls(internet, folder)
        house.start()
        try:
            house.wait_healthy()
            yield house
        except BaseException:
            print(house.log[-5000:], file=sys.stderr)
            raise
        finally:
            house.stop()
            house._systemd.close()

    @property
    def web(self) -> str:
        host, port = self.places["web"]
        return f"http://{host}:{port}"

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self, *words: str, environment: Mapping[str, str] | None = None, with_sockets: bool = False) -> None:
        """Start it, and wait for its first line. `words` come before the command, such as those of `prlimit`.

        `with_sockets`: as systemd restarts a service, whose listening sockets it keeps meanwhile. Without, nobody kept
        them.
        """
        command = [*words, executable(), "up", "--policy", str(self.policy), "--state", str(self.state)]
        command += [word for name, (host, port) in self.places.items() for word in (f"--{name}", f"{host}:{port}")]
        command += ["--workers", "2", "--upstream-ca", str(self.internet.authority.root)]
        if not with_sockets:
            self._systemd.forget()
        command, passed = self._systemd.passing(command)
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.folder,
                env=without_internet() | self._systemd.environment | dict(environment or {}),
                pass_fds=passed,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        self.expect(line.startswith("hedgerow "), f"hedgerow up printed {line!r}")

    def stop(self, *, keeps_sockets: bool = False) -> float:
        """End it by SIGTERM.

        Returns the seconds that it took. systemd closes the sockets that it keeps, unless it starts it again.
        """
        if self._process is None:
            return 0.0
        family, began = self.all_pids(), time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        took = time.monotonic() - began
        for pid in family:  # none is left, unless it outlived the supervisor
            if "hedgerow" in " ".join(command_of(pid)):
                self.problems.append(f"process {pid} outlived the supervisor")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
        if not keeps_sockets:
            self._systemd.forget()
        return took

    def kill_supervisor(self) -> None:
        """End the supervisor at once; its children notice that their standard input closes. systemd would keep the
        sockets.
        """
        assert self._process is not None
        family = self.all_pids()
        self._process.kill()
        self._process.wait()
        self.wait(lambda: not any(command_of(pid) for pid in family), 20, "the children end with the supervisor")
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None

    def pids(self, role: str) -> list[int]:
        return [pid for pid in self.all_pids() if has_role(pid, role)]

    def all_pids(self) -> list[int]:
        assert self._process is not None
        found, wave = [], [self._process.pid]
        while wave:
            found += wave
            wave = [child for pid in wave for child in _children(pid)]
        return found

    def kill(self, role: str, number: signal.Signals = signal.SIGKILL) -> list[int]:
        """Send a signal to all processes of a role, and return their ids."""
        pids = self.pids(role)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    def kill_serving(self, role: str) -> None:
        """Kill the processes of a role that the supervisor lists as serving."""
        with contextlib.suppress(OSError, ValueError):
            rows = json.loads((self.state / "run" / "workers.json").read_bytes())["workers"]
            serving = {row["pid"] for row in rows if row["role"] == role and row["ready"]}
            for pid in serving.intersection(self.pids(role)):
                os.kill(pid, signal.SIGKILL)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return hedgerow_command(*words, "--state", str(self.state))

    def health(self) -> int:
        return curl(f"{self.web}/healthz", timeout=5).status

    def wait(self, condition: object, seconds: float, what: str) -> bool:
        """Wait for a condition; note a problem if it does not come true."""
        assert callable(condition)
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                self.problems.append(f"not within {seconds:g} s: {what}")
                return False
            time.sleep(0.1)
        return True

    def wait_healthy(self) -> bool:
        return self.wait(lambda: self.health() == 200, START_S, "all is well again")

    def expect(self, is_true: bool, what: str) -> None:
        if not is_true:
            self.problems.append(what)

    def questions(self) -> list[Question]:
        """What the family asks for, over and over."""
        known = {name: frozenset([self.internet.address_of(name)]) for name in ALLOWED}
        found = [Question(TABLET, name, frozenset()) for name in BLOCKED]
        found += [Question(TABLET, name, addresses) for name, addresses in known.items()]
        found += [Question(PAUSED, name, frozenset()) for name in ("bank.example", "games.example")]
        found += [Question(phone, name, addresses) for phone in PHONES for name, addresses in known.items()]
        random.Random(0).shuffle(found)
        return found

    def pages(self) -> list[Page]:
        authority = self.folder.parent / "ca.pem"
        if not authority.exists():
            authority.write_text(self.command("ca", "export").stdout)
        school = self.internet.url("www.school.example")
        return [
            Page(TABLET, self.internet.url("bank.example", "/open"), 200),
            Page(TABLET, "http://news.example/", 403),
            Page(COMPUTER, f"{school}x", 200, authority),
            Page(COMPUTER, f"{school}secret/x", 403, authority),
        ]

    @contextlib.contextmanager
    def users(self) -> Iterator[tuple[DnsUsers, Sequence[PageUsers]]]:
        """Users who ask and browse while the block runs."""
        pages = self.pages()
        browsing = [
            PageUsers(self.places["proxy"], pages[start:] + pages[:start], 0.2, self.paused) for start in (0, 2)
        ]
        with dns_users(self.places["dns"], self.questions(), RATE, self.paused) as asking:
            for each in browsing:
                each.start()
            try:
                yield asking, browsing
            finally:
                for each in browsing:
                    each.stop()


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own, as root; elsewhere an ordinary directory, on which the drills of full disks are left
    out.
    """
    place.mkdir()
    is_mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    if is_mounted:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)], capture_output=True, check=False
        )
        is_mounted = done.returncode == 0
    try:
        yield place
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
