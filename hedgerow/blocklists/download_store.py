"""Where the copies of downloaded lists lie: never one that is torn, and never without the last good one.

For each URL the store holds the last good copy in a file of its own and a small `<name>.json` that points to it, with its
checksum. A copy that is not trusted is held beside the good one until somebody accepts it or the publisher sends another. What changes
is the pointer, by one rename; its own date says when the server was last asked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.sources import Source


class FetchOutcome(StrEnum):
    LOCAL = "local"  # a file of the user: nothing to download
    NEW = "new"
    UNCHANGED = "unchanged"
    KEPT = "kept"  # the download failed; the last good copy is used
    MISSING = "missing"  # the download failed and there is no copy
    HELD = "held"  # what came is not trusted; the last good copy is used, if there is one


@dataclass(frozen=True, slots=True)
class FetchResult:
    """A source after the attempt to download it: with the path of the last good copy, if there is one."""

    source: Source
    outcome: FetchOutcome
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class StoredCopy:
    """What is known about a copy: for the next conditional request, and to notice that the copy was damaged."""

    file: str
    sha256: str
    etag: str = ""
    last_modified: str = ""


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
    """What the store has of a source. `path` is the last good copy; `checked` is when the server was last heard, in seconds
    since the epoch; `held` is why a newer copy is held back, or empty."""

    path: Path | None = None
    checked: float | None = None
    held: str = ""


def copy_status(source: Source, store: Path) -> CopyStatus:
    """What the store has of a source with a URL, its checksum verified. Asks nobody."""
    pointer = pointer_path(source, store)
    try:
        checked = pointer.stat().st_mtime
    except OSError:
        return CopyStatus()
    shelf = read_stored_copies(pointer)
    return CopyStatus(store / shelf.good.file if shelf.good else None, checked if shelf.newest else None, shelf.reason)


def accept_held_copy(source: Source, store: Path) -> bool:
    """Takes the copy that is held back into use; False if there is none. Raises OSError."""
    pointer = pointer_path(source, store)
    shelf = read_stored_copies(pointer)
    if shelf.held is None:
        return False
    # What nothing points to is left to the next download, which may have just come in.
    save_stored_copies(pointer, StoredCopies(good=shelf.held), prune=False)
    return True


def pointer_path(source: Source, store: Path) -> Path:
    """The file that changes whenever `copy_status` would say something else."""
    return _pointer_path_of_url(source.url or "", store)


def _pointer_path_of_url(url: str, store: Path) -> Path:
    slug = re.sub(r"[^a-z0-9]+", "-", url.partition("://")[2].lower()).strip("-")[:60]
    return store / f"{slug}-{hashlib.sha256(url.encode()).hexdigest()[:10]}.json"


def read_stored_copies(pointer: Path) -> StoredCopies:
    """Without a copy that is gone or is not what was downloaded."""
    try:
        data = json.loads(pointer.read_text(encoding="utf-8"))
        good, held = (_read_stored_copy(pointer, data.get(which)) for which in ("good", "held"))
        return StoredCopies(good, held, str(data["reason"]) if held else "")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return StoredCopies()


def _read_stored_copy(pointer: Path, data: dict[str, str] | None) -> StoredCopy | None:
    if data is None:
        return None
    known = StoredCopy(**data)
    try:
        with (pointer.parent / known.file).open("rb") as file:
            return known if hashlib.file_digest(file, "sha256").hexdigest() == known.sha256 else None
    except OSError:
        return None


@contextlib.contextmanager
def temporary_file_beside(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file in the folder of `path`, which is gone afterwards unless it was renamed."""
    with tempfile.NamedTemporaryFile(prefix=f".{path.stem}.", dir=path.parent, delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def save_stored_copies(pointer: Path, shelf: StoredCopies, *, prune: bool = True) -> None:
    """Points to the copies of `shelf`, and with `prune` removes those that nothing points to any more."""
    with temporary_file_beside(pointer) as text:
        text.write(json.dumps(asdict(shelf)).encode())
        sync_and_rename(text, pointer)
    named = {known.file for known in (shelf.good, shelf.held) if known}
    for path in pointer.parent.glob(f"{pointer.stem}-*.list") if prune else ():
        if path.name not in named:
            path.unlink(missing_ok=True)


def sync_and_rename(file: IO[bytes], path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    Path(file.name).replace(path)
