"""The checksums of a folder of compiled files, so that what a bad disk changed in them is noticed though their sizes are right.

They stand in a file of the folder (`CHECKSUMS`) and are looked at where a folder is taken up again, once: not by workers, which
map the same files and would read all of them first. CRC-32 finds accidents; nobody who may write there needs to be kept out.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection
from pathlib import Path

CHECKSUMS = "checksums.json"
_PIECE = 1 << 20


def write_checksums(folder: Path, leave_out: Collection[str] = ()) -> None:
    """Of every file in and beneath `folder`, but for the files or folders `leave_out` in it. Raises OSError."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    kept = {name: _checksum(folder / name) for name in names if name.partition("/")[0] not in leave_out}
    (folder / CHECKSUMS).write_text(json.dumps(kept), encoding="ascii")


def is_whole(folder: Path) -> bool:
    """Whether every file that has a checksum is what it was when it was written."""
    try:
        kept = json.loads((folder / CHECKSUMS).read_text(encoding="ascii"))
        return bool(kept) and all(_checksum(folder / name) == number for name, number in kept.items())
    except (OSError, ValueError, AttributeError):
        return False


def _checksum(path: Path) -> int:
    number = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            number = zlib.crc32(piece, number)
    return number
