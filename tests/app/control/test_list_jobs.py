"""Kills and full disks at random moments of update and compile: the last good state survives.

`bench/list_accidents.py` is the long run.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from list_server import ListServer, text
from pydantic import TypeAdapter

from hedgerow.app.control.lists.list_jobs import CompileJob, FetchJob, ListFolders, run_compile, run_fetch
from hedgerow.app.control.lists.list_sources import fingerprint
from hedgerow.blocklists.catalogue import Catalogue
from hedgerow.blocklists.download_store import FetchOutcome, copy_status
from hedgerow.blocklists.sources import Source

ROUNDS = int(os.environ.get("HEDGEROW_ACCIDENTS", "6"))
NAMES = 10_000
PATIENCE = 100.0
"""Seconds that a process may take on a busy machine."""

Accident = Callable[[list[str], bytes], None]


def version(number: int) -> bytes:
    return "".join(f"v{number}-{name}.example{name % 97}.net\n" for name in range(NAMES)).encode()


def rules(number: int) -> bytes:
    """The same names as an ad blocker's list, with rules of every other kind in between."""
    names = version(number).decode().split()
    return "".join(
        f"||{name}^\n" + (OTHERS.format(number=number, name=name) if place % 500 == 0 else "")
        for place, name in enumerate(names)
    ).encode()


OTHERS = """\
||{name}/v{number}/*
/banner-{name}-{number}/$script
@@||{name}/help^
||type.{name}^$dnstype=AAAA
||gone.{name}^
||gone.{name}^$badfilter
||pattern*{number}.{name}^
"""


class ListFixture:
    """A state directory, a list on a server and one in a file, both of which have a new version each round."""

    def __init__(self, state: Path, own: Path, server: ListServer) -> None:
        self.folders, self._own, self._server = ListFolders(state), own, server
        self.remote = Source("remote", "adult", url=f"{server.root}/list")
        self.good: tuple[Path, tuple[int, int]] | None = None
        self.round = 0

    def next_round(self) -> None:
        self.round += 1
        self._own.write_bytes(rules(self.round))
        self._server.paths["/list"] = text(version(self.round), f'"{self.round}"')

    def fetch_job(self) -> FetchJob:
        return FetchJob((self.remote,), self.folders.state)

    def compile_job(self) -> CompileJob:
        remote = replace(self.remote, path=copy_status(self.remote, self.folders.downloads).path)
        sources = (remote, Source("own", "gambling", self._own))
        return CompileJob(sources, self.folders.generations / fingerprint(sources), self.folders.state)

    def check(self) -> None:
        """The copy is a whole version, and so is every generation that stands in its place."""
        copy = copy_status(self.remote, self.folders.downloads)
        if copy.path is not None:
            assert copy.path.read_bytes() in {version(self.round), version(self.round - 1)}
        for folder in self.folders.generations.glob("[!.]*"):
            catalogue = Catalogue.open(folder)
            for category in ("adult", "gambling"):
                wanted = catalogue.mask_of([category])
                found = [n for n in range(self.round + 1) if catalogue.host_mask(f"www.v{n}-7.example7.net") & wanted]
                assert len(found) <= 1
                for name in range(0, NAMES, 500) if found else ():
                    host = f"v{found[0]}-{name}.example{name % 97}.net"
                    assert catalogue.host_mask(host) & wanted
                    if category == "gambling":
                        assert not catalogue.lifted_by_url(f"http://{host}/", mask=wanted)
                        assert catalogue.lifted_by_url(f"http://{host}/help/", mask=wanted)
                        assert catalogue.match_url(
                            f"http://other.example/banner-{host}-{found[0]}/", "script", mask=wanted
                        )
                        assert catalogue.match_dns_rule(f"type.{host}", "AAAA", mask=wanted).match
        if self.good:
            assert self.good[0].exists()

    def finish(self) -> None:
        """Without an accident all goes well, whatever the one before left behind."""
        (fetched,) = run_fetch(self.fetch_job())
        assert fetched.outcome in (FetchOutcome.NEW, FetchOutcome.UNCHANGED), fetched
        job = self.compile_job()
        report = run_compile(job)
        assert (report.domains, report.skipped) == (NAMES, 0)
        self.good = (job.out, (self.round, self.round))
        self.check()


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[ListFixture]:
    with ListServer().serving() as server:
        yield ListFixture(tmp_path / "state", tmp_path / "own.txt", server)


