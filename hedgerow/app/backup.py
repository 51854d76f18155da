"""Backup and restore of journal, policy file, CA and notice addresses, in one file. Lists are not included: they are fetched again."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

from hedgerow.app.files import FolderLock, chown_to_owner, error_text, make_private_folder
from hedgerow.journal.database import dialect_of

JOURNAL, POLICY = "journal.sqlite", "hedgerow.yaml"
FOLDERS = ("ca/", "notices/")


class BackupError(Exception):
    """A backup could not be written or restored; the text is one sentence for the user."""


def back_up(state: Path, policy: Path | None, out: Path) -> tuple[str, ...]:
    """Back up a state directory, also while Hedgerow runs. Returns the names of the saved files. Raises `BackupError`."""
    try:
        if not (state / JOURNAL).exists():
            raise BackupError(f"There is no journal in {state}: has Hedgerow run there?")
        with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".hedgerow-backup-") as scratch:
            journal, whole = Path(scratch) / JOURNAL, Path(scratch) / "whole"
            dialect_of(state / JOURNAL).back_up(journal)
            descriptor = os.open(whole, os.O_WRONLY | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
                tar.add(journal, JOURNAL)
                for path, name in _files(state, policy):
                    tar.add(path, name)
                names = tuple(tar.getnames())
            whole.replace(out)
    except OSError as error:
        raise BackupError(f"Can't write {out}: {error_text(error)}.") from None
    return names


def _files(state: Path, policy: Path | None) -> list[tuple[Path, str]]:
    found = [(path, folder + path.name) for folder in FOLDERS for path in sorted((state / folder).glob("[!.]*")) if path.is_file()]
    return found + ([(policy, POLICY)] if policy is not None and policy.exists() else [])


def restore(backup: Path, state: Path, policy: Path) -> tuple[str, ...]:
    """Restore a backup to a state directory that no Hedgerow uses, and its policy file to `policy` unless that exists.

    Returns the names of the restored files. Only names that a backup can contain are read. Raises `BackupError`, and then changes nothing.
    """
    lock = FolderLock(state)
    try:
        make_private_folder(state)
        holder = lock.acquire()
    except OSError as error:
        raise BackupError(f"Can't use {state}: {error_text(error)}.") from None
    if holder is not None:
        raise BackupError(f"Hedgerow is running on {state}: stop it first.")
    try:
        with tarfile.open(backup, "r:gz") as tar:
            names = _restore_all(tar, state, policy)
            restored = {state / name for name in names if name != POLICY}
            chown_to_owner(state, {*restored, *(path.parent for path in restored), state / "lock"})
            chown_to_owner(policy.parent, [policy] if POLICY in names else [])
            return names
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise BackupError(f"Can't restore {backup}: {error_text(error)}.") from None
    finally:
        lock.release()


def _restore_all(tar: tarfile.TarFile, state: Path, policy: Path) -> tuple[str, ...]:
    """Write all files beside their targets and check them first, so that a damaged backup changes nothing."""
    members = {member.name: member for member in tar.getmembers() if member.isfile() and _is_known(member.name)}
    if JOURNAL not in members:
        raise BackupError("This is not a backup of Hedgerow.")
    with contextlib.ExitStack() as cleaning:
        fresh: dict[str, tuple[Path, Path]] = {}
        for name, member in members.items():
            target = policy if name == POLICY else state / name
            if name == POLICY and policy.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            written = target.with_name(f".{target.name}.restored")
            cleaning.callback(written.unlink, missing_ok=True)
            _write(tar, member, written)
            fresh[name] = (written, target)
        _check_journal(fresh[JOURNAL][0])
        dialect_of(state / JOURNAL).prepare_restore()
        for written, target in fresh.values():
            written.replace(target)
    return tuple(fresh)


def _is_known(name: str) -> bool:
    if name in {JOURNAL, POLICY}:
        return True
    return name.isprintable() and name.startswith(FOLDERS) and name.count("/") == 1 and not name.endswith(("/", ".."))


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """Copy in blocks, since a journal may be larger than the memory."""
    content = tar.extractfile(member)
    assert content is not None  # a regular file
    path.unlink(missing_ok=True)  # never write through a link
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        shutil.copyfileobj(content, file)
        file.flush()
        os.fsync(file.fileno())


def _check_journal(path: Path) -> None:
    if not dialect_of(path).is_intact():
        raise BackupError("The journal in this backup is damaged.")
