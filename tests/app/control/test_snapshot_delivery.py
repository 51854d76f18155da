"""Confirmation that the workers apply a change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hedgerow.app.control.snapshots import delivery as snapshot_delivery
from hedgerow.app.control.snapshots.delivery import AppliedSnapshots
from hedgerow.app.ipc import WorkerRow, WorkersFile
from hedgerow.codec import encode
from hedgerow.files import write_atomically

SERVES, STARTS, FAILS = (True, 0), (False, 0), (False, 1)


def list_workers(path: Path, **states: tuple[bool, int]) -> None:
    rows = tuple(WorkerRow(role, 0, 1, 0.0, ready, restarts, 0) for role, (ready, restarts) in states.items())
    write_atomically(path, encode(WorkersFile(1, rows)))


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for workers that start only: nothing that serves has to be waited for here."""
    monkeypatch.setattr(snapshot_delivery, "PATIENCE_S", 0.0)
    monkeypatch.setattr(snapshot_delivery, "START_PATIENCE_S", 600.0)


def test_a_change_waits_for_workers_that_are_just_starting(tmp_path: Path) -> None:
    async def main() -> None:
        list_workers(tmp_path / "workers", dns=SERVES, gate=STARTS)
        applied = AppliedSnapshots([tmp_path / "workers"], lambda: 3)
        waiting = asyncio.create_task(applied.wait(3))
        await asyncio.sleep(0)
        assert applied.points_behind() == ("dns", "proxy")
        applied.note("dns-0", 3)
        applied.note("gate-0", 3)
        assert applied.points_behind() == ("proxy",), "the gate does not serve yet"
        list_workers(tmp_path / "workers", dns=SERVES, gate=SERVES)
        await asyncio.wait_for(waiting, 60)
        assert applied.points_behind() == ()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("gate", "serial", "behind"),
    [
        (SERVES, 5, ()),
        (SERVES, 6, ()),  # a newer one holds the change too
        (SERVES, 4, ("proxy",)),
        (SERVES, 7, ("proxy",)),  # of an earlier run
        (FAILS, 5, ("proxy",)),  # it may never start
    ],
)
def test_a_change_is_in_force_with_its_snapshot_or_a_newer_one(
    tmp_path: Path, gate: tuple[bool, int], serial: int, behind: tuple[str, ...]
) -> None:
    async def main() -> None:
        list_workers(tmp_path / "workers", dns=SERVES, gate=gate, signer=STARTS)
        applied = AppliedSnapshots([tmp_path / "workers"], lambda: 6)
        applied.note("dns-0", 5)
        applied.note("gate-0", serial)
        await asyncio.wait_for(applied.wait(5), 60)
        assert applied.points_behind() == behind

    asyncio.run(main())


def test_what_others_change_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two changes follow one another while the first is published."""
    monkeypatch.setattr(snapshot_delivery, "PATIENCE_S", 600.0)

    async def main() -> None:
        list_workers(tmp_path / "workers", dns=SERVES, gate=SERVES)
        applied = AppliedSnapshots([tmp_path / "workers"], lambda: 6)
        for worker in ("dns-0", "gate-0"):
            applied.note(worker, 4)
        await applied.settle()
        changes = [asyncio.create_task(applied.wait(5))]
        await asyncio.sleep(0)
        settling = asyncio.create_task(applied.settle())
        await asyncio.sleep(0)
        assert applied.points_behind() == ("dns", "proxy")
        changes.append(asyncio.create_task(applied.wait(6)))
        await asyncio.sleep(0)
        for serial in (5, 6):
            assert not settling.done()
            for worker in ("dns-0", "gate-0"):
                applied.note(worker, serial)
        await asyncio.wait_for(asyncio.gather(settling, *changes), 60)
        assert applied.points_behind() == ()

    asyncio.run(main())


def test_a_worker_that_is_down_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_delivery, "PATIENCE_S", 0.05)
    monkeypatch.setattr(snapshot_delivery, "START_PATIENCE_S", 0.05)

    async def main() -> int:
        looks = list[int]()
        list_workers(tmp_path / "workers", dns=SERVES, gate=SERVES)
        applied = AppliedSnapshots([tmp_path / "workers"], lambda: 6)
        applied.note("dns-0", 5)
        await applied.wait(5)
        wait = applied.wait

        async def count(_: AppliedSnapshots, serial: int) -> None:
            looks.append(serial)
            await wait(serial)

        monkeypatch.setattr(AppliedSnapshots, "wait", count)
        await applied.settle()
        return len(looks)

    assert asyncio.run(main()) == 1


def test_nothing_is_in_force_without_workers(tmp_path: Path) -> None:
    async def main() -> None:
        applied = AppliedSnapshots([tmp_path / "workers"], lambda: 1)
        await applied.wait(1)
        assert applied.points_behind() == ("dns", "proxy")

    asyncio.run(main())
