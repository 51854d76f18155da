"""The drills: each breaks one thing under the users' eyes, waits until all is well again, and notes what was not as it
must be.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from small_internet.broken_disk import fill
from small_internet.clients import curl, kdig
from small_internet.family import TABLET

from chaos.household import PAUSED, Household

KILL_EVERY_S = 1.4
NEVER_LOST = 1.0
"""Percent of the queries that may be lost while processes die: those on which a process was at work.

Not asserted on a busy machine.
"""


@dataclass(frozen=True, slots=True)
class Drill:
    """`run` breaks and mends.

    `lost` and `pages` are the percents of queries and of pages that users may lose meanwhile.
    """

    name: str
    run: Callable[[Household, random.Random], None]
    lost: float = NEVER_LOST
    pages: float = 100.0
    needs_root: bool = False


def kill_repeatedly(role: str) -> Callable[[Household, random.Random], None]:
    """Kill all processes of a role that serve every 1.4 seconds, ten times.

    A busy machine needs longer than that to start one.
    """

    def run(house: Household, _luck: random.Random) -> None:
        for _ in range(10):
            house.kill_serving(role)
            time.sleep(KILL_EVERY_S)
        house.wait_healthy()

    return run


def kill_everything(house: Household, luck: random.Random) -> None:
    """Kill all children at once, in any order."""
    roles = ["dns", "gate", "inspector", "control"]
    luck.shuffle(roles)
    for role in roles:
        house.kill(role)
    house.wait_healthy()


def hang(role: str) -> Callable[[Household, random.Random], None]:
    """Stop one process of a role, as if its event loop hung, until it is replaced."""

    def run(house: Household, luck: random.Random) -> None:
        stopped = luck.choice(house.pids(role))
        os.kill(stopped, signal.SIGSTOP)
        if role != "control":
            house.wait(lambda: house.health() == 503, 20, f"/healthz tells that {role} hangs")
        house.wait(lambda: not Path(f"/proc/{stopped}").exists(), 40, f"the hanging {role} is killed")
        house.wait_healthy()

    return run


def restart(house: Household, _luck: random.Random) -> None:
    """Stop and start, as for an update."""
    took = house.stop()
    house.expect(took < 2, f"the stop took {took:.1f} s")
    house.start()
    house.wait_healthy()


def restart_by_systemd(house: Household, _luck: random.Random) -> None:
    """Stop and start with `systemctl restart`: systemd keeps the listening sockets meanwhile."""
    took = house.stop(keeps_sockets=True)
    house.expect(took < 2, f"the stop took {took:.1f} s")
    house.start(with_sockets=True)
    house.wait_healthy()


def kill_the_supervisor(*, with_sockets: bool) -> Callable[[Household, random.Random], None]:
    """Kill the supervisor, as the kernel does when memory is short, and start it again, as systemd would."""

    def run(house: Household, _luck: random.Random) -> None:
        house.kill_supervisor()
        house.start(with_sockets=with_sockets)
        house.wait_healthy()

    return run


def newer_journal(house: Household, _luck: random.Random) -> None:
    """Go back to this version after a newer one has written the journal: control can't start."""
    house.stop()
    set_version = "UPDATE alembic_version SET version_num = "
    with contextlib.closing(sqlite3.connect(house.state / "journal.sqlite")) as journal:
        version = journal.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        journal.execute(f"{set_version}'9999'")
        journal.commit()
    house.start()
    house.wait(lambda: "newer Hedgerow" in curl(house.web, timeout=5).text, 30, "a page says what is wrong")
    house.expect(house.command("devices").returncode != 0, "a command tells it too")
    with contextlib.closing(sqlite3.connect(house.state / "journal.sqlite")) as journal:
        journal.execute(f"{set_version}'{version}'")
        journal.commit()
    house.wait_healthy()


def damaged_snapshot(house: Household, luck: random.Random) -> None:
    """Damage the snapshot beneath control, and restart the processes that read it."""
    snapshot = house.state / "published" / "snapshot.json"
    snapshot.write_bytes(luck.choice([b"", b"{", b'{"serial": 1', luck.randbytes(5000)]))
    house.kill("dns")
    house.kill("gate")
    house.wait(lambda: _is_json(snapshot), 20, "control writes the snapshot again")
    house.wait_healthy()


def damaged_lists(house: Household, luck: random.Random) -> None:
    """Damage the compiled lists on the disk, and restart the processes that read them."""
    for path in (house.state / "generations").rglob("*"):
        if path.is_file():
            fresh = path.with_suffix(".damaged")
            fresh.write_bytes(luck.randbytes(200))
            fresh.replace(path)  # those who have it open keep it
    house.kill("dns")
    ends = ("they were compiled again", "a copy takes their place")
    house.wait(lambda: any(house.log.count(end) for end in ends), 40, "control puts the lists back")
    house.wait_healthy()


def damaged_settings(house: Household, luck: random.Random) -> None:
    """Damage the settings of the run, which every process reads at its start."""
    (house.state / "run" / "settings.json").write_bytes(luck.choice([b"", b"{", b"[]"]))
    house.kill(luck.choice(["dns", "gate", "control"]))
    house.wait_healthy()


