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


class Outcome(StrEnum):
    LOCAL = "local"  # a file of the user: nothing to download
    NEW = "new"
    UNCHANGED = "unchanged"
    KEPT = "kept"  # the download failed; the last good copy is used
    MISSING = "missing"  # the download failed and there is no copy
    HELD = "held"  # what came is not trusted; the last good copy is used, if there is one


@dataclass(frozen=True, slots=True)
class Fetched:
    """A source after the attempt to download it: with the path of the last good copy, if there is one."""

    source: Source
    outcome: Outcome
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about a copy: for the next conditional request, and to notice that the copy was damaged."""

    file: str
    sha256: str
    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class Shelf:
    """The copies of one URL: the one in use, and one that is held back for `reason`."""

    good: Known | None = None
    held: Known | None = None
    reason: str = ""

    @property
    def newest(self) -> Known | None:
        return self.held or self.good


@dataclass(frozen=True, slots=True)
class Copy:
    """What the store has of a source. `path` is the last good copy; `checked` is when the server was last heard, in seconds
    since the epoch; `held` is why a newer copy is held back, or empty."""

    path: Path | None = None
    checked: float | None = None
    held: str = ""


def copy_of(source: Source, store: Path) -> Copy:
    """What the store has of a source with a URL, its checksum verified. Asks nobody."""
    pointer = pointer_of(source, store)
    try:
        checked = pointer.stat().st_mtime
    except OSError:
        return Copy()
    shelf = read_shelf(pointer)
    return Copy(store / shelf.good.file if shelf.good else None, checked if shelf.newest else None, shelf.reason)


def accept_held(source: Source, store: Path) -> bool:
    """Takes the copy that is held back into use; False if there is none. Raises OSError."""
    pointer = pointer_of(source, store)
    shelf = read_shelf(pointer)
    if shelf.held is None:
        return False
    # What nothing points to is left to the next download, which may have just come in.
    save(pointer, Shelf(good=shelf.held), prune=False)
    return True


def pointer_of(source: Source, store: Path) -> Path:
    """The file that changes whenever `copy_of` would say something else."""
    return _pointer(source.url or "", store)


def _pointer(url: str, store: Path) -> Path:
    slug = re.sub(r"[^a-z0-9]+", "-", url.partition("://")[2].lower()).strip("-")[:60]
    return store / f"{slug}-{hashlib.sha256(url.encode()).hexdigest()[:10]}.json"


def read_shelf(pointer: Path) -> Shelf:
    """Without a copy that is gone or is not what was downloaded."""
    try:
        data = json.loads(pointer.read_text(encoding="utf-8"))
        good, held = (_read_known(pointer, data.get(which)) for which in ("good", "held"))
        return Shelf(good, held, str(data["reason"]) if held else "")
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Shelf()


def _read_known(pointer: Path, data: dict[str, str] | None) -> Known | None:
    if data is None:
        return None
    known = Known(**data)
    try:
        with (pointer.parent / known.file).open("rb") as file:
            return known if hashlib.file_digest(file, "sha256").hexdigest() == known.sha256 else None
    except OSError:
        return None


@contextlib.contextmanager
def beside(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file in the folder of `path`, which is gone afterwards unless it was renamed."""
    with tempfile.NamedTemporaryFile(prefix=f".{path.stem}.", dir=path.parent, delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def save(pointer: Path, shelf: Shelf, *, prune: bool = True) -> None:
    """Points to the copies of `shelf`, and with `prune` removes those that nothing points to any more."""
    with beside(pointer) as text:
        text.write(json.dumps(asdict(shelf)).encode())
        rename(text, pointer)
    named = {known.file for known in (shelf.good, shelf.held) if known}
    for path in pointer.parent.glob(f"{pointer.stem}-*.list") if prune else ():
        if path.name not in named:
            path.unlink(missing_ok=True)


def rename(file: IO[bytes], path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    Path(file.name).replace(path)
