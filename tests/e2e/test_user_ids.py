"""The signer with a user id of its own, where root starts Hedgerow and there is a user `hedgerow-signer`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.clients import curl
from small_internet.family import COMPUTER, LISTS, family_policy
from small_internet.running import Hedgerow, executable, hedgerow_command, running_hedgerow, wait_until

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="only root gives processes other ids")]

SIGNER, WORKER, JOBS = 64801, 64802, 64803  # of nobody on any machine
ATTEMPTS = """
import json, os, sys
from pathlib import Path
state, *victims = sys.argv[1:]
def attempt(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"
tried = {name: attempt(lambda: (Path(state) / name).read_bytes()) for name in
         ("ca/hedgerow-ca.pem", "journal.sqlite", "admin-token", "published/snapshot.json", "run/settings.json",
          "run/pass.key")}
tried["list the state directory"] = attempt(lambda: os.listdir(state))
for victim in victims:
    for name in ("mem", "environ"):
        tried[f"{name} of {victim}"] = attempt(lambda: open(f"/proc/{victim}/{name}", "rb").read(1))
    tried[f"descriptors of {victim}"] = attempt(lambda: os.listdir(f"/proc/{victim}/fd"))
    tried[f"kill {victim}"] = attempt(lambda: os.kill(int(victim), 0))
print(json.dumps(tried))
"""


def with_user(folder: Path, *between: str) -> Sequence[str]:
    """Return the words that run the installed command, by the words `between`, on a machine that has the users of the
    signer and of jobs.
    """
    users = {"hedgerow-signer": SIGNER, "hedgerow-jobs": JOBS}
    passwd = "".join(f"{name}:x:{number}:{number}::/:/bin/false\n" for name, number in users.items())
    groups = "".join(f"{name}:x:{number}:\n" for name, number in users.items())
    for name, lines in (("passwd", passwd), ("group", groups)):
        (folder / name).write_text(f"{Path('/etc', name).read_text().rstrip()}\n{lines}")
    mounts = " && ".join(f"mount --bind {folder / name} /etc/{name}" for name in ("passwd", "group"))
    return ("unshare", "--mount", "sh", "-euc", f'{mounts} && exec "$@"', "sh", *between, executable())


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may enter, as /var/lib is."""
    with tempfile.TemporaryDirectory(prefix="hedgerow-test-", dir="/dev/shm") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def tried_as(uid: int, running: Hedgerow, victims: Sequence[int]) -> dict[str, str]:
    words = [sys.executable, "-P", "-c", ATTEMPTS, str(running.state), *map(str, victims)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, user=uid, group=uid, extra_groups=[])
    return dict(json.loads(done.stdout))


def ids_of(pid: int) -> set[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {word for line in lines if line.startswith(("Uid:", "Gid:", "Groups:")) for word in line.split()[1:]}


def test_the_signer_reads_its_key_alone_and_nobody_elses_process(internet: SmallInternet, place: Path) -> None:
    def shown(host: str) -> int:
        return curl(internet.url(host, "/open"), proxy=running.proxy, source=COMPUTER, ca=running.authority).status

    authority = place / "upstream-ca.pem"
    authority.write_bytes(internet.authority.root.read_bytes())
    (place / "state" / "ca").mkdir(parents=True, mode=0o700)  # of an earlier version
    start = partial(
        running_hedgerow, family_policy(internet), lists=LISTS, directory=place, upstream_authority=authority
    )
    with start(program=with_user(place)) as running:
        assert shown("www.school.example") == 200
        (signer,), (control,) = running.pids("signer"), running.pids("control")
        assert ids_of(signer) == {str(SIGNER)}
        assert ids_of(control) == {"0"}
        others = [running.process.pid, control, *running.pids("zygote"), *running.pids("inspector")]
        tried = tried_as(SIGNER, running, others)
        assert tried.pop("ca/hedgerow-ca.pem") == "done"
        assert set(tried.values()) == {"PermissionError"}, tried
        assert set(tried_as(WORKER, running, [signer, *others]).values()) == {"PermissionError"}
        found = running.run("doctor").stdout
        assert "the signer runs as hedgerow-signer" in found
        assert "what judges pictures or sends notices runs as hedgerow-jobs" in found

        # The supervisor ends one that hangs, and the next one, of another zygote, uses a new authority.
        (zygote,) = running.pids("zygote")
        os.kill(zygote, signal.SIGKILL)
        os.kill(signer, signal.SIGSTOP)
        wait_until(lambda: running.pids("signer") not in ([], [signer]), 30, "the next signer")
        wait_until(lambda: ids_of(*running.pids("signer")) == {str(SIGNER)}, 30, "it has its id")
        assert hedgerow_command("ca", "rotate", "--state", str(running.state), "--yes").returncode == 0
        (running.directory / "ca.pem").unlink()
        wait_until(lambda: shown("news.example") in {200, 403}, 30, "pages are inspected with the new authority")
    before = (place / "state" / "ca" / "hedgerow-ca.pem").read_bytes()
    with start() as running:  # without the user again
        assert ids_of(*running.pids("signer")) == {"0"}
        assert (place / "state").stat().st_mode & 0o777 == (place / "state/ca").stat().st_mode & 0o777 == 0o700
        assert (place / "state" / "ca" / "hedgerow-ca.pem").read_bytes() == before
        found = running.run("doctor").stdout
        assert "there is no user hedgerow-signer" in found
        assert "there is no user hedgerow-jobs" in found


def test_a_notice_is_sent_by_a_process_that_reads_nothing_of_ours(internet: SmallInternet, place: Path) -> None:
    """The service is silent for a while, so that there is time to look at the process."""
    with socket.create_server(("127.0.0.1", 0)) as service:
        policy = f"{family_policy(internet)}notices: {{ana: {{about: [request]}}}}\n"
        with running_hedgerow(policy, lists=LISTS, directory=place, program=with_user(place)) as running:
            (running.state / "notices").mkdir(mode=0o700, exist_ok=True)
            (running.state / "notices" / "ana").write_text(f"json://127.0.0.1:{service.getsockname()[1]}/")
            with ThreadPoolExecutor(1) as thread:
                told = thread.submit(hedgerow_command, "notices", "test", "--state", str(running.state))
                service.settimeout(30)
                connection, _ = service.accept()
                (sender,) = [pid for pid in running.all_pids() if b"notices.sender" in command_of(pid)]
                assert ids_of(sender) == {str(JOBS)}
                (control,) = running.pids("control")
                assert set(tried_as(JOBS, running, [running.process.pid, control]).values()) == {"PermissionError"}
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                assert "ana" in told.result(60).stdout
                assert told.result().returncode == 0, told.result().stdout


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("between", "owner", "reason"),
    [
        (("setpriv", "--bounding-set=-setuid"), 0, "all processes run as one user"),
        ((), WORKER, "belongs to another user"),  # who could plant links there, and root would follow them
    ],
)
def test_without_what_the_change_takes_the_signer_keeps_the_id_of_all(
    internet: SmallInternet, place: Path, between: Sequence[str], owner: int, reason: str
) -> None:
    (place / "state").mkdir(mode=0o700)
    os.chown(place / "state", owner, owner)
    with running_hedgerow(
        family_policy(internet), lists=LISTS, directory=place, program=with_user(place, *between)
    ) as running:
        wait_until(lambda: len(running.pids("signer")) == 1, 30, "the signer")
        assert ids_of(*running.pids("signer")) == {"0"}
        assert (place / "state").stat().st_mode & 0o777 == 0o700
        assert reason in running.run("doctor").stdout
