"""Reloading of the policy file, and publishing of snapshots."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hedgerow.app.control.health import SnapshotRepair
from hedgerow.app.control.snapshots.publisher import PolicyFile, SnapshotPublisher
from hedgerow.app.settings import Endpoint, Settings, remove_memory_folder
from hedgerow.app.snapshot import FILE_NAME, Snapshot
from hedgerow.dashboards.edits.policy_editor import CheckedPolicy
from hedgerow.journal.database import open_journal
from hedgerow.policies.model import Grant
from hedgerow.policies.reading.load import load_policy


def test_a_valid_edit_is_loaded_and_an_invalid_one_is_not(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "hedgerow.yaml"
        path.write_text("people: {mia: {age: 9}}\n")
        file = PolicyFile(path, load_policy(path), 1.0)
        assert file.has_changed()
        assert await file.reload()
        assert not file.has_changed()

        path.write_text("people: {mia: {age: 9}, tom: {agee: 15}}\nnetwrok: {}\n")
        assert file.has_changed()
        assert not await file.reload()
        assert list(file.policy.people) == ["mia"]
        assert [problem.line for problem in file.problems] == [1, 2]
        assert not file.has_changed()

        path.unlink()
        assert not file.has_changed()

        path.write_text("people: {tom: {age: 15}}\n")
        assert file.has_changed()
        assert await file.reload()
        assert list(file.policy.people) == ["tom"]
        assert file.problems == ()

    asyncio.run(main())


@pytest.mark.parametrize("more", ["", "code_of_conduct: conduct.txt\n"])
def test_what_an_editor_has_checked_is_not_read_again_unless_it_changed(tmp_path: Path, more: str) -> None:
    (tmp_path / "conduct.txt").write_text("Be kind.")
    (tmp_path / "people.yaml").write_text("people: {mia: {age: 9}}\n")
    path = tmp_path / "hedgerow.yaml"
    path.write_text(f"include: people.yaml\n{more}")
    texts = {str(each): each.read_text() for each in (path, tmp_path / "people.yaml")}

    async def main() -> None:
        checked = CheckedPolicy(load_policy(path), texts)
        file = PolicyFile(path, load_policy(path), 1.0)
        assert await file.reload(checked)
        assert (file.policy is checked.policy) is not bool(more)
        assert not file.has_changed()
        assert file.texts == texts

        (tmp_path / "people.yaml").write_text("people: {tom: {age: 15}}\n")
        assert file.has_changed()
        assert await file.reload(checked)
        assert list(file.policy.people) == ["tom"]

    asyncio.run(main())


@pytest.mark.parametrize("nothing", ["", "\n\n", "# people: {mia: {age: 9}}\n", "---\n", "\ufeff"])
@pytest.mark.parametrize("name", ["hedgerow.yaml", "people.yaml"])
def test_a_file_that_an_editor_emptied_on_a_full_disk_takes_nobody_away(
    tmp_path: Path, name: str, nothing: str
) -> None:
    path = tmp_path / "hedgerow.yaml"
    path.write_text("include: people.yaml\n")
    (tmp_path / "people.yaml").write_text("people: {mia: {age: 9}}\n")
    file = PolicyFile(path, load_policy(path), 1.0)
    assert asyncio.run(file.reload())
    (tmp_path / name).write_text(nothing)
    assert file.has_changed()
    assert not asyncio.run(file.reload())
    assert list(file.policy.people) == ["mia"]
    (problem,) = file.current_problems()
    assert (problem.source, problem.message) == (
        str(tmp_path / name),
        "the file is empty and had entries before: write {} for none",
    )

    (tmp_path / name).write_text("{}\n")
    assert asyncio.run(file.reload()), "this says that nobody is meant"
    assert file.policy.people == {}


def test_a_file_that_was_always_empty_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "hedgerow.yaml"
    path.write_text("")
    file = PolicyFile(path, load_policy(path), 1.0)
    path.write_text("# nothing yet\n")
    assert asyncio.run(file.reload())
    path.write_text("people: {mia: {age: 9}}\n")
    assert asyncio.run(file.reload())


def test_the_built_in_policy_has_no_file(tmp_path: Path) -> None:
    file = PolicyFile(None, load_policy(None), 1.0)
    assert not file.has_changed()
    assert asyncio.run(file.reload())


@pytest.mark.parametrize("old", [b"{", b'{"serial":7,"policy":{"renamed":1}}'])
def test_grants_and_pauses_survive_a_snapshot_of_another_version(tmp_path: Path, old: bytes) -> None:
    """An upgrade can change the snapshot's fields; live state comes from the journal."""
    place = Endpoint("127.0.0.1", 0)
    settings = Settings(tmp_path, tmp_path / "hedgerow.yaml", place, place, place)
    (tmp_path / "hedgerow.yaml").write_text("people: {mia: {age: 9}}\n")
    (tmp_path / FILE_NAME).parent.mkdir()
    (tmp_path / FILE_NAME).write_bytes(old)
    store = open_journal(settings.journal)

    async def start() -> None:
        publisher = SnapshotPublisher(settings, store)
        publisher.ledger.give(Grant("g1", "chess.example", "ana", 1.0, None, person="mia"))
        publisher.ledger.pause("ana", person="mia")
        assert await publisher.lists.load_first_generation(publisher.policy, publisher.last_generation())
        await publisher.publish()

    asyncio.run(start())
    store.dispose()
    remove_memory_folder(tmp_path)
    snapshot = Snapshot.load(tmp_path)
    assert [grant.subject for grant in snapshot.grants] == ["chess.example"]
    assert [pause.person for pause in snapshot.pauses] == ["mia"]
    assert list(snapshot.policy.people) == ["mia"]


def test_a_damaged_snapshot_is_written_again_and_a_failing_disk_leaves_the_change_in_memory(tmp_path: Path) -> None:
    place = Endpoint("127.0.0.1", 0)
    settings = Settings(tmp_path, None, place, place, place)
    store = open_journal(settings.journal)

    async def main() -> None:
        publisher = SnapshotPublisher(settings, store)
        assert await publisher.lists.load_first_generation(publisher.policy, None)
        await publisher.publish()
        keeping = asyncio.create_task(SnapshotRepair(publisher).run())
        (tmp_path / FILE_NAME).write_bytes(b"damaged")
        while (tmp_path / FILE_NAME).read_bytes() == b"damaged":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        assert Snapshot.load(tmp_path).serial == 1
        (tmp_path / FILE_NAME).unlink()
        (tmp_path / FILE_NAME).mkdir()  # cannot be replaced by a file
        publisher.ledger.pause("ana", person="mia")
        await publisher.publish()
        assert publisher.is_enforced
        assert "directory" in publisher.problem
        assert [pause.person for pause in Snapshot.in_force(tmp_path).pauses] == ["mia"]
        (tmp_path / FILE_NAME).rmdir()
        while publisher.problem:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        keeping.cancel()
        assert [pause.person for pause in Snapshot.load(tmp_path).pauses] == ["mia"]

    try:
        asyncio.run(main())
    finally:
        store.dispose()
        remove_memory_folder(tmp_path)
