"""Scans in a process beside the event loop: results, limits, and the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import toy_scanner
import uvloop
from small_internet.running import wait_until

from hedgerow.policies.content import ContentRules
from hedgerow.policies.model import Decision
from hedgerow.proxy.pages.response import ProxyResponse
from hedgerow.proxy.scanners import body
from hedgerow.proxy.scanners.response_scanner import BodyScanner
from hedgerow.proxy.scanners.scanner import Head, ScanRules
from hedgerow.proxy.scanners.words import list_versions
from hedgerow.proxy.scanners.worker_process import MAX_MEMORY
from hedgerow.proxy.scanners.workers import IDLE_SECONDS, PATIENCE_SECONDS, ScanPool

PICTURE = Head("https://a.example/x", "image/png")
PAGE = Head("https://a.example/", "text/html")
RULES = ScanRules(ContentRules(page_limit=100, files=("macros",)), list_versions(()))
TOY = (sys.executable, toy_scanner.__file__)


class Scan:
    """A `BodyScanner` with what it decided."""

    def __init__(self, pool: ScanPool, head: Head, rules: ScanRules = RULES) -> None:
        self.decisions: list[Decision] = []
        self.verdicts: list[str] = []
        self.scanner = BodyScanner(
            head, rules, pool, self._refuse, lambda verdict, _finding: self.verdicts.append(verdict)
        )

    def _refuse(self, decision: Decision) -> ProxyResponse:
        self.decisions.append(decision)
        return ProxyResponse(403, (), b"")

    async def feed(self, data: bytes, *, is_last: bool = False) -> bool:
        """Scan to the end of `data`. Return whether the body is blocked."""
        result = self.scanner.feed(data, is_last=is_last)
        if self.scanner.is_busy:
            ready = asyncio.Event()
            self.scanner.when_ready(ready.set)
            await ready.wait()
            result = self.scanner.result()
        return result is not None


@contextlib.asynccontextmanager
async def pool(
    command: tuple[str, ...] = TOY, *, idle: float = IDLE_SECONDS, patience: float = PATIENCE_SECONDS
) -> AsyncIterator[ScanPool]:
    running = ScanPool(command, idle=idle, patience=patience)
    try:
        yield running
    finally:
        running.close()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    uvloop.run(main())


@pytest.fixture(autouse=True)
def _with_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "SCANNERS", (*body.SCANNERS, toy_scanner.PictureScanner))


def test_a_scanner_of_pictures_is_one_module_and_one_line() -> None:
    async def test() -> None:
        async with pool() as scans:
            scan = Scan(scans, PICTURE)
            assert await scan.feed(toy_scanner.BAD, is_last=True)
            assert scan.decisions[0].what == f"picture {scans.pid}"
            assert not await Scan(scans, PICTURE).feed(b"good", is_last=True)

    run(test)


@pytest.fixture
def hedgehogs(tmp_path: Path) -> ScanRules:
    """Rules with a phrase list of the family's own."""
    path = tmp_path / "mine"
    path.write_text("< hedgehog ><130>\n")
    return ScanRules(RULES.content, list_versions([str(path)]))


def test_a_long_page_is_scored_in_the_process_as_inline(hedgehogs: ScanRules) -> None:
    async def test() -> None:
        async with pool() as scans:
            page = b"<p>a hedgehog</p>" + b"<p>words words</p>" * 20_000
            short, long, harmless = (Scan(scans, PAGE, hedgehogs) for _ in range(3))
            assert await short.feed(page[:1000], is_last=True)
            assert scans.pid is None
            for at in range(0, len(page), 50_000):
                await long.feed(page[at : at + 50_000])
            assert scans.pid is not None
            assert long.scanner.release() is not None
            assert long.decisions[0].what == short.decisions[0].what
            assert not await harmless.feed(b"<p>words words</p>" * 20_000, is_last=True)
            assert (short.verdicts, long.verdicts, harmless.verdicts) == (["block"], ["block"], ["allow"])

    run(test)


@pytest.mark.parametrize("picture", [toy_scanner.HANGS, toy_scanner.EXHAUSTS_MEMORY, toy_scanner.DIES])
def test_a_body_that_cannot_be_checked_is_blocked_and_others_are_scanned(picture: bytes, hedgehogs: ScanRules) -> None:
    """The other body is half-way, and is scanned again in the next process."""

    async def test() -> None:
        async with pool() as scans:
            page, hostile = Scan(scans, PAGE, hedgehogs), Scan(scans, PICTURE)
            bad = b"<p>a hedgehog</p>" + b"<p>words</p>" * 10_000
            await page.feed(bad)
            assert await hostile.feed(picture, is_last=True)
            assert hostile.decisions[0].what == "too long to be weighed"
            assert await page.feed(b"<p>the end</p>", is_last=True)
            assert page.decisions[0].what == "130 of 100"
            assert await Scan(scans, PICTURE).feed(toy_scanner.BAD, is_last=True)

    run(test)


def test_a_process_that_is_silent_is_killed() -> None:
    async def test() -> None:
        async with pool((sys.executable, "-c", "import time; time.sleep(1000)"), patience=0.2) as scans:
            scan = Scan(scans, PICTURE)
            assert await scan.feed(b"good", is_last=True)
            assert scan.decisions[0].what == "too long to be weighed"

    run(test)


def test_the_process_ends_when_it_is_idle_and_knows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setenv("HEDGEROW_SECRET", "x")
        key = os.open("/etc/hostname", os.O_RDONLY)
        os.set_inheritable(key, True)
        async with pool(idle=0.2) as scans:
            scan = Scan(scans, PICTURE)
            assert not await scan.feed(b"good", is_last=True)
            pid = scans.pid
            process = Path(f"/proc/{pid}")
            assert b"HEDGEROW_SECRET" not in (process / "environ").read_bytes()
            assert not any("hostname" in str(each.resolve()) for each in (process / "fd").iterdir())
            assert re.search(rf"Max address space +{MAX_MEMORY} ", (process / "limits").read_text())
            del scan
            gc.collect()
            await asyncio.to_thread(wait_until, lambda: not process.exists(), 10, "the process ends")
        os.close(key)

    run(test)


def test_a_body_that_nobody_waits_for_is_forgotten() -> None:
    async def test() -> None:
        async with pool(idle=0.2) as scans:
            scan = Scan(scans, PAGE)
            await scan.feed(b"<p>words</p>" * 10_000)
            process = Path(f"/proc/{scans.pid}")
            del scan
            gc.collect()
            await asyncio.to_thread(wait_until, lambda: not process.exists(), 10, "the process ends")

    run(test)
