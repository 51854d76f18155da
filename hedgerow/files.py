"""Atomic writes, private directories, ownership, and the lock of a state directory."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

READ_LIMIT = 64 << 20
"""Maximum size in bytes of a file that a policy names and that is read whole."""


def read_named_file(path: Path) -> bytes:
    """Return the content of a file that a policy names.

    Raises OSError, at once also for pipes, devices and files above `READ_LIMIT`.
    """
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or a device", str(path))
        if status.st_size > READ_LIMIT:
            raise OSError(errno.EFBIG, f"it has more than {READ_LIMIT >> 20} MB", str(path))
        return stream.read(READ_LIMIT)


def write_atomically(path: Path, content: bytes, mode: int = 0o600, *, shared: bool = False) -> None:
    """Write a temporary file next to `path`, sync and rename it. On OSError the old file stays and no other remains.

    A `shared` file can be read by the group of its folder, if that group may enter the folder.

    Root follows no link that another user made: Hedgerow's own user could otherwise have it write anywhere.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _refuse_strange_link(path.parent)
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if shared and (folder := path.parent.stat()).st_mode & stat.S_IXGRP:
                os.fchown(file.fileno(), -1, folder.st_gid)
                os.fchmod(file.fileno(), mode | stat.S_IRGRP)
        chown_to_owner(path.parent, [temporary])
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _refuse_strange_link(folder: Path) -> None:
    status = folder.lstat()
    if os.geteuid() == 0 and stat.S_ISLNK(status.st_mode) and status.st_uid != 0:
        raise OSError(errno.ELOOP, "a link that another user made", str(folder))


def chown_to_owner(folder: Path, paths: Iterable[Path]) -> None:
    """Give `paths` to the owner of `folder` if this is root:

    Hedgerow runs as that user and could not read them otherwise.
    """
    if os.geteuid() == 0:
        owner = folder.stat()
        statuses = {path: path.lstat() for path in paths}
        links = Counter((status.st_dev, status.st_ino) for status in statuses.values())
        for path, status in statuses.items():
            if stat.S_ISREG(status.st_mode) and status.st_nlink > links[status.st_dev, status.st_ino]:
                continue  # it has a hard link elsewhere, and may be somebody else's file
            group = owner.st_gid if status.st_gid in {0, os.getegid()} else -1  # another one was given on purpose
            os.chown(path, owner.st_uid, group, follow_symlinks=False)


def share_with_group(folder: Path, top: Path) -> None:
    """Let the group of `folder` read `top` and all below it, if that group may enter the folder. Raises OSError."""
    shared = folder.stat()
    if not shared.st_mode & stat.S_IXGRP:
        return
    for path in (top, *(top.rglob("*") if top.is_dir() else ())):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            continue
        if status.st_gid != shared.st_gid:
            os.chown(path, -1, shared.st_gid, follow_symlinks=False)
        mode = stat.S_IMODE(status.st_mode)
        readable = mode | stat.S_IRGRP | (stat.S_IXGRP if stat.S_ISDIR(status.st_mode) else 0)
        if readable != mode:
            path.chmod(readable)


def make_private_folder(path: Path) -> Path:
    """Create `path` and its parents, and return it.

    `path` becomes private to its owner, unless it belongs to another user. What lets others pass through it, or a group
    read it, was given on purpose and stays (`app/identities.py`).
    """
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = path.stat()
    # on a read-only file system, any chmod fails
    if status.st_uid == os.geteuid() and status.st_mode & (stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH):
        path.chmod(0o700)
    return path


def is_disk_error(error: OSError) -> bool:
    """Return True if a write failed because of the disk: it is full, read-only or broken."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


def error_text(error: Exception) -> str:
    """Describe an error for people, with the file that it concerns.

    >>> error_text(PermissionError(13, "Permission denied", "/root/x"))
    'Permission denied: /root/x'
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    return f"{error.strerror}: {error.filename}" if error.filename is not None else error.strerror


class FolderLock:
    """The lock of the one process that may use a directory.

    The kernel releases it when the process ends, in whatever way.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._descriptor = -1

    def acquire(self) -> int | None:
        """Take the lock. Returns None on success, else the process id of the holder (0 if unknown). Raises OSError."""
        self._descriptor = self._open()
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._descriptor, 20).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            return int(owner) if owner.isdigit() else 0
        with contextlib.suppress(OSError):  # on a full or read-only disk, the lock holds without the process id
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, str(os.getpid()).encode())
        return None

    def _open(self) -> int:
        flags = os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            return os.open(self._path, flags | os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            if not is_disk_error(error) or not self._path.exists():
                raise
            return os.open(self._path, flags | os.O_RDONLY)

    def release(self) -> None:
        os.close(self._descriptor)