def spawn(what: str, job: bytes, **more: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-m", "hedgerow.app.control.lists.list_jobs", what]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process: subprocess.Popen[bytes] = subprocess.Popen(command, **pipes, **more)  # type: ignore[call-overload]
    assert process.stdin
    process.stdin.write(job)
    process.stdin.close()
    process.stdin = None
    return process


def after(process: subprocess.Popen[bytes], seconds: float | None) -> int:
    """Its exit status; killed after so many seconds."""
    with process:
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    return process.returncode


def jobs_of(stand: ListFixture) -> Iterator[tuple[str, bytes]]:
    yield "fetch", TypeAdapter(FetchJob).dump_json(stand.fetch_job())
    yield "compile", TypeAdapter(CompileJob).dump_json(stand.compile_job())


def test_a_kill_at_any_moment(stand: ListFixture) -> None:
    stand.next_round()
    stand.finish()
    started = time.monotonic()
    stand.next_round()
    for what, job in jobs_of(stand):
        assert after(spawn(what, job), None) == 0
    whole = (time.monotonic() - started) / 2
    rng, killed, rounds = random.Random(5), 0, 0
    while rounds < ROUNDS or killed < ROUNDS // 2:
        assert rounds < 10 * ROUNDS, f"only {killed} of {2 * rounds} processes were killed before their end"
        rounds += 1
        stand.next_round()
        for what, job in jobs_of(stand):
            was_killed = after(spawn(what, job), rng.uniform(0.1 * whole, whole)) < 0
            killed += was_killed
            whole *= 1.0 if was_killed else 0.9  # a machine that others have left is faster than it was at first
            stand.check()
        stand.finish()
    print(f"killed at a random moment: {killed} of {2 * rounds} processes")
    with stand.folders.locked(wait=False) as alone:
        assert alone, "a killed process holds no lock"


def test_a_file_size_limit(stand: ListFixture) -> None:
    stand.next_round()
    stand.finish()
    rng, failed = random.Random(6), 0
    for _ in range(ROUNDS):
        stand.next_round()
        for what, job in jobs_of(stand):
            limit = rng.choice((0, 100, 4096, rng.randrange(200_000), rng.randrange(700_000)))
            status = after(
                spawn(
                    what, job, preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                ),
                PATIENCE,
            )
            failed += status == 1
            assert status in (0, 1)
            stand.check()
        stand.finish()
    print(f"stopped by a file that could not grow: {failed} of {2 * ROUNDS} processes")
    assert failed >= ROUNDS // 2


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[Path]:
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # an index may still be mapped


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 24) as disk, ListServer().serving() as server:
        stand = ListFixture(disk / "state", tmp_path / "own.txt", server)
        stand.next_round()
        stand.finish()
        rng, failed = random.Random(7), 0
        for _ in range(ROUNDS):
            stand.next_round()
            for what, job in jobs_of(stand):
                free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
                filler = disk / "filler"
                filler.write_bytes(bytes(max(0, free - rng.choice((0, 8192, rng.randrange(3 << 20))))))
                status = after(spawn(what, job), PATIENCE)
                failed += status == 1
                assert status in (0, 1)
                stand.check()
                filler.unlink()
            stand.finish()
            for folder in (stand.folders.generations, stand.folders.parsed):
                for path in folder.iterdir():  # what the keeper prunes
                    if stand.good and path != stand.good[0]:
                        subprocess.run(["rm", "-r", str(path)], check=True)
        print(f"stopped by a full disk: {failed} of {2 * ROUNDS} processes")
        assert failed >= ROUNDS // 2
