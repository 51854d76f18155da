"""DHCP leases that other machines report."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hedgerow.app.snapshot import identity_of
from hedgerow.codec import decode
from hedgerow.dashboards.control import InvalidInput
from hedgerow.features.reported_leases import table as leases
from hedgerow.features.reported_leases.table import LeaseTable
from hedgerow.network.discovery import Lease

MAC, OTHER = "02:00:00:00:00:01", "02:00:00:00:00:02"


def read(path: Path) -> tuple[Lease, ...]:
    return decode(tuple[Lease, ...], path.read_bytes())


def test_many_reports_are_one_write_and_a_full_disk_loses_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "leases.json"
    many = tuple(Lease(MAC, f"10.0.0.{number}") for number in range(200))

    async def main() -> None:
        table = LeaseTable(path, lambda: None)
        path.mkdir()  # cannot be replaced by a file
        for lease in many:
            table.report(lease)
        for _ in range(2):
            await table.save()
        assert table.leases() == many
        assert caplog.text.count(f"Can't write {path}: Is a directory") == 1
        path.rmdir()
        await table.save()
        written = identity_of(path)
        table.report(many[0])  # nothing new
        await table.save()
        assert (read(path), identity_of(path)) == (many, written)
        table.remove("10.0.0.0")
        await table.save()
        assert LeaseTable(path, lambda: None).leases() == read(path) == many[1:]

    asyncio.run(main())


def test_changes_are_written_and_ended_leases_removed_by_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "WRITE_EVERY_S", 0.001)
    path, now, changes = tmp_path / "leases.json", [100.0], list[str]()

    async def until(wanted: tuple[Lease, ...]) -> None:
        async with asyncio.timeout(60):
            while not path.exists() or read(path) != wanted:  # noqa: ASYNC110 (a file)
                await asyncio.sleep(0.001)

    async def main() -> None:
        table = LeaseTable(path, lambda: changes.append("changed"), lambda: now[0])
        running = asyncio.create_task(table.run())
        table.report(Lease(MAC, "10.0.0.1", until=200.0))
        table.report(Lease(OTHER, "10.0.0.2"))
        table.report(Lease(MAC, "10.0.0.1", until=300.0))
        assert len(changes) == 2, "a longer lease of the same device changes no rules"
        await until((Lease(MAC, "10.0.0.1", until=300.0), Lease(OTHER, "10.0.0.2")))
        now[0] = 400.0
        assert table.macs() == {"10.0.0.2": OTHER}
        await until((Lease(OTHER, "10.0.0.2"),))
        assert len(changes) == 3
        running.cancel()
        table.report(Lease(OTHER, "10.0.0.1", until=500.0))
        now[0] = 600.0
        table.report(Lease(OTHER, "10.0.0.1", until=700.0))
        assert len(changes) == 5, "it had ended, and begins again"

    asyncio.run(main())


def test_the_number_of_leases_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "LEASES_LIMIT", 2)
    table = LeaseTable(tmp_path / "leases.json", lambda: None)
    for lease in (Lease(MAC, "10.0.0.1"), Lease(MAC, "10.0.0.2"), Lease(OTHER, "10.0.0.1")):
        table.report(lease)
    with pytest.raises(InvalidInput, match="too many"):
        table.report(Lease(MAC, "10.0.0.3"))


@pytest.mark.parametrize("until", [0.0, 1.0, 1000.0])
def test_a_lease_that_has_ended_takes_nothing_from_the_one_that_holds(tmp_path: Path, until: float) -> None:
    table = LeaseTable(tmp_path / "leases.json", lambda: None, lambda: 1000.0)
    table.report(Lease(MAC, "10.0.0.1", until=2000.0))
    with pytest.raises(InvalidInput, match="ended already"):
        table.report(Lease(OTHER, "10.0.0.1", until=until))
    assert table.macs() == {"10.0.0.1": MAC}
