"""Backup and restore: the journal, the policy file, the CA, the addresses for
notices and the command line's token in one file. Lists are fetched again anyway."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tarfile
import tempfile
from contextlib import closing
from pathlib import Path
from typing import IO

from hedgerow.app.files import FolderLock, make_private_folder

JOURNAL, POLICY, TOKEN = "journal.sqlite", "hedgerow.yaml", "admin-token"
FOLDERS = ("ca/", "notices/")


class BackupError(Exception):
    """One sentence for the person at the keyboard."""


def back_up(state: Path, policy: Path | None, out: Path) -> tuple[str, ...]:
    """Writes the backup of a state folder, also while Hedgerow runs; returns the names in it. Raises `BackupError`."""
    if not (state / JOURNAL).exists():
        raise BackupError(f"There is no journal in {state}: has Hedgerow run there?")
    try:
        with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".hedgerow-backup-") as scratch:
            journal, whole = Path(scratch) / JOURNAL, Path(scratch) / "whole"
            with closing(sqlite3.connect(state / JOURNAL)) as source, closing(sqlite3.connect(journal)) as copy:
                source.backup(copy)
            descriptor = os.open(whole, os.O_WRONLY | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
                tar.add(journal, JOURNAL)
                for path, name in _files(state, policy):
                    tar.add(path, name)
                names = tuple(tar.getnames())
            whole.replace(out)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"{out} can't be written: {error}.") from None
    return names


def _files(state: Path, policy: Path | None) -> list[tuple[Path, str]]:
    found = [(path, folder + path.name) for folder in FOLDERS for path in sorted((state / folder).glob("[!.]*")) if path.is_file()]
    found += [(state / TOKEN, TOKEN)] if (state / TOKEN).exists() else []
    return found + ([(policy, POLICY)] if policy is not None and policy.exists() else [])


def restore(backup: Path, state: Path, policy: Path) -> tuple[str, ...]:
    """Puts a backup into a state folder that no Hedgerow uses, and the policy file to `policy` unless one is there.

    Returns what was restored. Only the names that a backup has are read, whatever else is in the file. Raises `BackupError`.
    """
    make_private_folder(state)
    lock = FolderLock(state)
    if lock.acquire() is not None:
        raise BackupError(f"A Hedgerow runs with {state}: stop it first.")
    try:
        with tarfile.open(backup, "r:gz") as tar:
            return _restore_all(tar, state, policy)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise BackupError(f"{backup} can't be restored: {error}.") from None
    finally:
        lock.release()


def _restore_all(tar: tarfile.TarFile, state: Path, policy: Path) -> tuple[str, ...]:
    members = {member.name: member for member in tar.getmembers() if member.isfile() and _is_known(member.name)}
    if JOURNAL not in members:
        raise BackupError("This is no backup of Hedgerow.")
    done = []
    for name, member in members.items():
        content = tar.extractfile(member)
        assert content is not None  # a regular file
        if name == POLICY and policy.exists():
            continue
        target = policy if name == POLICY else state / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if name == JOURNAL:
            for ending in ("-wal", "-shm"):  # they belong to the journal that was here before
                target.with_name(target.name + ending).unlink(missing_ok=True)
        _replace(target, content, must_begin=b"SQLite format 3\0" if name == JOURNAL else b"")
        done.append(name)
    return tuple(done)


def _is_known(name: str) -> bool:
    return name in {JOURNAL, POLICY, TOKEN} or (name.startswith(FOLDERS) and name.count("/") == 1 and not name.endswith(("/", "..")))


def _replace(target: Path, content: IO[bytes], must_begin: bytes) -> None:
    """Piece by piece: a journal may be larger than the memory."""
    fresh = target.with_name(f".{target.name}.restored")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            begin = content.read(len(must_begin))
            if begin != must_begin:
                raise BackupError("The journal in this backup is damaged.")
            file.write(begin)
            shutil.copyfileobj(content, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
