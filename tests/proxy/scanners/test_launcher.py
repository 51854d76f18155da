"""Programs that judge bodies under a user id of their own: results, their end, and what they can reach."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest
import toy_scanner
import uvloop
from small_internet.running import wait_until

from hedgerow.policies.content import ContentRules
from hedgerow.policies.model import Decision, Reason, Verdict
from hedgerow.proxy.scanners import body
from hedgerow.proxy.scanners.launcher import Launcher
from hedgerow.proxy.scanners.scanner import Head, ScanRules
from hedgerow.proxy.scanners.workers import ScanJob, ScanPool

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="only root gives processes other ids")]

NOBODY = 64803
PICTURE = Head("https://a.example/x", "image/png")
UNCHECKED = Decision(Verdict.BLOCK, Reason.PAGE, "unchecked")


@pytest.fixture(autouse=True)
def _with_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "SCANNERS", (*body.SCANNERS, toy_scanner.PictureScanner))


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    started = Launcher(NOBODY, NOBODY)
    yield started
    started.close()


@pytest.fixture
def toy() -> Iterator[tuple[str, ...]]:
    """The program of the toy scanner, where every user may read it."""
    with tempfile.TemporaryDirectory(dir=Path(sys.prefix)) as folder:  # which the launcher may read
        Path(folder).chmod(0o755)
        place = Path(folder, "toy_scanner.py")
        place.write_bytes(Path(toy_scanner.__file__).read_bytes())
        place.chmod(0o644)
        yield (sys.executable, str(place))


@contextlib.asynccontextmanager
async def pool(command: Sequence[str], launcher: Launcher) -> AsyncIterator[ScanPool]:
    running = ScanPool(command, start_program=launcher.start)
    try:
        yield running
    finally:
        running.close()
        await asyncio.sleep(0)  # the loop closes the socket


async def judged(scans: ScanPool, picture: bytes) -> ScanJob:
    job = scans.begin(PICTURE, ScanRules(ContentRules()), UNCHECKED)
    ready = asyncio.Event()
    job.when_ready(ready.set)
    job.feed(picture, is_last=True)
    await asyncio.wait_for(ready.wait(), 30)
    return job


def owner_of(pid: int) -> set[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {word for line in lines if line.startswith(("Uid:", "Gid:", "Groups:")) for word in line.split()[1:]}


def children() -> list[int]:
    return [int(pid) for pid in Path("/proc/self/task", str(os.getpid()), "children").read_text().split()]


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_picture_is_judged_under_another_user_id(launcher: Launcher, toy: tuple[str, ...]) -> None:
    async def test() -> int:
        async with pool(toy, launcher) as scans:
            bad = await judged(scans, toy_scanner.BAD)
            assert bad.refusal is not None
            pid = int(bad.refusal.what.removeprefix("picture "))
            assert owner_of(pid) == {str(NOBODY)}
            assert (await judged(scans, b"good")).refusal is None
            return pid

    pid = uvloop.run(test())
    wait_until(lambda: not is_running(pid), 10, "the process ends with its pool")


def test_what_dies_or_hangs_is_not_shown_and_the_next_picture_is_judged(
    launcher: Launcher, toy: tuple[str, ...]
) -> None:
    async def test() -> None:
        async with pool(toy, launcher) as scans:
            for hostile in (toy_scanner.DIES, toy_scanner.EXHAUSTS_MEMORY, toy_scanner.HANGS):
                refusal = (await judged(scans, hostile)).refusal
                assert refusal is not None
                assert not refusal.what.startswith("picture")
                bad = await judged(scans, toy_scanner.BAD)
                assert bad.refusal is not None
                assert bad.refusal.what.startswith("picture")

    uvloop.run(test())


def test_without_its_launcher_an_inspector_shows_no_picture_and_knows_why(toy: tuple[str, ...]) -> None:
    ended = Launcher(NOBODY, NOBODY)
    (pid,) = [pid for pid in children() if owner_of(pid) == {str(NOBODY)}]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: ended.is_gone, 10, "the inspector sees its end")

    async def test() -> None:
        async with pool(toy, ended) as scans:
            assert (await judged(scans, b"good")).refusal == UNCHECKED

    asyncio.run(test())
    ended.close()


def test_a_program_that_is_not_there_ends_its_connection(launcher: Launcher) -> None:
    async def test() -> None:
        async with pool(("/nowhere/program",), launcher) as scans:
            assert (await judged(scans, b"good")).refusal == UNCHECKED

    asyncio.run(test())