def damaged_journal(house: Household, luck: random.Random) -> None:
    """Write nonsense over a part of the journal, the head included or not, and restart control.

    Tom's pause must hold.
    """
    journal = house.state / "journal.sqlite"
    size = journal.stat().st_size // 4096
    pages = [0] if luck.random() < 0.3 else [luck.randrange(1, size) for _ in range(3)]
    with journal.open("r+b") as file:
        for page in pages:
            file.seek(page * 4096)
            file.write(luck.randbytes(4096))
    house.kill("control")
    house.wait_healthy()
    house.wait(lambda: house.command("devices").returncode == 0, 30, "the journal can be read again")
    house.expect(_is_paused(house), "tom is still paused")


def clock_of_1970(house: Household, _luck: random.Random) -> None:
    """Start as a machine without a battery does, with a clock that shows 1970. Tom's pause must hold."""
    house.stop()
    library = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)
    if library is not None:
        house.start(
            environment={
                "LD_PRELOAD": str(library),
                "FAKETIME": "1970-01-01 00:10:00",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "FAKETIME_FORCE_MONOTONIC_FIX": "0",
                "NO_FAKE_STAT": "1",
            }
        )
        house.wait_healthy()
        house.expect(_is_paused(house), "tom is paused in 1970 too")
        house.stop()
    house.start()
    house.wait_healthy()


def full_disk(house: Household, luck: random.Random) -> None:
    """Fill the disk, kill control, and tighten the policy by hand."""
    filler = fill(house.folder)
    house.kill("control")
    house.wait(lambda: house.command("status").returncode != 127, 5, "commands run")
    answer = kdig(house.places["dns"], "news.example", source="127.0.0.2", timeout=5)
    house.expect(answer is not None and answer.data("A") == ["0.0.0.0"], "filtering goes on")
    filler.unlink()
    if luck.random() < 0.5:
        house.kill("control")
    house.wait_healthy()


def tightened_on_a_full_disk(house: Household, _luck: random.Random) -> None:
    """Pause Mia on a full disk: the command's exit status must be the truth.

    Once the pause is over, her tablet is open again.
    """
    filler = fill(house.folder)
    house.paused.add(TABLET)
    done = house.command("pause", "mia")
    is_paused = _is_paused(house, TABLET)
    house.expect(
        (done.returncode == 0) is is_paused,
        f"status {done.returncode} ({done.stderr.strip()}), but paused: {is_paused}",
    )
    filler.unlink()
    house.wait_healthy()
    house.wait(lambda: house.command("resume", "mia").returncode == 0, 30, "the pause ends")
    house.wait(lambda: not _is_paused(house, TABLET), 10, "the tablet is open again")


def read_only_disk(house: Household, _luck: random.Random) -> None:
    """Start on a disk that the kernel has made read-only."""
    house.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(house.folder)], check=True)
    try:
        house.start()
        house.wait(lambda: "Read-only" in curl(house.web, timeout=5).text, 30, "a page says what is wrong")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(house.folder)], check=True)
    house.stop()
    house.start()
    house.wait_healthy()


def few_descriptors(house: Household, _luck: random.Random) -> None:
    """Run with 256 file descriptors per process."""
    house.stop()
    house.start("prlimit", "--nofile=256:256")
    house.wait_healthy()
    time.sleep(3)
    house.stop()
    house.start()
    house.wait_healthy()


def _is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return False


def pause_for_ever(house: Household) -> None:
    """Pause Tom before the first drill. Each later answer to his laptop shows whether the pause still holds."""
    house.expect(house.command("pause", "tom").returncode == 0, "tom is paused")
    house.wait(lambda: _is_paused(house), 10, "the pause holds")


def _is_paused(house: Household, device: str = PAUSED) -> bool:
    answer = kdig(house.places["dns"], "bank.example", source=device, timeout=5)
    return answer is not None and answer.data("A") in ([], ["0.0.0.0"])


DRILLS = (
    Drill("dns killed every 1.4 s", kill_repeatedly("dns")),
    Drill("gate killed every 1.4 s", kill_repeatedly("gate")),
    Drill("inspector killed every 1.4 s", kill_repeatedly("inspector")),
    Drill("control killed every 1.4 s", kill_repeatedly("control"), pages=0.0),
    Drill("all children killed", kill_everything),
    Drill("dns hangs", hang("dns")),
    Drill("gate hangs", hang("gate")),
    Drill("inspector hangs", hang("inspector")),
    Drill("control hangs", hang("control"), pages=0.0),
    Drill("stopped and started", restart, lost=100.0),
    Drill("restarted by systemd", restart_by_systemd),
    Drill("supervisor killed and started", kill_the_supervisor(with_sockets=False), lost=100.0),
    Drill("supervisor killed under systemd", kill_the_supervisor(with_sockets=True)),
    Drill("journal of a newer version", newer_journal, lost=100.0),
    Drill("snapshot damaged", damaged_snapshot),
    Drill("lists damaged", damaged_lists),
    Drill("settings damaged", damaged_settings),
    Drill("journal damaged", damaged_journal),
    Drill("clock shows 1970 at a start", clock_of_1970, lost=100.0),
    Drill("disk full", full_disk, needs_root=True),
    Drill("paused on a full disk", tightened_on_a_full_disk, needs_root=True),
    Drill("disk read-only at a start", read_only_disk, lost=100.0, needs_root=True),
    Drill("256 file descriptors", few_descriptors, lost=100.0),
)
