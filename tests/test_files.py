"""Atomic writes, private directories and the lock."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest

from hedgerow.files import FolderLock, make_private_folder, write_atomically


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    place = tmp_path / "snapshot.json"
    write_atomically(place, b"old")
    write_atomically(place, b"new")
    assert place.read_bytes() == b"new"
    assert place.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["snapshot.json"]


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the write fails in the same place."""
    place = tmp_path / "snapshot.json"
    write_atomically(place, b"old")
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_atomically(place, b"x" * 5000)
        except OSError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert place.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["snapshot.json"]


def test_one_process_holds_the_lock(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    assert first.acquire() is None
    assert second.acquire() == os.getpid()
    first.release()
    assert second.acquire() is None
    second.release()


def test_a_private_folder(tmp_path: Path) -> None:
    place = tmp_path / "a" / "state"
    make_private_folder(place)
    assert place.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        make_private_folder(tmp_path / "file" / "state")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could be misled")
def test_root_follows_no_link_that_another_user_made(tmp_path: Path) -> None:
    victim, state = tmp_path / "victim", tmp_path / "state"
    for folder in (victim, state):
        folder.mkdir()
    (victim / "shadow").write_bytes(b"root's")
    temporary = state / f".snapshot.json.{os.getpid()}"
    for link, target in (
        (state / "lists", victim),
        (temporary, victim / "shadow"),
        (state / "lock", victim / "shadow"),
    ):
        link.symlink_to(target)
    for path in (state, *state.iterdir()):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    write_atomically(state / "snapshot.json", b"new")
    assert (state / "snapshot.json").read_bytes() == b"new"
    with pytest.raises(OSError, match="another user"):
        write_atomically(state / "lists" / "index", b"new")
    with pytest.raises(OSError, match="symbolic links"):
        FolderLock(state).acquire()
    assert os.listdir(victim) == ["shadow"]
    assert (victim / "shadow").read_bytes() == b"root's"
    assert (victim / "shadow").stat().st_uid == 0
