"""The store of downloaded lists: never a torn copy, and never without the last good one.

For each URL the store holds the last good copy in a file of its own, and a small `<name>.json` that points to it with
its checksum. A copy that is not trusted is kept next to the good one until somebody accepts it or the publisher sends
another. One rename changes the pointer; its modification time says when the server was last asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

import msgspec

from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.sources import Source

_CLOCK_IS_SET = 1_735_689_600.0
"""2025. A file from before then was written by a machine whose clock was not set yet."""


class FetchOutcome(StrEnum):
    LOCAL = "local"  # a file of the user: nothing to download
    NEW = "new"
    UNCHANGED = "unchanged"
    KEPT = "kept"  # the download failed; the last good copy is used
    MISSING = "missing"  # the download failed and there is no copy
    HELD = "held"  # the new copy is not trusted; the last good one is used, if there is one


@dataclass(frozen=True, slots=True)
class FetchResult:
    """A source after the attempt to download it: with the path of the last good copy, if there is one."""

    source: Source
    outcome: FetchOutcome
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class StoredCopy:
    """A copy, with what the next conditional request needs, and a checksum that shows damage."""

    file: str
    sha256: str
    etag: str = ""
    last_modified: str = ""

    def is_intact(self, store: Path) -> bool:
        try:
            with (store / self.file).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except OSError:
            return False


@dataclass(frozen=True, slots=True)
class StoredCopies:
    """The copies of one URL: the one in use, and one that is held back for `reason`."""

    good: StoredCopy | None = None
    held: StoredCopy | None = None
    reason: str = ""

    @property
    def newest(self) -> StoredCopy | None:
        return self.held or self.good


@dataclass(frozen=True, slots=True)
class CopyStatus:
    """The state of a source in the store.

    `path` is the last good copy; `checked` is when the server last answered, in seconds since the epoch; `held` is the
    reason why a newer copy is held back, or empty.
    """

    path: Path | None = None
    checked: float | None = None
    held: str = ""


def failing_since(source: Source, store: Path) -> float | None:
    """Return when the first of the downloads failed that have failed in a row; None if the last one succeeded or none
    was tried.
    """
    return _failed_at(pointer_path(source, store))


def mark_failure(pointer: Path) -> None:
    """Note that a download failed, unless the one before failed too. Raises OSError."""
    if _failed_at(pointer) is None:
        _failure_mark(pointer).touch()


def clear_failure(pointer: Path) -> None:
    """Note that a download succeeded. Raises OSError."""
    _failure_mark(pointer).unlink(missing_ok=True)


def _failed_at(pointer: Path) -> float | None:
    try:
        at = _failure_mark(pointer).stat().st_mtime
    except OSError:
        return None
    return at if at > _CLOCK_IS_SET else None


def _failure_mark(pointer: Path) -> Path:
    return pointer.with_suffix(".failing")


def copy_status(source: Source, store: Path) -> CopyStatus:
    """Return the state of a source with a URL, its checksum verified, without network access."""
    pointer = pointer_path(source, store)
    try:
        checked = pointer.stat().st_mtime
    except OSError:
        return CopyStatus()
    copies = read_stored_copies(pointer)
    return CopyStatus(
        store / copies.good.file if copies.good else None, checked if copies.newest else None, copies.reason
    )


def accept_held_copy(source: Source, store: Path) -> bool:
    """Put the copy that is held back into use. Return False if there is none. Raises OSError."""
    pointer = pointer_path(source, store)
    copies = read_stored_copies(pointer)
    if copies.held is None:
        return False
    # The next download prunes: a file without a pointer may be a copy that has just come in.
    save_stored_copies(pointer, StoredCopies(good=copies.held), prune=False)
    return True


def pointer_path(source: Source, store: Path) -> Path:
    """Return the path of the file that changes whenever `copy_status` does."""
    url = source.url or ""
    slug = re.sub(r"[^a-z0-9]+", "-", url.partition("://")[2].lower()).strip("-")[:60]
    return store / f"{slug}-{hashlib.sha256(url.encode()).hexdigest()[:10]}.json"


def read_stored_copies(pointer: Path) -> StoredCopies:
    """Read a pointer, without copies that are missing or damaged."""
    try:
        copies = msgspec.json.decode(pointer.read_bytes(), type=StoredCopies)
    except (OSError, ValueError):
        return StoredCopies()
    good, held = (copy if copy and copy.is_intact(pointer.parent) else None for copy in (copies.good, copies.held))
    return StoredCopies(good, held, copies.reason if held else "")


def save_stored_copies(pointer: Path, copies: StoredCopies, *, prune: bool = True) -> None:
    """Write a pointer to `copies`, and with `prune` delete the files that nothing points to any more."""
    with temporary_file_beside(pointer) as file:
        file.write(msgspec.json.encode(copies))
        sync_and_rename(file, pointer)
    used = {copy.file for copy in (copies.good, copies.held) if copy}
    for path in pointer.parent.glob(f"{pointer.stem}-*.list") if prune else ():
        if path.name not in used:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def temporary_file_beside(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file in the folder of `path`; it is deleted at the end unless it was renamed."""
    with tempfile.NamedTemporaryFile(prefix=f".{path.stem}.", dir=path.parent, delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def sync_and_rename(file: IO[bytes], path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    Path(file.name).replace(path)
