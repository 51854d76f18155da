"""User ids of their own, where root starts Hedgerow: the signer's, if there is a user `hedgerow-signer`, and that of
the processes that judge pictures or send notices, if there is a user `hedgerow-jobs`.

The signer can then neither read what other processes write nor be traced or ended by them, whatever the kernel
confines. Its group may enter the directories of its key and its socket, and read the key. Pictures and notices come
over a socket, so that their processes need no file but the code. All others have the id that started Hedgerow.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hedgerow.confinement import Capability, keep_capabilities
from hedgerow.files import share_with_group

if TYPE_CHECKING:
    from hedgerow.app.settings import Settings

SIGNER, JOBS = "hedgerow-signer", "hedgerow-jobs"
OF_IDENTITIES = frozenset({Capability.SETUID, Capability.SETGID, Capability.KILL})
"""What the supervisor and the zygote keep besides, where processes have user ids of their own: to give them these, and
to end them.
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """A user and its primary group, both not root."""

    uid: int
    gid: int


def find_identity(name: str) -> Identity | None:
    """Return the user of a name; None if there is none, or it is root."""
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return None
    return Identity(found.pw_uid, found.pw_gid) if found.pw_uid and found.pw_gid else None


def obstacle(state: Path) -> str:
    """Return why the signer has no user id of its own, as the end of a sentence; empty if nothing is in the way."""
    is_root = os.geteuid() == 0
    if is_root and state.exists() and state.stat().st_uid != 0:  # who could put links there, which root would follow
        return f"{state} belongs to another user"
    return _obstacle(SIGNER, state.resolve().parent)


def obstacle_of_jobs() -> str:
    """Return why those that judge pictures or send notices have no user id of their own, like `obstacle`."""
    return _obstacle(JOBS)


def _obstacle(name: str, *places: Path) -> str:
    if os.geteuid() != 0:
        return "Hedgerow was not started by root"
    if find_identity(name) is None:
        return f"there is no user {name}"
    if not _may_change_ids():
        return "Hedgerow may not change user ids and end processes of others (CAP_SETUID, CAP_SETGID, CAP_KILL)"
    used = [*(Path(place).resolve() for place in (__file__, sys.prefix, sys.executable)), *places]
    closed = (place for path in used for place in (path, *path.parents) if not _is_open(place))
    return next((f"{place} is closed to other users" for place in closed), "")


def arrange_folders(settings: Settings, *, separate: bool) -> None:
    """Open the directories of key and socket to the signer's group, with what an earlier run left there, or close them
    again. Raises OSError.
    """
    identity = find_identity(SIGNER) if separate else None
    names = settings.server_name.parent
    folders = {settings.state: 0o710, settings.run: 0o710, names: 0o750, settings.authority: 0o750}
    for folder, mode in folders.items():
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.stat()
        if identity is not None:
            os.chown(folder, -1, identity.gid)
            folder.chmod(mode)
        elif status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) != 0o700:
            folder.chmod(0o700)
            if mode & stat.S_IRGRP and status.st_mode & stat.S_IRGRP:
                _close(folder)
    if identity is not None:
        for folder in (settings.authority, names):
            share_with_group(folder, folder)


def _close(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(stat.S_IMODE(path.stat().st_mode) & ~stat.S_IRWXG)


def become(name: str) -> None:
    """Change the user and the groups of this process for good. Raises OSError."""
    identity = find_identity(name)
    if identity is None:
        raise PermissionError(f"there is no user {name}")
    keep_capabilities({Capability.SETUID, Capability.SETGID})
    os.setgroups([identity.gid])
    os.setresgid(identity.gid, identity.gid, identity.gid)
    os.setresuid(identity.uid, identity.uid, identity.uid)


def _may_change_ids() -> bool:
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    usable = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    return all(usable >> each & 1 for each in OF_IDENTITIES)


def _is_open(place: Path) -> bool:
    status = place.stat()
    return bool(status.st_mode & (stat.S_IXOTH if stat.S_ISDIR(status.st_mode) else stat.S_IROTH))
