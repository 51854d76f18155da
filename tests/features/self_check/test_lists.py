"""Compiled lists that are removed or damaged: their copy takes their place, and names stay blocked."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from small_internet import SmallInternet
from small_internet.broken_disk import fill, small_disk
from small_internet.clients import kdig_addresses
from small_internet.family import LISTS, TABLET, family_policy
from small_internet.running import running_hedgerow, wait_until

from hedgerow.app.settings import memory_folder
from hedgerow.app.snapshot import Snapshot, SnapshotWatch
from hedgerow.blocklists.catalogue import Catalogue, is_usable
from hedgerow.blocklists.compiler import compile_generation
from hedgerow.blocklists.sources import Source
from hedgerow.features.self_check.lists import KeptLists
from hedgerow.policies.reading.load import load_policy

PATIENCE = 60.0
BLOCKED = {"0.0.0.0"}


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    (tmp_path / "adult.txt").write_text("adult.example\n")
    generation = tmp_path / "state/generations/0123456789abcdef"
    compile_generation([Source("adult", "adult", path=tmp_path / "adult.txt")], generation)
    return generation


def damage(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("r+b") as open_file:
                open_file.write(b"\xff" * max(file.stat().st_size, 64))


def damage_one(folder: Path) -> None:
    """Damage the largest file only, so that the directory still looks like lists."""
    file = max((file for file in folder.iterdir() if file.is_file()), key=lambda file: file.stat().st_size)
    with file.open("r+b") as open_file:
        open_file.seek(file.stat().st_size // 2)
        open_file.write(b"\xff" * 8)


def remove(folder: Path) -> None:
    shutil.rmtree(folder)


HARMS = [
    damage,
    damage_one,
    remove,
    lambda folder: remove(folder.parent),
    lambda folder: (folder / "meta.json").unlink(),
]


@pytest.mark.parametrize("harm", HARMS)
def test_lists_are_restored(lists: Path, harm: Callable[[Path], None]) -> None:
    kept = KeptLists(lists.parents[1], lambda: lists)
    kept.check()
    for _ in range(2):
        harm(lists)
        assert not is_usable(lists)
        kept.check()
        assert is_usable(lists)
        assert Catalogue.open(lists).host_mask("adult.example")


def test_a_damaged_copy_is_not_used_and_made_again(lists: Path, tmp_path: Path) -> None:
    kept, copy = KeptLists(lists.parents[1], lambda: lists), lists.parents[1] / "kept-lists" / lists.name
    kept.check()
    damage(copy)
    (lists / "meta.json").touch()
    kept.check()
    assert is_usable(copy)
    damage(copy)
    damage(lists)
    kept.check()
    assert not is_usable(lists)
    compile_generation([Source("adult", "adult", path=tmp_path / "adult.txt")], lists.with_name("fedcba9876543210"))
    KeptLists(lists.parents[1], lambda: lists.with_name("fedcba9876543210")).check()
    assert [path.name for path in copy.parent.iterdir()] == ["fedcba9876543210"]


@pytest.mark.parametrize("harm", HARMS)
def test_a_copy_that_is_removed_or_damaged_is_made_again(lists: Path, harm: Callable[[Path], None]) -> None:
    kept, copy = KeptLists(lists.parents[1], lambda: lists), lists.parents[1] / "kept-lists" / lists.name
    kept.check()
    for _ in range(2):
        harm(copy)
        assert not is_usable(copy)
        kept.check()
        assert is_usable(copy)
        assert is_usable(lists)


def test_a_disk_that_damages_all_it_is_given_is_not_written_to_each_second(
    lists: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    kept = KeptLists(lists.parents[1], lambda: lists, lambda: now)
    restored = 0
    for _ in range(3600):
        now += 1.0
        kept.check()
        if is_usable(lists):
            restored += 1
            damage_one(lists)
    assert 4 <= restored <= 14
    assert len(caplog.records) <= 2 * restored


def test_a_copy_is_made_once_there_is_room(tmp_path: Path, lists: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as state:
        here = state / "generations" / lists.name
        shutil.copytree(lists, here)
        filler = fill(state)
        kept, copy = KeptLists(state, lambda: here), state / "kept-lists" / lists.name
        kept.check()
        assert not copy.exists()
        with filler.open("r+b") as file:
            file.truncate(filler.stat().st_size - 4096)
        kept.check()
        assert not copy.exists(), "a copy needs more"
        filler.unlink()
        kept.check()
        assert is_usable(copy)


def test_a_copy_that_failed_is_tried_again(lists: Path) -> None:
    """Nothing can be made where a file lies in the way."""
    kept, copy = KeptLists(lists.parents[1], lambda: lists), lists.parents[1] / "kept-lists" / lists.name
    copy.parent.write_text("in the way")
    for _ in range(2):
        with pytest.raises(FileExistsError):
            kept.check()
    copy.parent.unlink()
    kept.check()
    assert is_usable(copy)


def test_lists_without_a_copy_are_left_as_they_are_until_new_ones_come(lists: Path, tmp_path: Path) -> None:
    kept = KeptLists(lists.parents[1], lambda: lists)
    damage(lists)
    kept.check()
    kept.check()
    assert not is_usable(lists)
    shutil.rmtree(lists)
    compile_generation([Source("adult", "adult", path=tmp_path / "adult.txt")], lists)
    kept.check()
    assert is_usable(lists.parents[1] / "kept-lists" / lists.name)


def test_there_are_no_lists_before_the_first(tmp_path: Path) -> None:
    KeptLists(tmp_path, lambda: None).check()
    KeptLists(tmp_path, lambda: Path("/dev/shm/elsewhere")).check()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_starts_maps_no_damaged_lists(lists: Path) -> None:
    state = lists.parents[1]
    Snapshot(1, 0.0, load_policy(None), lists).save(state)
    KeptLists(state, lambda: lists).check()
    for harm in (damage_one, remove):
        harm(lists)
        view = SnapshotWatch(state).open_if_new()
        assert view is not None
        assert view.catalogue.generation == state / "kept-lists" / lists.name
    remove(state / "kept-lists" / lists.name)
    assert SnapshotWatch(state).open_if_new() is None


@pytest.mark.service
@pytest.mark.parametrize("harm", [remove, damage])
def test_names_stay_blocked_without_compiling_again(
    whole_internet: SmallInternet, harm: Callable[[Path], None]
) -> None:
    with running_hedgerow(family_policy(whole_internet), lists=LISTS) as running:
        generation = Snapshot.in_force(running.state).generation
        wait_until(lambda: is_usable(running.state / "kept-lists" / generation.name), PATIENCE, "there is a copy")
        harm(generation)
        for role in ("dns", "gate"):
            for pid in running.pids(role):
                os.kill(pid, signal.SIGKILL)
        wait_until(
            lambda: set(kdig_addresses(running.dns, "pornhub.com", source=TABLET)) == BLOCKED,
            PATIENCE,
            "names are blocked",
        )
        wait_until(lambda: is_usable(generation), PATIENCE, "the lists are there again")
        assert not list((memory_folder(running.state) / "fallback").glob("generations/*")), "nothing was compiled"
