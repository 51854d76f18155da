"""Files that are either whole and new or whole and old."""

from __future__ import annotations

import fcntl
import os
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path


def write_atomically(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Writes beside `path`, syncs and renames; on any OSError the old file stays and nothing is left behind."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        chown_to_owner(path.parent, [temporary])
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def chown_to_owner(folder: Path, paths: Iterable[Path]) -> None:
    """Gives what root has written in somebody else's folder to them: Hedgerow runs as they, and could not read it."""
    if os.geteuid() == 0:
        owner = folder.stat()
        found = {path: path.lstat() for path in paths}
        names = Counter((status.st_dev, status.st_ino) for status in found.values())
        for path, status in found.items():
            if stat.S_ISREG(status.st_mode) and status.st_nlink > names[status.st_dev, status.st_ino]:
                continue  # it has another name elsewhere, and may be nobody's business here
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def make_private_folder(path: Path) -> None:
    """Makes `path` and its parents; the last one is for the owner alone, unless it is somebody else's."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.stat().st_uid == os.geteuid():
        path.chmod(0o700)


def error_text(error: Exception) -> str:
    """What went wrong with which file, for a person.

    >>> error_text(PermissionError(13, "Permission denied", "/root/x"))
    'Permission denied: /root/x'
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.strerror}: {error.filename}" if error.filename is not None else error.strerror


class FolderLock:
    """Held by the one process that may use a folder; the kernel lets go of it when that process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._descriptor = -1

    def acquire(self) -> int | None:
        """None when held now; else the process id of who holds it (0 if unknown)."""
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._descriptor, 20).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            return int(owner) if owner.isdigit() else 0
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, str(os.getpid()).encode())
        return None

    def keep_across_exec(self) -> None:
        """The program that this process becomes by execve holds the lock on, and lets go of it at its end."""
        os.set_inheritable(self._descriptor, True)

    def release(self) -> None:
        os.close(self._descriptor)
