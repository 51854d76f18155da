"""From what a publisher offers to one text that can be parsed and kept: a file, a packed file, an archive or a folder.

A text that was put together of several files is a bundle: a line `#:: file FORMAT NAME` stands before each. It is what is parsed and
what is kept, so that line numbers are those of the files.
"""

from __future__ import annotations

import bz2
import contextlib
import functools
import gzip
import hashlib
import json
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

from hedgerow.blocklists.formats.v2fly import attributes_of
from hedgerow.blocklists.rules import Problem
from hedgerow.blocklists.text import CHUNK, MEMBER

LARGEST = 1 << 30
"""Bytes that a list may unpack to: more is a mistake or a bomb."""
MOST_FILES = 5000
_TOO_LARGE = f"unpacks to more than {LARGEST >> 20} MB"
_ABOUT = ("global_usage", "README", "LICENSE", "CATEGORIES", ".")
"""How the names of files about the lists begin."""

_PARTS = {"domains": "plain", "urls": "urls", "expressions": "expressions"}
_INCLUDE = re.compile(r"include:(\S+)(.*)")
_BROKEN = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile, NotImplementedError, RuntimeError)


class NotUnpacked(ValueError):
    """What the publisher offers cannot be used; `str()` says why."""


@dataclass(slots=True)
class Unpacked:
    """`problems` is what was wrong with parts of it, `left_out` counts files that are no rules, by kind."""

    to_allow: bool = False
    problems: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, kind: str) -> None:
        self.left_out[kind] = self.left_out.get(kind, 0) + 1


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of a folder or an archive, by its path there; `file` can be read until the next one is asked for."""

    name: str
    file: IO[bytes]


_Members = Callable[[Unpacked], Iterator[_Member]]
"""Begins to walk through a folder or an archive, always in one order; what is left out is told to the `Unpacked`."""


class _Writer:
    """A file that does not grow beyond LARGEST."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, LARGEST

    def write(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise NotUnpacked(_TOO_LARGE)
        self._file.write(data)


def unpack(path: Path, out: Path, wanted_format: str = "auto", to_allow: bool = False) -> Unpacked:
    """Writes the text of the list at `path` to `out`. Folders of squidGuard's that are for allowing are left out unless the list is
    `to_allow`. Raises NotUnpacked, or OSError where a file or the disk fails."""
    unpacked = Unpacked(to_allow=to_allow)
    with out.open("wb") as file:
        writer = _Writer(file)
        try:
            if path.is_dir():
                _write_bundle(functools.partial(_folder_members, path), writer, unpacked)
            elif _is_to_include(path, wanted_format):
                _write_includes(path, writer, unpacked)
            else:
                _write_file(path, writer, unpacked)
        except (*_BROKEN, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk, not the archive
            raise NotUnpacked(f"is damaged: {error}" if str(error) else "is damaged") from None
    unpacked.problems = list(dict.fromkeys(unpacked.problems))
    _convert(out)
    return unpacked


def files_of(path: Path, wanted_format: str = "auto") -> list[Path]:
    """All files that `unpack` would read, sorted: of a folder, or of a list that includes others. Raises OSError."""
    if path.is_dir():
        return sorted(each for each in path.rglob("*") if each.is_file())
    return sorted(_included(path)) if _is_to_include(path, wanted_format) else [path]


def content_digest(path: Path, wanted_format: str = "auto") -> str:
    """A checksum of all that `unpack` would read; raises OSError."""
    files = files_of(path, wanted_format)
    if files != [path]:
        return _digest_of(files, path if path.is_dir() else path.parent)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(paths: Iterable[Path], root: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(root)}\0{path.is_symlink()}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _write_file(path: Path, writer: _Writer, unpacked: Unpacked) -> None:
    with path.open("rb") as file:
        start = file.read(512)
    if zipfile.is_zipfile(path) and start.startswith(b"PK"):
        _write_bundle(functools.partial(_zip_members, path), writer, unpacked)
    elif tarfile.is_tarfile(path):
        _write_bundle(functools.partial(_tar_members, path), writer, unpacked)
    else:
        with _open_packed(path, start) as packed:
            while block := packed.read(CHUNK):
                writer.write(block)


def _open_packed(path: Path, start: bytes) -> BinaryIO | gzip.GzipFile | lzma.LZMAFile | bz2.BZ2File:
    if start.startswith(b"\x1f\x8b"):
        return gzip.open(path)
    if start.startswith(b"\xfd7zXZ\0"):
        return lzma.open(path)
    if start.startswith(b"BZh"):
        return bz2.open(path)
    return path.open("rb")


def _folder_members(folder: Path, unpacked: Unpacked) -> Iterator[_Member]:
    root = folder.resolve()
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or any(parent.is_symlink() for parent in path.parents if root in parent.parents):
            unpacked.leave_out("aliases")
        elif path.is_file():
            with path.open("rb") as file:
                yield _Member(str(path.relative_to(root)), file)


def _tar_members(path: Path, unpacked: Unpacked) -> Iterator[_Member]:
    with tarfile.open(path) as archive:
        for count, member in enumerate(archive):
            if count >= MOST_FILES:
                raise NotUnpacked(f"holds more than {MOST_FILES} files")
            if member.issym() or member.islnk():
                unpacked.leave_out("aliases")
            elif member.isfile() and (file := archive.extractfile(member)) is not None:
                yield _Member(member.name, file)


def _zip_members(path: Path, unpacked: Unpacked) -> Iterator[_Member]:
    with zipfile.ZipFile(path) as archive:
        names = [info for info in archive.infolist() if not info.is_dir()]
        if len(names) > MOST_FILES:
            raise NotUnpacked(f"holds more than {MOST_FILES} files")
        for info in names:
            if info.external_attr >> 16 & 0o170000 == 0o120000:
                unpacked.leave_out("aliases")
            else:
                with archive.open(info) as file:
                    yield _Member(info.filename, file)


def _write_bundle(members: _Members, writer: _Writer, unpacked: Unpacked) -> None:
    """squidGuard's folders (`domains`, `urls`, `expressions`, beside them `usage`), or any texts, each read by its own content.

    It is walked through twice, to choose and to write, so that nothing large is held in memory.
    """
    chosen = _choose_members(members(unpacked), unpacked)
    for number, member in enumerate(members(Unpacked())):
        if number in chosen:
            writer.write(chosen[number])
            _copy(member.file, writer)


def _choose_members(members: Iterable[_Member], unpacked: Unpacked) -> dict[int, bytes]:
    """The numbers of the files that are lists, each with the line that stands before it."""
    seen: set[bytes] = set()
    texts, usages, left = dict[int, str](), dict[str, bytes](), LARGEST
    for number, member in enumerate(members):
        folder, _, name = member.name.rpartition("/")
        if name == "usage":
            usages[folder] = member.file.read(CHUNK)
        elif name in _PARTS or not name.startswith(_ABOUT):
            digest, size = _digest_of_text(name, member.file, left)
            left -= size
            if size and digest in seen:
                unpacked.leave_out("aliases")
            else:
                texts[number] = member.name
            seen.add(digest)
    return _with_marks(texts, usages, unpacked)


def _with_marks(texts: dict[int, str], usages: dict[str, bytes], unpacked: Unpacked) -> dict[int, bytes]:
    is_squidguard = any(path.rpartition("/")[2] in _PARTS for path in texts.values())
    chosen = {}
    for number, path in texts.items():
        folder, _, name = path.rpartition("/")
        if is_squidguard and name not in _PARTS:
            unpacked.leave_out("files that are no lists")
        elif not unpacked.to_allow and _is_white(usages.get(folder, b"")):
            unpacked.problems.append(f"{path} is for allowing, by its `usage`: left out")
        else:
            chosen[number] = f"{MEMBER}{_PARTS.get(name, 'auto')} {path.replace(chr(10), ' ')}\n".encode(errors="replace")
    return chosen if is_squidguard or len(texts) > 1 else dict.fromkeys(chosen, b"")


def _digest_of_text(name: str, file: IO[bytes], left: int) -> tuple[bytes, int]:
    """The digest of a file with its name, and its size, 0 if it is blank. Raises NotUnpacked if it has more than `left` bytes."""
    digest, size, is_blank = hashlib.sha256(name.encode(errors="replace")), 0, True
    while block := file.read(CHUNK):
        digest.update(block)
        size += len(block)
        is_blank = is_blank and not block.strip()
        if size > left:
            raise NotUnpacked(_TOO_LARGE)
    return digest.digest(), 0 if is_blank else size


def _copy(file: IO[bytes], writer: _Writer) -> None:
    """Without a byte order mark, and with an end to its last line."""
    block = file.read(CHUNK).removeprefix(b"\xef\xbb\xbf")
    last = b"\n"
    while block:
        writer.write(block)
        last = block[-1:]
        block = file.read(CHUNK)
    writer.write(b"" if last == b"\n" else b"\n")


def _is_white(usage: bytes) -> bool:
    words = {line.strip().lower() for line in usage.decode("latin-1").splitlines()}
    return "white" in words and "black" not in words


def _is_to_include(path: Path, wanted_format: str) -> bool:
    if wanted_format not in ("auto", "v2fly"):
        return False
    with path.open("rb") as file:
        return any(line.startswith(b"include:") for line in file.read(1 << 16).splitlines())


def _write_includes(path: Path, writer: _Writer, unpacked: Unpacked) -> None:
    """A v2fly file and all it includes, each once for each filter."""
    for name, file, filters in _walk_includes(path, unpacked):
        form = "@".join(["v2fly", *sorted(filters)])
        writer.write(f"{MEMBER}{form} {name}\n".encode())
        data = file.read_bytes()
        writer.write(data if data.endswith(b"\n") else data + b"\n")


def _included(path: Path) -> set[Path]:
    return {file for _name, file, _filters in _walk_includes(path, Unpacked())}


def _walk_includes(path: Path, unpacked: Unpacked) -> Iterator[tuple[str, Path, frozenset[str]]]:
    waiting, seen = [(path.name, frozenset[str]())], set[tuple[str, frozenset[str]]]()
    while waiting:
        name, filters = waiting.pop()
        file = path.parent / name
        if (name, filters) in seen or len(seen) > MOST_FILES:
            continue
        seen.add((name, filters))
        if "/" in name or name.startswith(".") or not file.is_file():
            unpacked.problems.append(f"includes {name[:60]}, which is not there")
            continue
        yield name, file, filters
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        found = filter(None, (_INCLUDE.match(line.strip()) for line in lines))
        waiting += [(include[1], filters | attributes_of(include[2])) for include in found]


def _convert(out: Path) -> None:
    """What is no list of lines becomes one: ControlD's folders in JSON, and texts in UTF-16."""
    with out.open("rb") as file:
        start = file.read(4096)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        out.write_text(out.read_text(encoding="utf-16", errors="replace"), encoding="utf-8")
    elif start.lstrip().startswith(b"{") and b'"group"' in start:
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            out.write_text(_from_controld(json.loads(out.read_bytes())), encoding="utf-8")


def _from_controld(folder: dict[str, list[dict[str, object]]]) -> str:
    """Source: https://docs.controld.com/docs/folders. An action of 0 blocks, of 1 allows; others send the name elsewhere."""
    lines = ["[Adblock Plus]"]
    for rule in folder["rules"]:
        action = rule.get("action")
        do = action.get("do") if isinstance(action, dict) and action.get("status", 1) else None
        name = str(rule["PK"]).removeprefix("*.")
        lines.append(
            {0: f"||{name}^", 1: f"@@||{name}^"}.get(do, f"! not a block: {name}") if isinstance(do, int) else f"! switched off: {name}"
        )
    return "\n".join(lines) + "\n"


def problems_of(unpacked: Unpacked, source: str) -> list[Problem]:
    return [Problem(source, None, None, problem) for problem in unpacked.problems]
