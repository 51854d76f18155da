"""Backup and restore of journal, policy with all files that it reads, CA and notice addresses, in one file.

Public lists are not included: they are fetched again. Files next to the policy file are restored next to it; files
elsewhere only if asked for, since a backup could name any place.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import pwd
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from hedgerow.app.settings import JOURNAL_NAME
from hedgerow.files import FolderLock, chown_to_owner, error_text, make_private_folder
from hedgerow.journal.copying import CopyError, copy_journal
from hedgerow.journal.database import dialect_of, is_of_newer_version, open_journal
from hedgerow.journal.sqlite import LOG_SUFFIXES
from hedgerow.journal.store import JournalError, StoreAddress, cause_of
from hedgerow.policies.reading.load import PolicyError, load_policy

JOURNAL, POLICY, GATEWAY = JOURNAL_NAME, "hedgerow.yaml", "gateway.json"
FOLDERS = ("ca/", "notices/", "statements/", "tunnel/", "wifi/")
BEFORE_RESTORE = "before-restore-"
"""Prefix of the folder in the state directory with what a restore replaced; the date and time follow."""
BESIDE, ELSEWHERE = "beside-policy/", "elsewhere/"
"""Prefixes of the names of files that the policy reads: the path from the policy file's directory, or from the root,
follows.
"""


DAMAGED = "The journal is damaged"


class BackupError(Exception):
    """A backup could not be written or restored; the text is one sentence for the user."""


class ExistingFilesError(BackupError):
    """A backup would replace files of the state directory, which are named, and nobody has agreed to that."""

    def __init__(self, names: Sequence[str], state: Path) -> None:
        super().__init__(f"These files are in {state} already: {', '.join(names)}. --replace replaces and keeps them.")


@dataclass(frozen=True, slots=True)
class Restored:
    """The names of the restored files, and the folder with those that were there before; None if there were none."""

    names: tuple[str, ...]
    kept: Path | None


def backup_folder(state: Path) -> Path:
    """The directory of the daily backups."""
    return state / "backups"


def backups_in(state: Path) -> list[Path]:
    """Return the daily backups, the newest first."""
    return sorted(backup_folder(state).glob("hedgerow-*.tar.gz"), reverse=True)


LOG_TABLES = ("decisions", "hosts_seen")
"""Tables that grow with the use of the network."""


def back_up(
    state: Path, policy: Path | None, out: Path, store: StoreAddress | None = None, *, with_log: bool = True
) -> tuple[str, ...]:
    """Back up a state directory, also while Hedgerow runs. Returns the names of the saved files. Raises `BackupError`.

    What is in the `store` is copied into a file of SQLite's, which `hedgerow store copy` takes. Without `with_log` the
    decisions are left out, as their server has backups of its own.
    """
    try:
        if store is None and not (state / JOURNAL).exists():
            raise BackupError(f"There is no journal in {state}: has Hedgerow run there?")
        with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".hedgerow-backup-") as scratch:
            journal, whole = Path(scratch) / JOURNAL, Path(scratch) / "whole"
            if store is None:
                dialect_of(state / JOURNAL).back_up(journal)
            else:
                _copy_store(store, journal, () if with_log else LOG_TABLES)
            if not dialect_of(journal).is_intact():
                raise BackupError(f"{DAMAGED}: restart Hedgerow, which recovers what can be read.")
            descriptor = os.open(whole, os.O_WRONLY | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as tar:
                tar.add(journal, JOURNAL)
                for path, name in _files(state, policy):
                    tar.add(path, name)
                names = tuple(tar.getnames())
            whole.replace(out)
    except OSError as error:
        raise BackupError(f"Can't write {out}: {_reason(error)}") from None
    return names


def _copy_store(store: StoreAddress, target: Path, without: Sequence[str]) -> None:
    """Copy the tables of a server into a file. Raises `BackupError`."""
    try:
        with contextlib.closing(open_journal(store)) as source, contextlib.closing(open_journal(target)) as copy:
            copy_journal(source, copy, without=without)
    except (CopyError, JournalError) as error:
        raise BackupError(f"The store can't be copied: {error}") from None
    except DatabaseError as error:
        raise BackupError(f"The store can't be copied: {cause_of(error)}.") from None


def _files(state: Path, policy: Path | None) -> Iterator[tuple[Path, str]]:
    for folder in FOLDERS:
        yield from ((path, folder + path.name) for path in sorted((state / folder).glob("[!.]*")) if path.is_file())
    if (state / GATEWAY).is_file():
        yield state / GATEWAY, GATEWAY
    if policy is not None and policy.exists():
        yield policy, POLICY
        yield from ((path, name_of(path, policy)) for path in files_of(policy, state))


def files_of(policy: Path, state: Path) -> list[Path]:
    """Return the existing files that a policy reads: included files, lists, phrases, calendars, certificates.

    Downloads are left out.
    """
    try:
        read = load_policy(policy)
    except PolicyError:
        return []
    certificate = read.network.certificate
    named = [*read.files, *read.phrase_lists, *(item.path for item in read.lists if item.path is not None)]
    named += [certificate.chain, certificate.key] if certificate is not None else []
    paths = {Path(file) for file in named}
    return sorted(path for path in paths if path.is_absolute() and not path.is_relative_to(state) and path.is_file())


def name_of(path: Path, policy: Path) -> str:
    """Return the name in a backup of a file that a policy reads."""
    if path.is_relative_to(policy.parent):
        return BESIDE + str(path.relative_to(policy.parent))
    return ELSEWHERE + str(path.relative_to("/"))


def restore(
    backup: Path, state: Path, policy: Path, *, elsewhere: bool = False, replace: bool = False, now: float | None = None
) -> Restored:
    """Restore a backup to a state directory that no Hedgerow uses, and its policy file to `policy` unless that exists.

    Files that the policy reads are restored unless they exist: those next to it, and with `elsewhere` also all others.
    Other files of the state directory are replaced only with `replace`, and kept next to it in a folder with the date.
    Only names that a backup can contain are read. Raises `BackupError`, also `ExistingFilesError`, and then changes
    nothing. If it is interrupted, everything that was there is in that folder.
    """
    lock = FolderLock(state)
    try:
        make_private_folder(state)
        holder = lock.acquire()
    except OSError as error:
        raise BackupError(f"Can't use {state}: {error_text(error)}.") from None
    if holder is not None:
        raise BackupError(f"Hedgerow is running on {state}: stop it first.")
    when = datetime.fromtimestamp(time.time() if now is None else now).astimezone()
    kept = state / f"{BEFORE_RESTORE}{when:%Y%m%d-%H%M%S}"
    while kept.exists():
        kept = kept.with_name(f"{kept.name}-2")
    try:
        with tarfile.open(backup, "r:gz") as tar:
            names = _restore_all(tar, state, policy, kept if replace else None, elsewhere=elsewhere)
            restored = {state / name for name in names if name in (JOURNAL, GATEWAY) or name.startswith(FOLDERS)}
            chown_to_owner(state, {*restored, *(path.parent for path in restored), state / "lock"})
            beside = [_target(name, state, policy) for name in names if name == POLICY or name.startswith(BESIDE)]
            chown_to_owner(policy.parent, beside)
            if kept.exists():
                chown_to_owner(state, [kept, *kept.rglob("*")])
            return Restored(names, kept if kept.exists() else None)
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        raise BackupError(f"Can't restore {backup}: {_reason(error)}") from None
    finally:
        lock.release()


def _reason(error: Exception) -> str:
    """Return what went wrong, and as whom: root's own files are closed to the user as which root's commands run."""
    if not isinstance(error, PermissionError):
        return f"{error_text(error)}."
    user = str(os.geteuid())
    with contextlib.suppress(KeyError):  # a container's user may have no name
        user = pwd.getpwuid(os.geteuid()).pw_name
    return (
        f"{error_text(error)}. This runs as the user {user}: use a file that this user can open, such as in /var/tmp."
    )


def _restore_all(
    tar: tarfile.TarFile, state: Path, policy: Path, kept: Path | None, *, elsewhere: bool
) -> tuple[str, ...]:
    """Write all files next to their targets and check them first, so that a damaged backup changes nothing.

    `kept` is the folder for the files that are replaced; None if none may be.
    """
    members = {member.name: member for member in tar.getmembers() if member.isfile() and _is_known(member.name)}
    if JOURNAL not in members:
        raise BackupError("This is not a backup of Hedgerow.")
    with contextlib.ExitStack() as cleaning:
        fresh: dict[str, tuple[Path, Path]] = {}
        for name, member in members.items():
            target = _target(name, state, policy)
            is_policy = name.startswith((POLICY, BESIDE, ELSEWHERE))
            if (is_policy and target.exists()) or (name.startswith(ELSEWHERE) and not elsewhere):
                continue
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            written = target.with_name(f".{target.name}.restored")
            cleaning.callback(written.unlink, missing_ok=True)
            _write(tar, member, written)
            fresh[name] = (written, target)
        _check_journal(fresh[JOURNAL][0])
        existing = [name for name, (written, target) in fresh.items() if _differs(written, target)]
        if existing and kept is None:
            raise ExistingFilesError(existing, state)
        if kept is not None:
            _keep([fresh[name][1] for name in existing], state, kept)
        dialect_of(state / JOURNAL).prepare_restore()
        for written, target in fresh.values():
            written.replace(target)
    return tuple(fresh)


def _differs(written: Path, target: Path) -> bool:
    """Return whether there is another file at the target, or a journal with a log of more than it."""
    log = target.with_name(f"{target.name}-wal")
    if target.name == JOURNAL and log.exists() and log.stat().st_size:
        return True
    return os.path.lexists(target) and not (target.is_file() and filecmp.cmp(written, target, shallow=False))


def _keep(existing: Sequence[Path], state: Path, kept: Path) -> None:
    """Copy files of the state directory to a folder, all before any of them is replaced.

    The folder has its name once it is whole, and what an interrupted restore copied is removed. Raises OSError.
    """
    for torn in state.glob(f".{BEFORE_RESTORE}*"):
        shutil.rmtree(torn)
    part = kept.with_name(f".{kept.name}")
    try:
        for path in existing:
            for each in (
                path,
                *(path.with_name(path.name + suffix) for suffix in LOG_SUFFIXES if path.name == JOURNAL),
            ):
                if not os.path.lexists(each):
                    continue
                place = part / each.relative_to(state)
                make_private_folder(part)
                make_private_folder(place.parent)
                if not each.is_symlink():  # nobody else may read it, nor while it is copied
                    os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
                shutil.copy2(each, place, follow_symlinks=False)
                with place.open("rb") as file:
                    os.fsync(file.fileno())
        if part.exists():
            part.rename(kept)
    except OSError:
        shutil.rmtree(part, ignore_errors=True)
        raise


def files_elsewhere(backup: Path) -> tuple[Path, ...]:
    """Return the places outside the policy file's directory for which a backup has files.

    Raises OSError or tarfile.TarError.
    """
    with tarfile.open(backup, "r:gz") as tar:
        names = [name for name in tar.getnames() if name.startswith(ELSEWHERE) and _is_known(name)]
    return tuple(_target(name, Path(), Path()) for name in names)


def _target(name: str, state: Path, policy: Path) -> Path:
    if name.startswith(BESIDE):
        return policy.parent / name.removeprefix(BESIDE)
    if name.startswith(ELSEWHERE):
        return Path("/") / name.removeprefix(ELSEWHERE)
    return policy if name == POLICY else state / name


def _is_known(name: str) -> bool:
    if name in {JOURNAL, POLICY, GATEWAY}:
        return True
    if name.startswith((BESIDE, ELSEWHERE)):
        parts = name.split("/")[1:]
        return name.isprintable() and all(part not in ("", ".", "..") for part in parts)
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
    """Raise `BackupError` for a journal that this version can't use."""
    if not dialect_of(path).is_intact():
        raise BackupError("The journal in this backup is damaged.")
    if is_of_newer_version(path):
        raise BackupError("A newer Hedgerow wrote this backup: install that version, and restore it with that.")
